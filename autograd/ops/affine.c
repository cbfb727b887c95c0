/* affine: scale x + shift, scale and shift constants. */
#include "autograd/ops/ops.h"

typedef struct {
    double scale, shift;
} Affine;

static bool shape(AgCall *c) { return ag_out_like(c, 0, c->in[0]); }

static bool value(AgCall *c) {
    const Affine *o = c->options;
    tensor_affine(&c->out[0], c->in[0], o->scale, o->shift);
    return true;
}

static bool vjp(AgVjp *v) {
    const Affine *o = v->options;
    v->gin[0] = o->scale == 1 ? v->gout[0] : ag_affine(v->gout[0], o->scale, 0);
    return true;
}

static void write_options(const void *options, char *buf, size_t n) {
    const Affine *o = options;
    snprintf(buf, n, "%g, %g", o->scale, o->shift);
}

static const AgSample samples[] = {
    {"matrix", 1, {AG_IN(-2, 2, 3, 4)}, AG_WITH(Affine, -2, .5), NULL},
    {"shift", 1, {AG_IN(-2, 2, 19)}, AG_WITH(Affine, 1, 3), NULL},
    {"scalar", 1, {AG_IN(-2, 2)}, AG_WITH(Affine, 0, 1), NULL},
    {"empty", 1, {AG_IN(-2, 2, 0)}, AG_WITH(Affine, 2, 1), NULL},
    {0},
};
static const AgSample errors[] = {
    {"integers", 1, {AG_IN_DTYPE("i64", 0, 9, 3)}, AG_WITH(Affine, 1, 1), "wants f32 or f64"},
    {0},
};
const AgOp ag_op_affine = {"affine", "scale x + shift", "f:f",   shape,  value,
                           vjp,      NULL,              samples, errors, false, write_options};

AgVar ag_affine(AgVar x, double scale, double shift) {
    return ag_apply1(&ag_op_affine, 1, &x, &(Affine){scale, shift}, sizeof(Affine));
}
