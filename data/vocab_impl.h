/* vocab_impl.h -- what vocab.c and vocab_file.c share.  Private to data/. */
#ifndef DATA_VOCAB_IMPL_H
#define DATA_VOCAB_IMPL_H
#include "data/token_table.h"
#include "data/vocab.h"

#define DATA_UNK "<unk>"
#define DATA_EOS "<eos>"
#define DATA_SPECIAL_SIZE 5 /* bytes of either */

struct DataVocab {
    DataVocabKind kind;
    int64_t unk, eos; /* ids, or -1 */
    DataTokenTable table; /* the number of a token is its id */
};

#endif
