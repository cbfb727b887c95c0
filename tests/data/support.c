#include "tests/data/support.h"

#include <assert.h>
#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

uint64_t random_below(uint64_t *state, uint64_t n) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) % n;
}

int plain_encode(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    int length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = length - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3F));
    out[0] = (char)((0xF00 >> length & 0xFF) | code);
    return length;
}

static uint32_t random_code(uint64_t *state) {
    static const uint32_t chosen[] = {0,   '\n', '\r', ' ',    '"',   '\\',
                                      '<', 0x85, 0xA0, 0x3000, 0xFFFD};
    switch (random_below(state, 4)) {
    case 0: return chosen[random_below(state, sizeof chosen / sizeof *chosen)];
    case 1: return (uint32_t)random_below(state, 0x80);
    case 2: return (uint32_t)random_below(state, 0xD800);
    default: return 0xE000 + (uint32_t)random_below(state, 0x110000 - 0xE000);
    }
}

int64_t random_text(uint64_t *state, int64_t n, char *out) {
    int64_t total = 0;
    for (int64_t i = 0; i < n; i++)
        total += plain_encode(random_code(state), out + total);
    return total;
}

/* ---- files ---- */

static char folder[PATH_MAX];
static char paths[64][PATH_MAX + 256];
static int path_count;

static void remove_scratch(void) {
    FTS *tree = fts_open((char *[]){folder, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *entry; tree && (entry = fts_read(tree)) != NULL;)
        if (entry->fts_info != FTS_D) remove(entry->fts_accpath);
    if (tree) fts_close(tree);
}

const char *scratch_path(const char *name) {
    if (!folder[0]) {
        const char *base = getenv("TEST_TMPDIR");
        snprintf(folder, sizeof folder, "%s/data_test_XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(folder)) {
            perror(folder);
            abort();
        }
        atexit(remove_scratch);
    }
    for (int i = 0; i < path_count; i++)
        if (strcmp(paths[i] + strlen(folder) + 1, name) == 0)
            return paths[i];
    assert(path_count < 64);
    snprintf(paths[path_count], sizeof paths[0], "%s/%s", folder, name);
    return paths[path_count++];
}

/* The folders between the scratch folder and the file. */
static void make_folders(const char *path) {
    char part[sizeof paths[0]];
    for (const char *end = path + strlen(folder) + 1; (end = strchr(end, '/')) != NULL; end++) {
        snprintf(part, sizeof part, "%.*s", (int)(end - path), path);
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            perror(part);
            abort();
        }
    }
}

const char *scratch_file(const char *name, const void *bytes, int64_t n) {
    const char *path = scratch_path(name);
    make_folders(path);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, (size_t)n, file) != (size_t)n || fclose(file) != 0) {
        perror(path);
        abort();
    }
    return path;
}

void give_up_override(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];
    bool known = syscall(SYS_capget, &header, sets) == 0;
    sets[0].effective &= ~(1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH);
    if (!known || syscall(SYS_capset, &header, sets) != 0) {
        perror("capset");
        abort();
    }
}
