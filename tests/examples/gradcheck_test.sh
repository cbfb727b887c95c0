#!/usr/bin/env bash
# gradcheck_test.sh CHECK BROKEN -- runs the example programs of the gradient checker.
set -u

check=$(realpath "$1")
broken=$(realpath "$2")
# shellcheck source=checks.sh
. "$(dirname "$0")/checks.sh"

run_program "$check"
check 'all of check passes: status 0' is $status 0
check 'five cases are ok' is "$(grep -c '^ok ' out)" 5
check 'none failed' is "$(grep -c '^FAILED' out)" 0
run_program "$check" --list
check 'check lists its cases' grep -qx 'lstm/elements' out
run_program "$check" --case 'lstm/*'
check 'a pattern chooses cases' is "$(grep -c '^ok ' out)" 2
run_program "$check" --seed 7
check 'another seed passes' is $status 0
check 'and is told' grep -q '(seed 7)' out

run_program "$broken" --list
cases=$(wc -l <out)
run_program "$broken"
check 'broken ends with status 1' is $status 1
check 'every case of broken fails' is "$(grep -c '^FAILED' out)" "$cases"
check 'none is ok' is "$(grep -c '^ok ' out)" 0
check 'a diagnosis is printed' grep -q '^FAILED  *SIGN/cosine: sign flipped: ' out

finish_checks
