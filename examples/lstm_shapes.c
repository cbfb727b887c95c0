/* lstm_shapes.c -- what goes into an LSTM and what comes out: which axis is what.
 *
 * 1. The example of PyTorch's manual, nn.LSTM(5, 6, 2): I = 5 inputs, H = 6 units, L = 2 layers.
 *        x       [T, B, I]  T steps of B sequences, I numbers each
 *        h0, c0  [L, B, H]  what every layer starts from
 *        output  [T, B, H]  h of the last layer after every step
 *        hn, cn  [L, B, H]  h and c of every layer after the last step
 *    So output has all steps of one layer, hn one step of all layers; where both look at the last
 *    step of the last layer, they are the same numbers.
 * 2. A bidirectional LSTM over the characters of a word.  Each layer has two passes, D = 2: one
 *    reads from left to right, one from right to left.
 *        y       [T, B, D*H]  at every step both h side by side, forward half first
 *        hn      [L*D, B, H]  the forward pass after its last step, which is step T-1, and the
 *                             reverse pass after its last step, which is step 0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"
#include "data/vocab.h"
#include "examples/support/options.h"
#include "examples/support/program.h"
#include "nn/embedding.h"
#include "nn/lstm.h"

static const char program[] = "lstm_shapes";

static void print(const char *name, AgVar v) {
    printf("%s = ", name);
    tensor_write(stdout, ag_value(v));
    printf("\n");
}

/* Prints whether two variables hold the same numbers.  Fails (false, the tape's error): they do
 * not. */
static bool print_same(const char *what, AgVar a, AgVar b) {
    double worst = ag_item(ag_norm(ag_sub(a, b), INFINITY, AG_ALL_AXES, false));
    printf("%s: largest difference %g\n", what, worst);
    if (worst != 0) ag_fail(a.tape, "%s differ", what);
    return worst == 0;
}

static AgVar random_input(AgTape *t, uint64_t draw, int64_t n0, int64_t n1, int64_t n2) {
    const int64_t shape[] = {n0, n1, n2};
    Tensor x = tensor_wrap(ag_tape_alloc(t, (size_t)(n0 * n1 * n2) * sizeof(double)), TENSOR_F64,
                           3, shape);
    if (!ag_tape_ok(t)) return (AgVar){t, 0, 0};
    tensor_rng_fill_normal(&x, (TensorRngKey){.seed = 1, .draw = draw}, 0, 1);
    return ag_input(t, &x);
}

static bool two_layers(NnParamSet *set, AgTape *t) {
    const int64_t T = 1, B = 3, I = 5, H = 6, L = 2;
    NnLstm lstm = nn_lstm_make(set, "rnn", I, H, &(NnLstmOptions){.num_layers = (int)L});
    AgVar x = random_input(t, 0, T, B, I);
    NnLstmState start = {.h = random_input(t, 1, L, B, H), .c = random_input(t, 2, L, B, H)};
    NnLstmOutput out = nn_lstm(&lstm, x, &start, NULL);

    printf("1. nn.LSTM(%d, %d, %d), T = %d, B = %d\n\n", (int)I, (int)H, (int)L, (int)T, (int)B);
    printf("T steps of B sequences, I numbers each, go through L layers of H units.  output has "
           "all\nsteps of the last layer, hn and cn have the last step of all layers.\n\n");
    print("x [T, B, I]", x);
    print("output [T, B, H]", out.y);
    print("hn [L, B, H]", out.hn);
    print("cn [L, B, H]", out.cn);
    return print_same("output[T-1] and hn[L-1]", ag_select(out.y, 0, T - 1),
                      ag_select(out.hn, 0, L - 1));
}

/* The characters of a text with their numbers in the vocabulary. */
static void print_characters(const char *text, int64_t n, const int64_t *ids) {
    for (int64_t at = 0, t = 0; at < n; t++) {
        uint32_t code;
        int size = data_utf8_decode(text + at, n - at, &code, NULL);
        printf("step %d: %.*s  U+%04X  id %d\n", (int)t, size, text + at, (unsigned)code,
               (int)ids[t]);
        at += size;
    }
}

static bool both_directions(NnParamSet *set, AgTape *t, int64_t V, const Tensor *ids) {
    const int64_t T = tensor_numel(ids), B = 1, E = 3, H = 2;
    NnEmbedding embedding = nn_embedding_make(set, "embedding", V, E, NULL);
    NnLstm lstm = nn_lstm_make(set, "lstm", E, H, &(NnLstmOptions){.bidirectional = true});
    AgVar index = ag_reshape(ag_input(t, ids), 2, (int64_t[]){T, B});
    AgVar x = nn_embedding(&embedding, index);
    NnLstmOutput out = nn_lstm(&lstm, x, NULL, NULL); /* h0 and c0 are zeros */

    print("embedding of the characters [T, B, E]", x);
    print("y [T, B, D*H]", out.y);
    print("hn [L*D, B, H]", out.hn);
    print("cn [L*D, B, H]", out.cn);
    AgVar forward = ag_narrow(out.y, 2, 0, H), reverse = ag_narrow(out.y, 2, H, H);
    bool same = print_same("forward half of y[T-1] and hn[0]", ag_select(forward, 0, T - 1),
                           ag_select(out.hn, 0, 0));
    return print_same("reverse half of y[0] and hn[1]", ag_select(reverse, 0, 0),
                      ag_select(out.hn, 0, 1)) && same;
}

/* The word as numbers, and these through the LSTM. */
static bool characters(NnParamSet *set, AgTape *t, const char *text) {
    const DataVocabOptions options = {.kind = DATA_VOCAB_CHAR, .no_unk = true};
    int64_t n = (int64_t)strlen(text), T, *ids = NULL;
    TensorError error;
    DataVocab *vocab = data_vocab_new(text, n, &options, &error);
    bool ok = vocab && data_vocab_encode(vocab, text, n, &ids, &T, &error);
    if (ok) {
        Tensor numbers = tensor_wrap(ids, TENSOR_I64, 1, &T);
        printf("\n2. %s, bidirectional, T = %d, B = 1\n\n", text, (int)T);
        printf("D = 2 passes, from left to right and from right to left; the second ends at step "
               "0.\ny has both side by side, hn and cn one after the other.\n\n");
        print_characters(text, n, ids);
        ok = both_directions(set, t, data_vocab_size(vocab), &numbers);
    } else {
        example_refuse(program, error.message);
    }
    free(ids);
    data_vocab_free(vocab);
    return ok;
}

static int help(void) {
    puts("usage: lstm_shapes\n\n"
         "What goes into an LSTM and what comes out, and which axis is what: two layers as in\n"
         "PyTorch's nn.LSTM(5, 6, 2), then both directions over the characters of a word.");
    return 0;
}

int main(int argc, char **argv) {
    static const ExampleOption none[] = {{0}};
    TensorError error;
    switch (example_options_read(none, argc, argv, &error)) {
    case EXAMPLE_OPTIONS_WRONG: return example_refuse(program, error.message);
    case EXAMPLE_OPTIONS_HELP: return example_end(program, help());
    case EXAMPLE_OPTIONS_OK: break;
    }
    NnParamSet *set = nn_params_new(TENSOR_F64, 1);
    AgTape *t = ag_tape_new();
    bool ok = t && two_layers(set, t) && characters(set, t, "我爱中国");
    if (!t || !ag_tape_ok(t)) example_refuse(program, t ? ag_tape_error(t) : "out of memory");
    if (t) ag_tape_free(t);
    nn_params_free(set);
    return example_end(program, ok ? 0 : EXAMPLE_REFUSED);
}
