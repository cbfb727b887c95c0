#include "data/utf8.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

const char *data_utf8_fault_name(DataUtf8Fault fault) {
    switch (fault) {
    case DATA_UTF8_OK: return "valid";
    case DATA_UTF8_CONTINUATION: return "lone continuation byte";
    case DATA_UTF8_OVERLONG: return "overlong form";
    case DATA_UTF8_SURROGATE: return "surrogate";
    case DATA_UTF8_TOO_LARGE: return "code point beyond U+10FFFF";
    case DATA_UTF8_NEVER_USED: return "byte that UTF-8 never uses";
    case DATA_UTF8_TRUNCATED: return "truncated sequence";
    }
    return "unknown fault";
}

static bool is_continuation(uint8_t byte) {
    return (byte & 0xC0) == 0x80;
}

/* What is wrong with a first byte whatever follows; OK for a legal one. */
static DataUtf8Fault lead_fault(uint8_t lead) {
    if (is_continuation(lead))
        return DATA_UTF8_CONTINUATION;
    if (lead == 0xC0 || lead == 0xC1)
        return DATA_UTF8_OVERLONG;
    if (lead >= 0xF8)
        return DATA_UTF8_NEVER_USED;
    return lead >= 0xF5 ? DATA_UTF8_TOO_LARGE : DATA_UTF8_OK;
}

/* What is wrong with a continuation byte behind this lead (table 3-7). */
static DataUtf8Fault second_fault(uint8_t lead, uint8_t second) {
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90))
        return DATA_UTF8_OVERLONG;
    if (lead == 0xED && second >= 0xA0)
        return DATA_UTF8_SURROGATE;
    return lead == 0xF4 && second >= 0x90 ? DATA_UTF8_TOO_LARGE : DATA_UTF8_OK;
}

/* The length of the maximal subpart at the start of s, which is not well-formed. */
static int maximal_subpart(const uint8_t *s, int64_t n, DataUtf8Fault *fault) {
    *fault = lead_fault(s[0]);
    if (*fault != DATA_UTF8_OK)
        return 1;
    if (n > 1 && is_continuation(s[1])) {
        *fault = second_fault(s[0], s[1]);
        if (*fault != DATA_UTF8_OK)
            return 1;
    }
    *fault = DATA_UTF8_TRUNCATED;
    int length = 1;
    while (length < n && length < DATA_UTF8_MAX - 1 && is_continuation(s[length]))
        length++;
    return length;
}

int data_utf8_decode(const char *text, int64_t n, uint32_t *code, DataUtf8Fault *fault) {
    DataUtf8Fault ignored;
    if (!fault)
        fault = &ignored;
    *fault = DATA_UTF8_OK;
    *code = 0;
    if (n <= 0)
        return 0;
    const uint8_t *s = (const uint8_t *)text;
    if (s[0] < 0x80) {
        *code = s[0];
        return 1;
    }
    utf8proc_int32_t point;
    utf8proc_ssize_t length = utf8proc_iterate(s, n < DATA_UTF8_MAX ? n : DATA_UTF8_MAX, &point);
    if (length > 0) {
        *code = (uint32_t)point;
        return (int)length;
    }
    *code = DATA_UTF8_REPLACEMENT;
    return maximal_subpart(s, n, fault);
}

int data_utf8_encode(uint32_t code, char out[DATA_UTF8_MAX]) {
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        return 0;
    return (int)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out);
}

int64_t data_utf8_invalid(const char *text, int64_t n, DataUtf8Fault *fault) {
    DataUtf8Fault found = DATA_UTF8_OK;
    int64_t at = 0;
    while (at < n) {
        uint32_t code;
        int length = data_utf8_decode(text + at, n - at, &code, &found);
        if (found != DATA_UTF8_OK)
            break;
        at += length;
    }
    if (fault)
        *fault = found;
    return found == DATA_UTF8_OK ? -1 : at;
}

int64_t data_utf8_count(const char *text, int64_t n) {
    int64_t count = 0;
    uint32_t code;
    for (int64_t at = 0; at < n; count++)
        at += data_utf8_decode(text + at, n - at, &code, NULL);
    return count;
}

bool data_utf8_is_space(uint32_t code) {
    if (code < 0x80)
        return code == ' ' || (code >= '\t' && code <= '\r');
    if (code == 0x85)
        return true;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

/* ---- to a stream ---- */

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

void data_utf8_write(FILE *stream, const char *text, int64_t n, DataUtf8Substitute *substitute) {
    for (int64_t at = 0; at < n;) {
        uint32_t code;
        DataUtf8Fault fault;
        int length = data_utf8_decode(text + at, n - at, &code, &fault);
        const char *other = fault != DATA_UTF8_OK ? REPLACEMENT : substitute(code);
        if (other)
            fputs(other, stream);
        else
            fwrite(text + at, 1, (size_t)length, stream);
        at += length;
    }
}

const char *data_utf8_xml(uint32_t code) {
    switch (code) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&apos;";
    case '\t': return "&#9;";
    case '\n': return "&#10;";
    case '\r': return "&#13;";
    }
    return code < 0x20 || code == 0xFFFE || code == 0xFFFF ? REPLACEMENT : NULL;
}

/* ---- new texts ---- */

/* One sequence of the old text, taken from s, to its place in the new one. */
typedef int Rewrite(const char *s, int length, uint32_t code, DataUtf8Fault fault,
                    char out[DATA_UTF8_MAX]);

static int rewrite_replaced(const char *s, int length, uint32_t code, DataUtf8Fault fault,
                            char out[DATA_UTF8_MAX]) {
    (void)s, (void)length, (void)fault;
    return data_utf8_encode(code, out);
}

static int rewrite_lower(const char *s, int length, uint32_t code, DataUtf8Fault fault,
                         char out[DATA_UTF8_MAX]) {
    if (fault == DATA_UTF8_OK)
        return data_utf8_encode((uint32_t)utf8proc_tolower((utf8proc_int32_t)code), out);
    memcpy(out, s, (size_t)length);
    return length;
}

/* The length of the new text, which is written where out is not NULL. */
static int64_t rewrite_into(Rewrite *rewrite, const char *text, int64_t n, char *out,
                            int64_t *faults) {
    int64_t total = 0;
    *faults = 0;
    for (int64_t at = 0; at < n;) {
        uint32_t code;
        DataUtf8Fault fault;
        char sequence[DATA_UTF8_MAX];
        int length = data_utf8_decode(text + at, n - at, &code, &fault);
        int written = rewrite(text + at, length, code, fault, sequence);
        if (out)
            memcpy(out + total, sequence, (size_t)written);
        *faults += fault != DATA_UTF8_OK;
        total += written;
        at += length;
    }
    return total;
}

static char *rewritten(Rewrite *rewrite, const char *text, int64_t n, int64_t *length,
                       int64_t *faults) {
    int64_t total = rewrite_into(rewrite, text, n, NULL, faults);
    char *out = malloc((size_t)total + 1);
    *length = 0;
    if (!out)
        return NULL;
    *length = rewrite_into(rewrite, text, n, out, faults);
    assert(*length == total);
    out[total] = '\0';
    return out;
}

char *data_utf8_replace(const char *text, int64_t n, int64_t *length, int64_t *replaced) {
    int64_t faults;
    char *out = rewritten(rewrite_replaced, text, n, length, &faults);
    if (replaced)
        *replaced = faults;
    return out;
}

char *data_utf8_lower(const char *text, int64_t n, int64_t *length) {
    int64_t faults;
    return rewritten(rewrite_lower, text, n, length, &faults);
}

/* The lower case of an ASCII letter, 0 for every other byte. */
static char letter(char byte) {
    if (byte >= 'A' && byte <= 'Z')
        return (char)(byte - 'A' + 'a');
    return byte >= 'a' && byte <= 'z' ? byte : '\0';
}

char *data_utf8_letters(const char *text, int64_t n, int64_t *length) {
    *length = 0;
    char *out = malloc((size_t)(n > 0 ? n : 0) + 1);
    if (!out)
        return NULL;
    int64_t total = 0;
    bool in_line = false, gap = false; /* a letter was seen; others were, since */
    for (int64_t i = 0; i < n; i++) {
        char low = letter(text[i]);
        if (low) {
            if (in_line && gap)
                out[total++] = ' ';
            out[total++] = low;
            in_line = true;
            gap = false;
        } else if (text[i] == '\n' || text[i] == '\r') {
            in_line = false;
        } else {
            gap = true;
        }
    }
    out[total] = '\0';
    *length = total;
    return out;
}
