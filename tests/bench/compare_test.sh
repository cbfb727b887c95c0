#!/usr/bin/env bash
# compare_test.sh COMPARE BENCH -- compares programs that print what they are told, and then the
# real ones.
set -u

command -v python3 >/dev/null || {
    echo 'python3 is not installed: nothing to test'
    exit 0
}
compare=$(realpath "$1")
bench=$(realpath "$2")
# shellcheck source=../examples/checks.sh
. "$(dirname "$0")/../examples/checks.sh"

# fake NAME MS...: a program whose runs, one after the other, take so long; the file `order` tells
# who ran.
fake() {
    printf '%s\n' "${@:2}" >"$1.ms"
    cat >"$1" <<END
#!/usr/bin/env bash
echo "$1 \$*" >>order
ms=\$(head -n 1 $1.ms)
sed -i 1d $1.ms
echo 'a table, which nobody reads'
echo "{\"ms_median\": \$ms, \"ms_min\": \$ms, \"n\": 7, \"rss_mib\": 3\$ms}"
END
    chmod +x "$1"
}

# says LINE: the program `says` prints it and nothing else.
says() {
    echo "$1" >says.line
    printf '#!/bin/sh\ncat says.line\n' >says
    chmod +x says
}

run() {
    rm -f order
    run_program "$compare" --bench ./ours "$@"
}

# value EXPRESSION: of the line of JSON, as Python sees it.
value() { tail -n 1 out | python3 -c "import json, sys; j = json.load(sys.stdin); print($1)"; }

# ---- arithmetic ----

three_rounds() { run --case lstm_infer_512 --threads 2 --seconds 0.5 --rounds 3 "$@"; }

fake ours 10 20 30
fake theirs 20 30 90
three_rounds --peer theirs=./theirs
check 'status 0' is $status 0
check 'a case has one line' is "$(grep -c '^{' out)" 1
check 'what was compared' is "$(value 'j["case"], j["threads"], j["rounds"]')" \
    'lstm_infer_512 2 3'
check 'the median of our medians' is "$(value 'j["ours"]["ms_median"]')" 20
check 'our least' is "$(value 'j["ours"]["ms_min"]')" 10
check 'all our steps' is "$(value 'j["ours"]["n"]')" 21
check 'our memory' is "$(value 'j["ours"]["rss_mib"]')" 320
check 'the median of theirs' is "$(value 'j["peers"]["theirs"]["ms_median"]')" 30
check 'the median of the ratios of rounds' is "$(value 'j["peers"]["theirs"]["ratio"]')" 2.0
check 'the least ratio' is "$(value 'j["peers"]["theirs"]["ratio_min"]')" 1.5
check 'the largest ratio' is "$(value 'j["peers"]["theirs"]["ratio_max"]')" 3.0
check 'the row' grep -qE \
    '^lstm_infer_512 +2 +20\.00 .* theirs +30\.00 .* 2\.00 +1\.50\.\.3\.00$' out
check 'in turns' is "$(cut -d ' ' -f 1 order | xargs)" 'ours theirs ours theirs ours theirs'
check 'ours gets options' is "$(head -n 1 order)" \
    'ours --case lstm_infer_512 --threads 2 --seconds 0.5'
check 'theirs gets words' is "$(sed -n 2p order)" 'theirs lstm_infer_512 2 0.5'

fake ours 10 10
fake theirs 15 25
run --case lstm_infer_512 --rounds 2 --peer theirs=./theirs
check 'the median of two' is "$(value 'j["peers"]["theirs"]["ratio"]')" 2.0

fake ours 10
fake theirs 20
run --case lstm_infer_512 --rounds 1 --seconds 0.5 --peer-threads 3 --peer theirs=./theirs
check 'threads of the others' is "$(xargs <order)" \
    'ours --case lstm_infer_512 --threads 1 --seconds 0.5 theirs lstm_infer_512 3 0.5'
check 'both are told' is "$(value 'j["threads"], j["peer_threads"]')" '1 3'
check 'in the row, too' grep -q '^lstm_infer_512 *1/3 .* theirs ' out

# ---- variants ----

fake ours 10 10 10
fake slow 50
fake quick 40 30 30 30
fake broken x
three_rounds --peer v=./slow --peer v=./quick --peer v=./broken
check 'variants: status 0' is $status 0
check 'the quicker one in an opening round' is "$(value 'j["peers"]["v"]["variant"]')" ./quick
check 'whose opening does not count' is "$(value 'j["peers"]["v"]["ms_median"]')" 30
check 'each once, then ours and the quicker' is "$(cut -d ' ' -f 1 order | xargs)" \
    'slow quick broken ours quick ours quick ours quick'

# ---- who is missing, and who fails ----

missing="sh -c 'echo nothing installed >&2; exit 3'"
fake ours 10 10 10 10 10 10 10
fake theirs 20 20 20 20 20 20 20
run --rounds 1 --peer "gone=$missing" --peer theirs=./theirs
check 'a missing peer is no error' is $status 0
check 'it is named once for all cases' is "$(<err)" \
    'compare: gone: not compared: nothing installed'
check 'seven cases' is "$(grep -c '^{' out)" 7
check 'the others are compared' is "$(value 'list(j["peers"])')" "['theirs']"

fake ours 10 10 10
three_rounds --peer "gone=$missing"
check 'ours alone: status 0' is $status 0
check 'and has a row' grep -qE '^lstm_infer_512 .*nobody' out

for broken in "sh -c 'echo crashed >&2; exit 1'" "sh -c 'kill -9 \$\$'" 'echo {' 'echo nothing' \
    './says {}' './says {"ms_median":0,"ms_min":1,"n":1,"rss_mib":1}' \
    './says {"ms_median":null,"ms_min":1,"n":1,"rss_mib":1}' \
    './says {"ms_median":NaN,"ms_min":1,"n":1,"rss_mib":1}' \
    './says {"ms_median":1,"ms_min":"1","n":1,"rss_mib":1}'; do
    fake ours 10 10 10
    says "${broken#./says }"
    three_rounds --peer "b=${broken/says */says}"
    check "a failure: $broken" one_line_error 1 'compare: b'
    check "is left out: $broken" is "$(value 'j["peers"]')" '{}'
done
says '{"ms_median":30,"ms_min":30,"n":7,"rss_mib":1,"ms_with_reorder":40}'
fake ours 10 10 10
three_rounds --peer b=./says
check 'an exact line is no failure' is "$status $(value 'j["peers"]["b"]["ms_median"]')" '0 30'
check 'the time with packing is told' grep -q "b's weights are packed .*with that 40\.00 ms" out
fake ours x
fake theirs 20
three_rounds --peer theirs=./theirs
check 'ours fails: status 1' one_line_error 1 'compare: unroll'

for arguments in '--case none' '--threads 0' '--threads 1.5' '--peer-threads 0' '--rounds 0' \
    '--rounds x' '--seconds 0' '--peer x' '--peer =x' '--peer x=' '--frobnicate' 'word'; do
    # shellcheck disable=SC2086
    run $arguments
    check "refused: $arguments" one_line_error 2 compare
done
run --help
check '--help: status 0' is $status 0

# ---- the real peers ----

mkdir modules
echo 'raise ImportError("no torch today")' >modules/torch.py
fake ours 10
PYTHONPATH=modules CXX=./none run --case lstm_step_b1_512 --rounds 1
check 'neither PyTorch nor a compiler: status 0' is $status 0
check 'PyTorch is told' grep -qx \
    'compare: pytorch: not compared: not installed: no torch today' err
check 'oneDNN is told' grep -qx 'compare: onednn: not compared: no compiler ./none' err
fake ours 10
PYTHON=./none CXX=false run --case lstm_step_b1_512 --rounds 1
check 'no Python for PyTorch: status 0' is $status 0
check 'three lines at most' is "$(wc -l <err)" 2

# named NAME: it is compared, or a line says why not.
named() {
    [[ $(value "'$1' in j['peers']") == True ]] || grep -q "^compare: $1: not compared: " err
}
run_program "$compare" --bench "$bench" --case lstm_step_b1_512 --rounds 1 --seconds 0.05
check 'the real programs: status 0' is $status 0
check 'PyTorch is there or named' named pytorch
check 'oneDNN is there or named' named onednn
check 'ours is measured' is "$(value 'j["ours"]["ms_median"] > 0')" True

finish_checks
