#!/usr/bin/env bash
# models_test.sh MODELS -- runs the program of examples/models as users do.
set -u

models=$(realpath "$1")
# shellcheck source=checks.sh
. "$(dirname "$0")/checks.sh"

# What is told goes to the file out, wherever it is printed.
run() {
    "$models" "$@" >out 2>&1
    status=$?
}

run
check 'without arguments: status 0' is $status 0
check 'the models are listed' grep -q '^mgu ' out
check 'with their tasks' grep -q '^ *task: adds ' out
run --help
check 'there is help' grep -q -- '--check' out

run mgu --steps 20 --seed 3
check 'a model trains' is $status 0
check 'ten lines of progress' is "$(grep -c '^step ' out)" 10
check 'with loss and rate' grep -Eq '^step +20 of 20 +loss +[0-9.]+ +learning rate 0.0' out
check 'then the result' grep -Eq '^mean squared error on new data: [0-9.]+$' out
check 'and the baseline' grep -q '^baseline: 0.16667, of ' out
run mgu --check
check 'gradients are checked' is $status 0
check 'of both orders' is "$(grep -c 'agree with finite differences' out)" 2

# refused WORD ARGUMENT...: status 2 and a message with that word.
refused() {
    run "${@:2}"
    check "${*:2}: status 2" is $status 2
    check "${*:2}: says $1" grep -q -- "$1" out
}
refused 'no model nothing' nothing
refused 'one model' mgu mdn
refused 'which model' --check
refused 'at least 1' mgu --steps 0
refused 'whole number' mgu --steps 1e3
refused 'at least 0' mgu --seed -1
refused 'unrecognized option' mgu --quick

if [[ -w /dev/full ]]; then
    "$models" mgu --steps 1 >/dev/full 2>out
    check 'a full disk is told' is $? 2
    check 'in one line' grep -q 'standard output' out
fi

begun=mgu
interrupt INT "$models" mgu --steps 100000000
check 'Ctrl-C ends training with status 130' is $status 130
check 'and says so' grep -q '^stopped by a signal' out
check 'what was learnt is measured' grep -q '^baseline' out

finish_checks
