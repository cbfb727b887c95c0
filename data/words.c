#include "data/words.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "data/utf8.h"

/* ---- characters ---- */

typedef enum { SPACE, LETTER, DIGIT, MARK, IDEOGRAPH, PUNCTUATION, OTHER } Class;

static bool between(uint32_t code, uint32_t first, uint32_t last) {
    return code >= first && code <= last;
}

/* The blocks of Han and kana; what is punctuation in them was told apart before. */
static bool is_ideograph(uint32_t code) {
    return between(code, 0x2E80, 0x2FDF) || between(code, 0x3005, 0x3007) ||
           between(code, 0x3021, 0x30FF) || between(code, 0x31F0, 0x31FF) ||
           between(code, 0x3400, 0x4DBF) || between(code, 0x4E00, 0x9FFF) ||
           between(code, 0xE000, 0xFAFF) || between(code, 0xFF66, 0xFF9F) ||
           between(code, 0x1AFF0, 0x1B16F) || code >= 0x20000;
}

static Class class_of_ascii(uint32_t code) {
    if (data_utf8_is_space(code)) return SPACE;
    if (between(code | 0x20, 'a', 'z')) return LETTER;
    if (between(code, '0', '9')) return DIGIT;
    return code > ' ' && code < 0x7F ? PUNCTUATION : OTHER;
}

static Class class_of(uint32_t code) {
    if (code < 0x80) return class_of_ascii(code);
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT: return LETTER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return is_ideograph(code) ? IDEOGRAPH : LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return is_ideograph(code) ? IDEOGRAPH : DIGIT;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return MARK;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK: return PUNCTUATION;
    case UTF8PROC_CATEGORY_CF:
        return code == 0x200C || code == 0x200D || code == 0xAD ? MARK : OTHER;
    case UTF8PROC_CATEGORY_CO: return IDEOGRAPH;
    default: return data_utf8_is_space(code) ? SPACE : OTHER;
    }
}

/* ---- splitting ---- */

typedef struct {
    const char *text;
    int64_t n;
} Text;

/* The class of the character at `at`, which has *length bytes; 0 at the end. */
static Class look(Text t, int64_t at, uint32_t *code, int *length) {
    *length = data_utf8_decode(t.text + at, t.n - at, code, NULL);
    return *length > 0 ? class_of(*code) : SPACE;
}

/* Whether one such mark inside a word holds its two sides together. */
static bool holds(Class before, uint32_t code, Class after) {
    if ((before != LETTER && before != DIGIT) || (after != LETTER && after != DIGIT)) return false;
    switch (code) {
    case '\'':
    case 0x2019:
    case '-':
    case 0x2010:
    case 0x2011:
    case '_': return true;
    case '.': return before == after;
    case 0xB7: return before == LETTER && after == LETTER;
    case ',':
    case ':':
    case 0x66B:
    case 0x66C: return before == DIGIT && after == DIGIT;
    default: return false;
    }
}

static int64_t skip_marks(Text t, int64_t at) {
    uint32_t code;
    int length;
    while (look(t, at, &code, &length) == MARK)
        at += length;
    return at;
}

static int64_t word_end(Text t, int64_t at, Class last) {
    for (;;) {
        uint32_t code;
        int length;
        at = skip_marks(t, at);
        Class class = look(t, at, &code, &length);
        if (class != LETTER && class != DIGIT) {
            uint32_t next;
            int next_length;
            class = look(t, at + length, &next, &next_length);
            if (!holds(last, code, class)) return at;
            length += next_length;
        }
        last = class;
        at += length;
    }
}

static int64_t run_end(Text t, int64_t at, int length) {
    const char *mark = t.text + at;
    do
        at += length;
    while (t.n - at >= length && memcmp(t.text + at, mark, (size_t)length) == 0);
    return at;
}

static int64_t cluster_end(Text t, int64_t at, uint32_t code, int length) {
    utf8proc_int32_t state = 0;
    for (;;) {
        uint32_t next;
        at += length;
        /* Some characters make a cluster with whatever follows, a space too. */
        if (look(t, at, &next, &length) == SPACE ||
            utf8proc_grapheme_break_stateful((utf8proc_int32_t)code, (utf8proc_int32_t)next,
                                             &state))
            return at;
        code = next;
    }
}

/* The end of the token that begins at `at`. */
static int64_t token_end(Text t, int64_t at, Class class, uint32_t code, int length) {
    switch (class) {
    case LETTER:
    case DIGIT: return word_end(t, at + length, class);
    case IDEOGRAPH: return skip_marks(t, at + length);
    case PUNCTUATION: return run_end(t, at, length);
    default: return cluster_end(t, at, code, length);
    }
}

char *data_words_split(const char *text, int64_t n, int64_t *length) {
    const Text t = {text, n > 0 ? n : 0};
    *length = 0;
    /* Each token has a byte, and gets a space at most. */
    char *out = malloc(2 * (size_t)t.n + 1);
    if (!out) return NULL;
    int64_t total = 0;
    bool in_line = false;
    for (int64_t at = 0; at < t.n;) {
        uint32_t code;
        int size;
        Class class = look(t, at, &code, &size);
        int64_t end = at + size;
        if (class != SPACE) {
            end = token_end(t, at, class, code, size);
            if (in_line) out[total++] = ' ';
            memcpy(out + total, text + at, (size_t)(end - at));
            total += end - at;
            in_line = true;
        } else if (code == '\n') {
            out[total++] = '\n';
            in_line = false;
        }
        at = end;
    }
    out[total] = '\0';
    *length = total;
    return out;
}

/* ---- joining ---- */

/* What a token does to the spaces beside it. */
typedef struct {
    enum { ALONE, OPENING, CLOSING, BINDING } side; /* none, none behind, none before, neither */
    bool ideograph;
    bool dense; /* no space beside ideographs */
} Edge;

/* The marks that open and close alike. */
static const char quotes[] = {'"', '\'', '_'};
enum { QUOTES = sizeof quotes };

static int side_of_punctuation(uint32_t code) {
    switch (code) {
    case '/': return BINDING;
    case '#':
    case '@':
    case '`':
    case 0xA1: /* inverted ! and ? */
    case 0xBF: return OPENING;
    case '&':
    case '*':
    case '\\':
    case 0xA7: /* section, pilcrow, daggers, bullet */
    case 0xB6:
    case 0x2020:
    case 0x2021:
    case 0x2022: return ALONE;
    }
    if (utf8proc_charwidth((utf8proc_int32_t)code) == 2) return BINDING; /* has its own space */
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_SC: return OPENING;
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return CLOSING;
    default: return ALONE;
    }
}

/* A token of split text between two spaces, line ends or ends of the text. */
typedef struct {
    int64_t start, end;
    bool first, last; /* of its line */
} Piece;

static Piece piece_at(Text t, int64_t at) {
    Piece p = {.start = at, .end = at, .first = at == 0 || t.text[at - 1] == '\n'};
    while (p.end < t.n && t.text[p.end] != ' ' && t.text[p.end] != '\n')
        p.end++;
    p.last = p.end == t.n || t.text[p.end] == '\n';
    return p;
}

/* open: which of `quotes` are. */
static Edge edge_of(Text t, Piece p, bool open[QUOTES]) {
    uint32_t code;
    int length;
    Edge e = {.side = ALONE};
    Class class = look(t, p.start, &code, &length);
    e.ideograph = class == IDEOGRAPH;
    e.dense = e.ideograph || class == DIGIT || (class == PUNCTUATION && code >= 0x80);
    if (class != PUNCTUATION) return e;
    e.side = side_of_punctuation(code);
    for (int i = 0; i < QUOTES; i++) {
        if (code != (uint32_t)quotes[i]) continue;
        open[i] = p.first || (!p.last && !open[i]);
        e.side = open[i] ? OPENING : CLOSING;
    }
    return e;
}

static bool glued(Edge left, Edge right) {
    return left.side == OPENING || left.side == BINDING || right.side == CLOSING ||
           right.side == BINDING || (left.ideograph && right.dense) ||
           (left.dense && right.ideograph);
}

char *data_words_join(const char *text, int64_t n, int64_t *length) {
    const Text t = {text, n > 0 ? n : 0};
    *length = 0;
    char *out = malloc((size_t)t.n + 1);
    if (!out) return NULL;
    int64_t total = 0;
    Edge left = {.side = ALONE};
    bool open[QUOTES] = {false};
    for (int64_t at = 0; at < t.n;) {
        if (text[at] == '\n') {
            if (at == 0 || text[at - 1] == '\n') memset(open, 0, sizeof open);
            out[total++] = text[at++];
            continue;
        }
        Piece p = piece_at(t, at);
        Edge right = edge_of(t, p, open);
        if (!p.first && !glued(left, right)) out[total++] = ' ';
        memcpy(out + total, text + p.start, (size_t)(p.end - p.start));
        total += p.end - p.start;
        left = right;
        at = p.end + (p.end < t.n && text[p.end] == ' ');
    }
    out[total] = '\0';
    *length = total;
    return out;
}
