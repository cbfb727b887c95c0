/* peers.h -- two gradient checks that other libraries ship, to compare with.
 *
 * Written anew from what is known of them, over a function of float32 numbers: kann and DyNet
 * know no other.  Here only inputs, results and gradients are rounded to float32, the kernels
 * compute in float64: that is kinder to the two than their own libraries are. */
#ifndef TESTS_AUTOGRAD_CATALOGUE_PEERS_H
#define TESTS_AUTOGRAD_CATALOGUE_PEERS_H
#include "tests/autograd/catalogue/catalogue.h"

/* A scalar loss of n numbers; false: it could not be computed. */
typedef struct {
    void *context;
    int64_t n;
    float *x; /* where to check */
    bool (*loss)(void *context, const float *x, float *loss);
    bool (*gradient)(void *context, const float *x, float *gradient);
} PeerFunction;

typedef struct {
    bool kann, dynet; /* accepted? */
} PeerVerdict;

/* As kann's kad_check_grad: one direction d, each of its entries in [0, 1e-5); u = <gradient, d>
 * and v = (L(x + d) - L(x - d)) / 2 agree if | |u| - |v| | / (|u| + |v|) is below 0.01, or below
 * the share of the curvature |L(x + d) + L(x - d) - 2 L(x)| / |L(x + d) - L(x - d)|; where |v| is
 * below 1e-7 nothing is compared. */
bool peer_kann_accepts(const PeerFunction *f);
/* As DyNet's check_grad: for each number, v = (L(x + h) - L(x - h)) / 2h with h = 0.005 agrees
 * with the gradient u if |u - v| is at most 0.01, or at most 0.01 of the larger of |u| and |v|. */
bool peer_dynet_accepts(const PeerFunction *f);

/* Both, on the right version (bug 0) or the broken one of an entry, with the loss <w, results>
 * for a random w.  Where a pass fails, or memory, neither accepts.  Second derivatives are beyond
 * them: they see the first ones of those entries. */
PeerVerdict peers_judge(const CatalogueEntry *e, int bug);

#endif
