#!/usr/bin/env python3
"""The cases of //bench here and in other libraries, in turns.

    ./bazelw run //bench:compare -- [--case NAME] [--threads N] [--peer-threads N] [--rounds R]
                                    [--seconds S]

In every round each program runs a case once; a round's ratio is the other's median step over
ours, so above 1 ours is the faster.  What counts is the median of the rounds' ratios; their range
stands beside it.  Prints a table, and then one line of JSON a case.  The others run on as many
threads as ours, or on --peer-threads.

The others are PyTorch, run by $PYTHON or python3, and oneDNN, whose program is compiled with $CXX
(g++), $CXXFLAGS and $LDFLAGS into a temporary folder.  One that is not installed, or does not
have the case, is told in a line and left out.  One of several variants (PyTorch's OpenBLAS picks
slow kernels on processors that it does not know) is chosen by an opening round.

--peer NAME=COMMAND, which may be repeated, compares with other programs instead.  CASE THREADS
SECONDS are added to the command, which prints a line of JSON with at least ms_median, ms_min, n
and rss_mib, or ends with status 3 and a line on why it cannot.  Commands of one name are its
variants.
"""
import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = ["lm_time_machine", "lm_better_rnnlm", "lm_ptb_medium", "lstm_train_512",
         "lstm_infer_512", "bilstm_train_128", "lstm_step_b1_512"]
NOT_HERE = 3
PEERS = Path(__file__).resolve().parent / "peers"
ROW = "{:<18} {:>7} {:>10} {:>8}  {:<36} {:>10} {:>8} {:>6} {:>12}"


class NotHere(Exception):
    """A program, or its case, is not there: it is left out."""


class Failed(Exception):
    """A program that should run did not."""


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"


class Program:
    """A command that measures a case and prints its JSON line."""

    def __init__(self, name, command, variant="", environment=None):
        self.name, self.command, self.variant = name, command, variant
        self.environment = environment or {}

    def run(self, case, threads, seconds):
        words = [case, str(threads), str(seconds)]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), **self.environment}
        try:
            done = subprocess.run(self.command(*words), env=env, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise NotHere(f"{error.filename}: {error.strerror}")
        if done.returncode == NOT_HERE:
            raise NotHere(last_line(done.stderr))
        if done.returncode != 0:
            raise Failed(f"status {done.returncode}: {last_line(done.stderr)}")
        return result(done.stdout)


def is_positive(value):
    return isinstance(value, (int, float)) and 0 < value < float("inf")


def result(output):
    """The last line of JSON in a program's output."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                raise Failed(f"no JSON: {error}")
            if not all(is_positive(values.get(key))
                       for key in ("ms_median", "ms_min", "n", "rss_mib")):
                raise Failed("no ms_median, ms_min, n and rss_mib above 0")
            return values
    raise Failed("printed no line of JSON")


# ---- the programs ----

def ours(path):
    return Program("unroll", lambda case, threads, seconds: [
        path, "--case", case, "--threads", threads, "--seconds", seconds])


def pytorch():
    """Both kinds of kernels of OpenBLAS, which knows AVX-512 processors by name only."""
    python = os.environ.get("PYTHON") or "python3"

    def command(*words):
        return [python, str(PEERS / "pytorch_lstm.py"), *words]

    return [Program("pytorch", command, "default"),
            Program("pytorch", command, "OPENBLAS_CORETYPE=SkylakeX",
                    {"OPENBLAS_CORETYPE": "SkylakeX"})]


def onednn(folder):
    """Compiled when first asked for."""
    program, verdict = Path(folder) / "onednn_lstm", []

    def command(*words):
        if not verdict:
            verdict.append(compile_cpp(PEERS / "onednn_lstm.cpp", program))
        if verdict[0]:
            raise NotHere(verdict[0])
        return [str(program), *words]

    return [Program("onednn", command)]


def compile_cpp(source, program):
    """"", or one line on why it could not be compiled."""
    compiler = shlex.split(os.environ.get("CXX") or "g++")
    flags, libraries = (shlex.split(os.environ.get(v, "")) for v in ("CXXFLAGS", "LDFLAGS"))
    if not shutil.which(compiler[0]):
        return f"no compiler {compiler[0]}"
    done = subprocess.run([*compiler, "-O2", "-fopenmp", *flags, str(source), "-o", str(program),
                           *libraries, "-ldnnl"], text=True, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE)
    if done.returncode == 0:
        return ""
    reasons = [line for line in done.stderr.splitlines()
               if "error: " in line or "cannot find" in line]
    return f"not installed, or not of a known version: {(reasons or ['no message'])[0]}"


def given(peers):
    """Programs of --peer NAME=COMMAND, those of one name together."""
    groups = {}
    for name, text in peers:
        words = shlex.split(text)
        groups.setdefault(name, []).append(
            Program(name, lambda *more, words=words: [*words, *more], text))
    for group in groups.values():
        if len(group) == 1:
            group[0].variant = ""
    return list(groups.values())


# ---- comparing ----

def choose(variants, case, options):
    """The variant whose median step is the shortest; with one there is nothing to choose."""
    if len(variants) == 1:
        return variants[0]
    best, least, errors = None, 0, []
    for program in variants:
        try:
            ms = program.run(case, options.peer_threads, options.seconds)["ms_median"]
        except Failed as error:
            errors.append(error)
            continue
        if best is None or ms < least:
            best, least = program, ms
    if best is None:
        raise errors[0]
    return best


def summary(runs):
    """One program's rounds: medians of medians and of peaks, the least of minima, all steps."""
    last = {k: v for k, v in runs[-1].items() if k in ("version", "implementation", "isa", "gemm")}
    values = {"ms_median": statistics.median(r["ms_median"] for r in runs),
              "ms_min": min(r["ms_min"] for r in runs), "n": sum(r["n"] for r in runs),
              "rss_mib": statistics.median(r["rss_mib"] for r in runs)}
    for key in ("rss_start_mib", "ms_with_reorder", "gflops", "peak_share"):
        if all(r.get(key) is not None for r in runs):
            values[key] = statistics.median(r[key] for r in runs)
    return {**values, **last}


def ratios(own, other):
    """Of the rounds in pairs: how many times as long the other takes."""
    each = [b["ms_median"] / a["ms_median"] for a, b in zip(own, other)]
    return {"ratio": statistics.median(each), "ratio_min": min(each), "ratio_max": max(each)}


class Comparison:
    """All cases, and what was said and went wrong on the way."""

    def __init__(self, here, peers, options):
        self.here, self.peers, self.options = here, peers, options
        self.told, self.failed = set(), False

    def tell(self, name, what):
        if (name, str(what)) not in self.told:
            self.told.add((name, str(what)))
            print(f"compare: {name}: {what}", file=sys.stderr, flush=True)

    def drop(self, name, error):
        if isinstance(error, Failed):
            self.failed = True
            self.tell(name, error)
        else:
            self.tell(name, f"not compared: {error}")

    def programs(self, case):
        """Of each peer the variant to run."""
        chosen = []
        for variants in self.peers:
            try:
                chosen.append(choose(variants, case, self.options))
            except (NotHere, Failed) as error:
                self.drop(variants[0].name, error)
        return chosen

    def case(self, case):
        """The line of JSON, as a dictionary; None if ours failed."""
        programs, own, options = self.programs(case), [], self.options
        runs = {program: [] for program in programs}
        for _ in range(options.rounds):
            try:
                own.append(self.here.run(case, options.threads, options.seconds))
            except (NotHere, Failed) as error:
                self.failed = True
                self.tell(self.here.name, f"{case}: {error}")
                return None
            for program in list(runs):
                try:
                    runs[program].append(
                        program.run(case, options.peer_threads, options.seconds))
                except (NotHere, Failed) as error:
                    self.drop(program.name, error)
                    del runs[program]
        return {"case": case, "threads": options.threads, "peer_threads": options.peer_threads,
                "rounds": options.rounds, "ours": summary(own),
                "peers": {p.name: {"variant": p.variant or None, **ratios(own, r), **summary(r)}
                          for p, r in runs.items()}}


# ---- reporting ----

def milliseconds(x):
    return f"{x:.4f}" if x < 1 else f"{x:.2f}"


def rounded(value):
    """The same with six digits to a number."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def print_rows(line):
    here = line["ours"]
    threads = dict.fromkeys((line["threads"], line["peer_threads"]))
    head = [line["case"], "/".join(map(str, threads)), milliseconds(here["ms_median"]),
            f"{here['rss_mib']:.1f}"]
    for name, peer in line["peers"].items():
        title = f"{name} ({peer['variant']})" if peer["variant"] else name
        spread = f"{peer['ratio_min']:.2f}..{peer['ratio_max']:.2f}"
        print(ROW.format(*head, title, milliseconds(peer["ms_median"]), f"{peer['rss_mib']:.1f}",
                         f"{peer['ratio']:.2f}", spread))
        if "ms_with_reorder" in peer:
            print(f"{'':<46}  {name}'s weights are packed before the clock runs; with that "
                  f"{milliseconds(peer['ms_with_reorder'])} ms")
    if not line["peers"]:
        print(ROW.format(*head, "nobody", "-", "-", "-", "-"))
    sys.stdout.flush()


def run(options, folder):
    peers = given(options.peer) if options.peer else [pytorch(), onednn(folder)]
    comparison, lines = Comparison(ours(options.bench), peers, options), []
    print(ROW.format("case", "threads", "ours ms", "MiB", "compared with", "ms", "MiB", "ratio",
                     "range"), flush=True)
    try:
        for case in [options.case] if options.case else CASES:
            line = comparison.case(case)
            if line:
                lines.append(line)
                print_rows(line)
    finally:
        for line in lines:
            print(json.dumps(rounded(line)), flush=True)
    return 1 if comparison.failed else 0


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"compare: {message}; see --help\n")


def number(kind, least, most):
    def read(word):
        try:
            x = kind(word)
        except ValueError:
            x = most + 1
        if not least <= x <= most:
            raise argparse.ArgumentTypeError(f"not in {least}..{most}: {word}")
        return x

    return read


def named_command(word):
    name, equals, command = word.partition("=")
    if not (name and equals and command.strip()):
        raise argparse.ArgumentTypeError(f"not NAME=COMMAND: {word}")
    return name, command


def main():
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                    prog="compare", allow_abbrev=False)
    parser.add_argument("--bench", required=True, metavar="PROGRAM", help="given by Bazel")
    parser.add_argument("--case", choices=CASES, metavar="NAME", help="one of " + ", ".join(CASES))
    parser.add_argument("--threads", type=number(int, 1, 64), default=1, metavar="N")
    parser.add_argument("--peer-threads", type=number(int, 1, 64), metavar="N",
                        help="of the other programs; default: those of --threads")
    parser.add_argument("--rounds", type=number(int, 1, 1000), default=5, metavar="R")
    parser.add_argument("--seconds", type=number(float, 0.001, 3600), default=2, metavar="S",
                        help="of each program in each round")
    parser.add_argument("--peer", type=named_command, action="append", metavar="NAME=COMMAND")
    options = parser.parse_args()
    options.peer_threads = options.peer_threads or options.threads
    options.bench = os.path.abspath(options.bench)
    if "BUILD_WORKING_DIRECTORY" in os.environ:  # Bazel starts programs elsewhere
        os.chdir(os.environ["BUILD_WORKING_DIRECTORY"])
    with tempfile.TemporaryDirectory(prefix="compare.") as folder:
        return run(options, folder)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(1)
