/* model.c -- see model.h. */
#include "model.h"

bool lm_model_init(LmModel *m, const LmConfig *config, uint64_t seed, TensorError *error) {
    int64_t V = config->vocab, E = config->embedding, H = config->hidden;
    NnParamSet *set = nn_params_new(TENSOR_F32, seed);
    NnLstmOptions lstm = {.num_layers = (int)config->layers, .dropout = config->dropout};
    *m = (LmModel){.config = *config, .set = set};
    if (E > 0) m->embedding = nn_embedding_make(set, "embedding", V, E, NULL);
    m->lstm = nn_lstm_make(set, "lstm", E > 0 ? E : V, H, &lstm);
    m->out = nn_linear_make(set, "out", H, V, NULL);
    return nn_params_ok(set) || tensor_error_set(error, "%s", nn_params_error(set));
}

void lm_model_free(LmModel *m) {
    nn_params_free(m->set);
    *m = (LmModel){0};
}

double lm_config_numel(const LmConfig *config) {
    double V = (double)config->vocab, E = (double)config->embedding, H = (double)config->hidden;
    double first = 4 * H * ((E > 0 ? E : V) + H + 2), other = 4 * H * (H + H + 2);
    return V * E + first + (double)(config->layers - 1) * other + V * (H + 1);
}

/* What the output layer reads, [T, B, H]. */
static AgVar features(const LmModel *m, NnState *state, AgVar x) {
    AgTape *t = x.tape;
    const int64_t shape[] = {m->config.layers, ag_dim(x, 1), m->config.hidden};
    NnLstmState s = {nn_state_load(state, t, "h", 3, shape),
                     nn_state_load(state, t, "c", 3, shape)};
    AgVar e = m->config.embedding > 0
                  ? ag_dropout(nn_embedding(&m->embedding, x), m->config.dropout, 1)
                  : x; /* the LSTM takes numbers for one-hot vectors */
    NnLstmOutput o = nn_lstm(&m->lstm, e, &s, NULL);
    nn_state_store(state, "h", o.hn);
    nn_state_store(state, "c", o.cn);
    return ag_dropout(o.y, m->config.dropout, 1);
}

AgVar lm_model_forward(const LmModel *m, NnState *state, AgVar x) {
    return nn_linear(&m->out, features(m, state, x));
}

AgVar lm_model_loss(const LmModel *m, NnState *state, AgVar x, AgVar target) {
    return nn_linear_cross_entropy(&m->out, features(m, state, x), target, NULL);
}
