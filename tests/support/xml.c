#include "tests/support/xml.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

enum { DEPTH = 64, NAME = 64, ATTRIBUTES = 32 };

typedef struct {
    const char *at, *wrong;
    char open[DEPTH][NAME];
    int depth, roots;
} Parser;

static bool fail(Parser *p, const char *wrong) {
    if (!p->wrong) p->wrong = wrong;
    return false;
}

static bool skip(Parser *p, const char *word) {
    size_t n = strlen(word);
    if (strncmp(p->at, word, n) != 0) return false;
    p->at += n;
    return true;
}

static void skip_space(Parser *p) {
    while (*p->at == ' ' || *p->at == '\n' || *p->at == '\t') p->at++;
}

static bool name(Parser *p, char out[NAME]) {
    size_t n = 0;
    if (!isalpha((unsigned char)*p->at)) return fail(p, "no name where one must be");
    while (isalnum((unsigned char)p->at[n]) || (p->at[n] && strchr(":-_.", p->at[n]))) n++;
    if (n >= NAME) return fail(p, "a long name");
    memcpy(out, p->at, n);
    out[n] = 0;
    p->at += n;
    return true;
}

static bool reference(Parser *p) {
    static const char *const known[] = {"&amp;", "&lt;",  "&gt;",  "&quot;",
                                        "&apos;", "&#9;", "&#10;", "&#13;"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (skip(p, known[i])) return true;
    return fail(p, "an unknown reference");
}

/* One character of text or of an attribute. */
static bool character(Parser *p) {
    unsigned char c = (unsigned char)*p->at;
    if (c == '&') return reference(p);
    if (c < 0x20 && c != '\n' && c != '\t' && c != '\r') return fail(p, "a control character");
    int more = c < 0x80 ? 0 : c < 0xC2 ? -1 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : c < 0xF5 ? 3 : -1;
    if (more < 0) return fail(p, "not UTF-8");
    if (strncmp(p->at, "\xEF\xBF\xBE", 3) == 0 || strncmp(p->at, "\xEF\xBF\xBF", 3) == 0)
        return fail(p, "a noncharacter");
    for (p->at++; more > 0; more--, p->at++)
        if (((unsigned char)*p->at & 0xC0) != 0x80) return fail(p, "not UTF-8");
    return true;
}

static bool attributes(Parser *p) {
    char names[ATTRIBUTES][NAME];
    for (int n = 0;; n++) {
        const char *before = p->at;
        skip_space(p);
        if (*p->at == '>' || *p->at == '/' || *p->at == '?') return true;
        if (p->at == before || n == ATTRIBUTES) return fail(p, "no space before an attribute");
        if (!name(p, names[n])) return false;
        for (int i = 0; i < n; i++)
            if (strcmp(names[i], names[n]) == 0) return fail(p, "an attribute given twice");
        if (!skip(p, "=\"")) return fail(p, "an attribute without quotes");
        while (*p->at && *p->at != '"') {
            if (*p->at == '<') return fail(p, "< in an attribute");
            if (!character(p)) return false;
        }
        if (!skip(p, "\"")) return fail(p, "the end inside an attribute");
    }
}

static bool tag(Parser *p) {
    char closed[NAME];
    if (skip(p, "</")) {
        if (!name(p, closed)) return false;
        if (p->depth == 0 || strcmp(closed, p->open[--p->depth]) != 0)
            return fail(p, "an end tag that matches none");
        return skip(p, ">") || fail(p, "an end tag with more than a name");
    }
    p->at++;
    if (p->depth == DEPTH) return fail(p, "deep nesting");
    if (p->depth == 0 && p->roots++ > 0) return fail(p, "a second root");
    if (!name(p, p->open[p->depth]) || !attributes(p)) return false;
    if (skip(p, "/>")) return true;
    p->depth++;
    return skip(p, ">") || fail(p, "a tag without end");
}

static bool declaration(Parser *p) {
    if (!skip(p, "<?xml")) return true;
    return attributes(p) && (skip(p, "?>") || fail(p, "a declaration without end"));
}

const char *xml_wrong(const char *text) {
    Parser p = {.at = text};
    if (!declaration(&p)) return p.wrong;
    while (*p.at) {
        if (*p.at == '<') {
            if (!tag(&p)) return p.wrong;
        } else if (p.depth == 0) {
            const char *before = p.at;
            skip_space(&p);
            if (p.at == before) return "text outside of the root";
        } else if (!character(&p)) {
            return p.wrong;
        }
    }
    return p.depth ? "a tag left open" : p.roots == 0 ? "no root" : NULL;
}

int xml_count(const char *text, const char *piece) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, piece)); at += strlen(piece)) n++;
    return n;
}
