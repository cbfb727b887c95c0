/* gradient.c -- the gradient of a small function, beside a finite difference of it. */
#include "autograd/ag.h"

/* The sum of tanh(x)^2 e^-x. */
static AgVar f(AgVar x) {
    return ag_sum(ag_mul(ag_square(ag_tanh(x)), ag_exp(ag_neg(x))), AG_ALL_AXES, false);
}

int main(void) {
    AgTape *t = ag_tape_new();
    double at[] = {-1, 0.5, 2}, h = 1e-6;
    Tensor value = tensor_wrap(at, TENSOR_F64, 1, (int64_t[]){3});
    AgVar g, x = ag_input(t, &value);
    if (!ag_grad(f(x), (AgVar){0}, 1, &x, &g, false)) return puts(ag_tape_error(t)), 1;
    for (int i = 0; i < 3; i++) {
        at[i] += h;
        double up = ag_item(f(ag_input(t, &value)));
        at[i] -= 2 * h;
        double down = ag_item(f(ag_input(t, &value)));
        at[i] += h;
        printf("x = %4.1f   gradient %11.8f   finite difference %11.8f\n", at[i],
               tensor_get(ag_value(g), i), (up - down) / (2 * h));
    }
    ag_tape_free(t);
}
