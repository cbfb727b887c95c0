/* A program for CTest, make and the like, without a test framework. */
#include <stddef.h>

#include "autograd/gradcheck/report.h"

/* loss = mean of (x - target)^2 over N numbers. */
enum { N = 6 };

static bool forward(void *context) {
    GradArg *a = context;
    const double *x = a[0].value, *target = a[1].value;
    double sum = 0;
    for (int i = 0; i < N; i++) sum += (x[i] - target[i]) * (x[i] - target[i]);
    *(double *)a[2].value = sum / N;
    return true;
}

static bool backward(void *context) {
    GradArg *a = context;
    const double *x = a[0].value, *target = a[1].value, *dloss = a[2].grad;
    double *dx = a[0].grad;
    for (int i = 0; i < N; i++) dx[i] = 2 * (x[i] - target[i]) / N * *dloss;
    return true;
}

static bool mse(GradcheckResult *result) {
    double x[N] = {.3, -1.2, .7, 2, -.4, 1.1}, target[N] = {0, -1, 1, 1.5, 0, 1};
    const int64_t shape[] = {2, 3};
    GradArg a[] = {{.name = "x", .ndim = 2, .shape = shape, .value = x},
                   {.name = "target", .ndim = 2, .shape = shape, .value = target,
                    .flags = GRADCHECK_CONSTANT},
                   {.name = "loss"}};
    return gradcheck_plain(forward, backward, a, 2, a, 1, a + 2, NULL, result);
}

int main(int argc, char **argv) {
    static const GradcheckCase cases[] = {{"loss", "mse", mse}, {NULL, NULL, NULL}};
    return gradcheck_main(argc, argv, cases);
}
