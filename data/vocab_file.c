#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "data/utf8.h"
#include "data/vocab.h"
#include "data/vocab_impl.h"

#define FORMAT "unroll-vocab"
enum { VERSION = 1 };

static const char *const kind_names[] = {[DATA_VOCAB_CHAR] = "char", [DATA_VOCAB_WORD] = "word"};

static long long ll(int64_t value) {
    return value;
}

static bool out_of_memory(const char *path, TensorError *error) {
    return tensor_error_file(error, path, -1, "out of memory");
}

/* ---- saving ---- */

/* The bytes as a JSON string, freed with free(); NULL: out of memory. */
static char *quoted(const char *bytes, int64_t n) {
    json_t *string = json_stringn(bytes, (size_t)n);
    char *text = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    json_decref(string);
    return text;
}

static void write_id_or_null(FILE *stream, const char *key, int64_t id) {
    if (id < 0)
        fprintf(stream, "\"%s\": null", key);
    else
        fprintf(stream, "\"%s\": %" PRId64, key, id);
}

static void write_head(const DataVocab *v, FILE *stream) {
    fprintf(stream, "{\"format\": \"" FORMAT "\", \"version\": %d, \"kind\": \"%s\", ", VERSION,
            kind_names[v->kind]);
    write_id_or_null(stream, "unk", v->unk);
    if (v->kind == DATA_VOCAB_WORD) {
        fprintf(stream, ", ");
        write_id_or_null(stream, "eos", v->eos);
    }
    fprintf(stream, ",\n \"tokens\": [");
}

/* One token a line.  False: out of memory; the commit finds what the stream refuses. */
static bool write_tokens(const DataVocab *v, FILE *stream) {
    for (int64_t id = 0; id < v->table.size; id++) {
        char *token = quoted(data_token_bytes(&v->table, id), v->table.tokens[id].length);
        if (!token)
            return false;
        fprintf(stream, "%s\n  {\"token\": %s, \"id\": %" PRId64 ", \"count\": %" PRId64 "}",
                id == 0 ? "" : ",", token, id, v->table.tokens[id].count);
        free(token);
    }
    fprintf(stream, "]}\n");
    return true;
}

bool data_vocab_save(const DataVocab *vocab, const char *path, TensorError *error) {
    TensorFileWriter writer;
    if (!tensor_file_begin(&writer, path, error))
        return false;
    write_head(vocab, writer.stream);
    if (!write_tokens(vocab, writer.stream)) {
        tensor_file_abort(&writer);
        return out_of_memory(path, error);
    }
    return tensor_file_commit(&writer, error);
}

/* ---- loading ---- */

typedef struct {
    const char *path;
    TensorError *error;
    const json_t *tokens; /* the array of the file */
    const json_t **by_id; /* its elements in the order of their ids */
    DataVocab *vocab;
} Loader;

/* False, with "PATH: " and the formatted reason as the message. */
#define REFUSE(l, ...) tensor_error_file((l)->error, (l)->path, -1, __VA_ARGS__)

static bool is_string(const json_t *value, const char *text) {
    return json_is_string(value) && json_string_length(value) == strlen(text) &&
           memcmp(json_string_value(value), text, strlen(text)) == 0;
}

/* Whether each key of the object is among the n. */
static bool check_keys(const Loader *l, const json_t *object, const char *where,
                       const char *const *keys, int n) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        int i = 0;
        while (i < n && strcmp(key, keys[i]) != 0)
            i++;
        if (i == n)
            return REFUSE(l, "%sunknown key \"%.64s\"", where, key);
    }
    return true;
}

static bool read_kind(Loader *l, const json_t *kind) {
    for (int i = 0; i < 2; i++) {
        if (is_string(kind, kind_names[i])) {
            l->vocab->kind = (DataVocabKind)i;
            return true;
        }
    }
    return REFUSE(l, "\"kind\" is neither \"char\" nor \"word\"");
}

static bool read_specials(Loader *l, const json_t *unk, const json_t *eos) {
    if (!json_is_null(unk) && !(json_is_integer(unk) && json_integer_value(unk) == 0))
        return REFUSE(l, "\"unk\" is neither 0 nor null");
    if (eos && !json_is_null(eos) && !(json_is_integer(eos) && json_integer_value(eos) >= 0))
        return REFUSE(l, "\"eos\" is neither an id nor null");
    l->vocab->unk = json_is_null(unk) ? -1 : 0;
    l->vocab->eos = json_is_integer(eos) ? json_integer_value(eos) : -1;
    if (l->vocab->eos >= 0 && l->vocab->kind == DATA_VOCAB_CHAR)
        return REFUSE(l, "\"eos\" in a vocabulary of characters");
    return true;
}

static bool read_head(Loader *l, const json_t *root) {
    static const char *const keys[] = {"format", "version", "kind", "unk", "eos", "tokens"};
    if (!json_is_object(root) || !is_string(json_object_get(root, "format"), FORMAT))
        return REFUSE(l, "no vocabulary: \"format\" is not \"" FORMAT "\"");
    const json_t *version = json_object_get(root, "version");
    if (!json_is_integer(version))
        return REFUSE(l, "\"version\" is no integer");
    if (json_integer_value(version) != VERSION)
        return REFUSE(l, "version %lld; only %d can be read", ll(json_integer_value(version)),
                      VERSION);
    l->tokens = json_object_get(root, "tokens");
    if (!json_is_array(l->tokens))
        return REFUSE(l, "\"tokens\" is no array");
    if (json_array_size(l->tokens) == 0)
        return REFUSE(l, "\"tokens\" is empty");
    return check_keys(l, root, "", keys, 6) && read_kind(l, json_object_get(root, "kind")) &&
           read_specials(l, json_object_get(root, "unk"), json_object_get(root, "eos"));
}

/* Checks the element and puts it in its place in by_id. */
static bool place_element(Loader *l, size_t index) {
    static const char *const keys[] = {"token", "id", "count"};
    const json_t *element = json_array_get(l->tokens, index);
    const json_t *id_value = json_object_get(element, "id");
    const json_t *count_value = json_object_get(element, "count");
    int64_t size = (int64_t)json_array_size(l->tokens);
    char where[48];
    snprintf(where, sizeof where, "tokens[%zu]: ", index);
    if (!json_is_object(element))
        return REFUSE(l, "%sno object", where);
    if (!json_is_string(json_object_get(element, "token")))
        return REFUSE(l, "%s\"token\" is no string", where);
    if (!json_is_integer(id_value))
        return REFUSE(l, "%s\"id\" is no integer", where);
    if (!json_is_integer(count_value))
        return REFUSE(l, "%s\"count\" is no integer", where);
    int64_t id = json_integer_value(id_value), count = json_integer_value(count_value);
    if (count < 0)
        return REFUSE(l, "%s\"count\" %lld is negative", where, ll(count));
    if (id < 0 || id >= size)
        return REFUSE(l, "%s\"id\" %lld is not in 0..%lld", where, ll(id), ll(size - 1));
    if (l->by_id[id])
        return REFUSE(l, "%s\"id\" %lld stands twice", where, ll(id));
    l->by_id[id] = element;
    return check_keys(l, element, where, keys, 3);
}

/* Why no text of this kind has such a token; NULL: one can. */
static const char *not_a_token(DataVocabKind kind, const char *bytes, int64_t n) {
    uint32_t code;
    if (kind == DATA_VOCAB_CHAR)
        return n > 0 && data_utf8_decode(bytes, n, &code, NULL) == n ? NULL
                                                                     : "is not one code point";
    if (n == 0)
        return "is empty";
    for (int64_t at = 0; at < n;) {
        at += data_utf8_decode(bytes + at, n - at, &code, NULL);
        if (data_utf8_is_space(code))
            return "has white space";
    }
    return NULL;
}

static bool add_token(Loader *l, int64_t id, int64_t *sum) {
    const json_t *string = json_object_get(l->by_id[id], "token");
    const char *bytes = json_string_value(string);
    int64_t n = (int64_t)json_string_length(string);
    int64_t count = json_integer_value(json_object_get(l->by_id[id], "count"));
    bool special = id == l->vocab->unk && is_string(string, DATA_UNK);
    const char *reason = special ? NULL : not_a_token(l->vocab->kind, bytes, n);
    if (reason)
        return REFUSE(l, "id %lld: \"token\" %s", ll(id), reason);
    if (__builtin_add_overflow(*sum, count, sum))
        return REFUSE(l, "id %lld: the counts exceed 2^63 - 1", ll(id));
    int64_t number = data_token_add(&l->vocab->table, bytes, n);
    if (number < 0)
        return out_of_memory(l->path, l->error);
    if (number != id)
        return REFUSE(l, "ids %lld and %lld have the same \"token\"", ll(number), ll(id));
    l->vocab->table.tokens[id].count = count;
    return true;
}

static bool check_special(const Loader *l, int64_t id, const char *key, const char *token) {
    if (id < 0 || data_token_find(&l->vocab->table, token, DATA_SPECIAL_SIZE) == id)
        return true;
    return REFUSE(l, "\"%s\" is %lld, which is not the id of %s", key, ll(id), token);
}

static bool read_tokens(Loader *l) {
    size_t size = json_array_size(l->tokens);
    for (size_t i = 0; i < size; i++)
        if (!place_element(l, i))
            return false;
    int64_t sum = 0;
    for (int64_t id = 0; id < (int64_t)size; id++)
        if (!add_token(l, id, &sum))
            return false;
    return check_special(l, l->vocab->unk, "unk", DATA_UNK) &&
           check_special(l, l->vocab->eos, "eos", DATA_EOS);
}

static bool read_root(Loader *l, const json_t *root) {
    if (!read_head(l, root))
        return false;
    l->by_id = calloc(json_array_size(l->tokens), sizeof *l->by_id);
    if (!l->by_id)
        return out_of_memory(l->path, l->error);
    bool read = read_tokens(l);
    free(l->by_id);
    return read;
}

/* The file's JSON; NULL with a message. */
static json_t *read_json(const char *path, TensorError *error) {
    size_t size;
    char *bytes = tensor_file_read(path, PTRDIFF_MAX - 1, &size, error);
    if (!bytes)
        return NULL;
    json_error_t why;
    json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    free(bytes);
    if (!root && why.text[0] == '\0') /* jansson's word for it */
        out_of_memory(path, error);
    else if (!root)
        tensor_error_file(error, path, why.position, "line %d, column %d: %s", why.line, why.column,
                          why.text);
    return root;
}

DataVocab *data_vocab_load(const char *path, TensorError *error) {
    json_t *root = read_json(path, error);
    if (!root)
        return NULL;
    Loader loader = {.path = path, .error = error, .vocab = calloc(1, sizeof *loader.vocab)};
    bool read = loader.vocab ? read_root(&loader, root) : out_of_memory(path, error);
    json_decref(root);
    if (read)
        return loader.vocab;
    data_vocab_free(loader.vocab);
    return NULL;
}
