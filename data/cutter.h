/* cutter.h -- a text token by token, as the vocabulary (vocab.h) has them.  Private to data/. */
#ifndef DATA_CUTTER_H
#define DATA_CUTTER_H
#include "data/vocab.h"

typedef struct {
    const char *text; /* well-formed UTF-8 */
    int64_t n, at;    /* at: behind the last token */
    int64_t line;     /* where the line began */
    DataVocabKind kind;
    bool eos;
    const char *token; /* the last one */
    int64_t length;
    int64_t start; /* where in the text it is; a line end: where the line ends */
    bool line_end; /* it is the <eos> of a line end, which the text does not spell */
} DataCutter;

/* Stands before the first token.  eos: words only. */
DataCutter data_cutter(const char *text, int64_t n, DataVocabKind kind, bool eos);

/* Finds the next token.  False at the end of the text. */
bool data_cutter_next(DataCutter *c);

#endif
