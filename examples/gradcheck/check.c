/* check.c -- checks as a program, for CTest, make and the like. */
#include "autograd/gradcheck/report.h"
#include "examples/gradcheck/cases.h"

int main(int argc, char **argv) {
    static const GradcheckCase cases[] = {
        {"lstm", "elements", lstm_elements},
        {"lstm", "directions", lstm_directions},
        {"swiglu", "samples", swiglu_samples_pass},
        {"swiglu", "network", swiglu_network},
        {"swiglu", "network_second_order", swiglu_network_second_order},
        {NULL, NULL, NULL}};
    return gradcheck_main(argc, argv, cases);
}
