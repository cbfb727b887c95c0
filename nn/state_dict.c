/* state_dict.c -- saving and loading a set of parameters. */
#include "nn/state_dict.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/kernels.h"

/* ---- saving ---- */

bool nn_save(const NnParamSet *set, const char *path, int64_t n_metadata,
             const TensorMetadata *metadata, TensorError *error) {
    if (!nn_params_ok(set))
        return tensor_error_file(error, path, -1, "not written: %s", nn_params_error(set));
    int n = nn_params_count(set);
    TensorNamed *named = malloc((size_t)(n ? n : 1) * sizeof *named);
    if (!named) return tensor_error_file(error, path, -1, "out of memory");
    for (int i = 0; i < n; i++) {
        const NnParam *p = nn_params_at(set, i);
        named[i] = (TensorNamed){p->name, p->value};
    }
    bool ok = tensor_safetensors_write(path, n, named, n_metadata, metadata, error);
    free(named);
    return ok;
}

/* ---- names ---- */

/* The name that a tensor of the file has for us, in buf; NULL if it lies outside the prefix. */
static const char *local_name(const char *name, const NnLoadOptions *o, char *buf, size_t n) {
    size_t skip = o->prefix ? strlen(o->prefix) : 0;
    if (skip && strncmp(name, o->prefix, skip)) return NULL;
    name += skip;
    for (int i = 0; i < o->n_rename; i++) {
        const NnRename *r = &o->rename[i];
        size_t from = strlen(r->from);
        bool start = from && r->from[from - 1] == '.' && strncmp(name, r->from, from) == 0;
        if (!start && strcmp(name, r->from)) continue;
        snprintf(buf, n, "%s%s", r->to, name + from);
        return buf;
    }
    return name;
}

/* ---- the report ---- */

/* One load: which entry of the file each parameter gets, and what does not fit. */
typedef struct {
    NnParamSet *set;
    const char *path;
    const NnLoadOptions *options;
    const TensorSafetensors *file;
    NnLoadReport *report;
    int64_t *source; /* [parameters], -1: none */
} Load;

static bool fail_memory(const Load *load) {
    TensorError error;
    tensor_error_file(&error, load->path, -1, "out of memory");
    memcpy(load->report->message, error.message, sizeof error.message);
    return false;
}

static char *copy_text(const Load *load, const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = tensor_arena_alloc(load->report->memory, size);
    if (copy) memcpy(copy, text, size);
    return copy;
}

static bool add_mismatch(const Load *load, const NnParam *p, const char *found) {
    char expected[TENSOR_DESCRIBE_SIZE];
    tensor_describe(&p->value, expected, sizeof expected);
    NnMismatch m = {p->name, copy_text(load, expected), copy_text(load, found)};
    load->report->mismatched[load->report->n_mismatched++] = m;
    return (m.expected && m.found) || fail_memory(load);
}

/* Finds the parameter of entry i, or notes why there is none. */
static bool match_entry(const Load *load, int64_t i) {
    const TensorSafetensorsEntry *e = tensor_safetensors_entry(load->file, i);
    char buf[2 * NN_NAME_SIZE], found[2 * NN_NAME_SIZE + TENSOR_DESCRIBE_SIZE];
    const char *name = local_name(e->name, load->options, buf, sizeof buf);
    if (!name) return true;
    const NnParam *p = nn_params_find(load->set, name);
    NnLoadReport *r = load->report;
    if (!p) {
        r->unexpected[r->n_unexpected] = copy_text(load, e->name);
        return r->unexpected[r->n_unexpected++] || fail_memory(load);
    }
    int64_t *source = &load->source[p->index];
    if (*source >= 0) {
        snprintf(found, sizeof found, "two tensors, %.200s and %.200s",
                 tensor_safetensors_entry(load->file, *source)->name, e->name);
        return add_mismatch(load, p, found);
    }
    *source = i;
    if (e->value.dtype == p->value.dtype && tensor_same_shape(&e->value, &p->value)) return true;
    return add_mismatch(load, p, tensor_safetensors_describe(e, found));
}

static bool match_all(Load *load) {
    NnLoadReport *r = load->report;
    size_t n = (size_t)nn_params_count(load->set);
    size_t entries = (size_t)tensor_safetensors_count(load->file);
    load->source = tensor_arena_alloc(r->memory, n * sizeof *load->source);
    r->missing = tensor_arena_alloc(r->memory, n * sizeof *r->missing);
    r->unexpected = tensor_arena_alloc(r->memory, entries * sizeof *r->unexpected);
    r->mismatched = tensor_arena_alloc(r->memory, entries * sizeof *r->mismatched);
    if (!load->source || !r->missing || !r->unexpected || !r->mismatched)
        return fail_memory(load);
    for (size_t i = 0; i < n; i++) load->source[i] = -1;
    for (size_t i = 0; i < entries; i++)
        if (!match_entry(load, (int64_t)i)) return false;
    for (size_t i = 0; i < n; i++)
        if (load->source[i] < 0) r->missing[r->n_missing++] = nn_params_at(load->set, (int)i)->name;
    return true;
}

/* ---- the message ---- */

enum { NAMES_SHOWN = 3 };

/* ", 2 missing (a, b)" behind what the text holds. */
static void append_names(TensorError *text, const char *what, int n, const char *const *name) {
    char list[360];
    size_t used = 0;
    for (int i = 0; i < n && i < NAMES_SHOWN && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%.100s", i ? ", " : "",
                                 name[i]);
    if (n == 0) return;
    char before[sizeof text->message];
    memcpy(before, text->message, sizeof before);
    tensor_error_set(text, "%s%s%d %s (%s%s)", before, *before ? ", " : "", n, what, list,
                     n > NAMES_SHOWN ? ", .." : "");
}

static void write_refusal(const Load *load, bool nothing) {
    NnLoadReport *r = load->report;
    const char *shown[NAMES_SHOWN] = {NULL};
    char text[NAMES_SHOWN][160];
    for (int i = 0; i < r->n_mismatched && i < NAMES_SHOWN; i++) {
        const NnMismatch *m = &r->mismatched[i];
        snprintf(text[i], sizeof text[i], "%.60s: expected %.40s, found %.40s", m->name,
                 m->expected, m->found);
        shown[i] = text[i];
    }
    TensorError list = {{0}}, error;
    append_names(&list, "mismatched", r->n_mismatched, shown);
    append_names(&list, "missing", r->n_missing, r->missing);
    append_names(&list, "unexpected", r->n_unexpected, r->unexpected);
    const char *prefix = load->options->prefix ? load->options->prefix : "";
    tensor_error_file(&error, load->path, -1, "nothing loaded%s%.60s: %s%s",
                      *prefix ? " below " : "", prefix,
                      nothing ? "no name of the set; " : "", list.message);
    memcpy(r->message, error.message, sizeof error.message);
}

/* ---- loading ---- */

static bool run(Load *load) {
    if (!match_all(load)) return false;
    NnLoadReport *r = load->report;
    int n = nn_params_count(load->set);
    bool nothing = n > 0 && r->n_missing == n;
    bool differs = r->n_missing > 0 || r->n_unexpected > 0;
    if (r->n_mismatched || nothing || (differs && !load->options->partial)) {
        write_refusal(load, nothing);
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (load->source[i] < 0) continue;
        NnParam *p = nn_params_at(load->set, i);
        tensor_convert(&p->value, &tensor_safetensors_entry(load->file, load->source[i])->value);
        nn_param_touch(p);
        r->n_loaded++;
    }
    return true;
}

static bool load_into(NnParamSet *set, const TensorSafetensors *file, const char *path,
                      const NnLoadOptions *options, NnLoadReport *report) {
    *report = (NnLoadReport){.memory = tensor_arena_new()};
    Load load = {set, path, options, file, report, NULL};
    if (!report->memory) return fail_memory(&load);
    if (nn_params_ok(set)) return run(&load);
    TensorError error;
    tensor_error_file(&error, path, -1, "nothing loaded: %s", nn_params_error(set));
    memcpy(report->message, error.message, sizeof error.message);
    return false;
}

bool nn_load_from(NnParamSet *set, const TensorSafetensors *file, const char *path,
                  const NnLoadOptions *options, NnLoadReport *report) {
    static const NnLoadOptions none;
    NnLoadReport unread;
    bool ok = load_into(set, file, path, options ? options : &none, report ? report : &unread);
    if (!report) nn_load_report_free(&unread);
    return ok;
}

bool nn_load(NnParamSet *set, const char *path, const NnLoadOptions *options,
             NnLoadReport *report) {
    TensorError error;
    TensorSafetensors *file;
    if (tensor_safetensors_open(path, &file, &error)) {
        bool ok = nn_load_from(set, file, path, options, report);
        tensor_safetensors_close(file);
        return ok;
    }
    if (report) {
        *report = (NnLoadReport){0};
        memcpy(report->message, error.message, sizeof error.message);
    }
    return false;
}

void nn_load_report_free(NnLoadReport *report) {
    if (!report) return;
    tensor_arena_free(report->memory);
    *report = (NnLoadReport){0};
}
