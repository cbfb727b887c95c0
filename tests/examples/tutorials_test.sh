#!/usr/bin/env bash
# tutorials_test.sh LSTM_FROM_SCRATCH LSTM_SHAPES BPTT -- runs the examples for learners.
set -u

lstm_from_scratch=$(realpath "$1")
lstm_shapes=$(realpath "$2")
bptt=$(realpath "$3")
shapes_text=$(realpath "$(dirname "$0")/lstm_shapes.txt")
# shellcheck source=checks.sh
. "$(dirname "$0")/checks.sh"

# ---- lstm_shapes ----

run_program "$lstm_shapes"
check 'lstm_shapes: status 0' is $status 0
check 'lstm_shapes prints what is documented' diff "$shapes_text" out
run_program "$lstm_shapes" --help
check 'lstm_shapes --help ends with 0' is $status 0
run_program "$lstm_shapes" --layers 3
check 'lstm_shapes: an unknown option' one_line_error 2 lstm_shapes

# ---- bptt ----

mkdir -p home
BUILD_WORKING_DIRECTORY=$work/home run_program "$bptt"
check 'bptt: status 0' is $status 0
check 'bptt prints the way back' grep -q '^dc_2 = dh_2 \* o_2 \* (1 - tanh(c_2)^2) + dc_3 \* f_3  *= ' out
check 'bptt: 11 rows of norms' is "$(grep -cE '^ +[0-9]+( +[0-9.]+e[-+][0-9]+){4}$' out)" 11
check 'bptt draws a line for each layer' is "$(grep -c 'LSTM, b_f = 1' home/bptt.svg)" 1
check 'and ends the picture' is "$(tail -n 1 home/bptt.svg)" '</svg>'
run_program "$bptt" --svg none/bptt.svg
check 'bptt: a picture that cannot be written' one_line_error 2 bptt
run_program "$bptt" --speed 3
check 'bptt: an unknown option' one_line_error 2 bptt
run_program "$bptt" --svg other.svg --help
check 'bptt --help tells the default' grep -q 'default bptt.svg' out

# ---- lstm_from_scratch ----

small=(--hidden 8 --batch 4 --steps 5 --chars 300)
run_program "$lstm_from_scratch" "${small[@]}" --epochs 2
check 'lstm_from_scratch: status 0' is $status 0
check 'it learns the story that ships with it' grep -q '^text .*lighthouse.txt: 300 characters' out
check 'eight steps are compared' is "$(grep -cE '^ +[1-8]  [0-9.]+ +[0-9.]+ +[0-9.e+-]+ +[0-9.e+-]+$' out)" 8
check 'both are the same' grep -q '^the same but for rounding' out
check 'both are timed' grep -q 'from scratch [0-9.]* ms, nn_lstm [0-9.]* ms, ratio' out
check 'a log has a line for each epoch' is "$(grep -c '^epoch' out)" 2
check 'and no bar' is "$(grep -c $'\r' out)" 0
check 'a sample is written' grep -q '^Every day had the same ' out
printf 'abcab%.0s' {1..60} >letters.txt
run_program "$lstm_from_scratch" --text letters.txt "${small[@]}" --epochs 1
check 'a text of other letters: status 0' is $status 0
check 'and its sample begins as it does' grep -q '^abcababcababcababcababc' out
run_program "$lstm_from_scratch" "${small[@]}" --epochs 0 --double
check 'in double precision: status 0' is $status 0
check 'and the limit is narrower' grep -q 'limit 1e-12' out
losses() { sed -n 's/^\(epoch .*\)  (.*/\1/p' out; }
run_program "$lstm_from_scratch" "${small[@]}" --epochs 3 --double --train scratch
losses >scratch
run_program "$lstm_from_scratch" "${small[@]}" --epochs 3 --double --train nn_lstm
losses >nn_lstm
check 'both learn the same: 12 digits of the losses' diff scratch nn_lstm
run_program "$lstm_from_scratch" --help
check 'lstm_from_scratch --help ends with 0' is $status 0
for wrong in '--hidden 0' '--epochs -1' '--train gru' '--text missing.txt' '--chars 20'; do
    # shellcheck disable=SC2086
    run_program "$lstm_from_scratch" $wrong
    check "refused: lstm_from_scratch $wrong" one_line_error 2 lstm_from_scratch
done
interrupt INT "$lstm_from_scratch" "${small[@]}" --epochs 1000000
check 'Ctrl-C: status 130' is $status 130
check 'Ctrl-C: no error' is "$(cat err)" ''
check 'Ctrl-C is told' is "$(tail -n 1 out)" 'stopped by a signal'
interrupt TERM "$lstm_from_scratch" "${small[@]}" --epochs 1000000
check 'SIGTERM: status 143' is $status 143

finish_checks
