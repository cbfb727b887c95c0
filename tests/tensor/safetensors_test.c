#include "tensor/safetensors.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a folder of its own for each test, which is the current one ---- */

static char folder[4096];

static void enter_folder(void) {
    const char *base = getenv("TEST_TMPDIR");
    snprintf(folder, sizeof folder, "%s/safetensors_test.XXXXXX", base ? base : "/tmp");
    cr_assert(mkdtemp(folder) && chdir(folder) == 0);
}

/* Every name in the current folder is removed; returns how many there were. */
static int empty_folder(void) {
    DIR *d = opendir(".");
    cr_assert(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            cr_assert(remove(e->d_name) == 0, "%s", e->d_name);
            n++;
        }
    closedir(d);
    return n;
}

static void leave_folder(void) {
    empty_folder();
    cr_assert(chdir("/") == 0 && rmdir(folder) == 0);
}

TestSuite(safetensors, .init = enter_folder, .fini = leave_folder);

#define BAD "bad.safetensors"

static void put_bytes(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
}

/* The header of n bytes with its length in front, and `data` bytes counting from 0. */
static size_t compose(unsigned char *to, const char *header, size_t n, size_t data) {
    for (int i = 0; i < 8; i++)
        to[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(to + 8, header, n);
    for (size_t i = 0; i < data; i++)
        to[8 + n + i] = (unsigned char)i;
    return 8 + n + data;
}

static void put_file(const char *path, const char *header, size_t data) {
    unsigned char bytes[8192];
    cr_assert(strlen(header) + data + 8 <= sizeof bytes);
    put_bytes(path, bytes, compose(bytes, header, strlen(header), data));
}

/* One line, with the file in front and the word in it. */
static void expect_error(const TensorError *e, const char *path, const char *word) {
    size_t n = strlen(path);
    cr_expect(strncmp(e->message, path, n) == 0 && strncmp(e->message + n, ": ", 2) == 0,
              "%s does not name the file", e->message);
    cr_expect(strstr(e->message, word), "\"%s\" does not contain \"%s\"", e->message, word);
    for (const char *c = e->message; *c; c++)
        cr_expect((unsigned char)*c >= 0x20, "a control character in %s", e->message);
}

static void expect_refused(const char *path, const char *word) {
    TensorError e = {""};
    TensorSafetensors *file = (void *)&e;
    cr_expect_not(tensor_safetensors_open(path, &file, &e), "opened; expected: %s", word);
    cr_expect_null(file);
    expect_error(&e, path, word);
    cr_expect_not(tensor_safetensors_open(path, &file, NULL));
}

/* ---- files that must be refused ---- */

#define T(dtype, shape, offsets) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define F32(shape, offsets) T("F32", shape, offsets)

static const struct {
    const char *header;
    size_t data;
    const char *word;
} hostile[] = {
    /* not JSON, or no object */
    {"", 0, "does not begin with {"},
    {" {}", 0, "does not begin with {"},
    {"[]", 0, "does not begin with {"},
    {"null", 0, "does not begin with {"},
    {"\xEF\xBB\xBF{}", 0, "does not begin with {"},
    {"{", 0, "byte 9: the header is not valid JSON: "},
    {"{}x", 0, "end of file expected"},
    {"{}{}", 0, "end of file expected"},
    {"{'w':1}", 0, "is not valid JSON"},
    {"{\"w\":" F32("[1]", "[0,4]") ",}", 4, "is not valid JSON"},
    {"{\"w\":\"\xFF\"}", 0, "unable to decode byte 0xff"},
    {"{\"\xC0\xAF\":1}", 0, "unable to decode byte 0xc0"},
    {"{\"w\\u0000x\":" F32("[1]", "[0,4]") "}", 4, "NUL byte"},
    {"{\"__metadata__\":{\"k\":\"a\\u0000\"}}", 0, "not allowed"},
    {"{\"\\ud800\":1}", 0, "invalid Unicode"},
    {"{\"a\nb\":1}", 0, "is not valid JSON"},
    {"{\"w\":" F32("[1]", "[0,4]") ",\"w\":" F32("[1]", "[0,4]") "}", 4, "duplicate object key"},
    {"{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "duplicate object key"},
    /* metadata */
    {"{\"__metadata__\":1}", 0, "\"__metadata__\": is not an object"},
    {"{\"__metadata__\":null}", 0, "is not an object"},
    {"{\"__metadata__\":[\"a\"]}", 0, "is not an object"},
    {"{\"__metadata__\":{\"k\":\"v\",\"n\":7}}", 0, "the value of \"n\" is not a string"},
    {"{\"__metadata__\":{\"k\":{}}}", 0, "the value of \"k\" is not a string"},
    /* an entry */
    {"{\"w\":7}", 0, "\"w\": is not an object"},
    {"{\"w\":null}", 0, "\"w\": is not an object"},
    {"{\"w\":{}}", 0, "\"w\": dtype is not a string"},
    {"{\"w\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype is not a string"},
    {"{\"w\":" T("F33", "[1]", "[0,4]") "}", 4, "unknown dtype \"F33\""},
    {"{\"w\":" T("f32", "[1]", "[0,4]") "}", 4, "unknown dtype \"f32\""},
    {"{\"w\":" T("", "[1]", "[0,4]") "}", 4, "unknown dtype \"\""},
    {"{\"w\":" T("F\\n2", "[1]", "[0,4]") "}", 4, "unknown dtype \"F?2\""},
    {"{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape is not an array"},
    {"{\"w\":" F32("1", "[0,4]") "}", 4, "shape is not an array"},
    {"{\"w\":" F32("{}", "[0,4]") "}", 4, "shape is not an array"},
    {"{\"w\":" F32("[-1]", "[0,4]") "}", 4, "shape[0] is not a size"},
    {"{\"w\":" F32("[1,1.0]", "[0,4]") "}", 4, "shape[1] is not a size"},
    {"{\"w\":" F32("[1,1,\"1\"]", "[0,4]") "}", 4, "shape[2] is not a size"},
    {"{\"w\":" F32("[true]", "[0,4]") "}", 4, "shape[0] is not a size"},
    {"{\"w\":" F32("[[1]]", "[0,4]") "}", 4, "shape[0] is not a size"},
    {"{\"w\":" F32("[9223372036854775808]", "[0,4]") "}", 4, "too big integer"},
    {"{\"w\":" F32("[1e999]", "[0,4]") "}", 4, "real number overflow"},
    {"{\"w\":" F32("[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "9 dimensions are more than"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets are not two numbers"},
    {"{\"w\":" F32("[1]", "4") "}", 4, "data_offsets are not two numbers"},
    {"{\"w\":" F32("[1]", "[]") "}", 4, "data_offsets are not two numbers"},
    {"{\"w\":" F32("[1]", "[4]") "}", 4, "data_offsets are not two numbers"},
    {"{\"w\":" F32("[1]", "[0,4,8]") "}", 4, "data_offsets are not two numbers"},
    {"{\"w\":" F32("[1]", "[0,4.0]") "}", 4, "not two integers from 0 on"},
    {"{\"w\":" F32("[1]", "[\"0\",4]") "}", 4, "not two integers from 0 on"},
    {"{\"w\":" F32("[1]", "[-4,0]") "}", 4, "not two integers from 0 on"},
    {"{\"w\":" F32("[1]", "[0,-4]") "}", 4, "not two integers from 0 on"},
    {"{\"w\":" F32("[1]", "[null,4]") "}", 4, "not two integers from 0 on"},
    {"{\"w\":" F32("[1]", "[4,0]") "}", 4, "data_offsets [4, 0] are reversed"},
    {"{\"w\":" F32("[2]", "[0,8]") "}", 4, "data_offsets [0, 8] pass the end of 4 bytes of data"},
    {"{\"w\":" F32("[1]", "[9223372036854775803,9223372036854775807]") "}", 4, "pass the end"},
    /* bytes against shape and dtype */
    {"{\"lstm.weight_ih_l0\":" F32("[3,4]", "[0,99]") "}", 99,
     "\"lstm.weight_ih_l0\": data_offsets [0, 99] do not hold f32[3,4] (48 bytes)"},
    {"{\"w\":" F32("[2]", "[0,4]") "}", 4, "do not hold f32[2] (8 bytes)"},
    {"{\"w\":" F32("[]", "[0,0]") "}", 0, "do not hold f32[] (4 bytes)"},
    {"{\"w\":" F32("[0]", "[0,4]") "}", 4, "do not hold f32[0] (0 bytes)"},
    {"{\"w\":" T("BF16", "[3]", "[0,4]") "}", 4, "do not hold bf16[3] (6 bytes)"},
    {"{\"w\":" T("I64", "[1]", "[0,4]") "}", 4, "do not hold i64[1] (8 bytes)"},
    {"{\"w\":" T("F4", "[3]", "[0,1]") "}", 1, "f4[3] is too large, or no whole number of bytes"},
    {"{\"w\":" F32("[4294967296,4294967296]", "[0,0]") "}", 0, "is too large"},
    {"{\"w\":" F32("[9223372036854775807,4]", "[0,4]") "}", 4, "is too large"},
    {"{\"w\":" T("U8", "[4611686018427387904,4]", "[0,0]") "}", 0, "is too large"},
    {"{\"w\":" F32("[0,4611686018427387904,4611686018427387904]", "[0,0]") "}", 0, "is too large"},
    {"{\"w\":" F32("[4611686018427387904,4611686018427387904,0]", "[0,0]") "}", 0, "is too large"},
    /* the layout */
    {"{}", 1, "byte 10: 1 bytes after the last tensor"},
    {"{\"w\":" F32("[1]", "[0,4]") "}", 9, "5 bytes after the last tensor"},
    {"{\"w\":" F32("[1]", "[4,8]") "}", 8, "\"w\": a hole of 4 bytes stands before its data"},
    {"{\"v\":" F32("[1]", "[0,4]") ",\"w\":" F32("[1]", "[5,9]") "}", 9,
     "\"w\": a hole of 1 bytes stands before its data"},
    {"{\"v\":" F32("[1]", "[0,4]") ",\"w\":" F32("[1]", "[0,4]") "}", 4, "overlap those of"},
    {"{\"v\":" F32("[2]", "[0,8]") ",\"w\":" F32("[2]", "[4,12]") "}", 12,
     "\"w\": data_offsets [4, 12] overlap those of \"v\""},
    {"{\"w\":" F32("[2]", "[4,12]") ",\"v\":" F32("[2]", "[0,8]") "}", 12,
     "\"w\": data_offsets [4, 12] overlap those of \"v\""},
    {"{\"e\":" F32("[0]", "[2,2]") ",\"v\":" F32("[1]", "[0,4]") "}", 4,
     "\"e\": data_offsets [2, 2] overlap those of \"v\""},
    {"{\"v\":" F32("[1]", "[0,4]") ",\"e\":" F32("[0]", "[8,8]") "}", 8, "a hole of 4 bytes"},
};
#define N_HOSTILE (sizeof hostile / sizeof *hostile)

Test(safetensors, hostile_headers_are_refused_with_the_reason) {
    for (size_t i = 0; i < N_HOSTILE; i++) {
        put_file(BAD, hostile[i].header, hostile[i].data);
        expect_refused(BAD, hostile[i].word);
    }
}

Test(safetensors, lengths_of_the_header_are_checked) {
    const struct {
        uint64_t length;
        size_t size;
        const char *word;
    } cases[] = {
        {0, 0, "is too short: 0 bytes do not hold the length of the header"},
        {0, 7, "is too short: 7 bytes"},
        {0, 8, "does not begin with {"},
        {1, 8, "byte 0: a header of 1 bytes passes the end of the file"},
        {93, 100, "a header of 93 bytes passes the end of the file"},
        {100000000, 100, "a header of 100000000 bytes passes the end of the file"},
        {100000001, 100, "a header of 100000001 bytes is over the maximum of 100000000"},
        {INT64_MAX, 100, "a header of 9223372036854775807 bytes is over the maximum"},
        {UINT64_MAX, 100, "a header of 18446744073709551615 bytes is over the maximum"},
        {UINT64_MAX - 7, 100, "is over the maximum"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char bytes[100] = {0};
        for (int b = 0; b < 8; b++)
            bytes[b] = (unsigned char)(cases[i].length >> (8 * b));
        put_bytes(BAD, bytes, cases[i].size);
        expect_refused(BAD, cases[i].word);
    }
}

Test(safetensors, a_raw_zero_byte_in_the_header_is_refused) {
    unsigned char bytes[64];
    put_bytes(BAD, bytes, compose(bytes, "{}\0", 3, 0));
    expect_refused(BAD, "is not valid JSON");
    put_bytes(BAD, bytes, compose(bytes, "{\"a\0b\":1}", 9, 0));
    expect_refused(BAD, "is not valid JSON");
}

Test(safetensors, what_is_no_regular_file_is_refused) {
    cr_assert(mkdir("sub", 0777) == 0 && mkfifo("fifo", 0666) == 0);
    expect_refused("missing", "No such file or directory");
    expect_refused("sub", "is a folder");
    expect_refused("fifo", "is not a regular file");
}

Test(safetensors, deep_nesting_is_refused_without_a_crash) {
    enum { DEEP = 1000000 };
    unsigned char *bytes = malloc(8 + DEEP);
    char *header = malloc(DEEP);
    cr_assert(bytes && header);
    memset(header, '[', DEEP);
    memcpy(header, "{\"w\":", 5);
    put_bytes(BAD, bytes, compose(bytes, header, DEEP, 0));
    expect_refused(BAD, "is not valid JSON");
    free(bytes);
    free(header);
}

Test(safetensors, long_and_strange_names_stay_one_line) {
    char header[3000], name[2000] = "";
    for (int i = 0; i < 600; i++)
        strcat(name, i % 7 ? "\xC3\xA9" : "\\n");
    snprintf(header, sizeof header, "{\"%s\":7}", name);
    put_file(BAD, header, 0);
    expect_refused(BAD, "...\": is not an object");
}

/* ---- files that must open ---- */

static TensorSafetensors *open_good(const char *path) {
    TensorError e = {""};
    TensorSafetensors *file;
    cr_assert(tensor_safetensors_open(path, &file, &e), "%s", e.message);
    cr_expect_str_empty(e.message);
    return file;
}

static void expect_bytes(const TensorSafetensors *file, const char *name, const void *bytes,
                         size_t n) {
    Tensor x;
    TensorError e = {""};
    cr_assert(tensor_safetensors_get(file, name, &x, &e), "%s", e.message);
    cr_expect_eq((size_t)tensor_numel(&x) * tensor_dtype_size(x.dtype), n);
    cr_expect(memcmp(x.data, bytes, n) == 0, "%s", name);
    cr_expect_eq((uintptr_t)x.data % TENSOR_ALIGN, 0);
    cr_expect(tensor_is_contiguous(&x) && !tensor_invalid(&x));
}

static const unsigned char counting[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

Test(safetensors, unusual_but_valid_files_open) {
    const struct {
        const char *header;
        size_t data;
        int64_t count;
    } cases[] = {
        {"{}", 0, 0},
        {"{}       ", 0, 0},
        {"{ }\n\t\r ", 0, 0},
        {"{\"__metadata__\":{}}", 0, 0},
        {"{\"w\":" F32("[1]", "[0,4]") "}", 4, 1},
        {"{\"w\":" F32("[]", "[0,4]") "}", 4, 1},
        {"{\"w\":" F32("[1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, 1},
        {"{\"\":" F32("[1]", "[0,4]") "}", 4, 1},
        {"{\"w\":" F32("[0]", "[0,0]") "}", 0, 1},
        {"{\"w\":" F32("[3,0,1000000000]", "[0,0]") "}", 0, 1},
        {"{\"w\":" T("U8", "[0,1152921504606846975]", "[0,0]") "}", 0, 1},
        {"{\"a\":" F32("[0]", "[0,0]") ",\"w\":" F32("[1]", "[0,4]") ",\"b\":" F32("[0]", "[0,0]")
         ",\"c\":" F32("[0]", "[4,4]") "}", 4, 4},
        {"{\"v\":" F32("[1]", "[4,8]") ",\"w\":" F32("[1]", "[0,4]") "}", 8, 2},
        {"{\"w\":{\"data_offsets\":[0,4],\"more\":[{}],\"shape\":[1],\"dtype\":\"F32\"}}", 4, 1},
        {"{\"w\":" F32("[1]", "[0,4]") ",\"__metadata__\":{\"k\":\"v\"}}", 4, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_file("good", cases[i].header, cases[i].data);
        TensorSafetensors *file = open_good("good");
        cr_expect_eq(tensor_safetensors_count(file), cases[i].count, "%s", cases[i].header);
        if (strstr(cases[i].header, "\"w\""))
            expect_bytes(file, "w", counting, cases[i].data ? 4 : 0);
        tensor_safetensors_close(file);
    }
    tensor_safetensors_close(NULL);
}

Test(safetensors, entries_come_in_header_order_and_are_found_by_name) {
    put_file("good",
             "{\"z\":" F32("[2]", "[4,12]") ",\"a\":" T("BOOL", "[4]", "[0,4]") ",\"\\u00e9\\n\":"
             T("I64", "[]", "[12,20]") ",\"__metadata__\":{\"b\":\"1\",\"a\":\"\"}}", 20);
    TensorSafetensors *file = open_good("good");
    const char *names[] = {"z", "a", "\xC3\xA9\n"}, *dtypes[] = {"F32", "BOOL", "I64"};
    const TensorDtype types[] = {TENSOR_F32, TENSOR_U8, TENSOR_I64};
    cr_assert_eq(tensor_safetensors_count(file), 3);
    for (int64_t i = 0; i < 3; i++) {
        const TensorSafetensorsEntry *e = tensor_safetensors_entry(file, i);
        cr_expect_str_eq(e->name, names[i]);
        cr_expect_str_eq(e->dtype_name, dtypes[i]);
        cr_expect_eq(e->value.dtype, types[i]);
        cr_expect_eq(e->ndim, i == 2 ? 0 : 1);
        cr_expect_eq(e->value.ndim, e->ndim);
        cr_expect_eq(tensor_safetensors_find(file, names[i]), i);
    }
    cr_expect_eq(tensor_safetensors_entry(file, 0)->shape[0], 2);
    cr_expect_null(tensor_safetensors_entry(file, -1));
    cr_expect_null(tensor_safetensors_entry(file, 3));
    cr_expect_eq(tensor_safetensors_find(file, "__metadata__"), -1);
    cr_expect_eq(tensor_safetensors_find(file, ""), -1);
    cr_expect_str_eq(tensor_safetensors_metadata(file, "b"), "1");
    cr_expect_str_eq(tensor_safetensors_metadata(file, "a"), "");
    cr_expect_null(tensor_safetensors_metadata(file, "c"));
    int64_t n;
    const TensorMetadata *m = tensor_safetensors_all_metadata(file, &n);
    cr_assert_eq(n, 2);
    cr_expect(strcmp(m[0].key, "b") == 0 && strcmp(m[1].key, "a") == 0);
    cr_expect(strcmp(m[0].value, "1") == 0 && strcmp(m[1].value, "") == 0);
    tensor_safetensors_close(file);
}

Test(safetensors, get_refuses_a_missing_name) {
    put_file("good", "{}", 0);
    TensorSafetensors *file = open_good("good");
    Tensor x = {.ndim = 3};
    TensorError e = {""};
    cr_expect_not(tensor_safetensors_get(file, "lstm.bias", &x, &e));
    cr_expect_str_eq(e.message, "good: no tensor \"lstm.bias\"");
    cr_expect(tensor_is_nil(&x));
    cr_expect_not(tensor_safetensors_get(file, "lstm.bias", &x, NULL));
    int64_t n = 7;
    tensor_safetensors_all_metadata(file, &n);
    cr_expect_eq(n, 0);
    cr_expect_null(tensor_safetensors_metadata(file, "k"));
    tensor_safetensors_close(file);
}

Test(safetensors, an_unsupported_dtype_is_refused_only_when_asked_for) {
    const struct {
        const char *dtype;
        int bytes_of_8;
    } others[] = {
        {"F16", 16}, {"BF16", 16}, {"I8", 8}, {"I16", 16}, {"U16", 16}, {"I32", 32}, {"U32", 32},
        {"U64", 64}, {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6},
        {"F6_E3M2", 6}, {"F4", 4}, {"C64", 64},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char header[400], wanted[100];
        int n = others[i].bytes_of_8;
        snprintf(header, sizeof header,
                 "{\"weight\":" T("%s", "[2,4]", "[4,%d]") ",\"a\":" T("U8", "[4]", "[0,4]")
                 ",\"b\":" T("U8", "[4]", "[%d,%d]") "}", others[i].dtype, n + 4, n + 4, n + 8);
        put_file("good", header, (size_t)n + 8);
        TensorSafetensors *file = open_good("good");
        const TensorSafetensorsEntry *e = tensor_safetensors_entry(file, 0);
        cr_expect_str_eq(e->dtype_name, others[i].dtype);
        cr_expect(tensor_is_nil(&e->value) && e->ndim == 2 && e->shape[1] == 4);
        Tensor x;
        TensorError error = {""};
        cr_expect_not(tensor_safetensors_get(file, "weight", &x, &error));
        snprintf(wanted, sizeof wanted, "good: \"weight\": dtype %s is not supported",
                 others[i].dtype);
        cr_expect_str_eq(error.message, wanted);
        expect_bytes(file, "a", counting, 4);
        unsigned char last[4];
        for (int k = 0; k < 4; k++)
            last[k] = (unsigned char)(n + 4 + k);
        expect_bytes(file, "b", last, 4);
        tensor_safetensors_close(file);
    }
}

Test(safetensors, data_at_odd_offsets_come_out_aligned) {
    unsigned char bytes[220];
    const char *header = "{\"a\":" T("U8", "[3]", "[0,3]") ",\"w\":" T("F64", "[1]", "[3,11]")
                         ",\"b\":" T("U8", "[1]", "[11,12]") "}";
    for (size_t pad = 0; pad < 8; pad++) {
        char padded[180];
        snprintf(padded, sizeof padded, "%s%.*s", header, (int)pad, "        ");
        put_bytes("good", bytes, compose(bytes, padded, strlen(padded), 12));
        TensorSafetensors *file = open_good("good");
        expect_bytes(file, "a", counting, 3);
        expect_bytes(file, "w", counting + 3, 8);
        expect_bytes(file, "b", counting + 11, 1);
        tensor_safetensors_close(file);
    }
}

/* ---- writing and reading back ---- */

static const uint32_t f32_bits[] = {0x7F800001, 0xFFC12345, 0x7F800000, 0x80000000, 1, 0x3F800000};
static const uint64_t f64_bits[] = {0x7FF0000000000001, 0xFFF8000000012345, 0xFFF0000000000000,
                                    0x8000000000000000, 1, 0x3FF0000000000000};
static const int64_t i64_values[] = {INT64_MIN, INT64_MAX, -1, 0, 1, INT64_C(1) << 53};
static const uint8_t u8_values[] = {0, 1, 2, 127, 128, 255};

enum { N_SAMPLES = 9 };

/* Every dtype, a scalar, empty ones, and three strided views. */
static void make_samples(TensorNamed *to) {
    const int64_t shape[] = {2, 3}, empty[] = {3, 0, 2};
    Tensor f32 = tensor_wrap((void *)f32_bits, TENSOR_F32, 2, shape);
    Tensor f64 = tensor_wrap((void *)f64_bits, TENSOR_F64, 2, shape);
    Tensor i64 = tensor_wrap((void *)i64_values, TENSOR_I64, 2, shape);
    Tensor u8 = tensor_wrap((void *)u8_values, TENSOR_U8, 2, shape);
    to[0] = (TensorNamed){"u8", u8};
    to[1] = (TensorNamed){"lstm.weight_ih_l0", f32};
    to[2] = (TensorNamed){"", f64};
    to[3] = (TensorNamed){"quote\" back\\ slash/ line\n \x01", i64};
    to[4] = (TensorNamed){"\xCE\xB1 \xE2\x82\xAC \xF0\x9F\x98\x80",
                          tensor_wrap((void *)f64_bits, TENSOR_F64, 0, NULL)};
    to[5] = (TensorNamed){"empty", tensor_wrap((void *)f32_bits, TENSOR_F32, 3, empty)};
    to[6] = (TensorNamed){"transposed", tensor_transpose(&f32, 0, 1)};
    to[7] = (TensorNamed){"column", tensor_narrow(&u8, 1, 1, 1)};
    Tensor one = tensor_select(&f64, 0, 1);
    to[8] = (TensorNamed){"expanded", tensor_expand(&one, 2, (int64_t[]){4, 3})};
}

/* Equal in dtype, shape and every bit. */
static void expect_same(const Tensor *got, const Tensor *wanted) {
    cr_expect_eq(got->dtype, wanted->dtype);
    cr_assert(tensor_same_shape(got, wanted));
    TensorArena *arena = tensor_arena_new();
    cr_assert(arena);
    Tensor dense = tensor_copy(arena, wanted);
    size_t n = (size_t)tensor_numel(got) * tensor_dtype_size(got->dtype);
    cr_expect(tensor_is_contiguous(got));
    cr_expect(n == 0 || memcmp(got->data, dense.data, n) == 0);
    tensor_arena_free(arena);
}

Test(safetensors, what_is_written_is_read_back_bit_for_bit) {
    TensorNamed samples[N_SAMPLES];
    make_samples(samples);
    const TensorMetadata metadata[] = {{"format", "pt"}, {"", "\"\\/\n\t\xE2\x82\xAC"},
                                       {"\xC3\xA9", ""}};
    for (int64_t count = 0; count <= N_SAMPLES; count++) {
        for (int64_t n = 0; n <= 3; n++) {
            TensorError e = {""};
            cr_assert(tensor_safetensors_write("a", count, samples, n, n ? metadata : NULL, &e),
                      "%s", e.message);
            TensorSafetensors *file = open_good("a");
            cr_assert_eq(tensor_safetensors_count(file), count);
            for (int64_t i = 0; i < count; i++) {
                const TensorSafetensorsEntry *entry = tensor_safetensors_entry(file, i);
                cr_expect_str_eq(entry->name, samples[i].name);
                expect_same(&entry->value, &samples[i].value);
            }
            int64_t found;
            const TensorMetadata *m = tensor_safetensors_all_metadata(file, &found);
            cr_assert_eq(found, n);
            for (int64_t i = 0; i < n; i++) {
                cr_expect_str_eq(m[i].key, metadata[i].key);
                cr_expect_str_eq(m[i].value, metadata[i].value);
            }
            tensor_safetensors_close(file);
        }
    }
    cr_expect_eq(empty_folder(), 1, "a temporary file is left");
}

static unsigned char *read_whole(const char *path, size_t *size) {
    unsigned char *bytes = tensor_file_read(path, SIZE_MAX, size, NULL);
    cr_assert(bytes);
    return bytes;
}

Test(safetensors, the_bytes_of_a_small_file_are_these) {
    float values[] = {1, 2, 3, 4};
    Tensor x = tensor_wrap(values, TENSOR_F32, 2, (int64_t[]){2, 2});
    TensorNamed tensors[] = {{"b", tensor_transpose(&x, 0, 1)}, {"a", tensor_select(&x, 0, 1)}};
    const TensorMetadata metadata = {"k", "v"};
    const char *header = "{\"__metadata__\":{\"k\":\"v\"},"
                         "\"b\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                         "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}";
    cr_assert(tensor_safetensors_write("a", 2, tensors, 1, &metadata, NULL));
    size_t size, n = strlen(header), padded = (n + 7) / 8 * 8;
    unsigned char *bytes = read_whole("a", &size);
    cr_assert_eq(size, 8 + padded + 24);
    cr_expect(bytes[0] == padded && memcmp(bytes + 1, "\0\0\0\0\0\0\0", 7) == 0);
    cr_expect(memcmp(bytes + 8, header, n) == 0);
    for (size_t i = n; i < padded; i++)
        cr_expect_eq(bytes[8 + i], ' ');
    const float data[] = {1, 3, 2, 4, 3, 4};
    cr_expect(memcmp(bytes + 8 + padded, data, sizeof data) == 0);
    free(bytes);
}

Test(safetensors, the_data_begin_at_a_multiple_of_8_bytes) {
    char name[20] = "";
    double value = 1;
    for (int i = 0; i < 17; i++) {
        TensorNamed tensor = {name, tensor_wrap(&value, TENSOR_F64, 0, NULL)};
        cr_assert(tensor_safetensors_write("a", 1, &tensor, 0, NULL, NULL));
        size_t size;
        unsigned char *bytes = read_whole("a", &size);
        cr_expect(bytes[0] % 8 == 0 && size % 8 == 0);
        free(bytes);
        strcat(name, "x");
    }
}

Test(safetensors, many_tensors_are_all_found) {
    enum { MANY = 5000 };
    static char names[MANY][16];
    static TensorNamed tensors[MANY];
    static int64_t values[MANY];
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "w.%d", (i * 7919) % MANY);
        values[i] = i;
        tensors[i] = (TensorNamed){names[i], tensor_wrap(&values[i], TENSOR_I64, 0, NULL)};
    }
    cr_assert(tensor_safetensors_write("a", MANY, tensors, 0, NULL, NULL));
    TensorSafetensors *file = open_good("a");
    for (int i = 0; i < MANY; i++) {
        Tensor x;
        cr_assert(tensor_safetensors_get(file, names[i], &x, NULL));
        cr_expect_eq(tensor_get_i64(&x, 0), i);
        cr_expect_eq(tensor_safetensors_find(file, names[i]), i);
    }
    tensor_safetensors_close(file);
}

static void expect_not_written(const TensorNamed *tensors, int64_t count,
                               const TensorMetadata *metadata, int64_t n, const char *word) {
    TensorError e = {""};
    cr_expect_not(tensor_safetensors_write("a", count, tensors, n, metadata, &e), "%s", word);
    expect_error(&e, "a", word);
    cr_expect_not(tensor_safetensors_write("a", count, tensors, n, metadata, NULL));
    size_t size;
    unsigned char *bytes = read_whole("a", &size);
    cr_expect_str_eq((char *)bytes, "old");
    free(bytes);
}

Test(safetensors, what_cannot_be_written_is_refused_and_the_old_file_stays) {
    put_bytes("a", "old", 3);
    double value = 1;
    Tensor x = tensor_wrap(&value, TENSOR_F64, 0, NULL), nil = tensor_nil(), huge = x;
    huge.ndim = 3;
    huge.shape[0] = INT64_C(1) << 30;
    huge.shape[1] = INT64_C(1) << 29;
    huge.shape[2] = 0;
    const struct {
        TensorNamed tensors[2];
        const char *word;
    } tensors[] = {
        {{{"w", x}, {NULL, x}}, "tensor name is NULL"},
        {{{"w", x}, {"w", x}}, "tensor name \"w\" is given twice"},
        {{{"w", x}, {"a\xFF", x}}, "is not valid UTF-8"},
        {{{"w", x}, {"\xED\xA0\x80", x}}, "is not valid UTF-8"},
        {{{"w", x}, {"__metadata__", x}}, "no tensor can be named \"__metadata__\""},
        {{{"w", x}, {"v", nil}}, "\"v\": nil tensor"},
        {{{"w", x}, {"v", huge}}, "\"v\": f64[1073741824,536870912,0] is too large"},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        expect_not_written(tensors[i].tensors, 2, NULL, 0, tensors[i].word);
    const struct {
        TensorMetadata metadata[2];
        const char *word;
    } metadata[] = {
        {{{"k", "v"}, {NULL, "v"}}, "metadata key is NULL"},
        {{{"k", "v"}, {"l", NULL}}, "metadata value is NULL"},
        {{{"k", "v"}, {"k", "v"}}, "metadata key \"k\" is given twice"},
        {{{"k", "v"}, {"\xC3", "v"}}, "is not valid UTF-8"},
        {{{"k", "v"}, {"l", "\x80"}}, "metadata value \"?\" is not valid UTF-8"},
    };
    for (size_t i = 0; i < sizeof metadata / sizeof *metadata; i++)
        expect_not_written(NULL, 0, metadata[i].metadata, 2, metadata[i].word);
    const TensorNamed both = {"__metadata__", x};
    expect_not_written(&both, 1, metadata[0].metadata, 1, "\"__metadata__\"");
    cr_expect_eq(empty_folder(), 1, "a temporary file is left");
}

Test(safetensors, a_header_over_the_maximum_is_not_written) {
    put_bytes("a", "old", 3);
    char *text = malloc(TENSOR_SAFETENSORS_MAX_HEADER);
    cr_assert(text);
    memset(text, 'x', TENSOR_SAFETENSORS_MAX_HEADER - 1);
    text[TENSOR_SAFETENSORS_MAX_HEADER - 1] = 0;
    const TensorMetadata metadata = {"k", text};
    expect_not_written(NULL, 0, &metadata, 1, "over the maximum of 100000000");
    free(text);
}

/* Files may have `bytes` bytes at most: what a full disk does, without one. */
static void limit_files(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit;
    cr_assert(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes;
    cr_assert(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

Test(safetensors, a_full_disk_and_a_bad_folder_leave_the_old_file) {
    enum { N = 40000 };
    static double data[N];
    TensorNamed tensor = {"w", tensor_wrap(data, TENSOR_F64, 2, (int64_t[]){200, 200})};
    TensorError e = {""};
    cr_expect_not(tensor_safetensors_write("missing/a", 1, &tensor, 0, NULL, &e));
    expect_error(&e, "missing/a", "No such file or directory");
    for (int strided = 0; strided < 2; strided++) {
        put_bytes("a", "old", 3);
        if (strided)
            tensor.value = tensor_transpose(&tensor.value, 0, 1);
        for (rlim_t limit = 1; limit < N * sizeof(double); limit = limit * 9 + 7) {
            limit_files(limit);
            bool ok = tensor_safetensors_write("a", 1, &tensor, 0, NULL, &e);
            limit_files(RLIM_INFINITY);
            cr_expect_not(ok);
            expect_error(&e, "a", "File too large");
        }
        size_t size;
        unsigned char *bytes = read_whole("a", &size);
        cr_expect_str_eq((char *)bytes, "old");
        free(bytes);
        cr_expect_eq(empty_folder(), 1, "a temporary file is left");
    }
}

/* ---- damage ---- */

/* The first N_SAMPLES files of the round trip, as bytes. */
static unsigned char *sample_bytes(size_t *size) {
    TensorNamed samples[N_SAMPLES];
    make_samples(samples);
    const TensorMetadata metadata[] = {{"format", "pt"}, {"config", "{\"hidden_size\":3}"}};
    cr_assert(tensor_safetensors_write("sample", N_SAMPLES, samples, 2, metadata, NULL));
    return read_whole("sample", size);
}

Test(safetensors, a_file_cut_off_anywhere_or_with_a_byte_more_is_refused) {
    size_t size;
    unsigned char *bytes = sample_bytes(&size);
    for (size_t n = 0; n < size; n++) {
        put_bytes(BAD, bytes, n);
        expect_refused(BAD, n < 8    ? "is too short"
                            : n < 8u + bytes[0] + 256u * bytes[1] ? "passes the end of the file"
                                                                  : "pass the end of");
    }
    unsigned char *longer = malloc(size + 1);
    cr_assert(longer);
    memcpy(longer, bytes, size);
    longer[size] = 0;
    put_bytes(BAD, longer, size + 1);
    expect_refused(BAD, "1 bytes after the last tensor");
    free(longer);
    free(bytes);
}

static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* One change: a flipped bit, another byte, one of the characters of JSON, a run moved,
 * removed or repeated.  Returns the new size, at most 64 bytes more. */
static size_t mutate(unsigned char *bytes, size_t size, uint64_t *state) {
    static const char json[] = "{}[]\",:-+.0123456789eE \\utF64I8_n";
    if (size == 0)
        return 0;
    /* Half of the changes hit the header, where they matter most. */
    size_t range = next_random(state) % 2 && size > 600 ? 600 : size;
    size_t at = next_random(state) % range, n = next_random(state) % 64;
    n = n < size - at ? n : size - at;
    switch (next_random(state) % 6) {
    case 0: bytes[at] ^= (unsigned char)(1u << next_random(state) % 8); return size;
    case 1: bytes[at] = (unsigned char)next_random(state); return size;
    case 2:
    case 3: bytes[at] = (unsigned char)json[next_random(state) % (sizeof json - 1)]; return size;
    case 4: memmove(bytes + at, bytes + at + n, size - at - n); return size - n;
    default: memmove(bytes + at + n, bytes + at, size - at); return size + n;
    }
}

/* Whatever opens must be whole: found by name, valid, every byte of it readable. */
static void expect_consistent(const TensorSafetensors *file, size_t size) {
    size_t total = 0;
    unsigned sum = 0;
    for (int64_t i = 0; i < tensor_safetensors_count(file); i++) {
        const TensorSafetensorsEntry *e = tensor_safetensors_entry(file, i);
        cr_assert_eq(tensor_safetensors_find(file, e->name), i);
        Tensor x;
        bool got = tensor_safetensors_get(file, e->name, &x, NULL);
        cr_assert_eq(got, !tensor_is_nil(&e->value));
        cr_assert(e->ndim >= 0 && e->ndim <= TENSOR_MAX_DIMS);
        if (!got)
            continue;
        cr_assert(!tensor_invalid(&x) && tensor_is_contiguous(&x) && x.ndim == e->ndim);
        size_t n = (size_t)tensor_numel(&x) * tensor_dtype_size(x.dtype);
        for (size_t b = 0; b < n; b++)
            sum += ((const unsigned char *)x.data)[b];
        total += n;
    }
    cr_assert(total <= size && sum <= 255 * size);
    int64_t count;
    const TensorMetadata *m = tensor_safetensors_all_metadata(file, &count);
    for (int64_t i = 0; i < count; i++)
        cr_assert_str_eq(tensor_safetensors_metadata(file, m[i].key), m[i].value);
}

Test(safetensors, mutated_files_are_refused_or_consistent, .timeout = 120) {
    enum { MUTATIONS = 6000 };
    size_t size;
    unsigned char *good = sample_bytes(&size), *bytes = malloc(size + 4 * 64);
    cr_assert(bytes);
    uint64_t state = 2024;
    int opened = 0;
    for (int i = 0; i < MUTATIONS; i++) {
        memcpy(bytes, good, size);
        size_t n = size;
        for (int changes = 1 + i % 4; changes > 0; changes--)
            n = mutate(bytes, n, &state);
        put_bytes(BAD, bytes, n);
        TensorError e = {""};
        TensorSafetensors *file;
        if (tensor_safetensors_open(BAD, &file, &e)) {
            opened++;
            expect_consistent(file, n);
        } else {
            expect_error(&e, BAD, "");
        }
        tensor_safetensors_close(file);
    }
    cr_expect(opened > MUTATIONS / 100 && opened < MUTATIONS, "%d opened", opened);
    free(bytes);
    free(good);
}

Test(safetensors, a_failed_open_leaves_no_file_open) {
    put_file(BAD, "{\"w\":7}", 0);
    int before = dup(0);
    close(before);
    for (int i = 0; i < 20; i++) {
        expect_refused(BAD, "is not an object");
        put_file("good", "{}", 0);
        tensor_safetensors_close(open_good("good"));
    }
    int after = dup(0);
    close(after);
    cr_expect_eq(before, after);
}

/* ---- files of PyTorch ---- */

/* Opens the file, gets every tensor, and writes and reads it again. */
static int64_t check_conformance_file(const char *path) {
    enum { MOST = 1000 };
    static TensorNamed tensors[MOST];
    TensorSafetensors *file = open_good(path);
    int64_t count = tensor_safetensors_count(file), n;
    cr_assert(count > 0 && count <= MOST, "%s", path);
    cr_expect(tensor_safetensors_metadata(file, "case"), "%s", path);
    for (int64_t i = 0; i < count; i++) {
        const char *name = tensor_safetensors_entry(file, i)->name;
        tensors[i].name = name;
        cr_assert(tensor_safetensors_get(file, name, &tensors[i].value, NULL), "%s", name);
    }
    const TensorMetadata *metadata = tensor_safetensors_all_metadata(file, &n);
    cr_assert(tensor_safetensors_write("copy", count, tensors, n, metadata, NULL));
    TensorSafetensors *copy = open_good("copy");
    for (int64_t i = 0; i < count; i++)
        expect_same(&tensor_safetensors_entry(copy, i)->value, &tensors[i].value);
    tensor_safetensors_close(copy);
    tensor_safetensors_close(file);
    return count;
}

Test(safetensors, the_files_of_the_conformance_folder_open) {
    const char *path = getenv("UNROLL_CONFORMANCE");
    if (!path) {
        cr_skip("UNROLL_CONFORMANCE is not set: no files to read");
        return;
    }
    DIR *d = opendir(path);
    cr_assert(d, "%s", path);
    int files = 0;
    for (struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n < 12 || strcmp(e->d_name + n - 12, ".safetensors") != 0)
            continue;
        char name[8192];
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        cr_expect(check_conformance_file(name) > 0);
        files++;
    }
    closedir(d);
    cr_assert(files > 0, "no safetensors file in %s", path);
    printf("UNROLL_CONFORMANCE used: %s\n", path);
    fflush(stdout);
}
