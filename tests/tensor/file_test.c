#include "tensor/file.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tensor/arena.h"

/* ---- a folder of its own for each test, which is the current one ---- */

static char folder[4096];

static void enter_folder(void) {
    const char *base = getenv("TEST_TMPDIR");
    snprintf(folder, sizeof folder, "%s/file_test.XXXXXX", base ? base : "/tmp");
    cr_assert(mkdtemp(folder) && chdir(folder) == 0);
}

/* Names in a folder; the last one seen is kept. */
static int count_names(const char *path, char *last, size_t size) {
    DIR *d = opendir(path);
    cr_assert(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        n++;
        if (last)
            snprintf(last, size, "%s", e->d_name);
    }
    closedir(d);
    return n;
}

static void leave_folder(void) {
    char name[300];
    while (count_names(".", name, sizeof name) > 0)
        cr_assert(remove(name) == 0, "%s", name);
    cr_assert(chdir("/") == 0 && rmdir(folder) == 0);
}

TestSuite(file, .init = enter_folder, .fini = leave_folder);

static void put(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void expect_text(const char *path, const char *text) {
    size_t size;
    char *found = tensor_file_read(path, 1 << 20, &size, NULL);
    cr_assert(found, "%s", path);
    cr_expect_str_eq(found, text);
    free(found);
}

static void expect_message(const TensorError *e, const char *path, const char *reason) {
    char wanted[512];
    snprintf(wanted, sizeof wanted, "%s: %s", path, reason);
    cr_expect_str_eq(e->message, wanted);
}

/* ---- errors ---- */

Test(file, an_error_is_one_line_with_path_offset_and_reason) {
    TensorError e;
    cr_expect_not(tensor_error_set(&e, "%d apples", 3));
    cr_expect_str_eq(e.message, "3 apples");
    cr_expect_not(tensor_error_file(&e, "a/b.txt", -1, "bad %s", "thing"));
    cr_expect_str_eq(e.message, "a/b.txt: bad thing");
    cr_expect_not(tensor_error_file(&e, "a/b.txt", 17, "bad"));
    cr_expect_str_eq(e.message, "a/b.txt: byte 17: bad");
    cr_expect_not(tensor_error_file(&e, "a", 0, "bad"));
    cr_expect_str_eq(e.message, "a: byte 0: bad");
    cr_expect_not(tensor_error_errno(&e, "a", ENOENT));
    cr_expect_str_eq(e.message, "a: No such file or directory");
    cr_expect_not(tensor_error_set(&e, "a\nb\tc\x1b[2Jd\x7f"));
    cr_expect_str_eq(e.message, "a?b?c?[2Jd?");
    cr_expect_not(tensor_error_file(&e, "x\ny", -1, "r"));
    cr_expect_str_eq(e.message, "x?y: r");
}

Test(file, an_error_may_be_null) {
    size_t size = 7;
    int64_t length = 7;
    TensorFileWriter w;
    cr_expect_not(tensor_error_set(NULL, "x"));
    cr_expect_not(tensor_error_file(NULL, "x", 1, "x"));
    cr_expect_not(tensor_error_errno(NULL, "x", EIO));
    cr_expect_null(tensor_file_read("missing", 10, &size, NULL));
    cr_expect_null(tensor_file_open("missing", &length, NULL));
    cr_expect_not(tensor_file_begin(&w, "missing/x", NULL));
    cr_expect(size == 7 && length == 7, "a failure leaves the size as it was");
}

Test(file, a_long_message_is_cut_between_characters) {
    const char *characters[] = {"x", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    for (size_t width = 1; width <= 4; width++) {
        for (size_t shift = 0; shift < width; shift++) {
            char text[2000] = "";
            memset(text, '.', shift);
            for (size_t n = shift; n + width < 1000; n += width)
                memcpy(text + n, characters[width - 1], width + 1);
            TensorError e;
            tensor_error_set(&e, "%s", text);
            size_t n = strlen(e.message);
            cr_expect_eq(n, shift + (511 - shift) / width * width);
            cr_expect(memcmp(e.message, text, n) == 0);
        }
    }
}

Test(file, parts_of_characters_and_controls_beyond_ascii_are_not_in_a_message) {
    static const char *const cases[][2] = {
        {"\xC3", "?"}, {"\xE2\x82", "??"}, {"\xF0\x9F\x98", "???"}, {"\x82", "?"},
        {"\xC0\xAF", "??"}, {"\xF5\x80\x80\x80", "????"}, {"\xFF", "?"},
        {"\xC2\x80", "??"}, {"\xC2\x9B" "2J", "??2J"},
        {"\xC2\xA0", "\xC2\xA0"}, {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80",
                                    "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TensorError e;
        char wanted[64];
        snprintf(wanted, sizeof wanted, "%s: %s|", cases[i][1], cases[i][1]);
        tensor_error_file(&e, cases[i][0], -1, "%s|", cases[i][0]);
        cr_expect_str_eq(e.message, wanted);
    }
    TensorError e;
    tensor_error_set(&e, "%.2s: missing", "a\xC3\xA9");
    cr_expect_str_eq(e.message, "a?: missing");
}

Test(file, of_a_long_path_the_end_is_shown) {
    char path[3000];
    for (size_t shift = 0; shift < 2; shift++) {
        path[0] = 'a';
        for (size_t i = shift; i + 2 < sizeof path; i += 2)
            memcpy(path + i, "\xC3\xA9", 3);
        strcpy(path + 1000 + shift, "/model");
        TensorError e;
        tensor_error_file(&e, path, INT64_MAX, "reason");
        cr_expect(strncmp(e.message, "...\xC3\xA9", 5) == 0, "%s", e.message);
        cr_expect(strstr(e.message, "/model: byte 9223372036854775807: reason"));
    }
}

/* ---- reading ---- */

Test(file, read_gives_every_byte_and_a_zero_after_them) {
    const size_t sizes[] = {0, 1, 62, 63, 64, 65, 4096, 65534, 65535, 65536, 200001};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        size_t n = sizes[k], size = 1;
        unsigned char *bytes = malloc(n + 1);
        cr_assert(bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)(i * 31 + i / 256);
        FILE *f = fopen("data", "wb");
        cr_assert(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
        unsigned char *found = tensor_file_read("data", n, &size, NULL);
        cr_assert(found && size == n);
        cr_expect(memcmp(found, bytes, n) == 0);
        cr_expect_eq(found[n], 0);
        cr_expect_eq((uintptr_t)found % TENSOR_ALIGN, 0);
        free(found);
        free(bytes);
    }
}

Test(file, read_refuses_what_it_cannot_give_whole) {
    put("four", "abcd");
    cr_assert(mkdir("sub", 0777) == 0 && symlink("loop", "loop") == 0);
    const struct {
        const char *path, *reason;
        size_t limit;
    } cases[] = {
        {"missing", "No such file or directory", 10},
        {"", "No such file or directory", 10},
        {"four/x", "Not a directory", 10},
        {"sub", "is a folder", 10},
        {".", "is a folder", 10},
        {"loop", "Too many levels of symbolic links", 10},
        {"four", "is larger than the limit of 3 bytes", 3},
        {"four", "is larger than the limit of 0 bytes", 0},
        {"/dev/zero", "is larger than the limit of 100000 bytes", 100000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TensorError e = {""};
        size_t size = 99;
        cr_expect_null(tensor_file_read(cases[i].path, cases[i].limit, &size, &e));
        expect_message(&e, cases[i].path, cases[i].reason);
        cr_expect_eq(size, 99);
    }
}

Test(file, read_takes_pipes_and_files_of_unknown_size) {
    int ends[2];
    cr_assert(pipe(ends) == 0 && write(ends[1], "through a pipe", 14) == 14);
    close(ends[1]);
    char path[64];
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    expect_text(path, "through a pipe");
    close(ends[0]);
    size_t size;
    char *found = tensor_file_read("/proc/self/status", SIZE_MAX, &size, NULL);
    cr_assert(found);
    cr_expect(strncmp(found, "Name:", 5) == 0 && size == strlen(found));
    free(found);
}

Test(file, open_gives_the_size_and_takes_regular_files_only) {
    put("four", "abcd");
    int64_t size = -1;
    FILE *f = tensor_file_open("four", &size, NULL);
    cr_assert(f && size == 4 && fgetc(f) == 'a');
    fclose(f);
    cr_assert(mkfifo("fifo", 0666) == 0);
    const char *bad[][2] = {
        {"fifo", "is not a regular file"},
        {"/dev/null", "is not a regular file"},
        {".", "is a folder"},
        {"missing", "No such file or directory"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        TensorError e = {""};
        cr_expect_null(tensor_file_open(bad[i][0], &size, &e));
        expect_message(&e, bad[i][0], bad[i][1]);
    }
    cr_expect_eq(size, 4);
}

/* ---- writing ---- */

static void expect_empty(const TensorFileWriter *w) {
    cr_expect(!w->stream && !w->path && !w->temporary);
}

Test(file, the_old_file_stands_until_the_commit) {
    put("a", "old");
    TensorFileWriter w;
    cr_assert(tensor_file_begin(&w, "a", NULL));
    cr_assert(tensor_file_write(&w, "new ", 4, NULL) && tensor_file_write(&w, NULL, 0, NULL));
    cr_assert(fprintf(w.stream, "%d", 7) == 1 && fflush(w.stream) == 0);
    expect_text("a", "old");
    expect_text(w.temporary, "new 7");
    cr_assert(tensor_file_commit(&w, NULL));
    expect_text("a", "new 7");
    cr_expect_eq(count_names(".", NULL, 0), 1);
    expect_empty(&w);
    tensor_file_abort(&w);
    expect_text("a", "new 7");
}

Test(file, an_abort_leaves_no_trace) {
    put("a", "old");
    const char *paths[] = {"a", "b", "./a"};
    for (size_t i = 0; i < 3; i++) {
        TensorFileWriter w;
        cr_assert(tensor_file_begin(&w, paths[i], NULL));
        cr_assert(tensor_file_write(&w, "new", 3, NULL));
        cr_expect_eq(count_names(".", NULL, 0), 2);
        tensor_file_abort(&w);
        expect_empty(&w);
        cr_expect_eq(count_names(".", NULL, 0), 1);
    }
    expect_text("a", "old");
}

Test(file, writing_works_in_other_folders_and_beside_itself) {
    char path[4200];
    cr_assert(mkdir("sub", 0777) == 0);
    snprintf(path, sizeof path, "%s/sub/a", folder);
    const char *paths[] = {"sub/a", "sub/../sub/a", path};
    for (size_t i = 0; i < 3; i++) {
        TensorFileWriter first, second;
        cr_assert(tensor_file_begin(&first, paths[i], NULL));
        cr_assert(tensor_file_begin(&second, paths[i], NULL));
        cr_expect(strncmp(first.temporary, paths[i], strlen(paths[i]) - 1) == 0);
        cr_assert(fputs("first", first.stream) >= 0 && fputs("second", second.stream) >= 0);
        cr_assert(tensor_file_commit(&second, NULL));
        expect_text("sub/a", "second");
        cr_assert(tensor_file_commit(&first, NULL));
        expect_text("sub/a", "first");
        cr_expect_eq(count_names("sub", NULL, 0), 1);
    }
    cr_assert(remove("sub/a") == 0);
}

Test(file, a_temporary_name_in_use_is_left_alone) {
    char name[64];
    snprintf(name, sizeof name, ".tmp-%ld-0", (long)getpid());
    put(name, "of somebody else");
    TensorFileWriter w;
    cr_assert(tensor_file_begin(&w, "a", NULL));
    cr_assert(fputs("mine", w.stream) >= 0 && tensor_file_commit(&w, NULL));
    expect_text(name, "of somebody else");
    expect_text("a", "mine");
}

static mode_t mode_of(const char *path) {
    struct stat status;
    cr_assert(stat(path, &status) == 0);
    return status.st_mode & 0777;
}

Test(file, permissions_are_those_of_the_old_file_or_the_umask) {
    const mode_t modes[] = {0600, 0640, 0666, 0755};
    TensorFileWriter w;
    umask(027);
    for (size_t i = 0; i < 4; i++) {
        put("a", "old");
        cr_assert(chmod("a", modes[i]) == 0);
        cr_assert(tensor_file_begin(&w, "a", NULL) && tensor_file_commit(&w, NULL));
        cr_expect_eq(mode_of("a"), modes[i]);
    }
    cr_assert(tensor_file_begin(&w, "b", NULL) && tensor_file_commit(&w, NULL));
    cr_expect_eq(mode_of("b"), 0640);
}

Test(file, a_symbolic_link_stays_one_and_its_target_is_replaced) {
    cr_assert(mkdir("sub", 0777) == 0);
    put("sub/target", "old");
    cr_assert(symlink("sub/target", "link") == 0);
    TensorFileWriter w;
    cr_assert(tensor_file_begin(&w, "link", NULL));
    cr_assert(fputs("new", w.stream) >= 0 && tensor_file_commit(&w, NULL));
    struct stat status;
    cr_expect(lstat("link", &status) == 0 && S_ISLNK(status.st_mode));
    expect_text("sub/target", "new");
    cr_expect_eq(count_names("sub", NULL, 0), 1);
    cr_assert(remove("sub/target") == 0);
}

Test(file, begin_refuses_what_must_not_be_replaced) {
    put("plain", "old");
    put("locked", "old");
    cr_assert(mkdir("sub", 0777) == 0 && mkfifo("fifo", 0666) == 0);
    cr_assert(symlink("nowhere", "dangling") == 0 && chmod("locked", 0444) == 0);
    int names = count_names(".", NULL, 0);
    const char *cases[][2] = {
        {"", "No such file or directory"},
        {"missing/a", "No such file or directory"},
        {"missing/", "No such file or directory"},
        {"plain/a", "Not a directory"},
        {"sub", "is a folder"},
        {".", "is a folder"},
        {"/", "is a folder"},
        {"fifo", "is not a regular file"},
        {"/dev/null", "is not a regular file"},
        {"dangling", "No such file or directory"},
        {"locked", "Permission denied"}, /* last: a superuser may write it */
    };
    size_t n = sizeof cases / sizeof *cases - (geteuid() == 0);
    for (size_t i = 0; i < n; i++) {
        TensorError e = {""};
        TensorFileWriter w;
        cr_expect_not(tensor_file_begin(&w, cases[i][0], &e));
        expect_message(&e, cases[i][0], cases[i][1]);
        expect_empty(&w);
        tensor_file_abort(&w);
    }
    cr_expect_eq(count_names(".", NULL, 0), names);
}

/* Files may have `bytes` bytes at most: what a full disk does, without one. */
static void limit_files(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit;
    cr_assert(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes;
    cr_assert(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

Test(file, a_failed_write_leaves_the_old_file) {
    put("a", "old");
    char block[100000];
    memset(block, 'x', sizeof block);
    /* The write itself fails; it stays in the buffer and the commit fails; the limit is
     * lifted before the commit. */
    for (int kind = 0; kind < 3; kind++) {
        TensorError wrote = {""}, committed = {""};
        TensorFileWriter w;
        cr_assert(tensor_file_begin(&w, "a", NULL));
        limit_files(1000);
        bool ok = tensor_file_write(&w, block, kind == 1 ? 2000 : sizeof block, &wrote);
        if (kind == 2)
            limit_files(RLIM_INFINITY);
        bool done = tensor_file_commit(&w, &committed);
        limit_files(RLIM_INFINITY);
        cr_expect_eq(ok, kind == 1);
        cr_expect_not(done, "kind %d", kind);
        if (kind != 1)
            expect_message(&wrote, "a", "File too large");
        cr_expect(strncmp(committed.message, "a: ", 3) == 0, "%s", committed.message);
        if (kind == 1)
            expect_message(&committed, "a", "File too large");
        expect_empty(&w);
        expect_text("a", "old");
        cr_expect_eq(count_names(".", NULL, 0), 1);
    }
}

Test(file, a_failed_rename_removes_the_temporary_file) {
    TensorError e = {""};
    TensorFileWriter w;
    cr_assert(tensor_file_begin(&w, "a", NULL));
    cr_assert(mkdir("a", 0777) == 0);
    cr_expect_not(tensor_file_commit(&w, &e));
    expect_message(&e, "a", "Is a directory");
    cr_expect_eq(count_names(".", NULL, 0), 1);
}

Test(file, no_call_leaves_a_file_open) {
    put("a", "old");
    cr_assert(mkdir("sub", 0777) == 0);
    int before = count_names("/proc/self/fd", NULL, 0);
    for (int i = 0; i < 20; i++) {
        TensorFileWriter w;
        size_t size;
        int64_t length;
        cr_assert(tensor_file_begin(&w, "a", NULL) && tensor_file_commit(&w, NULL));
        cr_assert(tensor_file_begin(&w, "a", NULL));
        tensor_file_abort(&w);
        cr_expect_not(tensor_file_begin(&w, "sub", NULL));
        cr_expect_null(tensor_file_read("sub", 10, &size, NULL));
        cr_expect_null(tensor_file_open("sub", &length, NULL));
        cr_expect_null(tensor_file_open("/dev/null", &length, NULL));
        free(tensor_file_read("a", 10, &size, NULL));
    }
    cr_expect_eq(count_names("/proc/self/fd", NULL, 0), before);
}

/* ---- numbers ---- */

Test(file, the_locale_of_the_thread_comes_back) {
    locale_t own = newlocale(LC_ALL_MASK, "C.UTF-8", (locale_t)0);
    cr_assert(own);
    for (int i = 0; i < 2; i++) { /* the program's, then one of the thread's own */
        locale_t before = uselocale((locale_t)0);
        TensorLocale locale = tensor_locale_c();
        cr_assert_neq(uselocale((locale_t)0), before);
        cr_assert_str_eq(localeconv()->decimal_point, ".");
        tensor_locale_restore(locale);
        cr_assert_eq(uselocale((locale_t)0), before);
        uselocale(own);
    }
    uselocale(LC_GLOBAL_LOCALE);
    freelocale(own);
}
