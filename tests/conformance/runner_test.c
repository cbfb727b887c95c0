/* The conformance runner counts and names every case that is not right in every respect. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tensor/safetensors.h"
#include "tests/conformance/run.h"

/* ---- folders ---- */

enum { MAX_TENSORS = 24, MAX_VALUES = 64, PATH_SIZE = 256 };

static void make_folder(char path[PATH_SIZE]) {
    const char *base = getenv("TEST_TMPDIR");
    snprintf(path, PATH_SIZE, "%s/conformance.XXXXXX", base ? base : "/tmp");
    cr_assert(mkdtemp(path), "%s", path);
}

static const char *in(const char *folder, const char *file) {
    static char path[2 * PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    return path;
}

static void write_bytes(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    cr_assert(file && fwrite(bytes, 1, n, file) == n && fclose(file) == 0, "%s", path);
}

/* Runs the folder; *lines receives the failing lines, to be freed. */
static RunCount run(const char *folder, const char *only, char **lines) {
    size_t size;
    FILE *out = open_memstream(lines, &size);
    cr_assert(out);
    RunCount count = run_folder(folder, &(RunOptions){.only = only}, out);
    fclose(out);
    return count;
}

/* Of a folder with one case: it passes if `words` is NULL, else its line begins with `label`, and
 * has the words. */
static void expect_case(const char *folder, const char *label, const char *words) {
    char *lines;
    RunCount count = run(folder, NULL, &lines);
    cr_expect(count.passed == !words && count.failed == !!words, "%s: %d passed, %d failed; %s",
              words ? words : "passes", count.passed, count.failed, lines);
    size_t n = strlen(label);
    if (words) cr_expect(strncmp(lines, label, n) == 0 && lines[n] == ':', "%s: %s", label, lines);
    if (words) cr_expect(strstr(lines, words), "wanted `%s`, got `%s`", words, lines);
    if (words) cr_expect(strchr(lines, '\n') == lines + strlen(lines) - 1, "one line: %s", lines);
    free(lines);
}

/* ---- cases ---- */

typedef struct {
    int n;
    TensorNamed tensor[MAX_TENSORS];
    char name[MAX_TENSORS][64];
    double value[MAX_TENSORS][MAX_VALUES];
    int64_t integer[MAX_TENSORS][MAX_VALUES];
    uint8_t mask[MAX_TENSORS][MAX_VALUES];
} Tensors;

/* Adds the tensors of a text such as "a[2] 1 2; index[2,2]i 0 1 1 0; mask[]u 1" (integers, masks;
 * doubles without a letter), with a prefix to their names. */
static void add_tensors(Tensors *t, const char *prefix, const char *text) {
    for (char *end; *text; text = end + strspn(end, "; ")) {
        int i = t->n++, ndim = 0;
        int64_t shape[TENSOR_MAX_DIMS];
        size_t length = strcspn(text, "[");
        cr_assert(i < MAX_TENSORS && text[length] == '[', "%s", text);
        snprintf(t->name[i], sizeof t->name[i], "%s%.*s", prefix, (int)length, text);
        for (end = (char *)text + length + 1; *end != ']'; end += *end == ',')
            shape[ndim++] = strtoll(end, &end, 10);
        char letter = *++end;
        TensorDtype dtype = letter == 'i' ? TENSOR_I64 : letter == 'u' ? TENSOR_U8 : TENSOR_F64;
        void *data = letter == 'i' ? (void *)t->integer[i] : letter == 'u' ? (void *)t->mask[i]
                                                                           : (void *)t->value[i];
        t->tensor[i] = (TensorNamed){t->name[i], tensor_wrap(data, dtype, ndim, shape)};
        end += letter == 'i' || letter == 'u';
        for (int64_t e = 0; e < tensor_numel(&t->tensor[i].value); e++)
            tensor_set(&t->tensor[i].value, e, strtod(end, &end));
    }
}

static void write_case(const char *path, const char *kind, const char *config, const Tensors *t) {
    TensorMetadata metadata[] = {{"case", kind}, {"name", "made-up"}, {"config", config}};
    TensorError error;
    cr_assert(tensor_safetensors_write(path, t->n, t->tensor, 3, metadata, &error), "%s",
              error.message);
}

static const char product[] =
    "input.a[2] 1 2; input.b[2] 3 4; output.y[2] 3 8; grad_output.y[2] 1 10; grad.a[2] 3 40; "
    "grad.b[2] 1 20; v.a[2] 1 1; v.b[2] 1 1; grad2.a[2] 1 10; grad2.b[2] 1 10";

/* A case with the tensors of `changed` in place of those of the same name, or, if they are named
 * "-NAME", without them. */
static void write_changed(const char *path, const char *kind, const char *config,
                          const char *tensors, const char *changed) {
    static Tensors base, change, t;
    base.n = change.n = t.n = 0;
    add_tensors(&base, "", tensors);
    add_tensors(&change, "", changed);
    for (int i = 0; i < base.n; i++) {
        bool kept = true;
        for (int j = 0; j < change.n; j++) {
            const char *name = change.name[j];
            kept &= strcmp(name + (*name == '-'), base.name[i]) != 0;
        }
        if (kept) t.tensor[t.n++] = base.tensor[i];
    }
    for (int j = 0; j < change.n; j++)
        if (change.name[j][0] != '-') t.tensor[t.n++] = change.tensor[j];
    write_case(path, kind, config, &t);
}

static void write_product(const char *path, const char *kind, const char *config,
                          const char *changed) {
    write_changed(path, kind, config, product, changed);
}

/* ---- one case ---- */

Test(runner, every_kind_of_wrong_case_is_counted_and_named) {
    static const struct {
        const char *changed, *words; /* NULL: passes */
        const char *config, *kind;   /* NULL: {"op": "mul"} and op */
    } rows[] = {
        {"", NULL, NULL, NULL},
        {"output.y[2] 3 8.1", "output.y[1]: got 8, wanted 8.0999999999999996 (1 of 2 differ)",
         NULL, NULL},
        {"output.y[2] 3 8.000000008", NULL, NULL, NULL},
        {"output.y[2] 3 8.00000001", "output.y[1]: got 8, wanted 8.0000000", NULL, NULL},
        {"output.y[2,1] 3 8", "output.y: got f64[2], wanted f64[2,1]", NULL, NULL},
        {"output.y[2]i 3 8", "output.y: got f64[2], wanted i64[2]", NULL, NULL},
        {"output.y[2] nan 8", "output.y[0]: got 3, wanted nan", NULL, NULL},
        {"input.a[2] nan 2; output.y[2] nan 8", "output.y[0]: got nan, wanted nan", NULL, NULL},
        {"output.y[2] inf 8", "output.y[0]: got 3, wanted inf", NULL, NULL},
        {"input.a[2] inf 2", "output.y[0]: got inf, wanted 3", NULL, NULL},
        {"input.a[2] inf 2; output.y[2] inf 8; grad.b[2] inf 20", NULL, NULL, NULL},
        {"input.a[2] -inf 2; output.y[2] inf 8", "output.y[0]: got -inf, wanted inf", NULL, NULL},
        {"grad.a[2] 4 40", "grad.a[0]: got 3, wanted 4", NULL, NULL},
        {"grad.b[2] 0 0", "grad.b[0]: got 1, wanted 0 (2 of 2 differ)", NULL, NULL},
        {"grad2.a[2] 1 10.001", "grad2.a[1]: got 10, wanted 10.00", NULL, NULL},
        {"grad2.b[2] 1 10.0000005", NULL, NULL, NULL},
        {"-output.y[]0", "no tensor output.y", NULL, NULL},
        {"-grad_output.y[]0", "no tensor grad_output.y", NULL, NULL},
        {"grad_output.y[3] 1 1 1", "seed", NULL, NULL},
        {"-grad.a[]0", "no tensor grad.a", NULL, NULL},
        {"-v.b[]0", "no tensor v.b", NULL, NULL},
        {"-grad2.b[]0", "no tensor grad2.b", NULL, NULL},
        {"-v.a[]0; -v.b[]0; -grad2.a[]0; -grad2.b[]0", NULL, NULL, NULL},
        {"-v.a[]0; -v.b[]0", "grad2.a: unknown tensor", NULL, NULL},
        {"-input.b[]0", "no tensor input.b", NULL, NULL},
        {"output.z[] 1", "output.z: unknown tensor", NULL, NULL},
        {"input.b[3] 1 1 1", "mul", NULL, NULL},
        {"input.a[2]i 1 2", "mul", NULL, NULL},
        {"", "unknown op `frobnicate`", "{\"op\": \"frobnicate\"}", NULL},
        {"", "unknown key `fast` (2)", "{\"op\": \"mul\", \"fast\": 2}", NULL},
        {"", NULL, "{\"op\": \"mul\", \"fast\": true}", NULL},
        {"", "no `op`", "{}", NULL},
        {"", "`op` is not a text", "{\"op\": 3}", NULL},
        {"", "no JSON object", "[1, 2]", NULL},
        {"", "config: ", "{\"op\": \"mul\"", NULL},
        {"", "unknown kind `gradient`", NULL, "gradient"},
        {"", "no tensor param.weight_ih_l0", "{\"input_size\": 1, \"hidden_size\": 1}", "gru"},
        {"input.x[1] 1; input.weight[1,1] 1", "no tensor input.bias",
         "{\"op\": \"linear\", \"bias\": true}", NULL},
        {"input.x[1] 1; input.weight[1,1] 1; input.bias[1] 1", "input.bias, not used",
         "{\"op\": \"linear\", \"bias\": false}", NULL},
        {"", "unknown optimiser `lion`", "{\"optim\": \"lion\"}", "optim"},
        {"", "unknown clipping `hard`", "{\"clip\": \"hard\"}", "clip"},
        {"lr[1] 1", "unknown schedule `random`", "{\"schedule\": \"random\", \"base_lr\": 1}",
         "schedule"},
    };
    char folder[PATH_SIZE], label[64];
    make_folder(folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *kind = rows[i].kind ? rows[i].kind : "op";
        write_product(in(folder, "a.safetensors"), kind,
                      rows[i].config ? rows[i].config : "{\"op\": \"mul\"}", rows[i].changed);
        snprintf(label, sizeof label, "%s-made-up", kind);
        expect_case(folder, label, rows[i].words);
    }
}

Test(runner, a_case_without_a_kind_or_name_or_config_has_its_files_name) {
    static const TensorMetadata all[] = {{"case", "op"}, {"name", "n"}, {"config", "{}"}};
    static const char *const words[] = {"no `case`", "no `name`", "no `config`"};
    char folder[PATH_SIZE];
    make_folder(folder);
    for (int missing = 0; missing < 3; missing++) {
        TensorMetadata two[2];
        for (int i = 0; i < 2; i++) two[i] = all[i + (i >= missing)];
        cr_assert(tensor_safetensors_write(in(folder, "a.safetensors"), 0, NULL, 2, two, NULL));
        expect_case(folder, "a.safetensors", words[missing]);
    }
}

/* ---- files ---- */

Test(runner, a_damaged_file_fails_with_a_reason_and_never_stops_the_run) {
    char folder[PATH_SIZE], bytes[4096];
    make_folder(folder);
    const char *path = in(folder, "a.safetensors");
    write_product(path, "op", "{\"op\": \"mul\"}", "");
    FILE *file = fopen(path, "rb");
    size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    cr_assert(n > 100 && n < sizeof bytes);
    for (size_t length = 0; length < n; length += 7) {
        write_bytes(path, bytes, length);
        expect_case(folder, "a.safetensors", "a.safetensors");
    }
    for (size_t i = 0; i < n; i++) {
        bytes[i] ^= 1;
        write_bytes(path, bytes, n);
        char *lines;
        RunCount count = run(folder, NULL, &lines);
        cr_expect(count.passed + count.failed == 1);
        free(lines);
        bytes[i] ^= 1;
    }
}

Test(runner, what_cannot_be_read_fails_and_other_files_are_ignored) {
    char folder[PATH_SIZE];
    make_folder(folder);
    write_bytes(in(folder, "README.md"), "text", 4);
    write_bytes(in(folder, "safetensors"), "text", 4);
    cr_assert(symlink("missing", in(folder, "link.safetensors")) == 0);
    expect_case(folder, "link.safetensors", "No such file");
    unlink(in(folder, "link.safetensors"));
    cr_assert(mkdir(in(folder, "folder.safetensors"), 0700) == 0);
    expect_case(folder, "folder.safetensors", "folder");
}

Test(runner, no_case_at_all_is_a_failure) {
    char folder[PATH_SIZE];
    make_folder(folder);
    expect_case(folder, folder, "no case");
    expect_case(in(folder, "missing"), in(folder, "missing"), "No such file");
}

Test(runner, links_are_followed_and_every_file_counts) {
    char folder[PATH_SIZE], other[PATH_SIZE], target[2 * PATH_SIZE];
    make_folder(folder);
    make_folder(other);
    snprintf(target, sizeof target, "%s/right", other);
    write_product(target, "op", "{\"op\": \"mul\"}", "");
    cr_assert(symlink(target, in(folder, "b.safetensors")) == 0);
    expect_case(folder, "", NULL);
    write_product(in(folder, "a.safetensors"), "op", "{\"op\": \"mul\"}", "output.y[2] 3 9");
    write_product(in(folder, "c.safetensors"), "op", "{\"op\": \"mull\"}", "");
    char *lines;
    RunCount count = run(folder, NULL, &lines);
    cr_expect(count.passed == 1 && count.failed == 2, "%d, %d", count.passed, count.failed);
    cr_expect(strstr(lines, "wanted 9") && strstr(lines, "`mull`"), "%s", lines);
    free(lines);
    count = run(folder, "op-made*", &lines);
    cr_expect(count.passed == 1 && count.failed == 2, "%d, %d", count.passed, count.failed);
    free(lines);
    count = run(folder, "lstm-*", &lines);
    cr_expect(count.passed == 0 && count.failed == 1, "%d, %d", count.passed, count.failed);
    cr_expect(strstr(lines, "no case like lstm-*"), "%s", lines);
    free(lines);
}

/* ---- sequences ---- */

/* relu(3 x + 5 h), one step of one sequence. */
static const char step[] =
    "input.x[1,1,1] 2; param.weight_ih_l0[1,1] 3; param.weight_hh_l0[1,1] 5; output.y[1,1,1] 6; "
    "output.hn[1,1,1] 6; grad_output.y[1,1,1] 1; grad_output.hn[1,1,1] 1; grad.x[1,1,1] 6; "
    "grad.param.weight_ih_l0[1,1] 4; grad.param.weight_hh_l0[1,1] 0";

#define ZEROS "grad.param.weight_ih_l0[1,1] 0"

Test(runner, a_sequence_is_compared_in_full_unless_all_gradients_of_parameters_are_0) {
    static const struct {
        const char *changed, *words; /* NULL: passes */
        const char *config;          /* after the sizes */
        bool constant;
    } rows[] = {
        {"", NULL, "", false},
        {"grad.param.weight_ih_l0[1,1] 4.1", "grad.param.weight_ih_l0[0,0]: got 4, wanted", "",
         false},
        {ZEROS, NULL, "", true},
        {ZEROS "; grad.x[1,1,1] 5", "grad.x[0,0,0]: got 6, wanted 5", "", true},
        {ZEROS "; output.hn[1,1,1] 5", "output.hn[0,0,0]: got 6, wanted 5", "", true},
        {ZEROS "; grad.param.weight_hh_l0[1,1] 1", "grad.param.weight_ih_l0[0,0]: got 4, wanted 0",
         "", false},
        {ZEROS "; v.x[1,1,1] 1; v.param.weight_ih_l0[1,1] 1; v.param.weight_hh_l0[1,1] 1; "
         "grad2.x[1,1,1] 0; grad2.param.weight_ih_l0[1,1] 0; grad2.param.weight_hh_l0[1,1] 0",
         NULL, "", true},
        {"v.x[1,1,1] 1; v.param.weight_ih_l0[1,1] 1; v.param.weight_hh_l0[1,1] 1; "
         "grad2.x[1,1,1] 2; grad2.param.weight_ih_l0[1,1] 2; grad2.param.weight_hh_l0[1,1] 0",
         NULL, "", false},
        {ZEROS "; grad_output.y[1,1,1] 0; grad_output.hn[1,1,1] 0; grad.x[1,1,1] 0", NULL, "",
         false},
        {"input.lengths[1]i 1", NULL, ", \"packed\": true", false},
        {"input.lengths[1]i 0; output.y[1,1,1] 0; output.hn[1,1,1] 0; grad.x[1,1,1] 0; " ZEROS,
         NULL, ", \"packed\": true", true},
        {"", "no tensor input.lengths", ", \"packed\": true", false},
        {"input.lengths[1]i 1", "input.lengths: unknown tensor", "", false},
        {"input.lengths[2]i 1 1", "not a length for each sequence", ", \"packed\": true", false},
        {"input.lengths[1] 1", "not a length for each sequence", ", \"packed\": true", false},
        {"input.lengths[1]i 2", "lengths[0] is 2", ", \"packed\": true", false},
        {"", "`proj_size` of a rnn_relu", ", \"proj_size\": 1", false},
        {"", "`num_layers` is not that", ", \"num_layers\": 2", false},
        {"", "no tensor input.h0", ", \"initial_state\": true", false},
        {"input.h0[1,1,1] 0; grad.h0[1,1,1] 10", NULL, ", \"initial_state\": true", false},
        {"param.weight_hh_l0[2,2] 1 1 1 1", "`hidden_size` is not that", "", false},
        {"param.bias_ih_l0[1] 0", "param.bias_ih_l0: unknown tensor", "", false},
    };
    char folder[PATH_SIZE], config[256];
    make_folder(folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(config, sizeof config,
                 "{\"input_size\": 1, \"hidden_size\": 1, \"bias\": false%s}", rows[i].config);
        write_changed(in(folder, "a.safetensors"), "rnn_relu", config, step, rows[i].changed);
        expect_case(folder, "rnn_relu-made-up", rows[i].words);
        char *lines;
        cr_expect_eq(run(folder, NULL, &lines).constant, rows[i].constant, "%s", rows[i].changed);
        free(lines);
    }
}

/* ---- the arguments of ops ---- */

/* Cases that end behind the outputs: that the first thing missing is a gradient's means that the
 * arguments were understood and the outputs were right. */
Test(runner, every_argument_of_every_op_is_understood) {
    static const struct {
        const char *op, *arguments, *inputs, *outputs;
    } rows[] = {
#define X "x[2,2] 1 2 3 4"
        {"sum", "", X, "y[] 10"},
        {"sum", "\"dim\": null", X, "y[] 10"},
        {"sum", "\"dim\": [], \"keepdim\": true", X, "y[1,1] 10"},
        {"mean", "\"dim\": [1], \"keepdim\": true", X, "y[2,1] 1.5 3.5"},
        {"prod", "\"dim\": -2", X, "y[2] 3 8"},
        {"amax", "", X, "y[] 4"},
        {"var", "", X, "y[] 1.6666666666666667"},
        {"var", "\"unbiased\": true, \"dim\": 1", X, "y[2] 0.5 0.5"},
        {"var", "\"correction\": 0, \"dim\": [0]", X, "y[2] 1 1"},
        {"std", "\"unbiased\": false, \"dim\": 0, \"keepdim\": true", X, "y[1,2] 1 1"},
        {"norm", "", "x[2] 3 4", "y[] 5"},
        {"norm", "\"p\": \"fro\", \"dim\": [0, 1]", "x[1,2] 3 4", "y[] 5"},
        {"norm", "\"p\": \"inf\", \"dim\": 1, \"keepdim\": true", X, "y[2,1] 2 4"},
        {"norm", "\"p\": -Infinity", X, "y[] 1"},
        {"norm", "\"p\": 1, \"dim\": 0", X, "y[2] 4 6"},
        {"cumsum", "\"dim\": -1", X, "y[2,2] 1 3 3 7"},
        {"topk", "\"k\": 1, \"dim\": 0, \"largest\": false", X, "y0[1,2] 1 2; y1[1,2]i 0 0"},
        {"topk", "\"k\": 1", X, "y[2,1] 2 4; indices[2,1]i 1 1"},
        {"clamp", "\"min\": 2", X, "y[2,2] 2 2 3 4"},
        {"clamp", "\"max\": 2, \"min\": null", X, "y[2,2] 1 2 2 2"},
        {"add", "\"alpha\": 3", "a[1] 1; b[1] 2", "y[1] 7"},
        {"sub", "\"alpha\": 3", "a[1] 1; b[1] 2", "y[1] -5"},
        {"pow_scalar", "\"exponent\": 2", X, "y[2,2] 1 4 9 16"},
        {"elu", "", "x[2] 2 0", "y[2] 2 0"},
        {"elu", "\"alpha\": 2", "x[1] -1000", "y[1] -2"},
        {"softplus", "\"beta\": 2, \"threshold\": 1", "x[1] 1", "y[1] 1"},
        {"leaky_relu", "\"negative_slope\": 0.5", "x[2] -2 2", "y[2] -1 2"},
        {"gelu", "\"approximate\": \"none\"", "x[1] 0", "y[1] 0"},
        {"slice", "\"start\": -1", X, "y[1,2] 3 4"},
        {"slice", "\"dim\": 1, \"start\": null, \"end\": -1, \"step\": 2", X, "y[2,1] 1 3"},
        {"select", "\"dim\": 1, \"index\": -1", X, "y[2] 2 4"},
        {"flip", "\"dims\": [0, -1]", X, "y[2,2] 4 3 2 1"},
        {"flip", "\"dim\": 1", X, "y[2,2] 2 1 4 3"},
        {"flip", "\"dims\": []", X, "y[2,2] 1 2 3 4"},
        {"cat", "", "x0[1] 1; x1[2] 2 3", "y[3] 1 2 3"},
        {"cat", "", "x0[0]; x1[1,2] 1 2; x2[0]", "y[1,2] 1 2"},
        {"cat", "", "x0[0]; x1[0]", "y[0]"},
        {"stack", "\"dim\": -1", "x0[2] 1 2; x1[2] 3 4", "y[2,2] 1 3 2 4"},
        {"chunk", "\"chunks\": 2", "x[3] 1 2 3", "y0[2] 1 2; y1[1] 3"},
        {"split", "\"split_size\": 2", "x[3] 1 2 3", "y0[2] 1 2; y1[1] 3"},
        {"split", "\"split_size_or_sections\": [1, 2]", "x[3] 1 2 3", "y0[1] 1; y1[2] 2 3"},
        {"squeeze", "", "x[1,2,1] 1 2", "y[2] 1 2"},
        {"squeeze", "\"dim\": [0, 1]", "x[1,2,1] 1 2", "y[2,1] 1 2"},
        {"unsqueeze", "\"dim\": -1", "x[2] 1 2", "y[2,1] 1 2"},
        {"permute", "\"dim\": [1, 0]", X, "y[2,2] 1 3 2 4"},
        {"permute", "\"dims\": [-1, 0]", X, "y[2,2] 1 3 2 4"},
        {"expand", "\"size\": [2, -1]", "x[1,2] 1 2", "y[2,2] 1 2 1 2"},
        {"reshape", "\"shape\": [-1], \"of\": \"transpose\"", X, "y[4] 1 3 2 4"},
        {"pad", "\"pad\": [1, -1], \"mode\": \"constant\", \"value\": null", "x[2] 1 2",
         "y[2] 0 1"},
        {"tril", "", X, "y[2,2] 1 0 3 4"},
        {"triu", "\"diagonal\": 1", X, "y[2,2] 0 2 0 0"},
        {"where", "", "mask[2]u 1 0; a[2] 1 2; b[] 5", "y[2] 1 5"},
        {"masked_fill", "\"value\": -Infinity", "mask[2]u 0 1; x[2] 1 2", "y[2] 1 -inf"},
        {"index_select", "\"dim\": -1", X "; index[1]i 1", "y[2,1] 2 4"},
        {"index_select", "\"dim\": 0", X "; index[]i 1", "y[1,2] 3 4"},
        {"scatter_add", "\"dim\": 0", "x[2] 1 2; index[1]i 1; src[1] 5", "y[2] 1 7"},
        {"embedding", "\"padding_idx\": -1", "weight[2,1] 1 2; index[2]i 1 0", "y[2,1] 2 1"},
        {"embedding", "\"sparse\": true", "weight[2,1] 1 2; index[1]i 1", "y[1,1] 2"},
        {"gather", "\"dim\": 0, \"sparse_grad\": false", "x[2] 1 2; index[1]i 1", "y[1] 2"},
        {"linear", "", "x[1] 2; weight[1,1] 3; bias[1] 1", "y[1] 7"},
        {"linear", "\"bias\": false", "x[1] 2; weight[1,1] 3", "y[1] 6"},
        {"layer_norm", "\"normalized_shape\": 2, \"eps\": 0, \"elementwise_affine\": false",
         "x[2] 1 3", "y[2] -1 1"},
        {"layer_norm", "\"normalized_shape\": [2], \"eps\": 0", "x[2] 1 3; weight[2] 2 2",
         "y[2] -2 2"},
        {"nll_loss", "\"reduction\": \"none\"", "x[1,2,1] -1 -2; target[1,1]i 1", "y[1,1] 2"},
        {"nll_loss", "\"ignore_index\": 1, \"reduction\": \"sum\"",
         "x[2,2] -1 -2 -3 -4; target[2]i 1 0", "y[] 3"},
        {"nll_loss", "\"weighted\": true",
         "x[2,2] -1 -2 -3 -4; target[2]i 1 0; class_weight[2] 3 1", "y[] 2.75"},
        {"nll_loss", "\"weight\": true",
         "x[2,2] -1 -2 -3 -4; target[2]i 1 0; class_weight[2] 3 1", "y[] 2.75"},
        {"cross_entropy", "", "x[1,2] 0 0; target[1,2] 0.5 0.5", "y[] 0.69314718055994531"},
        {"cross_entropy", "\"label_smoothing\": 0.5", "x[2] 0 0; target[]i 0",
         "y[] 0.69314718055994531"},
        {"mse_loss", "", "x[2] 1 2; target[2] 1 4", "y[] 2"},
        {"smooth_l1_loss", "\"beta\": 2, \"reduction\": \"sum\"", "x[2] 1 0; target[2] 0 4",
         "y[] 3.25"},
        {"huber_loss", "\"delta\": 2, \"reduction\": \"sum\"", "x[2] 1 0; target[2] 0 4",
         "y[] 6.5"},
        {"binary_cross_entropy_with_logits", "\"pos_weight\": [3]", "x[1] 0; target[1] 1",
         "y[] 2.0794415416798357"},
        {"binary_cross_entropy_with_logits", "", "x[1] 0; target[1] 1; weight[1] 2",
         "y[] 1.3862943611198906"},
        {"binary_cross_entropy_with_logits", "\"weighted\": true",
         "x[1] 0; target[1] 1; pos_weight[1] 3", "y[] 2.0794415416798357"},
        {"binary_cross_entropy_with_logits", "\"weighted\": true, \"pos_weighted\": true",
         "x[1] 0; target[1] 1; weight[1] 2; pos_weight[1] 3", "y[] 4.1588830833596715"},
        {"ctc_loss", "\"of\": \"log_probs\", \"blank\": 1",
         "x[1,2] -3 -4; target[1]i 0; input_lengths[]i 1; target_lengths[]i 1", "y[] 3"},
#undef X
    };
    char folder[PATH_SIZE], config[256];
    static Tensors t;
    make_folder(folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        t.n = 0;
        add_tensors(&t, "input.", rows[i].inputs);
        add_tensors(&t, "output.", rows[i].outputs);
        snprintf(config, sizeof config, "{\"op\": \"%s\"%s%s}", rows[i].op,
                 *rows[i].arguments ? ", " : "", rows[i].arguments);
        write_case(in(folder, "a.safetensors"), "op", config, &t);
        expect_case(folder, "op-made-up", "no tensor grad_output.y");
    }
}

Test(runner, every_argument_of_clipping_and_schedules_is_understood) {
    static const struct {
        const char *kind, *config, *tensors, *words; /* NULL: passes */
    } rows[] = {
        {"clip", "\"clip\": \"value\", \"clip_value\": 2", "grad.0[2] 3 -1; after.0[2] 2 -1", NULL},
        {"clip", "\"clip\": \"value\", \"max_norm\": 2", "grad.0[2] 3 -1; after.0[2] 2 -1", NULL},
        {"clip", "\"clip\": \"value\"", "grad.0[1] 3; after.0[1] 2", "no `clip_value`"},
        {"clip", "\"clip\": \"norm\", \"max_norm\": 0, \"error_if_nonfinite\": true",
         "grad.0[2] 3 4; total_norm[] 5; after.0[2] 0 0", NULL},
        {"clip", "\"clip\": \"norm\", \"max_norm\": 9, \"norm_type\": \"inf\"",
         "grad.0[2] 3 -4; total_norm[] 4; after.0[2] 3 -4", NULL},
        {"schedule", "\"schedule\": \"step\", \"base_lr\": 1, \"step_size\": 1, \"verbose\": true",
         "lr[3] 1 0.1 0.01", NULL},
    };
    char folder[PATH_SIZE], config[256], label[64];
    static Tensors t;
    make_folder(folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        t.n = 0;
        add_tensors(&t, "", rows[i].tensors);
        snprintf(config, sizeof config, "{%s}", rows[i].config);
        snprintf(label, sizeof label, "%s-made-up", rows[i].kind);
        write_case(in(folder, "a.safetensors"), rows[i].kind, config, &t);
        expect_case(folder, label, rows[i].words);
    }
}

Test(runner, a_flag_without_its_tensor_and_an_unused_tensor_fail) {
    static const struct {
        const char *config, *inputs, *words;
    } rows[] = {
        {"\"weighted\": true", "", "no tensor input.class_weight"},
        {"\"weighted\": false", "class_weight[2] 1 1", "input.class_weight, not used"},
        {"\"reduction\": \"median\"", "", "unknown value median"},
        {"\"reduction\": 1", "", "not a text"},
        {"\"ignore_index\": 0.5", "", "not an integer"},
        {"\"label_smoothing\": \"much\"", "", "not a number"},
    };
    char folder[PATH_SIZE], config[256];
    static Tensors t;
    make_folder(folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        t.n = 0;
        add_tensors(&t, "input.", "x[1,2] 0 0; target[1]i 0");
        add_tensors(&t, "input.", rows[i].inputs);
        snprintf(config, sizeof config, "{\"op\": \"cross_entropy\", %s}", rows[i].config);
        write_case(in(folder, "a.safetensors"), "op", config, &t);
        expect_case(folder, "op-made-up", rows[i].words);
    }
}
