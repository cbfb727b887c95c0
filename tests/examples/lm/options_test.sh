#!/usr/bin/env bash
# options_test.sh PROGRAM -- which settings win: preset < config < command line.
set -u

lm=$(realpath "$1")
# shellcheck source=../checks.sh
. "$(dirname "$0")/../checks.sh"

run() { run_program "$lm" "$@"; }

# has KEY VALUE ARGUMENT...: the settings that the arguments make.
has() {
    rm -f settings.json
    run train "${@:3}" --write-config settings.json
    check "lm train ${*:3} ends" is $status 0
    check "lm train ${*:3}: $1 is $2, not $(grep "\"$1\"" settings.json)" \
        grep -qE "^ *\"$1\": $2,?\$" settings.json
}

refused() {
    run train "${@:2}" --write-config settings.json
    check "refused: ${*:2}" one_line_error 2 lm
    check "the message has '$1': $(<err)" grep -qF -- "$1" err
}

echo '{"lr": 0.25, "tied": true, "schedule": "cosine", "epochs": 3}' >config.json
echo '{"lr": 0.25, "lr": 1}' >twice.json
echo '{"rate": 1}' >unknown.json

has lr 0.005
has lr 20.0 --preset rnnlm
has lr 0.25 --preset rnnlm --config config.json
has lr 0.25 --config config.json --preset rnnlm
has lr 7.0 --preset rnnlm --config config.json --lr 7
has lr 7.0 --lr 7 --config config.json --preset rnnlm
has lr 8.0 --lr 7 --lr 8
has hidden 100 --config config.json --preset rnnlm
has tied true --config config.json
has tied false --no-tied --config config.json
has tied false --preset awd --no-tied
has tied true --tied --no-tied --tied
has fixed-offset true --fixed-offset
has fixed-offset true --preset rnnlm
has fixed-offset false --preset rnnlm --no-fixed-offset
has data '"ptb"' --preset rnnlm
has data null --preset rnnlm --text a.txt
has text '"a.txt"' --preset rnnlm --text a.txt
has seed 9000000000000000 --seed 9000000000000000

# What was written is read as what it was.
has lr 0.30000000000000004 --preset awd --lr 0.30000000000000004 --text 'a "b".txt' --alpha 1e-7
cp settings.json first.json
run train --config first.json --write-config second.json
check 'settings that are read are those that were written' cmp first.json second.json

refused 'lr' --config twice.json
refused 'unknown.json: rate: no such setting' --config unknown.json
refused 'none.json: No such file' --config none.json
refused '--preset nothing' --preset nothing
refused '--hidden 0: must be at least 1' --hidden 0
refused '--dropout 1: must be less than 1' --dropout 1
refused '--lr 0: must be more than 0' --lr 0
refused '--lr nan' --lr nan
refused '--optimizer x: must be one of' --optimizer x
refused '--hidden 1.5: not a whole number' --hidden 1.5
refused '--no-lr' --no-lr
refused '--data and --text' --data ptb --text a.txt
refused '--momentum' --momentum 0.5
run train --text a.txt --write-config none/settings.json
check 'settings that cannot be written are refused' one_line_error 2 lm

# A vocabulary of which nothing could be written.
for ((i = 0; i < 40; i++)); do echo 'abcabc abcabc'; done >few.txt
for option in '--min-count 100000' '--max-vocab 1'; do
    # shellcheck disable=SC2086
    run train --text few.txt --hidden 4 --embedding 4 --batch 2 --steps 5 --out unknown $option
    check "$option leaves nothing to learn" one_line_error 2 lm
    check 'the message names text and options' grep -q '^lm: few.txt: .*--min-count.*--max-vocab' err
    check 'before anything is written' is "$(find . -name unknown)" ''
done

# What stands in the place of a file of the run, and is none.
run train --text few.txt --hidden 4 --embedding 4 --batch 2 --steps 5 --epochs 1 --out odd
check 'a small run ends' is $status 0
for name in config.json vocab.json model.safetensors checkpoint.safetensors log.csv; do
    mv odd/$name kept
    mkfifo odd/$name
    case $name in
    checkpoint.safetensors) command=(train --resume --out odd) ;;
    log.csv) command=(plot --text odd) ;;
    *) command=(generate --run odd) ;;
    esac
    run_program timeout 20 "$lm" "${command[@]}"
    check "a pipe as $name is refused" one_line_error 2 lm
    check 'by its name' grep -q "odd/$name: is not a regular file" err
    rm odd/$name
    mv kept odd/$name
done

# Two files of one name.
run trace --run odd --text abc --out picture.svg --csv picture.svg
check 'a picture and a table of one name are refused' one_line_error 2 lm
check 'with both options' grep -q -e '--out and --csv' err
check 'and not written' is "$(find . -name picture.svg)" ''

finish_checks
