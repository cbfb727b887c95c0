#!/usr/bin/env bash
# lm_test.sh PROGRAM -- runs the language-model trainer as its users do.
set -u

lm=$(realpath "$1")
# shellcheck source=checks.sh
. "$(dirname "$0")/checks.sh"

# ---- helpers ----

run() { run_program "$lm" "$@"; }

# refused WORD ARGUMENT...: status 2 and one line on stderr that holds the word.
refused() {
    run "${@:2}"
    check "refused: lm ${*:2}" one_line_error 2 lm
    check "the message on lm ${*:2} has '$1': $(cat err)" grep -qF -- "$1" err
}

small=(--overwrite --embedding 0 --hidden 16 --batch 4 --steps 10 --epochs 3 --dropout 0)
train() { run train --text text.txt "${small[@]}" "$@"; }

# The losses and perplexities of a log, in full, without times.
losses() { sed -n 's/^\(epoch .*\)  (.*/\1/p' out; }

for ((i = 0; i < 60; i++)); do
    echo 'The quick brown fox jumps over the lazy dog. A wizard quacked; zebras vexed him.'
done >text.txt

# ---- help ----

for arguments in '--help' '-h' 'train --help' 'generate --help'; do
    # shellcheck disable=SC2086
    run $arguments
    check "lm $arguments ends with 0" is $status 0
    check "lm $arguments has an example" grep -q '^example:' out
    check "lm $arguments prints no error" is "$(cat err)" ''
done
run train --help
check 'defaults are shown' grep -q -- '--hidden H .*(default 192)' out

# ---- what the user gets wrong ----

refused 'unknown command fly' fly
refused '--frobnicate' train --frobnicate
refused '--text needs a value' train --text
refused 'unexpected argument' train text.txt
refused 'missing.txt' train --text missing.txt
refused 'not a whole number' train --hidden abc
refused 'not a whole number' train --hidden 1.5
refused 'not a whole number' train --hidden ''
refused 'at least 1' train --hidden 0
refused 'at least 1' train --epochs -3
refused 'at most' train --hidden 99999999999999999999
refused 'at most' train --batch 99999999
refused 'not a finite number' train --lr nan
refused 'not a finite number' train --clip inf
refused 'not a finite number' train --dropout 1e999
refused 'more than 0' train --lr 0
refused 'less than 1' train --dropout 1
refused 'less than 1' train --valid 1
refused 'sgd, asgd' train --optimizer newton
refused 'rnnlm' train --preset tiny
refused 'one-cycle' train --schedule sine
refused '--momentum' train --optimizer adam --momentum 0.9
refused '--nonmonotone' train --nonmonotone 2
refused '--text' train --text text.txt --data ptb
refused 'leave nothing' train --text text.txt --valid 0.5 --test 0.5
refused '--tied' train --text text.txt --tied --embedding 8 --layers 1 --out wrong
refused 'none, lower, letters' train --clean words
: >empty.txt
refused 'empty.txt' train --text empty.txt
echo 'Too short.' >short.txt
refused 'short.txt' train --text short.txt
refused 'short.txt' train --text short.txt --valid 0.01
printf '123 456\n' >digits.txt
refused 'digits.txt' train --text digits.txt --clean letters
printf 'good \xff bad' >latin1.txt
refused 'latin1.txt: byte 5' train --text latin1.txt
mkdir no-texts
refused 'no-texts' train --text no-texts
refused 'text.txt' train --text text.txt --out text.txt
refused 'text.txt' train --text text.txt --out text.txt/run
refused 'empty' train --text text.txt --out ''
refused 'nowhere' generate --run nowhere
refused 'not a finite number' generate --temperature nan
refused 'at least 0' generate --temperature -1
refused 'at least 0' generate --length -1
check 'nothing was written by all that' is "$(find . -name '*.json')" ''

# ---- training ----

train --out run --epochs 12 --lr 0.01
check 'training ends with 0' is $status 0
check 'training prints no error' is "$(cat err)" ''
for file in model.safetensors vocab.json config.json checkpoint.safetensors log.csv log.jsonl; do
    check "$file is written" test -s "run/$file"
done
check 'no temporary file is left' is "$(find run -type f | wc -l)" 6
# shellcheck disable=SC2016
check 'perplexity falls to less than half' awk '
    /^epoch/ { sub(/.*perplexity /, ""); n++; if (n == 1) first = $1; last = $1 }
    END { exit !(n == 12 && last < first / 2) }' out
check 'held-out text is measured' grep -q 'on held-out text' out
check 'the end is a sample' grep -q '^sample' out

train --out a --dropout 0.2 --layers 2 --embedding 8
losses >a.losses
train --out b --dropout 0.2 --layers 2 --embedding 8
check 'losses are printed' is "$(wc -l <a.losses)" 3
check 'one seed: the same losses' is "$(losses)" "$(cat a.losses)"
check 'one seed: the same file' cmp a/model.safetensors b/model.safetensors
train --out b --dropout 0.2 --layers 2 --embedding 8 --seed 2
check 'another seed: other losses' test "$(losses)" != "$(cat a.losses)"

train --out b --dropout 0.2 --layers 2 --embedding 8 --profile
check '--profile: the same losses' is "$(losses)" "$(cat a.losses)"
check '--profile: a table on standard error' grep -q '^outside the tape' err
check '--profile: steps are counted' grep -q '^backward passes: [1-9]' err

train --out plain --valid 0 --optimizer sgd --lr 0.5 --momentum 0.5 --clip 0 --fixed-offset
check 'everything to train on' is $status 0
check 'then nothing is held out' grep -q ' 0 held out' out
train --out letters --clean letters --max-chars 2000 --valid 0
check 'letters: 26, space, <unk>' grep -q '28 symbols' out
check 'the first characters' grep -q ' 2000 characters' out
run train --text latin1.txt --replace-invalid --out latin1 --valid 0 --hidden 4 --batch 1 \
    --steps 4 --epochs 1
check 'invalid bytes are replaced on request' is $status 0

# ---- generating ----

generate() { run generate --run run --length 80 "$@"; }
generate --prefix 'The quick' --seed 3 --temperature 1.5
cp out first
check 'generating ends with 0' is $status 0
check 'it begins with the prefix' is "$(head -c 9 out)" 'The quick'
generate --prefix 'The quick' --seed 3 --temperature 1.5
check 'one seed: the same text' cmp out first
generate --prefix 'The quick' --seed 4 --temperature 1.5
check 'another seed: another text' test "$(cat out)" != "$(cat first)"
generate --prefix 'The quick' --seed 3 --temperature 0
cp out first
generate --prefix 'The quick' --seed 4 --temperature 0
check 'temperature 0 needs no luck' cmp out first
generate --prefix 'The quick' --length 0
check 'length 0: the prefix' is "$(cat out)" 'The quick'
generate --length 20
check 'no prefix' is $status 0
generate --length 20 --temperature 1e300
check 'any temperature' is $status 0
run generate --run letters --prefix 'The QUICK'
check 'a prefix is cleaned as the text was' is "$(head -c 9 out)" 'the quick'
refused "'€'" generate --run run --prefix 'The €'
refused '--prefix' generate --run run --prefix $'\xff'
"$lm" generate --run run >/dev/full 2>err
status=$?
check 'a full disk is told' one_line_error 2 lm

# ---- damaged folders ----

# damaged WORD FILE SED-SCRIPT: with the file edited, the folder is refused.
damaged() {
    rm -rf bad
    cp -r run bad
    sed -i "$3" "bad/$2"
    check "$2 was edited by $3" test "$(cmp -s "run/$2" "bad/$2"; echo $?)" = 1
    refused "$1" generate --run bad
}
damaged 'bad/config.json' config.json 's/"version": 2/"version": 9/'
damaged 'bad/config.json' config.json 's/"hidden": 16/"hidden": -16/'
damaged 'bad/config.json' config.json 's/"hidden": 16/"hidden": "x"/'
damaged 'bad/config.json' config.json '/"format"/d'
damaged 'bad/config.json' config.json 1d
damaged 'bad/model.safetensors' config.json 's/"hidden": 16/"hidden": 15/'
damaged 'config.json' config.json 's/"hidden": 16/"hidden": 1000000/'
damaged 'bad/config.json' config.json 's/"clean": "none"/"clean": "odd"/'
damaged 'bad/vocab.json' vocab.json 's/"version": 1/"version": 9/'
rm -rf bad && cp -r run bad && cp letters/vocab.json bad
refused 'bad/vocab.json' generate --run bad
rm -rf bad && cp -r run bad && cp letters/model.safetensors bad
refused 'bad/model.safetensors' generate --run bad
rm -rf bad && cp -r run bad && truncate -s -100 bad/model.safetensors
refused 'bad/model.safetensors' generate --run bad
rm -rf bad && cp -r run bad
printf 'U' | dd of=bad/model.safetensors bs=1 seek=10001 conv=notrunc 2>dd.err
refused 'bad/model.safetensors: is damaged' generate --run bad
rm -rf bad && cp -r run bad
printf 'U' | dd of=bad/checkpoint.safetensors bs=1 seek=20001 conv=notrunc 2>dd.err
refused 'bad/checkpoint.safetensors: is damaged' train --resume --out bad
for file in model.safetensors vocab.json config.json; do
    rm -rf bad && cp -r run bad && rm "bad/$file"
    refused "bad/$file" generate --run bad
done

# ---- divergence ----

cp -r run kept
train --out run --optimizer sgd --lr 1e6 --clip 0 --epochs 50
check 'divergence: one line, status 1' one_line_error 1 lm
for file in model.safetensors vocab.json config.json; do
    check "divergence leaves the $file of the run before" cmp "run/$file" "kept/$file"
done

# ---- signals ----

hours=(train --text text.txt "${small[@]}" --epochs 1000000 --out stopped)
interrupt INT "$lm" "${hours[@]}"
check 'Ctrl-C: status 130' is $status 130
check 'Ctrl-C: no error' is "$(cat err)" ''
run generate --run stopped --length 5
check 'Ctrl-C: the model is saved' is $status 0
rm -rf stopped
interrupt TERM "$lm" "${hours[@]}"
check 'SIGTERM: status 143' is $status 143
check 'SIGTERM: the model is saved' test -s stopped/model.safetensors

run train --resume --out stopped --epochs 1
check 'a run that was stopped goes on to its end' is $status 0
train --out stopped --epochs 1
check 'a run that ended can be followed by another' is $status 0
refused 'has --hidden 16' train --resume --out stopped --hidden 17
refused 'has --optimizer "adam"' train --resume --out stopped --optimizer sgd
run train --text text.txt "${small[@]:1}" --out stopped --epochs 1
check 'which takes its place, and says so' grep -q '^replaces .* stopped' out

# ---- presets and configurations ----

run train --preset awd --text text.txt --hidden 8 --write-config awd.json
check 'a configuration is written' is $status 0
check 'with the settings of the preset' grep -q '"weight-drop": 0.5' awd.json
check 'and those of the command line' grep -q '"hidden": 8' awd.json
run train --config awd.json --embedding 4 --layers 2 --batch 2 --steps 8 --epochs 2 --out awd
check 'it is read back, and can be overridden' is $status 0
check 'words are words' grep -q ' words to train on' out
run train --text text.txt --hidden 8 --config run/config.json --epochs 1 --out again
check 'the config.json of a run is a configuration' grep -q 'windows of 4 x 10' out
echo '{"hiden": 3}' >typo.json
refused 'typo.json: hiden: no such setting' train --config typo.json

# ---- folders ----

mkdir -p home elsewhere
cp text.txt home
cd elsewhere || exit 1
export BUILD_WORKING_DIRECTORY=$work/home
train --out deep/run --epochs 1
check 'paths are relative to BUILD_WORKING_DIRECTORY' is $status 0
check 'also what is written' test -s "$work/home/deep/run/config.json"
run generate --run deep/run --length 5
check 'also what is read' is $status 0
BUILD_WORKING_DIRECTORY=$work/none
refused "$work/none" train --epochs 1
unset BUILD_WORKING_DIRECTORY
check 'nothing but logs stands where it ran' is "$(ls)" $'err\nout'

# The story that ships with the program is found from another folder.
run train "${small[@]}" --hidden 4 --epochs 1 --batch 64 --out "$work/story"
check 'without --text it learns the story' grep -q '^text .*lighthouse.txt' out
check 'and ends with 0' is $status 0

finish_checks
