#include "data/text.h"

#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"

static const char byte_order_mark[] = "\xEF\xBB\xBF";
enum { MARK_SIZE = sizeof byte_order_mark - 1 };

/* CRLF and CR become LF, in place.  Returns the new length. */
static int64_t normalize_newlines(char *bytes, int64_t n) {
    int64_t out = 0;
    for (int64_t i = 0; i < n; i++) {
        if (bytes[i] == '\r' && i + 1 < n && bytes[i + 1] == '\n')
            continue;
        bytes[out++] = bytes[i] == '\r' ? '\n' : bytes[i];
    }
    bytes[out] = '\0';
    return out;
}

static bool out_of_memory(const char *name, TensorError *error) {
    return tensor_error_file(error, name, -1, "out of memory");
}

static bool make_text(const char *bytes, int64_t n, const char *name,
                      const DataTextOptions *options, DataText *text, TensorError *error) {
    DataTextOptions o = options ? *options : (DataTextOptions){0};
    int64_t skip = n >= MARK_SIZE && memcmp(bytes, byte_order_mark, MARK_SIZE) == 0 ? MARK_SIZE : 0;
    if (n <= skip)
        return tensor_error_file(error, name, -1, "is empty");
    if (!o.replace) {
        DataUtf8Fault fault;
        int64_t at = data_utf8_invalid(bytes + skip, n - skip, &fault);
        if (at >= 0)
            return tensor_error_file(error, name, skip + at, "not UTF-8: %s (0x%02X)",
                                     data_utf8_fault_name(fault), (unsigned char)bytes[skip + at]);
    }
    text->bytes = data_utf8_replace(bytes + skip, n - skip, &text->length, &text->replaced);
    if (!text->bytes)
        return out_of_memory(name, error);
    if (o.newlines)
        text->length = normalize_newlines(text->bytes, text->length);
    return true;
}

bool data_text_copy(const char *bytes, int64_t n, const char *name, const DataTextOptions *options,
                    DataText *text, TensorError *error) {
    *text = (DataText){0};
    if (make_text(bytes, n, name, options, text, error))
        return true;
    *text = (DataText){0};
    return false;
}

bool data_text_read(const char *path, const DataTextOptions *options, DataText *text,
                    TensorError *error) {
    size_t size;
    *text = (DataText){0};
    char *bytes = tensor_file_read(path, PTRDIFF_MAX - 1, &size, error);
    if (!bytes)
        return false;
    bool made = data_text_copy(bytes, (int64_t)size, path, options, text, error);
    free(bytes);
    return made;
}

void data_text_free(DataText *text) {
    free(text->bytes);
    *text = (DataText){0};
}
