#include "autograd/ops/random.h"

#include "autograd/tape.h"

AgRandom ag_random_next(AgVar x, int batch_axis) {
    AgTape *t = x.tape;
    if (!t) return (AgRandom){.batch_axis = batch_axis};
    return (AgRandom){batch_axis, {t->seed, t->rng_step, t->draws++}, t->first_row, t->total_rows};
}

bool ag_random_rows(AgCall *c, int axes, AgRandom *random) {
    int axis = random->batch_axis;
    if (axis < -1 || axis >= axes) return ag_call_fail(c, "batch axis %d of %d", axis, axes);
    int64_t rows = axis < 0 ? 0 : c->in[0]->shape[axis];
    if (!random->total) {
        random->first = 0;
        random->total = rows;
    }
    bool inside = axis < 0 || (random->first >= 0 && rows <= random->total - random->first);
    return inside || ag_call_fail(c, "%lld rows from row %lld of a batch of %lld", (long long)rows,
                                  (long long)random->first, (long long)random->total);
}
