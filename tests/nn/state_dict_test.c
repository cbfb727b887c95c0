/* Saving and loading: bit for bit, all or nothing, and a report that names what is wrong. */
#include "nn/state_dict.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "nn/linear.h"
#include "nn/lstm.h"
#include "tests/support/folder.h"

static char path[TEST_PATH_SIZE];

static void make_folder(void) { test_folder_make(path, "model.safetensors"); }
static void remove_folder(void) { test_folder_remove(path); }

TestSuite(state_dict, .init = make_folder, .fini = remove_folder);

/* a.weight [2, 3], a.bias [2], a frozen b.weight [1, 2], a buffer mean [3] */
static NnParamSet *model(TensorDtype dtype, uint64_t seed) {
    NnParamSet *set = nn_params_new(dtype, seed);
    nn_linear_make(set, "a", 3, 2, NULL);
    nn_linear_make(set, "b", 2, 1, &(NnLinearOptions){.no_bias = true});
    nn_buffer(set, nn_init_normal(0, 1), 1, (int64_t[]){3}, "mean");
    nn_freeze(set, "b.*", true);
    cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
    return set;
}

static void save(const NnParamSet *set) {
    TensorError error;
    cr_assert(nn_save(set, path, 0, NULL, &error), "%s", error.message);
}

static bool same(const NnParamSet *a, const NnParamSet *b) {
    size_t size = tensor_dtype_size(nn_params_dtype(a));
    for (int i = 0; i < nn_params_count(a); i++) {
        const Tensor *x = &nn_params_at(a, i)->value, *y = &nn_params_at(b, i)->value;
        if (memcmp(x->data, y->data, (size_t)tensor_numel(x) * size)) return false;
    }
    return true;
}

static uint64_t versions(const NnParamSet *set) {
    uint64_t sum = 0;
    for (int i = 0; i < nn_params_count(set); i++) sum += nn_params_at(set, i)->version;
    return sum;
}

Test(state_dict, a_round_trip_gives_back_every_bit) {
    for (int d = 0; d < 2; d++) {
        NnParamSet *from = model(d ? TENSOR_F64 : TENSOR_F32, 1);
        NnParamSet *to = model(d ? TENSOR_F64 : TENSOR_F32, 2);
        const Tensor *w = &nn_params_at(from, 0)->value;
        const double odd[] = {-0., NAN, -INFINITY, 5e-324, 1e-40};
        for (int i = 0; i < 5; i++) tensor_set(w, i, odd[i]);
        cr_assert(!same(from, to));
        save(from);
        NnLoadReport report;
        cr_assert(nn_load(to, path, NULL, &report), "%s", report.message);
        cr_expect(same(from, to));
        cr_expect_eq(report.n_loaded, 4);
        cr_expect(report.n_missing == 0 && report.n_unexpected == 0 && report.n_mismatched == 0);
        cr_expect_str_eq(report.message, "");
        cr_expect_eq(versions(to), 4, "tapes must see the change");
        nn_load_report_free(&report);
        cr_expect(nn_load(to, path, NULL, NULL), "the report is optional");
        nn_params_free(from);
        nn_params_free(to);
    }
}

Test(state_dict, the_file_has_pytorchs_names_shapes_and_the_metadata) {
    NnParamSet *set = model(TENSOR_F32, 1);
    TensorError error;
    TensorMetadata metadata[] = {{"step", "17"}};
    cr_assert(nn_save(set, path, 1, metadata, &error), "%s", error.message);
    TensorSafetensors *file;
    cr_assert(tensor_safetensors_open(path, &file, &error), "%s", error.message);
    const char *names[] = {"a.weight", "a.bias", "b.weight", "mean"};
    cr_assert_eq(tensor_safetensors_count(file), 4);
    for (int i = 0; i < 4; i++) {
        const TensorSafetensorsEntry *e = tensor_safetensors_entry(file, i);
        cr_expect_str_eq(e->name, names[i]);
        cr_expect(tensor_same_shape(&e->value, &nn_params_at(set, i)->value));
    }
    cr_expect_str_eq(tensor_safetensors_metadata(file, "step"), "17");
    tensor_safetensors_close(file);
    nn_params_free(set);
}

/* A set whose load from the saved model must fail with these words, and change nothing. */
static void refuse(NnParamSet *to, const NnLoadOptions *o, int missing, int unexpected,
                   int mismatched, const char *words) {
    uint64_t before = versions(to);
    Tensor first = nn_params_at(to, 0)->value;
    double value = tensor_get(&first, 0);
    NnLoadReport r;
    cr_assert(!nn_load(to, path, o, &r), "%s", words);
    cr_expect_eq(r.n_loaded, 0);
    cr_expect_eq(r.n_missing, missing, "%s: %s", words, r.message);
    cr_expect_eq(r.n_unexpected, unexpected, "%s: %s", words, r.message);
    cr_expect_eq(r.n_mismatched, mismatched, "%s: %s", words, r.message);
    cr_expect(strstr(r.message, "model.safetensors: nothing loaded"), "%s", r.message);
    cr_expect(strstr(r.message, words), "%s: %s", words, r.message);
    cr_expect_null(strchr(r.message, '\n'));
    cr_expect(versions(to) == before && tensor_get(&first, 0) == value, "nothing is changed");
    nn_load_report_free(&r);
    nn_params_free(to);
}

static NnParam *add(NnParamSet *set, const char *name, int64_t n, int64_t m) {
    return nn_param(set, nn_init_constant(9), 2, (int64_t[]){n, m}, "%s", name);
}

Test(state_dict, strict_loading_names_what_is_missing_unexpected_or_mismatched) {
    NnParamSet *from = model(TENSOR_F32, 1), *to;
    save(from);
    nn_params_free(from);

    to = model(TENSOR_F32, 2);
    add(to, "c.weight", 1, 1);
    refuse(to, NULL, 1, 0, 0, "1 missing (c.weight)");

    to = nn_params_new(TENSOR_F32, 1);
    add(to, "a.weight", 2, 3);
    refuse(to, NULL, 0, 3, 0, "3 unexpected (a.bias, b.weight, mean)");

    to = nn_params_new(TENSOR_F32, 1);
    add(to, "a.weight", 3, 2);
    refuse(to, NULL, 0, 3, 1, "1 mismatched (a.weight: expected f32[3,2], found f32[2,3])");
    to = nn_params_new(TENSOR_F32, 1);
    add(to, "a.weight", 3, 2);
    refuse(to, &(NnLoadOptions){.partial = true}, 0, 3, 1, "a.weight");

    to = model(TENSOR_F64, 2);
    refuse(to, NULL, 0, 0, 4, "a.weight: expected f64[2,3], found f32[2,3]");

    to = nn_params_new(TENSOR_F32, 1);
    for (int i = 0; i < 5; i++) nn_param(to, nn_init_constant(0), 0, NULL, "x%d", i);
    refuse(to, &(NnLoadOptions){.partial = true}, 5, 4, 0, "no name of the set");
    to = nn_params_new(TENSOR_F32, 1);
    for (int i = 0; i < 5; i++) nn_param(to, nn_init_constant(0), 0, NULL, "x%d", i);
    refuse(to, NULL, 5, 4, 0, "5 missing (x0, x1, x2, ..)");

    to = model(TENSOR_F32, 2);
    add(to, "a.weight", 1, 1);
    refuse(to, NULL, 0, 0, 0, "a.weight: name given twice");
}

Test(state_dict, partial_loading_takes_what_is_there) {
    NnParamSet *from = model(TENSOR_F32, 1), *to = nn_params_new(TENSOR_F32, 2);
    save(from);
    NnParam *a = add(to, "a.weight", 2, 3), *c = add(to, "c.weight", 2, 3);
    NnLoadReport r;
    cr_assert(nn_load(to, path, &(NnLoadOptions){.partial = true}, &r), "%s", r.message);
    cr_expect_eq(r.n_loaded, 1);
    cr_assert_eq(r.n_missing, 1);
    cr_expect_str_eq(r.missing[0], "c.weight");
    cr_assert_eq(r.n_unexpected, 3);
    cr_expect_str_eq(r.unexpected[1], "b.weight");
    cr_expect_eq(tensor_get(&a->value, 4), tensor_get(&nn_params_at(from, 0)->value, 4));
    cr_expect(tensor_get(&c->value, 4) == 9 && c->version == 0);
    nn_load_report_free(&r);
    nn_params_free(from);
    nn_params_free(to);
}

Test(state_dict, prefix_and_rename_map_the_names_of_the_file) {
    NnParamSet *from = nn_params_new(TENSOR_F32, 1);
    nn_linear_make(from, "model.rnn.out", 3, 2, NULL);
    add(from, "model.rnn", 1, 1);
    add(from, "optimizer.a", 1, 1);
    save(from);
    const NnRename renames[] = {{"rnn.", "lstm."}, {"rnn", "scale"}, {"lstm.", "never."}};
    NnLoadOptions o = {.prefix = "model.", .rename = renames, .n_rename = 3};
    NnParamSet *to = nn_params_new(TENSOR_F32, 2);
    NnLinear out = nn_linear_make(to, "lstm.out", 3, 2, NULL);
    add(to, "scale", 1, 1);
    NnLoadReport r;
    cr_assert(nn_load(to, path, &o, &r), "%s", r.message);
    cr_expect_eq(r.n_loaded, 3);
    cr_expect_eq(tensor_get(&out.bias->value, 1), tensor_get(&nn_params_at(from, 1)->value, 1));
    nn_load_report_free(&r);
    nn_params_free(to);

    to = nn_params_new(TENSOR_F32, 2);
    add(to, "one", 1, 1);
    const NnRename both[] = {{"model.rnn", "one"}, {"optimizer.a", "one"}};
    refuse(to, &(NnLoadOptions){.rename = both, .n_rename = 2, .partial = true}, 0, 2, 1,
           "two tensors, model.rnn and optimizer.a");
    nn_params_free(from);
}

/* What torch.nn.LSTM(4, 5, num_layers=2, bidirectional=True, proj_size=3).state_dict() holds. */
static const struct {
    const char *name;
    int ndim;
    int64_t shape[2];
} torch_lstm[] = {
    {"weight_ih_l0", 2, {20, 4}},         {"weight_hh_l0", 2, {20, 3}},
    {"bias_ih_l0", 1, {20}},              {"bias_hh_l0", 1, {20}},
    {"weight_hr_l0", 2, {3, 5}},          {"weight_ih_l0_reverse", 2, {20, 4}},
    {"weight_hh_l0_reverse", 2, {20, 3}}, {"bias_ih_l0_reverse", 1, {20}},
    {"bias_hh_l0_reverse", 1, {20}},      {"weight_hr_l0_reverse", 2, {3, 5}},
    {"weight_ih_l1", 2, {20, 6}},         {"weight_hh_l1", 2, {20, 3}},
    {"bias_ih_l1", 1, {20}},              {"bias_hh_l1", 1, {20}},
    {"weight_hr_l1", 2, {3, 5}},          {"weight_ih_l1_reverse", 2, {20, 6}},
    {"weight_hh_l1_reverse", 2, {20, 3}}, {"bias_ih_l1_reverse", 1, {20}},
    {"bias_hh_l1_reverse", 1, {20}},      {"weight_hr_l1_reverse", 2, {3, 5}},
};
enum { TORCH_LSTM = sizeof torch_lstm / sizeof *torch_lstm };

static NnParamSet *lstm_set(const char *name, uint64_t seed, int64_t proj_size) {
    NnParamSet *set = nn_params_new(TENSOR_F32, seed);
    nn_lstm_make(set, name, 4, 5,
                 &(NnLstmOptions){.num_layers = 2, .bidirectional = true, .proj_size = proj_size});
    cr_assert(nn_params_ok(set), "%s", nn_params_error(set));
    return set;
}

Test(state_dict, an_lstm_is_saved_under_pytorchs_names_shapes_and_order) {
    NnParamSet *set = lstm_set("", 1, 3);
    save(set);
    TensorSafetensors *file;
    TensorError error;
    cr_assert(tensor_safetensors_open(path, &file, &error), "%s", error.message);
    cr_assert_eq(tensor_safetensors_count(file), TORCH_LSTM);
    for (int64_t i = 0; i < TORCH_LSTM; i++) {
        const TensorSafetensorsEntry *e = tensor_safetensors_entry(file, i);
        cr_expect_str_eq(e->name, torch_lstm[i].name);
        cr_expect_eq(e->ndim, torch_lstm[i].ndim, "%s", e->name);
        for (int d = 0; d < e->ndim; d++)
            cr_expect_eq(e->shape[d], torch_lstm[i].shape[d], "%s", e->name);
    }
    tensor_safetensors_close(file);
    nn_params_free(set);
}

Test(state_dict, an_lstm_loads_pytorchs_names_strictly) {
    TensorArena *a = tensor_arena_new();
    TensorNamed named[TORCH_LSTM];
    for (int i = 0; i < TORCH_LSTM; i++) {
        Tensor x = tensor_new(a, TENSOR_F32, torch_lstm[i].ndim, torch_lstm[i].shape);
        for (int64_t e = 0; e < tensor_numel(&x); e++) tensor_set(&x, e, i + (double)e / 256);
        named[i] = (TensorNamed){torch_lstm[i].name, x};
    }
    TensorError error;
    cr_assert(tensor_safetensors_write(path, TORCH_LSTM - 1, named, 0, NULL, &error));
    refuse(lstm_set("", 2, 3), NULL, 1, 0, 0, "1 missing (weight_hr_l1_reverse)");

    cr_assert(tensor_safetensors_write(path, TORCH_LSTM, named, 0, NULL, &error));
    NnParamSet *set = lstm_set("", 2, 3);
    cr_assert(nn_load(set, path, NULL, NULL));
    for (int i = 0; i < TORCH_LSTM; i++) {
        const Tensor *x = &nn_params_find(set, torch_lstm[i].name)->value;
        for (int64_t e = 0; e < tensor_numel(x); e++)
            cr_expect_eq(tensor_get(x, e), i + (double)e / 256, "%s", torch_lstm[i].name);
    }
    nn_params_free(set);

    /* without a projection, shapes and names differ: of both directions and layers */
    refuse(lstm_set("", 2, 0), NULL, 0, 4, 6, "weight_hh_l0: expected f32[20,5], found f32[20,3]");
    /* as the attribute rnn of a module */
    for (int i = 0; i < TORCH_LSTM; i++) {
        char *name = tensor_arena_alloc(a, 40);
        snprintf(name, 40, "rnn.%s", torch_lstm[i].name);
        named[i].name = name;
    }
    cr_assert(tensor_safetensors_write(path, TORCH_LSTM, named, 0, NULL, &error));
    set = lstm_set("rnn", 2, 3);
    cr_expect(nn_load(set, path, NULL, NULL));
    nn_params_free(set);
    tensor_arena_free(a);
}

Test(state_dict, what_is_no_file_of_ours_is_refused_by_name) {
    NnParamSet *set = model(TENSOR_F32, 1);
    NnLoadReport r;
    cr_expect(!nn_load(set, path, NULL, &r));
    cr_expect(strstr(r.message, "model.safetensors: No such file"), "%s", r.message);
    nn_load_report_free(&r);
    FILE *f = fopen(path, "w");
    fputs("not a safetensors file, and long enough for a header", f);
    fclose(f);
    cr_expect(!nn_load(set, path, NULL, &r));
    cr_expect(strstr(r.message, "model.safetensors"), "%s", r.message);
    cr_expect_eq(versions(set), 0);
    nn_load_report_free(&r);
    nn_load_report_free(&r);
    nn_load_report_free(NULL);
    nn_params_free(set);
}

Test(state_dict, dtypes_that_we_do_not_know_are_mismatches) {
    static const char header[] =
        "{\"h\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]}}";
    uint64_t n = sizeof header - 1;
    FILE *f = fopen(path, "wb");
    fwrite(&n, 8, 1, f);
    fwrite(header, n, 1, f);
    fwrite("\0\0\0\0\0\0\0\0", 8, 1, f);
    fclose(f);
    NnParamSet *to = nn_params_new(TENSOR_F32, 1);
    add(to, "h", 2, 2);
    refuse(to, NULL, 0, 0, 1, "h: expected f32[2,2], found f16[2,2]");
}

Test(state_dict, a_set_with_an_error_is_not_written) {
    NnParamSet *set = model(TENSOR_F32, 1);
    save(set);
    add(set, "a.weight", 1, 1);
    TensorError error;
    cr_expect(!nn_save(set, path, 0, NULL, &error));
    cr_expect(strstr(error.message, "name given twice"), "%s", error.message);
    cr_expect(!nn_save(NULL, path, 0, NULL, &error));
    NnParamSet *to = model(TENSOR_F32, 2);
    cr_expect(nn_load(to, path, NULL, NULL), "the old file is untouched");
    nn_params_free(to);
    nn_params_free(set);
}
