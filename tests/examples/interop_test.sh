#!/usr/bin/env bash
# interop_test.sh PROGRAM SCRIPT FILE... -- runs LSTMs that PyTorch wrote down, and with PyTorch,
# where it is installed, both directions.  Each FILE was written by SCRIPT.
set -u

program=$(realpath "$1")
script=$(realpath "$2")
shift 2
files=()
for file in "$@"; do files+=("$(realpath "$file")"); done
# shellcheck source=checks.sh
. "$(dirname "$0")/checks.sh"

# ---- helpers ----

run() { run_program "$program" "$@"; }

# refused STATUS WORD ARGUMENT...: this status and one line on stderr that holds the word.
refused() {
    run "${@:3}"
    check "status $1 and one line: ${*:3}" one_line_error "$1" lstm_from_torch
    check "the message on ${*:3} has '$2': $(cat err)" grep -qF -- "$2" err
}

# agrees FILE...: the program finds PyTorch's outputs.
agrees() {
    run "$@"
    check "the outputs are PyTorch's: $*" is $status 0
    check "y, hn and cn are compared: $*" is "$(grep -c 'largest difference' out)" 3
    check "no error: $*" is "$(cat err)" ''
}

# ---- files that PyTorch wrote ----

check 'there are files to test' test ${#files[@]} -ge 2
for file in "${files[@]}"; do
    agrees "$file"
    check 'shapes are printed' grep -q '^  weight_hh_l1 ' out

    # The program's own outputs on new weights: not the file's, and the same when read back.
    run "$file" --save new.safetensors
    check "new weights are saved: $file" is $status 0
    cp out old
    run new.safetensors --tolerance 0
    check 'the same outputs come back, bit for bit' is $status 0
    check 'the weights are new' test "$(grep '\[' out)" != "$(grep '\[' old)"
    run new.safetensors --save again.safetensors
    check 'one seed: the same file' cmp new.safetensors again.safetensors

    # The last number in the file is of an output or a length.
    cp "$file" bad.safetensors
    size=$(stat -c %s bad.safetensors)
    printf '\x7f' | dd of=bad.safetensors bs=1 seek=$((size - 1)) conv=notrunc 2>dd.log
    run bad.safetensors
    check 'another number is not agreed to' test $status != 0
done

first=${files[0]}
refused 1 'differ by more than 0' "$first" --tolerance 0
cp "$first" bad.safetensors
sed -i 's/lstm\.weight_hr_l1"/lstm.weight_hr_lX"/' bad.safetensors
refused 2 '1 missing (weight_hr_l1)' bad.safetensors
cp "$first" bad.safetensors
sed -i 's/"batch_first": "1"/"batch_first": "0"/' bad.safetensors
refused 2 'lstm' bad.safetensors
head -c 1000 "$first" >bad.safetensors
refused 2 'bad.safetensors' bad.safetensors
refused 2 'missing.safetensors' missing.safetensors
refused 2 'nowhere/new.safetensors' "$first" --save nowhere/new.safetensors
if [[ -w /dev/full ]]; then
    "$program" "$first" >/dev/full 2>err
    status=$?
    check 'results that cannot be printed' one_line_error 2 lstm_from_torch
fi

for arguments in '' 'a b' 'a --tolerance x' 'a --tolerance -1' 'a --tolerance nan' '--what'; do
    # shellcheck disable=SC2086
    run $arguments
    check "wrong arguments: $arguments" is $status 2
    check "help is offered: $arguments" grep -qF -- '--help' err
done
run --help
check '--help ends with 0' is $status 0
cd / || exit 1
BUILD_WORKING_DIRECTORY=$work "$program" new.safetensors >"$work/out" 2>"$work/err"
check 'paths are relative to BUILD_WORKING_DIRECTORY' is $? 0
cd "$work" || exit 1

# ---- PyTorch itself ----

# both_ways OPTION...: PyTorch writes, the program reads and writes, PyTorch reads.
both_ways() {
    python3 "$script" torch.safetensors "$@" >out 2>err
    check "the script writes: $*" is $? 0
    agrees torch.safetensors
    run torch.safetensors --save ours.safetensors
    check "new weights are saved: $*" is $status 0
    python3 "$script" --check ours.safetensors >out 2>err
    check "PyTorch finds our outputs: $*" is $? 0
    check 'y, hn and cn are compared' is "$(grep -c 'largest difference' out)" 3
}

if python3 -c 'import torch' 2>/dev/null; then
    both_ways --dtype float64
    both_ways --dtype float32 --lengths 2,6,1,4 --steps 6
    both_ways --dtype float64 --lengths 2,5,5 --steps 6 --no-batch-first --no-bias --layers 3
    both_ways --dtype float32 --no-bidirectional --proj-size 0 --layers 1 --hidden-size 67
    python3 "$script" --check ours.safetensors --tolerance 0 >out 2>err
    check 'the script does not agree to everything' is $? 1
else
    printf 'python3-torch is not installed: PyTorch not compared\n'
fi

finish_checks
