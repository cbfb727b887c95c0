/* The counts below are those of the data's README, or were got with Python 3. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <criterion/criterion.h>

#include "data/corpus.h"
#include "data/dataset.h"
#include "data/stream.h"
#include "data/text.h"
#include "data/utf8.h"
#include "data/vocab.h"
#include "tests/data/support.h"

/* The path of a file of the data; without UNROLL_DATA the test is skipped. */
static const char *data_path(const char *name) {
    static char path[4096];
    const char *folder = getenv("UNROLL_DATA");
    if (!folder || !folder[0]) {
        printf("UNROLL_DATA is not set: a test of %s is skipped\n", name);
        fflush(stdout);
        cr_skip_test("UNROLL_DATA is not set");
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* The line by which a run shows that it had the data. */
static void say_used(const char *path) {
    printf("UNROLL_DATA used: %s\n", path);
    fflush(stdout);
}

static DataText read_text(const char *name, DataTextOptions options) {
    DataText text;
    TensorError error = {""};
    const char *path = data_path(name);
    cr_assert(data_text_read(path, &options, &text, &error), "%s", error.message);
    say_used(path);
    return text;
}

static DataVocab *vocab_of(const char *bytes, int64_t n, DataVocabOptions options) {
    TensorError error = {""};
    DataVocab *v = data_vocab_new(bytes, n, &options, &error);
    cr_assert(v != NULL, "%s", error.message);
    return v;
}

static int64_t *ids_of(const DataVocab *v, const char *bytes, int64_t n, int64_t *count) {
    int64_t *ids;
    TensorError error = {""};
    cr_assert(data_vocab_encode(v, bytes, n, &ids, count, &error), "%s", error.message);
    return ids;
}

/* FNV-1a, to compare a whole text with one made elsewhere. */
static uint64_t checksum(const char *bytes, int64_t n) {
    uint64_t h = 0xCBF29CE484222325u;
    for (int64_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)bytes[i]) * 0x100000001B3u;
    return h;
}

/* Characters come back from their ids, and the vocabulary from its file. */
static void check_round_trips(const DataVocab *v, const DataText *text, int64_t characters) {
    int64_t count, length, again_count;
    int64_t *ids = ids_of(v, text->bytes, text->length, &count);
    cr_assert(count == characters, "%lld", (long long)count);
    char *back = data_vocab_decode(v, ids, count, &length, NULL);
    cr_assert(back && length == text->length && memcmp(back, text->bytes, (size_t)length) == 0);

    TensorError error = {""};
    const char *path = scratch_path("vocab.json");
    cr_assert(data_vocab_save(v, path, &error), "%s", error.message);
    DataVocab *loaded = data_vocab_load(path, &error);
    cr_assert(loaded != NULL, "%s", error.message);
    int64_t *again = ids_of(loaded, text->bytes, text->length, &again_count);
    cr_assert(again_count == count && memcmp(again, ids, (size_t)count * sizeof *ids) == 0);
    data_vocab_free(loaded);
    free(again);
    free(back);
    free(ids);
}

Test(real_data, the_time_machine_is_cleaned_as_in_d2l) {
    DataText text = read_text("timemachine/timemachine.txt", (DataTextOptions){0});
    int64_t n, count;
    char *clean = data_utf8_letters(text.bytes, text.length, &n);
    cr_assert(n == 170580, "%lld characters", (long long)n);
    cr_assert(checksum(clean, n) == 0x6A8133C71CFBA338u);

    DataVocab *v = vocab_of(clean, n, (DataVocabOptions){0});
    cr_assert(data_vocab_size(v) == 28);
    static const int64_t counts[] = {0, 29927, 17838, 13515, 11704};
    for (int64_t id = 0; id < 5; id++) {
        cr_assert_str_eq(data_vocab_token(v, id, NULL),
                         ((const char *[]){"<unk>", " ", "e", "t", "a"})[id]);
        cr_assert(data_vocab_count(v, id) == counts[id]);
    }

    int64_t *ids = ids_of(v, clean, n, &count);
    DataStream s;
    Tensor x, y;
    DataStreamOptions options = {.batch = 32, .steps = 35};
    cr_assert(count == n && data_stream_init(&s, ids, count, &options, NULL));
    cr_assert(s.row_length == 5330 && s.windows == 152);
    while (data_stream_next(&s, &x, &y))
        for (int64_t i = 0; i < 35 * 32; i++)
            cr_assert(tensor_get_i64(&x, i) == ids[s.position - 35 + i / 32 + i % 32 * 5330]);
    free(ids);
    data_vocab_free(v);
    free(clean);
    data_text_free(&text);
}

Test(real_data, a_chinese_novel_round_trips_by_characters) {
    DataText text = read_text("chinese/hongloumeng-80.txt", (DataTextOptions){0});
    cr_assert(text.length == 1726833 && data_utf8_count(text.bytes, text.length) == 579364);
    DataVocab *v = vocab_of(text.bytes, text.length, (DataVocabOptions){.no_unk = true});
    cr_assert(data_vocab_size(v) == 4047, "%lld", (long long)data_vocab_size(v));
    static const int64_t counts[] = {38603, 18169, 13981, 9852, 9440};
    for (int64_t id = 0; id < 5; id++) {
        cr_assert_str_eq(data_vocab_token(v, id, NULL),
                         ((const char *[]){"\uFF0C", "\u3002", "\u4E86", "\u7684", "\u4E0D"})[id]);
        cr_assert(data_vocab_count(v, id) == counts[id]);
    }
    check_round_trips(v, &text, 579364);
    data_vocab_free(v);
    data_text_free(&text);
}

Test(real_data, the_stress_test_of_utf8_is_refused_at_its_first_invalid_byte) {
    DataText text;
    TensorError error = {""};
    char expected[4200];
    const char *path = data_path("utf8-test/UTF-8-test.txt");
    cr_assert(!data_text_read(path, NULL, &text, &error));
    snprintf(expected, sizeof expected,
             "%s: byte 4461: not UTF-8: byte that UTF-8 never uses (0xF8)", path);
    cr_assert_str_eq(error.message, expected);
    say_used(path);
}

Test(real_data, the_stress_test_of_utf8_is_replaced_as_elsewhere) {
    DataText text = read_text("utf8-test/UTF-8-test.txt", (DataTextOptions){.replace = true});
    cr_assert(text.replaced == 378, "%lld", (long long)text.replaced);
    cr_assert(text.length == 23535 && data_utf8_count(text.bytes, text.length) == 22591);
    cr_assert(checksum(text.bytes, text.length) == 0x9265E866F6E462AAu);
    cr_assert(memchr(text.bytes, 0, (size_t)text.length) != NULL);
    DataVocab *v = vocab_of(text.bytes, text.length, (DataVocabOptions){0});
    cr_assert(data_vocab_count(v, data_vocab_id(v, "\0", 1)) == 1);
    check_round_trips(v, &text, 22591);
    data_vocab_free(v);
    data_text_free(&text);
}

static void check_words(const char *name, int64_t tokens, int64_t types, int64_t unk) {
    DataText text = read_text(name, (DataTextOptions){0});
    DataVocabOptions options = {.kind = DATA_VOCAB_WORD, .eos = true};
    DataVocab *v = vocab_of(text.bytes, text.length, options);
    int64_t count, *ids = ids_of(v, text.bytes, text.length, &count);
    cr_assert(count == tokens, "%s: %lld tokens", name, (long long)count);
    cr_assert(data_vocab_size(v) == types, "%s: %lld types", name, (long long)data_vocab_size(v));
    cr_assert(data_vocab_count(v, 0) == unk);
    free(ids);
    data_vocab_free(v);
    data_text_free(&text);
}

Test(real_data, words_of_wikitext_with_one_eos_a_line) {
    check_words("wikitext-2/valid.txt", 217646, 13777, 11718);
}

Test(real_data, words_of_the_penn_treebank_with_one_eos_a_line) {
    check_words("ptb/ptb.valid.txt", 73760, 6022, 3485);
}

/* ---- corpora ---- */

/* The three files of a folder of the data, NAME.train.txt and so on. */
static DataCorpus prepared_corpus(const char *const names[3]) {
    char paths[3][4096];
    for (int i = 0; i < 3; i++)
        snprintf(paths[i], sizeof paths[i], "%s", data_path(names[i]));
    const DataCorpusOptions options = {.train = paths[0], .valid = paths[1], .test = paths[2],
                                       .tokens = {.unit = DATA_UNIT_WORD}};
    DataCorpus c;
    TensorError error = {""};
    cr_assert(data_corpus_read(&c, &options, &error), "%s", error.message);
    for (int i = 0; i < 3; i++)
        say_used(paths[i]);
    return c;
}

static void check_part(const DataCorpusPart *part, int64_t first, int64_t count, int64_t chars) {
    cr_assert(part->first == first && part->count == count, "%lld tokens from %lld",
              (long long)part->count, (long long)part->first);
    cr_assert(part->chars == chars, "%lld characters", (long long)part->chars);
}

Test(real_data, the_penn_treebank_has_the_tokens_of_the_literature) {
    DataCorpus c = prepared_corpus(
        (const char *const[]){"ptb/ptb.train.txt", "ptb/ptb.valid.txt", "ptb/ptb.test.txt"});
    check_part(&c.train, 0, 929589, 5017482);
    check_part(&c.valid, 929589, 73760, 393042);
    check_part(&c.test, 929589 + 73760, 82430, 442423);
    cr_assert(data_vocab_size(c.vocab) == 10000 && data_vocab_count(c.vocab, 0) == 45020);
    cr_assert(data_vocab_count(c.vocab, data_vocab_eos(c.vocab)) == 42068);
    data_corpus_free(&c);
}

Test(real_data, wikitext_2_has_the_tokens_of_the_literature_and_is_read_at_once) {
    clock_t start = clock();
    DataCorpus c = prepared_corpus((const char *const[]){
        "wikitext-2/train.txt", "wikitext-2/valid.txt", "wikitext-2/test.txt"});
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    check_part(&c.train, 0, 2088628, 10719952);
    check_part(&c.valid, 2088628, 217646, 1113971);
    check_part(&c.test, 2088628 + 217646, 245569, 1247769);
    cr_assert(data_vocab_size(c.vocab) == 33278 && data_vocab_count(c.vocab, 0) == 54625);
    data_corpus_free(&c);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__OPTIMIZE__)
    cr_assert(seconds < 5, "%.2f s", seconds);
#else
    (void)seconds;
#endif
}

Test(real_data, the_time_machine_is_shared_out_as_its_characters) {
    const char *path = data_path("timemachine/timemachine.txt");
    DataCorpus c;
    TensorError error = {""};
    const DataCorpusOptions options = {.train = path, .tokens = {.clean = DATA_CLEAN_LETTERS},
                                       .max_chars = 10000, .valid_share = 0.1};
    cr_assert(data_corpus_read(&c, &options, &error), "%s", error.message);
    say_used(path);
    check_part(&c.train, 0, 9000, 9000);
    check_part(&c.valid, 9000, 1000, 1000);
    cr_assert(data_vocab_size(c.vocab) == 28 && data_vocab_count(c.vocab, 1) == 29927);

    DataText text = read_text("timemachine/timemachine.txt", (DataTextOptions){0});
    int64_t n, count;
    char *clean = data_utf8_letters(text.bytes, text.length, &n);
    int64_t *ids = ids_of(c.vocab, clean, n, &count);
    cr_assert(count == 170580 && memcmp(ids, c.ids, 10000 * sizeof *ids) == 0);
    free(ids);
    free(clean);
    data_text_free(&text);
    data_corpus_free(&c);
}

/* ---- data sets ---- */

static void check_same_bytes(const char *path, const char *origin) {
    size_t n[2];
    const char *paths[2] = {path, origin};
    char *bytes[2];
    for (int i = 0; i < 2; i++) {
        TensorError error = {""};
        bytes[i] = tensor_file_read(paths[i], SIZE_MAX / 2, &n[i], &error);
        cr_assert(bytes[i] != NULL, "%s", error.message);
    }
    cr_assert(n[0] == n[1] && memcmp(bytes[0], bytes[1], n[0]) == 0, "%s", path);
    free(bytes[0]);
    free(bytes[1]);
}

/* The folder of the data as a mirror: its bytes are those whose checksums are known. */
Test(real_data, data_sets_are_downloaded_checked_and_kept) {
    static const char *const first[] = {"timemachine/timemachine.txt", "ptb/ptb.train.txt",
                                        "wikitext-2/train.txt", "tinyshakespeare/input.txt"};
    char origin[4200], nowhere[4200];
    snprintf(nowhere, sizeof nowhere, "%s", scratch_path("nowhere"));
    snprintf(origin, sizeof origin, "file://%s", data_path(""));
    DataDatasetOptions options = {
        .folder = nowhere, .cache = scratch_path("cache"), .origin = origin};
    for (int i = 0; i < 4; i++) {
        DataDataset d, again;
        TensorError error = {""};
        const char *name = data_dataset_names[i];
        options.offline = false;
        cr_assert(data_dataset_get(name, &options, &d, &error), "%s", error.message);
        check_same_bytes(d.train, data_path(first[i]));
        say_used(data_path(first[i]));
        cr_assert((d.valid != NULL) == (i == 1 || i == 2) && !d.valid == !d.test);
        options.offline = true;
        cr_assert(data_dataset_get(name, &options, &again, &error), "%s", error.message);
        cr_assert_str_eq(again.train, d.train);
        data_dataset_free(&d);
        data_dataset_free(&again);
    }
}
