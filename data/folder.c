#include "data/folder.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    char **items;
    int64_t count, capacity;
} Paths;

static void free_paths(Paths *paths) {
    for (int64_t i = 0; i < paths->count; i++)
        free(paths->items[i]);
    free(paths->items);
}

static bool add_path(Paths *paths, const char *path) {
    if (paths->count == paths->capacity) {
        int64_t larger = paths->capacity ? 2 * paths->capacity : 64;
        char **moved = realloc(paths->items, (size_t)larger * sizeof *moved);
        if (!moved) return false;
        paths->items = moved;
        paths->capacity = larger;
    }
    char *copy = strdup(path);
    if (!copy) return false;
    paths->items[paths->count++] = copy;
    return true;
}

static int compare_paths(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static bool is_text(const FTSENT *entry) {
    size_t length = strlen(entry->fts_name);
    return length >= 4 && strcmp(entry->fts_name + length - 4, ".txt") == 0;
}

/* One step of the way through the folder. */
static bool visit(FTS *tree, FTSENT *entry, Paths *paths, TensorError *error) {
    if (entry->fts_level > 0 && entry->fts_name[0] == '.') {
        fts_set(tree, entry, FTS_SKIP);
        return true;
    }
    switch (entry->fts_info) {
    case FTS_F:
    case FTS_SLNONE: /* a link to nothing: its reading tells why */
        return !is_text(entry) || entry->fts_statp->st_size == 0 ||
               add_path(paths, entry->fts_path) ||
               tensor_error_errno(error, entry->fts_path, ENOMEM);
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS: return tensor_error_errno(error, entry->fts_path, entry->fts_errno);
    default: return true; /* FTS_DC, a link back to a folder above it, among them */
    }
}

static bool visit_all(FTS *tree, const char *folder, Paths *paths, TensorError *error) {
    FTSENT *entry;
    while (errno = 0, (entry = fts_read(tree)) != NULL)
        if (!visit(tree, entry, paths, error)) return false;
    return errno == 0 || tensor_error_errno(error, folder, errno);
}

static bool find_texts(const char *folder, Paths *paths, TensorError *error) {
    char *root = strdup(folder);
    FTS *tree = root ? fts_open((char *[]){root, NULL}, FTS_LOGICAL | FTS_NOCHDIR, NULL) : NULL;
    bool ok = tree ? visit_all(tree, folder, paths, error)
                   : tensor_error_errno(error, folder, errno);
    if (tree) fts_close(tree);
    free(root);
    if (!ok) return false;
    if (paths->count == 0)
        return tensor_error_file(error, folder, -1, "is a folder without texts (files *.txt)");
    qsort(paths->items, (size_t)paths->count, sizeof *paths->items, compare_paths);
    return true;
}

/* Puts `more` behind the text. */
static bool append(DataText *text, const DataText *more) {
    bool lf = text->length > 0 && text->bytes[text->length - 1] != '\n';
    char *bytes = realloc(text->bytes, (size_t)(text->length + lf + more->length) + 1);
    if (!bytes) return false;
    if (lf) bytes[text->length] = '\n';
    memcpy(bytes + text->length + lf, more->bytes, (size_t)more->length + 1);
    text->bytes = bytes;
    text->length += lf + more->length;
    text->replaced += more->replaced;
    return true;
}

static bool read_paths(const Paths *paths, const DataTextOptions *options, DataText *text,
                       TensorError *error) {
    for (int64_t i = 0; i < paths->count; i++) {
        DataText more;
        if (!data_text_read(paths->items[i], options, &more, error)) return false;
        bool appended = append(text, &more);
        data_text_free(&more);
        if (!appended) return tensor_error_errno(error, paths->items[i], ENOMEM);
    }
    return true;
}

bool data_folder_read(const char *path, const DataTextOptions *options, DataText *text,
                      TensorError *error) {
    struct stat info;
    Paths paths = {0};
    *text = (DataText){0};
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return data_text_read(path, options, text, error);
    bool ok = find_texts(path, &paths, error) && read_paths(&paths, options, text, error);
    free_paths(&paths);
    if (!ok) data_text_free(text);
    return ok;
}
