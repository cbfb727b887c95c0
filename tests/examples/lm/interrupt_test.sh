#!/usr/bin/env bash
# interrupt_test.sh PROGRAM -- runs of `lm train` that are stopped, killed, or cannot write.
set -u

lm=$(realpath "$1")
# shellcheck source=../checks.sh
. "$(dirname "$0")/../checks.sh"
RANDOM=${UNROLL_SEED:-$$}
printf 'UNROLL_SEED=%s\n' "${UNROLL_SEED:-$$}"

run() { run_program "$lm" "$@"; }

for ((i = 0; i < 12; i++)); do
    echo 'The quick brown fox jumps over the lazy dog. A wizard quacked.'
done >text.txt
# Epochs of a few milliseconds, so that files are written nearly all the time.
train=(train --text text.txt --embedding 4 --hidden 8 --layers 2 --batch 4 --steps 10
    --epochs 60 --dropout 0.2 --test 0.1 --save-every 0 --log-every 3 --random-steps)

# The same model, settings and log, but for times.
same_run() {
    cmp whole/model.safetensors "$1/model.safetensors" &&
        cmp whole/config.json "$1/config.json" && cmp whole/vocab.json "$1/vocab.json" &&
        cmp <(cut -d, -f1-3,5-9 whole/log.csv) <(cut -d, -f1-3,5-9 "$1/log.csv") &&
        [[ $(wc -l <"$1/log.jsonl") == $(($(wc -l <"$1/log.csv") - 1)) ]]
}

# random MICROSECONDS: sleeps for so long at most.
random() {
    local microseconds=$(((RANDOM * 32768 + RANDOM) % $1))
    sleep "$(printf '%d.%06d' $((microseconds / 1000000)) $((microseconds % 1000000)))"
}

no_temporaries() { [[ -z $(find "$1" -name '.tmp*') ]]; }

# goes_on FOLDER: to the end, with the same bits.
goes_on() {
    run train --resume --out "$1"
    check "the run in $1 goes on" is $status 0
    check "and ends with the same bits" same_run "$1"
    check "and without temporary files" no_temporaries "$1"
}

start=${EPOCHREALTIME/[.,]/}
run "${train[@]}" --out whole
duration=$((${EPOCHREALTIME/[.,]/} - start))
check 'a run that is not disturbed ends' is $status 0

# ---- without standard streams ----

# A file of the run must not get the number of a stream that is closed, and its text.
for closed in '>&-' '2>&-' '<&- >&- 2>&-'; do
    rm -rf closed
    eval "\"\$lm\" \"\${train[@]}\" --profile --out closed 2>err $closed" >out
    check "a run with $closed writes what it would without" same_run closed
    check 'and no other lines' is "$(grep -c '^[{]' closed/log.jsonl)" "$(wc -l <closed/log.jsonl)"
done
"$lm" "${train[@]}" --overwrite --out closed 2>err >&-
status=$?
check 'standard output that is closed is an error' one_line_error 2 lm

# ---- Ctrl-C, SIGTERM ----

# signalled SIGNAL FOLDER ARGUMENT...: gets the signal at a random moment after the first epoch.
signalled() {
    : >out # not the words of the run before
    "$lm" train "${@:3}" --out "$2" >out 2>err &
    local pid=$!
    until grep -q '^epoch' out || ! kill -0 $pid 2>/dev/null; do sleep 0.01; done
    random $((duration / 2))
    kill -s "$1" $pid 2>/dev/null
    wait $pid
    status=$?
}

stopped_well() {
    check "$1 ends with $2" is $status "$2"
    check "$1 says so" grep -q '^stopped ' out
    check "$1 says what is saved" is "$(tail -n 1 out | cut -c 1-5)" saved
    check "$1 is no error" is "$(<err)" ''
}

long=("${train[@]:1}")
for ((i = 0; i < 5; i++)); do
    rm -rf run
    signalled INT run "${long[@]}"
    # A run that was faster than the moment is done.
    [[ $status == 0 ]] || stopped_well 'Ctrl-C' 130
    goes_on run
done
rm -rf run
signalled TERM run "${long[@]}" --epochs 100000
stopped_well SIGTERM 143

# In the folder of a run that was stopped.
before=$(cksum run/*)
run "${train[@]}" --out run
check 'a run that was stopped is not written over' one_line_error 2 lm
check 'the message tells the ways out' grep -q -- '--resume .*--overwrite' err
check 'nothing has changed' is "$(cksum run/*)" "$before"
run "${train[@]}" --out run --overwrite
check '--overwrite begins anew' same_run run
run "${train[@]}" --out run
check 'a run that is done is written over' same_run run

# Bare `lm` goes on in lm-run.
signalled INT lm-run --hidden 8 --embedding 4 --epochs 2 --log-every 1 --batch 64 --steps 100 \
    --save-every 1
if [[ $status == 130 ]]; then
    run
    check 'lm goes on with the default run' is $status 0
    check 'with its settings' grep -q 'LSTM 8,' out
fi
check 'and its run ends' grep -q '^saved .*lm-run, epoch' out

# The second Ctrl-C does not wait for the end of the step, which takes seconds.
: >out
"$lm" train --text "$lm" --replace-invalid --hidden 512 --layers 4 --steps 2000 --batch 16 \
    --max-chars 100000 --out twice >out 2>err &
pid=$!
until grep -q '^training' out || ! kill -0 $pid 2>/dev/null; do sleep 0.01; done
sleep 0.7
kill -INT $pid
sleep 0.2
kill -INT $pid
wait $pid
check 'the second Ctrl-C ends at once' is $? 130
check 'without a word' is "$(grep -c '^stopped' out)" 0

# ---- kill -9 ----

kills=${UNROLL_KILLS:-12}
rm -rf run
ended=0
for ((i = 0; i < kills; i++)); do
    resume=()
    [[ -e run/checkpoint.safetensors ]] && resume=(--resume)
    if ((${#resume[@]} > 0)); then arguments=(train --resume); else arguments=("${train[@]}"); fi
    "$lm" "${arguments[@]}" --out run >out 2>err &
    pid=$!
    # Every third in the first milliseconds, while the run is loaded and begins.
    if ((i % 3 == 0)); then random 20000; else random $((duration / 3)); fi
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    status=$?
    if [[ $status == 0 ]]; then
        check "the run ends with the same bits after kill $i" same_run run
        ended=$((ended + 1))
        rm -rf run
    else
        check "a run that was killed had nothing to complain of ($i)" is $status 137
    fi
done
[[ -e run/checkpoint.safetensors ]] || run "${train[@]}" --out run --overwrite
goes_on run
printf '%d kills, %d runs ended meanwhile\n' "$kills" "$ended"

# ---- what cannot be written ----

run "${train[@]}" --out /proc/none/run
check 'a folder that cannot be made is refused' one_line_error 2 lm
check 'with its name' grep -q '/proc/none' err
: >file
run "${train[@]}" --out file
check 'a folder that is a file is refused' one_line_error 2 lm
run "${train[@]}" --out ''
check 'a folder without a name is refused' one_line_error 2 lm
run train --resume --out nothing-here
check 'nothing to go on with is refused' one_line_error 2 lm
check 'with the folder' grep -q 'nothing-here' err
rm -rf full
(
    trap '' XFSZ
    ulimit -f 1
    exec "$lm" "${train[@]}" --hidden 64 --out full
) 2>err | cat >out
status=${PIPESTATUS[0]}
check 'a full disk ends the run with one line' one_line_error 2 lm
check 'without temporary files' no_temporaries full
"$lm" "${train[@]}" --out full --overwrite >/dev/full 2>err
status=$?
check 'output that cannot be written is an error' one_line_error 2 lm

finish_checks
