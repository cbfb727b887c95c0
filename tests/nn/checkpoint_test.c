/* Checkpoints: what goes in comes back to the bit, and files that do not fit are refused. */
#include "nn/checkpoint.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/lstm.h"
#include "nn/state_dict.h"
#include "optim/checkpoint.h"
#include "tests/support/allocations.h"
#include "tests/support/folder.h"

static char path[TEST_PATH_SIZE];

static void make_folder(void) { test_folder_make(path, "last.safetensors"); }
static void remove_folder(void) { test_folder_remove(path); }

TestSuite(checkpoint, .init = make_folder, .fini = remove_folder);

static const int64_t s3[] = {3}, s23[] = {2, 3};

/* ---- helpers ---- */

static void write_file(NnCheckpoint *c) {
    TensorError error = {{0}};
    cr_assert(nn_checkpoint_write(c, path, &error), "%s", error.message);
    nn_checkpoint_free(c);
}

static TensorSafetensors *open_file(void) {
    TensorError error = {{0}};
    TensorSafetensors *file;
    cr_assert(nn_checkpoint_open(path, &file, &error), "%s", error.message);
    return file;
}

static void write_old_file(void) {
    NnCheckpoint *c = nn_checkpoint_new();
    nn_checkpoint_add_reals(c, "old", 1, &(double){7});
    write_file(c);
}

static bool is_old_file(void) {
    TensorSafetensors *file = open_file();
    bool old = tensor_safetensors_count(file) == 1 && tensor_safetensors_find(file, "old") == 0;
    tensor_safetensors_close(file);
    return old;
}

/* The write must fail with these words and leave the old file. */
static void refuse_write(NnCheckpoint *c, const char *words) {
    TensorError error = {{0}};
    cr_expect(!nn_checkpoint_write(c, path, &error), "%s", words);
    cr_expect(!nn_checkpoint_write(c, path, NULL), "%s", words);
    cr_expect(strstr(error.message, "last.safetensors: ") && strstr(error.message, words),
              "%s, not %s", error.message, words);
    nn_checkpoint_free(c);
    cr_expect(is_old_file(), "%s", words);
}

static bool same_bits(const Tensor *a, const Tensor *b) {
    size_t size = (size_t)tensor_numel(a) * tensor_dtype_size(a->dtype);
    return a->dtype == b->dtype && tensor_same_shape(a, b) && memcmp(a->data, b->data, size) == 0;
}

static bool same_params(const NnParamSet *a, const NnParamSet *b) {
    bool same = nn_params_count(a) == nn_params_count(b);
    for (int i = 0; same && i < nn_params_count(a); i++)
        same = same_bits(&nn_params_at(a, i)->value, &nn_params_at(b, i)->value);
    return same;
}

static uint64_t versions(const NnParamSet *set) {
    uint64_t sum = 0;
    for (int i = 0; i < nn_params_count(set); i++) sum += nn_params_at(set, i)->version;
    return sum;
}

/* a.weight [2, 3], a.bias [2], a frozen b.weight [1, 2], a buffer mean [3] */
static NnParamSet *model(TensorDtype dtype, uint64_t seed) {
    NnParamSet *set = nn_params_new(dtype, seed);
    nn_linear_make(set, "a", 3, 2, NULL);
    nn_linear_make(set, "b", 2, 1, &(NnLinearOptions){.no_bias = true});
    nn_buffer(set, nn_init_normal(0, 1), 1, s3, "mean");
    nn_freeze(set, "b.*", true);
    cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
    return set;
}

/* ---- tensors, numbers and texts ---- */

Test(checkpoint, tensors_of_every_dtype_come_back_by_name) {
    float f[6] = {1, -0.f, NAN, INFINITY, 1e-45f, 3};
    uint8_t u[3] = {0, 1, 255};
    int64_t i[3] = {INT64_MIN, 0, INT64_MAX};
    double d = 5e-324;
    Tensor in[] = {tensor_wrap(f, TENSOR_F32, 2, s23), tensor_wrap(u, TENSOR_U8, 1, s3),
                   tensor_wrap(i, TENSOR_I64, 1, s3), tensor_wrap(&d, TENSOR_F64, 0, NULL),
                   tensor_wrap(f, TENSOR_F32, 2, (int64_t[]){0, 3})};
    enum { N = sizeof in / sizeof *in };
    NnCheckpoint *c = nn_checkpoint_new();
    char name[16];
    for (int k = 0; k < N; k++) {
        snprintf(name, sizeof name, "x.%d", k);
        nn_checkpoint_add(c, name, &in[k]); /* the name is copied */
    }
    write_file(c);
    TensorSafetensors *file = open_file();
    TensorArena *a = tensor_arena_new();
    for (int k = 0; k < N; k++) {
        TensorError error = {{0}};
        snprintf(name, sizeof name, "x.%d", k);
        Tensor out = tensor_new(a, in[k].dtype, in[k].ndim, in[k].shape), view;
        cr_expect(nn_checkpoint_read(file, path, name, &out, &error), "%s", error.message);
        cr_expect(same_bits(&in[k], &out), "%s", name);
        cr_expect(nn_checkpoint_view(file, path, name, in[k].dtype, in[k].ndim, in[k].shape,
                                     &view, &error), "%s", error.message);
        cr_expect(same_bits(&in[k], &view), "%s", name);
    }
    cr_expect_eq(tensor_safetensors_count(file), N);
    tensor_safetensors_close(file);
    tensor_arena_free(a);
}

Test(checkpoint, strided_tensors_are_written_and_read_by_their_elements) {
    double x[6] = {1, 2, 3, 4, 5, 6}, y[6] = {0};
    Tensor from = tensor_wrap(x, TENSOR_F64, 2, s23), to = tensor_wrap(y, TENSOR_F64, 2, s23);
    from = tensor_transpose(&from, 0, 1);
    to = tensor_transpose(&to, 0, 1);
    for (int copy = 0; copy < 2; copy++) {
        NnCheckpoint *c = nn_checkpoint_new();
        (copy ? nn_checkpoint_add_copy : nn_checkpoint_add)(c, "x", &from);
        write_file(c);
        TensorSafetensors *file = open_file();
        memset(y, 0, sizeof y);
        cr_assert(nn_checkpoint_read(file, path, "x", &to, NULL));
        cr_expect_arr_eq(x, y, sizeof x);
        tensor_safetensors_close(file);
    }
}

Test(checkpoint, copies_are_of_now_and_the_rest_of_the_write) {
    double x[3] = {1, 2, 3};
    int64_t n[2] = {4, INT64_MIN};
    char key[] = "config", text[] = "{\"H\": 3}\n\xc3\xa4";
    Tensor value = tensor_wrap(x, TENSOR_F64, 1, s3);
    NnCheckpoint *c = nn_checkpoint_new();
    nn_checkpoint_add(c, "seen", &value);
    nn_checkpoint_add_copy(c, "copy", &value);
    nn_checkpoint_add_reals(c, "reals", 3, x);
    nn_checkpoint_add_reals(c, "none", 0, NULL);
    nn_checkpoint_add_ints(c, "ints", 2, n);
    nn_checkpoint_add_text(c, key, text);
    x[0] = 9;
    n[0] = 9;
    key[0] = text[0] = 'x';
    write_file(c);
    TensorSafetensors *file = open_file();
    double seen[3], copy[3], reals[3];
    int64_t ints[2];
    TensorError error = {{0}};
    cr_assert(nn_checkpoint_read_reals(file, path, "seen", 3, seen, &error) &&
              nn_checkpoint_read_reals(file, path, "copy", 3, copy, &error) &&
              nn_checkpoint_read_reals(file, path, "reals", 3, reals, &error) &&
              nn_checkpoint_read_reals(file, path, "none", 0, NULL, &error) &&
              nn_checkpoint_read_ints(file, path, "ints", 2, ints, &error), "%s", error.message);
    cr_expect(seen[0] == 9 && copy[0] == 1 && reals[0] == 1 && seen[2] == 3);
    cr_expect(ints[0] == 4 && ints[1] == INT64_MIN);
    cr_expect_str_eq(tensor_safetensors_metadata(file, "config"), "{\"H\": 3}\n\xc3\xa4");
    tensor_safetensors_close(file);
}

Test(checkpoint, many_tensors_and_long_names_have_room) {
    enum { N = 300 };
    char name[2000];
    NnCheckpoint *c = nn_checkpoint_new();
    memset(name, 'n', sizeof name);
    for (int64_t i = 0; i < N; i++) {
        snprintf(name + 1900, 100, ".%d", (int)i);
        nn_checkpoint_add_ints(c, name, 1, &i);
        nn_checkpoint_add_text(c, name, name + 1900);
    }
    write_file(c);
    TensorSafetensors *file = open_file();
    for (int64_t i = 0, x; i < N; i++) {
        snprintf(name + 1900, 100, ".%d", (int)i);
        cr_assert(nn_checkpoint_read_ints(file, path, name, 1, &x, NULL) && x == i);
        cr_expect_str_eq(tensor_safetensors_metadata(file, name), name + 1900);
    }
    tensor_safetensors_close(file);
}

Test(checkpoint, a_checkpoint_may_be_written_again) {
    double x = 1;
    Tensor value = tensor_wrap(&x, TENSOR_F64, 0, NULL);
    NnCheckpoint *c = nn_checkpoint_new();
    nn_checkpoint_add(c, "x", &value);
    TensorError error = {{0}};
    cr_assert(nn_checkpoint_write(c, path, &error), "%s", error.message);
    x = 2;
    nn_checkpoint_add_text(c, "more", "text");
    write_file(c);
    TensorSafetensors *file = open_file();
    cr_assert(tensor_safetensors_metadata(file, "more"));
    x = 0;
    cr_expect(nn_checkpoint_read(file, path, "x", &value, NULL) && x == 2);
    tensor_safetensors_close(file);
}

/* Every bit of every byte behind the length of the header. */
Test(checkpoint, a_flipped_bit_is_seen_wherever_it_is) {
    const double x[] = {1, 0, -2};
    NnCheckpoint *c = nn_checkpoint_new();
    nn_checkpoint_add_reals(c, "x", 3, x);
    nn_checkpoint_add_ints(c, "n", 1, &(int64_t){7});
    nn_checkpoint_add_text(c, "key", "text");
    write_file(c);
    size_t n;
    unsigned char *bytes = tensor_file_read(path, 1 << 20, &n, NULL);
    cr_assert(bytes);
    int differ = 0;
    for (size_t bit = 64; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        FILE *f = fopen(path, "w");
        cr_assert(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        TensorSafetensors *file;
        TensorError error;
        if (nn_checkpoint_open(path, &file, &error)) {
            /* Only what is no content: a space of the padding, the digest's own key. */
            cr_expect(bytes[bit / 8] == ' ' || !tensor_safetensors_metadata(file, "digest"),
                      "bit %zu", bit);
            tensor_safetensors_close(file);
        } else {
            differ++;
            cr_expect(strstr(error.message, "last.safetensors: ") && !file);
        }
    }
    cr_expect(differ > 7 * (int)n);
    free(bytes);
}

Test(checkpoint, a_file_without_a_digest_is_taken) {
    const Tensor x = tensor_wrap(&(double){3}, TENSOR_F64, 0, NULL);
    TensorSafetensors *file;
    cr_assert(tensor_safetensors_write(path, 1, &(TensorNamed){"x", x}, 0, NULL, NULL));
    cr_assert(nn_checkpoint_open(path, &file, NULL));
    tensor_safetensors_close(file);
    cr_assert(!nn_checkpoint_open("nowhere", &file, NULL) && !file);
}

Test(checkpoint, tensors_that_do_not_fit_are_refused_by_name_and_reason) {
    NnCheckpoint *c = nn_checkpoint_new();
    nn_checkpoint_add_reals(c, "r", 2, (double[]){1, 2});
    nn_checkpoint_add_ints(c, "n", 2, (int64_t[]){1, 2});
    write_file(c);
    TensorSafetensors *file = open_file();
    double x[3] = {7, 7, 7};
    int64_t n[3] = {7, 7, 7};
    TensorError error[7] = {{{0}}};
    Tensor column = tensor_wrap(x, TENSOR_F64, 2, (int64_t[]){2, 1}), view = column;
    cr_expect(!nn_checkpoint_read_reals(file, path, "q", 2, x, &error[0]));
    cr_expect(!nn_checkpoint_read_reals(file, path, "r", 3, x, &error[1]));
    cr_expect(!nn_checkpoint_read_reals(file, path, "n", 2, x, &error[2]));
    cr_expect(!nn_checkpoint_read_ints(file, path, "r", 2, n, &error[3]));
    cr_expect(!nn_checkpoint_read(file, path, "r", &column, &error[4]));
    cr_expect(!nn_checkpoint_view(file, path, "r", TENSOR_F32, 1, s3, &view, &error[5]));
    cr_expect(!nn_checkpoint_read_ints(file, path, "n", -1, n, &error[6]));
    cr_expect(!nn_checkpoint_read_ints(file, path, "n", 1, n, NULL));
    cr_expect(tensor_is_nil(&view));
    static const char *const words[] = {"q: missing",
                                        "r: expected f64[3], found f64[2]",
                                        "n: expected f64[2], found i64[2]",
                                        "r: expected i64[2], found f64[2]",
                                        "r: expected f64[2,1], found f64[2]",
                                        "r: expected f32[3], found f64[2]",
                                        "n: expected nil, found i64[2]"};
    for (int i = 0; i < 7; i++)
        cr_expect(strstr(error[i].message, "last.safetensors: ") &&
                  strstr(error[i].message, words[i]), "%s, not %s", error[i].message, words[i]);
    cr_expect(x[0] == 7 && n[0] == 7, "nothing is changed");
    tensor_safetensors_close(file);
}

/* ---- errors of collecting ---- */

Test(checkpoint, errors_of_collecting_are_told_by_the_write_and_the_file_stays) {
    write_old_file();
    Tensor bad = tensor_nil(), x = tensor_wrap(&(double){1}, TENSOR_F64, 0, NULL);
    NnParamSet *set = model(TENSOR_F32, 1);
    nn_params_fail(set, "on purpose");
    for (int i = 0; i < 10; i++) {
        static const char *const words[] = {
            "\"x\" is given twice", "\"t\" is given twice", "is not valid UTF-8",
            "is not valid UTF-8",   "\"x\"",                "not written: x: ",
            "not written: r: -1 numbers", "not written: model: on purpose",
            "not written: s: out of memory: there is no state", "not written: mine: 3"};
        NnCheckpoint *c = nn_checkpoint_new();
        if (i == 0) nn_checkpoint_add(c, "x", &x);
        if (i == 1) nn_checkpoint_add_text(c, "t", "");
        nn_checkpoint_add_text(c, "t", i == 2 ? "\xff" : "");
        if (i == 3) nn_checkpoint_add(c, "\xff", &x);
        if (i == 4) nn_checkpoint_add(c, "x", &bad);
        if (i == 5) nn_checkpoint_add_copy(c, "x", &bad);
        if (i != 4) nn_checkpoint_add(c, "x", &x);
        if (i == 6) nn_checkpoint_add_reals(c, "r", -1, NULL);
        if (i == 7) nn_checkpoint_add_params(c, "model", set);
        if (i == 8) nn_checkpoint_add_state(c, "s", NULL);
        if (i == 9) nn_checkpoint_fail(c, "mine: %d", 3);
        if (i >= 5) nn_checkpoint_fail(c, "not the first");
        nn_checkpoint_add(c, "more", &x);
        refuse_write(c, words[i]);
    }
    nn_params_free(set);
}

Test(checkpoint, without_a_checkpoint_nothing_is_written) {
    write_old_file();
    NnParamSet *set = model(TENSOR_F32, 1);
    NnState *state = nn_state_new(TENSOR_F32);
    Tensor x = tensor_wrap(&(double){1}, TENSOR_F64, 0, NULL);
    nn_checkpoint_add(NULL, "x", &x);
    nn_checkpoint_add_copy(NULL, "x", &x);
    nn_checkpoint_add_reals(NULL, "x", 1, &(double){1});
    nn_checkpoint_add_ints(NULL, "x", 1, &(int64_t){1});
    nn_checkpoint_add_text(NULL, "x", "y");
    nn_checkpoint_add_params(NULL, "m", set);
    nn_checkpoint_add_params(NULL, "m", NULL);
    nn_checkpoint_add_state(NULL, "s", state);
    nn_checkpoint_add_state(NULL, "s", NULL);
    nn_checkpoint_fail(NULL, "x");
    refuse_write(NULL, "not written: out of memory: there is no checkpoint");
    nn_params_free(set);
    nn_state_free(state);
}

Test(checkpoint, names_below_a_prefix) {
    TensorArena *a = tensor_arena_new();
    cr_expect_str_eq(nn_checkpoint_name(a, "p.q", "%s.%d", "x", 3), "p.q.x.3");
    cr_expect_str_eq(nn_checkpoint_name(a, "", "x"), "x");
    cr_expect_str_eq(nn_checkpoint_below("p", "p.x.y"), "x.y");
    cr_expect_str_eq(nn_checkpoint_below("", "p.x"), "p.x");
    cr_expect_str_eq(nn_checkpoint_below("p", "p."), "");
    cr_expect_null(nn_checkpoint_below("p", "p"));
    cr_expect_null(nn_checkpoint_below("p", "p2.x"));
    cr_expect_null(nn_checkpoint_below("p.q", "p.x"));
    tensor_arena_free(a);
}

/* ---- parameters ---- */

Test(checkpoint, parameters_and_buffers_come_back_to_the_bit) {
    static const char *const prefixes[] = {"model", "a.b", ""};
    for (int i = 0; i < 6; i++) {
        const char *prefix = prefixes[i / 2];
        TensorDtype dtype = i % 2 ? TENSOR_F64 : TENSOR_F32;
        NnParamSet *from = model(dtype, 1), *to = model(dtype, 2);
        const double odd[] = {-0., NAN, -INFINITY, 5e-324, 1e-40};
        for (int k = 0; k < 5; k++) tensor_set(&nn_params_at(from, 0)->value, k, odd[k]);
        NnCheckpoint *c = nn_checkpoint_new();
        nn_checkpoint_add_params(c, prefix, from);
        if (*prefix) nn_checkpoint_add_reals(c, "models.x", 1, odd); /* not below "model" */
        write_file(c);
        TensorSafetensors *file = open_file();
        TensorError error = {{0}};
        cr_assert(nn_checkpoint_read_params(file, path, prefix, to, &error), "%s", error.message);
        cr_expect(same_params(from, to));
        cr_expect_eq(versions(to), 4, "tapes must see the change");
        tensor_safetensors_close(file);
        NnLoadReport r;
        bool plain = nn_load(to, path, NULL, &r);
        cr_expect_eq(plain, *prefix == '\0', "with no prefix it is nn_save's file");
        nn_load_report_free(&r);
        nn_params_free(from);
        nn_params_free(to);
    }
}

/* Reading "model" into the set must fail with these words, and change nothing; frees the set. */
static void refuse_params(NnParamSet *to, const char *prefix, const char *words) {
    double first = tensor_get(&nn_params_at(to, 0)->value, 0);
    TensorSafetensors *file = open_file();
    TensorError error = {{0}};
    cr_expect(!nn_checkpoint_read_params(file, path, prefix, to, &error), "%s", words);
    cr_expect(!nn_checkpoint_read_params(file, path, prefix, to, NULL), "%s", words);
    cr_expect(strstr(error.message, "last.safetensors: nothing loaded") &&
              strstr(error.message, words), "%s, not %s", error.message, words);
    cr_expect_eq(versions(to), 0);
    cr_expect(!to || tensor_get(&nn_params_at(to, 0)->value, 0) == first, "nothing is changed");
    tensor_safetensors_close(file);
    nn_params_free(to);
}

Test(checkpoint, parameters_that_do_not_fit_are_refused) {
    NnParamSet *set = model(TENSOR_F32, 1);
    NnCheckpoint *c = nn_checkpoint_new();
    nn_checkpoint_add_params(c, "model", set);
    nn_checkpoint_add_params(c, "other", set);
    nn_checkpoint_add_reals(c, "other.x", 1, &(double){1});
    write_file(c);
    nn_params_free(set);
    refuse_params(model(TENSOR_F64, 2), "model",
                  "below model.: 4 mismatched (a.weight: expected f64[2,3], found f32[2,3]");
    refuse_params(model(TENSOR_F32, 2), "other", "below other.: 1 unexpected (other.x)");
    refuse_params(model(TENSOR_F32, 2), "none", "below none.: no name of the set");
    refuse_params(model(TENSOR_F32, 2), "", "9 unexpected (model.a.weight");
    set = model(TENSOR_F32, 2);
    nn_param(set, nn_init_constant(1), 1, s3, "c");
    refuse_params(set, "model", "below model.: 1 missing (c)");
    set = nn_params_new(TENSOR_F32, 1);
    nn_param(set, nn_init_constant(1), 2, s23, "a.weight");
    refuse_params(set, "model", "3 unexpected (model.a.bias, model.b.weight, model.mean)");
    set = model(TENSOR_F32, 2);
    nn_params_fail(set, "on purpose");
    refuse_params(set, "model", "on purpose");
    refuse_params(NULL, "model", "out of memory: there is no parameter set");
}

/* ---- the state ---- */

static void store(NnState *st, TensorDtype dtype, const char *name, int ndim,
                  const int64_t *shape, double from) {
    AgTape *t = ag_tape_new();
    AgVar v = ag_arange(t, dtype, from, from + (ndim == 2 ? 6 : 3), 1);
    cr_assert(nn_state_store(st, name, ag_reshape(v, ndim, shape)), "%s", ag_tape_error(t));
    ag_tape_free(t);
}

/* Element 1 of the tensor, zero where it is new. */
static double loaded(NnState *st, const char *name, int ndim, const int64_t *shape) {
    AgTape *t = ag_tape_new();
    AgVar v = nn_state_load(st, t, name, ndim, shape);
    double x = ag_ok(v) ? tensor_get(ag_value(v), 1) : (double)NAN;
    ag_tape_free(t);
    return x;
}

static bool read_state(NnState *st, const char *prefix, TensorError *error) {
    TensorSafetensors *file = open_file();
    bool ok = nn_checkpoint_read_state(file, path, prefix, st, error);
    tensor_safetensors_close(file);
    return ok;
}

Test(checkpoint, the_state_becomes_that_of_the_file) {
    for (int d = 0; d < 2; d++) {
        TensorDtype dtype = d ? TENSOR_F64 : TENSOR_F32;
        NnState *from = nn_state_new(dtype), *to = nn_state_new(dtype);
        store(from, dtype, "lstm.h", 2, s23, 10);
        store(from, dtype, "lstm.c", 1, s3, 20);
        store(from, dtype, "", 1, s3, 30);
        store(to, dtype, "lstm.h", 1, s3, 1); /* of another shape */
        store(to, dtype, "more", 1, s3, 1);
        NnCheckpoint *c = nn_checkpoint_new();
        nn_checkpoint_add_state(c, "state", from);
        nn_checkpoint_add_reals(c, "state2.x", 1, &(double){1});
        write_file(c);
        TensorSafetensors *file = open_file();
        cr_expect_str_eq(tensor_safetensors_entry(file, 0)->name, "state.lstm.h");
        cr_expect_str_eq(tensor_safetensors_entry(file, 1)->name, "state.lstm.c");
        tensor_safetensors_close(file);
        TensorError error = {{0}};
        cr_assert(read_state(to, "state", &error), "%s", error.message);
        cr_expect_eq(loaded(to, "lstm.h", 2, s23), 11);
        cr_expect_eq(loaded(to, "lstm.c", 1, s3), 21);
        cr_expect_eq(loaded(to, "", 1, s3), 31);
        cr_expect_eq(loaded(to, "more", 2, s23), 0, "it has no others");
        store(to, dtype, "lstm.h", 2, s23, 50);
        cr_expect_eq(loaded(to, "lstm.h", 2, s23), 51);
        nn_state_free(from);
        nn_state_free(to);
    }
}

Test(checkpoint, a_state_without_tensors_is_one_too) {
    NnState *from = nn_state_new(TENSOR_F32), *to = nn_state_new(TENSOR_F32);
    store(to, TENSOR_F32, "h", 1, s3, 1);
    NnCheckpoint *c = nn_checkpoint_new();
    nn_checkpoint_add_state(c, "state", from);
    write_file(c);
    cr_assert(read_state(to, "state", NULL));
    cr_expect_eq(loaded(to, "h", 2, s23), 0);
    nn_state_free(from);
    nn_state_free(to);
}

static void refuse_state(NnState *st, const char *prefix, const char *words) {
    TensorError error = {{0}};
    cr_expect(!read_state(st, prefix, &error));
    cr_expect(!read_state(st, prefix, NULL));
    cr_expect(strstr(error.message, "last.safetensors: ") && strstr(error.message, words),
              "%s, not %s", error.message, words);
    cr_expect(!st || loaded(st, "h", 1, s3) == 8, "nothing is changed");
}

Test(checkpoint, states_that_do_not_fit_are_refused) {
    NnState *st = nn_state_new(TENSOR_F32);
    store(st, TENSOR_F32, "h", 1, s3, 7);
    NnCheckpoint *c = nn_checkpoint_new();
    nn_checkpoint_add_state(c, "both", st);
    nn_checkpoint_add_reals(c, "both.x", 1, &(double){1});
    write_file(c);
    refuse_state(st, "both", "both.x: f64[1] in a state of f32");
    refuse_state(NULL, "both", "both: out of memory: there is no state");
    static const char header[] =
        "{\"s.h\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[0,6]}}";
    uint64_t n = sizeof header - 1;
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(&n, 8, 1, f) && fwrite(header, n, 1, f) && fwrite("\0\0\0\0\0", 6, 1, f));
    fclose(f);
    refuse_state(st, "s", "s.h: bf16[3] in a state of f32");
    double x[3];
    TensorError error = {{0}};
    TensorSafetensors *file = open_file();
    cr_expect(!nn_checkpoint_read_reals(file, path, "s.h", 3, x, &error));
    cr_expect(strstr(error.message, "s.h: expected f64[3], found bf16[3]"), "%s", error.message);
    tensor_safetensors_close(file);
    nn_state_free(st);
}

/* Processor time is compared with that of opening the file, whatever the machine. */
Test(checkpoint, a_state_of_many_tensors_takes_no_longer_than_its_file) {
    enum { N = 50000 };
    NnCheckpoint *c = nn_checkpoint_new();
    for (int i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof name, "state.%d", i);
        nn_checkpoint_add_reals(c, name, 0, NULL);
    }
    write_file(c);
    NnState *st = nn_state_new(TENSOR_F64);
    clock_t start = clock();
    TensorSafetensors *file = open_file();
    clock_t opened = clock();
    cr_assert(nn_checkpoint_read_state(file, path, "state", st, NULL));
    clock_t read = clock();
    cr_expect(read - opened < 3 * (opened - start), "%g s after %g s",
              (double)(read - opened) / CLOCKS_PER_SEC, (double)(opened - start) / CLOCKS_PER_SEC);
    tensor_safetensors_close(file);
    nn_state_free(st);
}

/* ---- memory ---- */

/* More than the memory that an arena has at hand. */
enum { LARGE = 400000 };

static void collect(NnCheckpoint *c, const NnParamSet *set, const NnState *st) {
    static const double x[LARGE];
    nn_checkpoint_add_params(c, "model", set);
    nn_checkpoint_add_state(c, "state", st);
    nn_checkpoint_add_reals(c, "x", LARGE, x);
    nn_checkpoint_add_text(c, "t", "text");
}

Test(checkpoint, without_memory_the_file_stays) {
    write_old_file();
    NnParamSet *set = model(TENSOR_F32, 1);
    NnState *st = nn_state_new(TENSOR_F32);
    store(st, TENSOR_F32, "h", 1, s3, 7);
    long n = 0;
    for (bool ok = false; !ok; n++) {
        TensorError error = {{0}};
        fail_allocations_after(n);
        NnCheckpoint *c = nn_checkpoint_new();
        collect(c, set, st);
        ok = nn_checkpoint_write(c, path, &error);
        fail_allocations(false);
        nn_checkpoint_free(c);
        cr_assert_eq(is_old_file(), !ok);
        cr_assert(ok || strstr(error.message, "memory"), "%s", error.message);
        cr_assert_lt(n, 100);
    }
    cr_expect_gt(n, 5);
    nn_params_free(set);
    nn_state_free(st);
}

Test(checkpoint, reading_without_memory_changes_nothing) {
    NnParamSet *from = model(TENSOR_F32, 1), *to = model(TENSOR_F32, 2);
    NnState *st = nn_state_new(TENSOR_F32), *other = nn_state_new(TENSOR_F32);
    store(st, TENSOR_F32, "h", 1, s3, 7);
    store(other, TENSOR_F32, "h", 1, s3, 1);
    NnCheckpoint *c = nn_checkpoint_new();
    collect(c, from, st);
    write_file(c);
    TensorSafetensors *file = open_file();
    for (int part = 0; part < 2; part++) {
        long n = 0;
        for (bool ok = false; !ok; n++) {
            TensorError error = {{0}};
            fail_allocations_after(n);
            ok = part ? nn_checkpoint_read_state(file, path, "state", other, &error)
                      : nn_checkpoint_read_params(file, path, "model", to, &error);
            fail_allocations(false);
            cr_assert(ok || strstr(error.message, "out of memory"), "%s", error.message);
            cr_assert_eq(ok, part ? loaded(other, "h", 1, s3) == 8 : same_params(from, to));
            cr_assert_lt(n, 100);
        }
        cr_expect_gt(n, 2);
    }
    tensor_safetensors_close(file);
    nn_params_free(from);
    nn_params_free(to);
    nn_state_free(st);
    nn_state_free(other);
}

/* ---- a run that goes on ---- */

enum { T = 4, B = 3, V = 90, H = 6 };

typedef struct {
    NnParamSet *set;
    NnEmbedding embedding;
    NnLstm lstm;
    NnLinear out;
    NnState *state;
    AgTape *tape;
    Optim *opt;
} Trainer;

static Trainer trainer(uint64_t seed) {
    NnParamSet *set = nn_params_new(TENSOR_F32, seed);
    Trainer t = {.set = set, .state = nn_state_new(TENSOR_F32), .tape = ag_tape_new()};
    t.embedding = nn_embedding_make(set, "emb", V, H, NULL);
    t.lstm = nn_lstm_make(set, "lstm", H, H,
                          &(NnLstmOptions){.num_layers = 2, .dropout = .3, .locked_dropout = true});
    t.out = nn_linear_make(set, "out", H, V, NULL);
    cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
    t.opt = optim_adam_new(set, (OptimAdam)OPTIM_ADAM_DEFAULTS);
    ag_tape_training(t.tape, true);
    return t;
}

static void trainer_free(Trainer *t) {
    ag_tape_free(t->tape);
    optim_free(t->opt);
    nn_params_free(t->set);
    nn_state_free(t->state);
}

static void trainer_step(Trainer *t, int step) {
    int64_t token[T * B], target[T * B], shape[] = {2, B, H};
    for (int i = 0; i < T * B; i++) {
        token[i] = (7 * i + step) % V;
        target[i] = (7 * i + step + 1) % V;
    }
    AgTape *tape = t->tape;
    ag_tape_reset(tape);
    ag_tape_rng(tape, 1, (uint64_t)step);
    nn_zero_grad(t->set);
    Tensor x = tensor_wrap(token, TENSOR_I64, 2, (int64_t[]){T, B});
    Tensor y = tensor_wrap(target, TENSOR_I64, 2, (int64_t[]){T, B});
    NnLstmState s = {nn_state_load(t->state, tape, "h", 3, shape),
                     nn_state_load(t->state, tape, "c", 3, shape)};
    NnLstmOutput h = nn_lstm(&t->lstm, nn_embedding(&t->embedding, ag_input(tape, &x)), &s, NULL);
    nn_state_store(t->state, "h", h.hn);
    nn_state_store(t->state, "c", h.cn);
    AgVar loss = nn_linear_cross_entropy(&t->out, h.y, ag_input(tape, &y), NULL);
    cr_assert(ag_backward(loss), "%s", ag_tape_error(tape));
    cr_assert(optim_step_clipped(t->opt, NULL, 1, NULL), "%s", optim_error(t->opt));
}

Test(checkpoint, a_recurrent_model_goes_on_with_its_state) {
    Trainer a = trainer(1), b = trainer(2);
    TensorError error = {{0}};
    for (int step = 1; step < 6; step++) trainer_step(&a, step);
    for (int step = 1; step < 3; step++) trainer_step(&b, step);
    NnCheckpoint *c = nn_checkpoint_new();
    nn_checkpoint_add_params(c, "model", a.set);
    nn_checkpoint_add_state(c, "state", a.state);
    optim_checkpoint_add(a.opt, c, "optim");
    write_file(c);
    TensorSafetensors *file = open_file();
    cr_assert(nn_checkpoint_read_params(file, path, "model", b.set, &error) &&
              nn_checkpoint_read_state(file, path, "state", b.state, &error) &&
              optim_checkpoint_read(file, path, "optim", b.opt, &error),
              "%s", error.message);
    tensor_safetensors_close(file);
    for (int step = 6; step < 12; step++) {
        trainer_step(&a, step);
        trainer_step(&b, step);
    }
    cr_expect(same_params(a.set, b.set));
    trainer_free(&a);
    trainer_free(&b);
}
