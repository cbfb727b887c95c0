#!/usr/bin/env bash
# bench_test.sh BENCH -- runs the benchmark program as its users do, on its quickest cases.
set -u

bench=$(realpath "$1")
# shellcheck source=../examples/checks.sh
. "$(dirname "$0")/../examples/checks.sh"

keys='case threads ms_median ms_min n gflops peak_share rss_mib tokens_per_s isa gemm fma_peak
    gemm_peak blis_peak'

# line KEY: its value in the first line of JSON.
line() { grep -m 1 '^{' out | sed -nE "s/.*\"$1\": \"?([^,\"}]*).*/\1/p"; }

# compared NUMBER OPERATOR NUMBER
compared() { awk "BEGIN { exit !($1 $2 $3) }"; }

# lines_are_whole COUNT: so many lines of JSON, each with all keys, and as many rows before.
lines_are_whole() {
    [[ $(grep -c '^{.*}$' out) == "$1" && $(tail -n "$1" out | grep -c '^{') == "$1" ]] || return
    for key in $keys; do
        [[ $(grep -c "^{.*\"$key\": " out) == "$1" ]] || return
    done
    ! command -v python3 >/dev/null || tail -n "$1" out | python3 -c '
import json, sys
for line in sys.stdin: json.loads(line)'
}

run_program "$bench" --seconds 0.05 --case lstm_step_b1_512
check 'a layer: status 0' is $status 0
check 'one line of JSON' lines_are_whole 1
check 'a row for the case' is "$(grep -c '^lstm_step_b1_512 ' out)" 1
check 'its name' is "$(line case)" lstm_step_b1_512
check 'one thread' is "$(line threads)" 1
check 'at least five steps' compared "$(line n)" '>=' 5
check 'the minimum is no more than the median' \
    compared "$(line ms_min)" '<=' "$(line ms_median)"
check 'products are counted' compared "$(line gflops)" '>' 0
check 'beside the peak' compared "$(line fma_peak)" '>' 0
check 'and that of the product' compared "$(line gemm_peak)" '>' 0
check 'memory holds the weights, 8 MiB' compared "$(line rss_mib)" '>' 8

run_program "$bench" --seconds 0.05 --threads 2 --case op_overhead
check 'recorded ops: status 0' is $status 0
check 'four lines of JSON' lines_are_whole 4
check 'two threads' is "$(line threads)" 2
check 'without products' is "$(line gflops)" null
check 'the peak is not measured' is "$(line fma_peak)" null
check 'what recording costs' compared "$(line ns_recorded)" '>' "$(line ns_kernel)"

run_program "$bench" --help
check '--help: status 0' is $status 0
check 'it lists the cases' grep -q '^ *lm_ptb_medium$' out
for arguments in '--case none' '--case' '--threads 0' '--threads 65' '--threads 1.5' \
    '--threads x' '--seconds 0' '--seconds nan' '--seconds 1x' '--frobnicate' 'word'; do
    # shellcheck disable=SC2086
    run_program "$bench" $arguments
    check "refused: $arguments" one_line_error 2 bench
done
"$bench" --seconds 0.01 --case op_overhead >/dev/full 2>err
check 'a full disk is an error' is $? 1

# is_gone PID: within two seconds.
is_gone() {
    for _ in {1..20}; do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    return 1
}
"$bench" --seconds 30 --case op_overhead >/dev/null 2>&1 &
parent=$!
for _ in {1..50}; do
    child=$(pgrep -P $parent) && break
    sleep 0.1
done
kill $parent
wait $parent 2>/dev/null
check 'killed, it leaves no child' is_gone "${child:-$parent}"
kill "${child:-$parent}" 2>/dev/null

finish_checks
