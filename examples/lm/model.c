/* model.c -- see model.h. */
#include "model.h"

#include "nn/dropout.h"

/* ---- making one ---- */

static double pick(double own, double all) { return own < 0 ? all : own; }
static double input_dropout(const LmConfig *c) { return pick(c->dropout_input, c->dropout); }
static double hidden_dropout(const LmConfig *c) { return pick(c->dropout_hidden, c->dropout); }
static double output_dropout(const LmConfig *c) { return pick(c->dropout_output, c->dropout); }

/* The last layer has a size of its own. */
static bool has_last(const LmConfig *c) { return c->tied && c->embedding != c->hidden; }

static NnLstmOptions lstm_options(const LmConfig *c, int64_t layers, const NnInit *init) {
    double p = layers > 1 ? hidden_dropout(c) : 0;
    return (NnLstmOptions){.num_layers = (int)layers, .dropout = p,
                           .locked_dropout = c->locked && p > 0, .weight_drop = c->weight_drop,
                           .has_forget_bias = c->forget_bias != 0, .forget_bias = c->forget_bias,
                           .init = init};
}

static void make_lstm(LmModel *m, const LmConfig *c) {
    NnInit uniform = nn_init_uniform(-c->init_lstm, c->init_lstm);
    const NnInit *init = c->init_lstm > 0 ? &uniform : NULL;
    int64_t I = c->embedding > 0 ? c->embedding : c->vocab;
    int64_t layers = has_last(c) ? c->layers - 1 : c->layers;
    NnLstmOptions options = lstm_options(c, layers, init);
    m->lstm = nn_lstm_make(m->set, "lstm", I, c->hidden, &options);
    if (!has_last(c)) return;
    options = lstm_options(c, 1, init);
    m->last = nn_lstm_make(m->set, "last", c->hidden, c->embedding, &options);
}

static bool check(const LmConfig *c, TensorError *error) {
    if (c->tied && c->embedding == 0)
        return tensor_error_set(error, "--tied needs an --embedding to share");
    if (has_last(c) && c->layers == 1)
        return tensor_error_set(error, "--tied with one layer needs --hidden %lld to be the "
                                "--embedding %lld", (long long)c->hidden,
                                (long long)c->embedding);
    return c->embedding > 0 || (c->embedding_dropout == 0 && c->dropout_input <= 0) ||
           tensor_error_set(error, "without an --embedding there is none to drop "
                            "(--embedding-dropout, --dropout-input)");
}

bool lm_model_init(LmModel *m, const LmConfig *config, uint64_t seed, TensorError *error) {
    int64_t V = config->vocab, E = config->embedding;
    *m = (LmModel){.config = *config};
    if (!check(config, error)) return false;
    NnParamSet *set = m->set = nn_params_new(TENSOR_F32, seed);
    NnInit uniform = nn_init_uniform(-config->init, config->init);
    const NnInit *init = config->init > 0 ? &uniform : NULL;
    NnEmbeddingOptions embedding = {.init = init};
    if (E > 0) m->embedding = nn_embedding_make(set, "embedding", V, E, &embedding);
    make_lstm(m, config);
    NnLinearOptions out = {.init = init, .bias_init = init,
                           .weight = config->tied ? m->embedding.weight : NULL};
    m->out = nn_linear_make(set, "out", config->tied ? E : config->hidden, V, &out);
    return nn_params_ok(set) || tensor_error_set(error, "%s", nn_params_error(set));
}

void lm_model_free(LmModel *m) {
    nn_params_free(m->set);
    *m = (LmModel){0};
}

static double lstm_numel(double I, double H) { return 4 * H * (I + H + 2); }

double lm_config_numel(const LmConfig *c) {
    double V = (double)c->vocab, E = (double)c->embedding, H = (double)c->hidden;
    double top = has_last(c) ? E : H, above = (double)(c->layers - 1) - has_last(c);
    double lstm = lstm_numel(E > 0 ? E : V, H) + (above > 0 ? above : 0) * lstm_numel(H, H) +
                  (has_last(c) ? lstm_numel(H, E) : 0);
    return V * E + lstm + V + (c->tied ? 0 : V * top);
}

/* ---- the state ---- */

static NnLstmState load(NnState *state, AgTape *t, const char *h, const char *c, int64_t L,
                        int64_t B, int64_t H) {
    const int64_t shape[] = {L, B, H};
    return (NnLstmState){nn_state_load(state, t, h, 3, shape),
                         nn_state_load(state, t, c, 3, shape)};
}

LmState lm_model_load(const LmModel *m, NnState *state, AgTape *t, int64_t B) {
    LmState s = {.lstm = load(state, t, "lstm.h", "lstm.c", m->lstm.L, B, m->lstm.H)};
    if (m->last.layer) s.last = load(state, t, "last.h", "last.c", 1, B, m->last.H);
    return s;
}

bool lm_model_store(const LmModel *m, NnState *state, const LmState *after) {
    return nn_state_store(state, "lstm.h", after->lstm.h) &&
           nn_state_store(state, "lstm.c", after->lstm.c) &&
           (!m->last.layer || (nn_state_store(state, "last.h", after->last.h) &&
                               nn_state_store(state, "last.c", after->last.c)));
}

/* ---- computing ---- */

enum { TIME, BATCH };

static AgVar drop(const LmModel *m, AgVar x, double p) {
    if (p == 0) return x;
    return m->config.locked ? nn_locked_dropout(x, p, BATCH, TIME) : ag_dropout(x, p, BATCH);
}

/* A mask with a number for each word of the vocabulary, looked up as the vectors are, drops every
 * place of a word at once.  It has no batch axis: all workers draw the same one. */
static AgVar embed(const LmModel *m, AgVar x) {
    if (m->config.embedding == 0) return x; /* the LSTM takes numbers for one-hot vectors */
    AgVar e = nn_embedding(&m->embedding, x);
    double p = m->config.embedding_dropout;
    if (p > 0 && ag_tape_is_training(x.tape)) {
        const int64_t words[] = {m->config.vocab, 1};
        AgVar mask = ag_dropout(ag_full(x.tape, TENSOR_F32, 2, words, 1), p, -1);
        e = ag_mul(e, ag_embedding(mask, x));
    }
    return drop(m, e, input_dropout(&m->config));
}

AgVar lm_model_hidden(const LmModel *m, const LmState *before, AgVar x, AgVar *raw,
                      LmState *after) {
    NnLstmOutput o = nn_lstm(&m->lstm, embed(m, x), &before->lstm, NULL);
    LmState s = {.lstm = {o.hn, o.cn}};
    if (m->last.layer) {
        o = nn_lstm(&m->last, drop(m, o.y, hidden_dropout(&m->config)), &before->last, NULL);
        s.last = (NnLstmState){o.hn, o.cn};
    }
    if (raw) *raw = o.y;
    if (after) *after = s;
    return drop(m, o.y, output_dropout(&m->config));
}

AgVar lm_model_forward(const LmModel *m, NnState *state, AgVar x) {
    LmState after, before = lm_model_load(m, state, x.tape, ag_dim(x, BATCH));
    AgVar y = nn_linear(&m->out, lm_model_hidden(m, &before, x, NULL, &after));
    lm_model_store(m, state, &after);
    return y;
}
