#!/usr/bin/env bash
# mpi_test.sh CHECK LM TEXT -- training by several processes of MPI, on this machine.
set -u

check=$(realpath "$1")
lm=$(realpath "$2")
text=$(realpath "$3")
# shellcheck source=../checks.sh
. "$(dirname "$0")/../checks.sh"

# Root, as in a container; more processes than processors; no network, no ptrace.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_plm=isolated
# Files of Open MPI have names whose length is limited.
export TMPDIR=/tmp

# mpi N PROGRAM ARGUMENT...
mpi() { run_program mpirun -n "$1" "${@:2}"; }

# ---- functions, and a small model ----

for n in 1 2 3 5; do
    mpi $n "$check" functions
    check "the functions, with $n processes" is $status 0
done

mpi 1 "$check" train one
check 'one process trains' is $status 0
for n in 2 3 4; do
    mpi $n "$check" train "several$n" one
    check "$n processes train as one does, and go on from its checkpoint" is $status 0
done
mpi 1 "$check" train again several3
check 'one process goes on from the checkpoint of three' is $status 0
mpi 2 "$check" train again several2
for phase in middle end; do
    for kind in 0 3 8; do
        check "a run repeats: $kind.$phase" cmp -s "several2.$kind.$phase" "again.$kind.$phase"
    done
done

mpi 3 "$check" fail
check 'a process that fails ends the others, too' is $((status != 0)) 1
check 'its message is seen' grep -q 'process 1 of 3: fails' out

# ---- the program ----

# train N FOLDER OPTION...: N processes.
train() {
    mpi "$1" "$lm" train --text "$text" --out "$2" --embedding 16 --hidden 24 --layers 2 \
        --steps 20 --epochs 2 --dropout 0.3 --log-every 20 "${@:3}"
    check "lm train with $1 processes: ${*:3}" is $status 0
}

# same A B: the logs' perplexities (columns 6 and 7) differ by no more than 1e-4 of them.
same() {
    paste -d , "$1/log.csv" "$2/log.csv" | awk -F , '
        function far(a, b) { return a != b && (a - b) ^ 2 > (1e-4 * a) ^ 2 }
        NR > 1 { n++; if ($2 != $12 || far($6, $16) || far($7, $17)) exit bad = 1 }
        END { exit bad || n < 4 }'
}

train 1 run1 --batch 16
for run in '2 run2 --batch 8' '2 run4 --batch 4 --workers 2' '1 run3 --batch 4 --workers 4'; do
    # shellcheck disable=SC2086
    train $run
    read -r _ folder _ <<<"$run"
    check "the log of $run is that of one process" same run1 "$folder"
done

train 2 part --batch 8 --epochs 1
cp -r part resumed
train 1 resumed --batch 16 --resume
check 'one process goes on with the run of two' same run1 resumed
finish_checks
