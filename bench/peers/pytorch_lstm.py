#!/usr/bin/env python3
"""One case of //bench in PyTorch.

    pytorch_lstm.py CASE THREADS SECONDS

Prints one line of JSON: case, threads, ms_median, ms_min, n, rss_mib (the process at its peak) and
rss_start_mib (once PyTorch is loaded, before the case), version.  Ends with status 3, and a line
that says why, if there is no PyTorch or it has no such case.
"""
import json
import resource
import statistics
import sys
import time

NOT_HERE = 3
WARM_UP, MIN_STEPS = 2, 5

# V, E (None: one-hot), H, L, B, T, dropout, largest norm of the gradient
MODELS = {
    "lm_time_machine": (28, None, 256, 1, 32, 35, 0.0, 1.0),
    "lm_better_rnnlm": (10000, 100, 100, 2, 20, 35, 0.5, 0.25),
    "lm_ptb_medium": (10000, 650, 650, 2, 20, 35, 0.5, 5.0),
}
# I, H, B, T, bidirectional, training
LAYERS = {
    "lstm_train_512": (512, 512, 64, 50, False, True),
    "lstm_infer_512": (512, 512, 64, 50, False, False),
    "bilstm_train_128": (100, 128, 32, 128, True, True),
    "lstm_step_b1_512": (512, 512, 1, 1, False, False),
}


def not_here(why):
    print(why, file=sys.stderr)
    sys.exit(NOT_HERE)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def training_step(torch, V, E, H, L, B, T, dropout, max_norm):
    """A whole step of a language model whose state is carried from window to window."""
    nn = torch.nn
    embedding = None if E is None else nn.Embedding(V, E)
    lstm = nn.LSTM(V if E is None else E, H, L, dropout=dropout if L > 1 else 0.0)
    drop, out = nn.Dropout(dropout), nn.Linear(H, V)
    model = nn.ModuleList(m for m in (embedding, lstm, drop, out) if m is not None)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    x, target = torch.randint(V, (T, B)), torch.randint(V, (T, B))
    state = tuple(torch.zeros(L, B, H) for _ in "hc")

    def step():
        nonlocal state
        optimiser.zero_grad(set_to_none=False)
        if embedding is None:
            inputs = nn.functional.one_hot(x, V).float()
        else:
            inputs = drop(embedding(x))
        y, state = lstm(inputs, state)
        state = tuple(s.detach() for s in state)
        logits = out(drop(y))
        nn.functional.cross_entropy(logits.view(-1, V), target.view(-1)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimiser.step()

    return step


def layer_step(torch, I, H, B, T, bidirectional, training):
    lstm = torch.nn.LSTM(I, H, bidirectional=bidirectional)
    x = torch.randn(T, B, I, requires_grad=training)

    def train():
        lstm.zero_grad(set_to_none=False)
        y = lstm(x)[0]
        y.backward(torch.ones_like(y))

    def infer():
        with torch.no_grad():
            lstm(x)

    return train if training else infer


def times(step, seconds):
    """Seconds of each step after a few that are not counted."""
    for _ in range(WARM_UP):
        step()
    spent, start = [], time.perf_counter()
    while len(spent) < MIN_STEPS or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        step()
        spent.append(time.perf_counter() - before)
    return spent


def main():
    case, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    if case not in MODELS and case not in LAYERS:
        not_here(f"has no case {case}")
    try:
        import torch
    except ImportError as error:
        not_here(f"not installed: {error}")
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    rss_start = peak_mib()
    if case in MODELS:
        step = training_step(torch, *MODELS[case])
    else:
        step = layer_step(torch, *LAYERS[case])
    spent = times(step, seconds)
    print(json.dumps({"case": case, "threads": threads, "ms_median": 1e3 * statistics.median(spent),
                      "ms_min": 1e3 * min(spent), "n": len(spent), "rss_mib": peak_mib(),
                      "rss_start_mib": rss_start, "version": torch.__version__}))


if __name__ == "__main__":
    main()
