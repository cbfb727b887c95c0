#include "tensor/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tensor/arena.h"

/* ---- errors ---- */

#define PATH_SHOWN 200 /* bytes of a path in a message: the rest is left to the reason */

static bool continues_character(char c) {
    return ((unsigned char)c & 0xC0u) == 0x80u;
}

/* Drops the start of a UTF-8 character whose end was cut off. */
static void trim_partial_character(char *text) {
    size_t n = strlen(text), start = n;
    while (start > 0 && n - start < 3 && continues_character(text[start - 1]))
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t length = lead >= 0xF0u ? 4 : lead >= 0xE0u ? 3 : lead >= 0xC0u ? 2 : 1;
    if (length > n - start + 1)
        text[start - 1] = 0;
}

/* The bytes of the UTF-8 character that begins here; 0: of none that is whole. */
static size_t character_length(const char *text) {
    unsigned char lead = (unsigned char)*text;
    size_t n = lead < 0x80u ? 1 : lead < 0xC2u ? 0 : lead < 0xE0u ? 2 : lead < 0xF0u ? 3 : 4;
    for (size_t i = 1; i < n; i++)
        if (!continues_character(text[i]))
            return 0;
    return lead < 0xF5u ? n : 0;
}

/* Of the ASCII characters, and of those after them (U+0080 to U+009F). */
static bool is_control(const char *text) {
    unsigned char c = (unsigned char)text[0];
    return c < 0x20 || c == 0x7F || (c == 0xC2 && (unsigned char)text[1] < 0xA0);
}

static void blank_unprintable(char *text) {
    while (*text) {
        size_t n = character_length(text);
        if (n == 0 || is_control(text)) {
            n = n > 0 ? n : 1;
            memset(text, '?', n);
        }
        text += n;
    }
}

static void set_message(TensorError *error, size_t used, const char *format, va_list arguments) {
    size_t room = sizeof error->message - used;
    int n = vsnprintf(error->message + used, room, format, arguments);
    if (n < 0)
        error->message[used] = 0;
    else if ((size_t)n >= room)
        trim_partial_character(error->message);
    blank_unprintable(error->message);
}

bool tensor_error_set(TensorError *error, const char *format, ...) {
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        set_message(error, 0, format, arguments);
        va_end(arguments);
    }
    return false;
}

/* Writes "PATH: " and perhaps "byte OFFSET: "; returns the length. */
static size_t set_place(TensorError *error, const char *path, int64_t offset) {
    const char *dots = "";
    size_t length = strlen(path);
    if (length > PATH_SHOWN) {
        path += length - PATH_SHOWN;
        while (continues_character(*path))
            path++;
        dots = "...";
    }
    size_t size = sizeof error->message;
    int n = offset >= 0 ? snprintf(error->message, size, "%s%s: byte %lld: ", dots, path,
                                   (long long)offset)
                        : snprintf(error->message, size, "%s%s: ", dots, path);
    assert(n > 0 && (size_t)n < size);
    return (size_t)n;
}

bool tensor_error_file(TensorError *error, const char *path, int64_t offset, const char *format,
                       ...) {
    if (error) {
        size_t used = set_place(error, path, offset);
        va_list arguments;
        va_start(arguments, format);
        set_message(error, used, format, arguments);
        va_end(arguments);
    }
    return false;
}

/* `code` is written out where the C library has no text for it. */
static bool fail_errno(TensorError *error, const char *path, int code, const char *remark) {
    char text[128];
    if (strerror_r(code, text, sizeof text) != 0)
        snprintf(text, sizeof text, "error %d", code);
    return tensor_error_file(error, path, -1, "%s%s", text, remark);
}

bool tensor_error_errno(TensorError *error, const char *path, int code) {
    return fail_errno(error, path, code, "");
}

static bool fail_folder(TensorError *error, const char *path) {
    return tensor_error_file(error, path, -1, "is a folder");
}

/* ---- reading ---- */

/* Returns -1 after a failure. */
static int open_reading(const char *path, int flags, struct stat *status, TensorError *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0) {
        tensor_error_errno(error, path, errno);
        return -1;
    }
    if (fstat(fd, status) != 0)
        tensor_error_errno(error, path, errno);
    else if (S_ISDIR(status->st_mode))
        fail_folder(error, path);
    else
        return fd;
    close(fd);
    return -1;
}

FILE *tensor_file_open(const char *path, int64_t *size, TensorError *error) {
    struct stat status;
    int fd = open_reading(path, O_NONBLOCK, &status, error);
    if (fd < 0)
        return NULL;
    FILE *stream = NULL;
    if (!S_ISREG(status.st_mode))
        tensor_error_file(error, path, -1, "is not a regular file");
    else if (!(stream = fdopen(fd, "rb")))
        tensor_error_errno(error, path, errno);
    if (!stream) {
        close(fd);
        return NULL;
    }
    *size = (int64_t)status.st_size;
    return stream;
}

typedef struct {
    char *bytes;
    size_t used, capacity;
} Buffer;

/* realloc would lose the alignment. */
static bool buffer_grow(Buffer *b, size_t capacity) {
    if (capacity > (size_t)PTRDIFF_MAX - TENSOR_ALIGN)
        return false;
    capacity = (capacity + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    char *bytes = aligned_alloc(TENSOR_ALIGN, capacity);
    if (!bytes)
        return false;
    if (b->used > 0)
        memcpy(bytes, b->bytes, b->used);
    free(b->bytes);
    b->bytes = bytes;
    b->capacity = capacity;
    return true;
}

static bool fail_limit(TensorError *error, const char *path, size_t limit) {
    return tensor_error_file(error, path, -1, "is larger than the limit of %zu bytes", limit);
}

/* To the end of the file, which need not be where fstat saw it. */
static bool read_all(int fd, Buffer *b, const char *path, size_t limit, TensorError *error) {
    for (;;) {
        if (b->used + 1 >= b->capacity && !buffer_grow(b, b->capacity * 2))
            return tensor_error_file(error, path, -1, "out of memory");
        ssize_t n = read(fd, b->bytes + b->used, b->capacity - 1 - b->used);
        if (n == 0)
            return true;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tensor_error_errno(error, path, errno);
        b->used += (size_t)n;
        if (b->used > limit)
            return fail_limit(error, path, limit);
    }
}

static bool read_open(int fd, Buffer *b, const struct stat *status, const char *path, size_t limit,
                      TensorError *error) {
    size_t expected = 1 << 16;
    if (S_ISREG(status->st_mode)) {
        if ((uintmax_t)status->st_size > limit)
            return fail_limit(error, path, limit);
        expected = (size_t)status->st_size;
    }
    /* One byte for the 0, one in which the end of the file shows. */
    if (!buffer_grow(b, expected + 2))
        return tensor_error_file(error, path, -1, "out of memory");
    return read_all(fd, b, path, limit, error);
}

void *tensor_file_read(const char *path, size_t limit, size_t *size, TensorError *error) {
    struct stat status;
    int fd = open_reading(path, 0, &status, error);
    if (fd < 0)
        return NULL;
    Buffer b = {0};
    bool ok = read_open(fd, &b, &status, path, limit, error);
    close(fd);
    if (!ok) {
        free(b.bytes);
        return NULL;
    }
    b.bytes[b.used] = 0;
    *size = b.used;
    return b.bytes;
}

/* ---- atomic writing ---- */

#define TEMPORARY_NAME_SIZE 64
#define TEMPORARY_ATTEMPTS 10000

/* The folder's part of a path, with its slash; empty for the current folder. */
static size_t folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* Refuses what a rename must not replace; *mode receives the permissions to give. */
static bool check_old_file(const char *path, bool *exists, mode_t *mode, TensorError *error) {
    struct stat status;
    *exists = stat(path, &status) == 0;
    if (!*exists)
        return errno == ENOENT || tensor_error_errno(error, path, errno);
    if (S_ISDIR(status.st_mode))
        return fail_folder(error, path);
    if (!S_ISREG(status.st_mode))
        return tensor_error_file(error, path, -1, "is not a regular file");
    if (access(path, W_OK) != 0)
        return tensor_error_errno(error, path, errno);
    *mode = status.st_mode & 0777;
    return true;
}

/* The path itself, or the target of a symbolic link: the link must outlive the rename. */
static char *resolve_link(const char *path, TensorError *error) {
    struct stat status;
    bool is_link = lstat(path, &status) == 0 && S_ISLNK(status.st_mode);
    errno = *path ? ENOMEM : ENOENT;
    char *target = !*path ? NULL : is_link ? realpath(path, NULL) : strdup(path);
    if (!target)
        tensor_error_errno(error, path, errno);
    return target;
}

/* Returns -1 with errno set after a failure. */
static int open_temporary(TensorFileWriter *w) {
    size_t folder = folder_length(w->path);
    w->temporary = malloc(folder + TEMPORARY_NAME_SIZE);
    if (!w->temporary)
        return -1;
    memcpy(w->temporary, w->path, folder);
    for (int i = 0; i < TEMPORARY_ATTEMPTS; i++) {
        snprintf(w->temporary + folder, TEMPORARY_NAME_SIZE, ".tmp-%ld-%d", (long)getpid(), i);
        int fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

static void clear(TensorFileWriter *w) {
    free(w->path);
    free(w->temporary);
    *w = (TensorFileWriter){0};
}

static bool begin_stream(TensorFileWriter *w, TensorError *error) {
    bool exists;
    mode_t mode = 0;
    if (!check_old_file(w->path, &exists, &mode, error))
        return false;
    int fd = open_temporary(w);
    if (fd < 0)
        return tensor_error_errno(error, w->path, errno);
    /* EPERM: a file system without permissions of its own. */
    bool permitted = !exists || fchmod(fd, mode) == 0 || errno == EPERM;
    if (permitted && (w->stream = fdopen(fd, "wb")))
        return true;
    tensor_error_errno(error, w->path, errno);
    close(fd);
    unlink(w->temporary);
    return false;
}

bool tensor_file_begin(TensorFileWriter *w, const char *path, TensorError *error) {
    *w = (TensorFileWriter){0};
    w->path = resolve_link(path, error);
    if (w->path && begin_stream(w, error))
        return true;
    clear(w);
    return false;
}

bool tensor_file_write(TensorFileWriter *w, const void *bytes, size_t n, TensorError *error) {
    errno = EIO;
    if (n == 0 || fwrite(bytes, 1, n, w->stream) == n)
        return true;
    return tensor_error_errno(error, w->path, errno);
}

/* Everything on the disk, the stream closed. */
static bool finish_stream(TensorFileWriter *w, TensorError *error) {
    bool failed_before = ferror(w->stream) != 0;
    int code = fflush(w->stream) != 0 || fsync(fileno(w->stream)) != 0 ? errno : 0;
    if (fclose(w->stream) != 0 && code == 0)
        code = errno;
    w->stream = NULL;
    if (code != 0)
        return tensor_error_errno(error, w->path, code);
    return !failed_before || tensor_error_file(error, w->path, -1, "an earlier write failed");
}

/* A rename lasts once its folder is on the disk.  Some file systems cannot sync a
 * folder, and say so by EINVAL: they do it by themselves. */
static bool sync_folder(const TensorFileWriter *w, TensorError *error) {
    size_t length = folder_length(w->path);
    w->temporary[length] = 0;
    int fd = open(length > 0 ? w->temporary : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return code == 0 || code == EINVAL ||
           fail_errno(error, w->path, code, " (written, but its folder is not synced)");
}

bool tensor_file_commit(TensorFileWriter *w, TensorError *error) {
    assert(w->stream);
    bool ok = finish_stream(w, error);
    if (ok && rename(w->temporary, w->path) != 0)
        ok = tensor_error_errno(error, w->path, errno);
    if (ok)
        ok = sync_folder(w, error);
    else
        unlink(w->temporary);
    clear(w);
    return ok;
}

void tensor_file_abort(TensorFileWriter *w) {
    if (!w->stream)
        return;
    fclose(w->stream);
    unlink(w->temporary);
    clear(w);
}

/* ---- numbers ---- */

TensorLocale tensor_locale_c(void) {
    TensorLocale locale = {.c = newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    locale.old = uselocale(locale.c);
    return locale;
}

void tensor_locale_restore(TensorLocale locale) {
    uselocale(locale.old);
    if (locale.c)
        freelocale(locale.c);
}
