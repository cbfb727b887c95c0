# checks.sh -- for tests of programs, to be sourced: a folder to work in, checks and their count.

work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/$(basename "$0" .sh).XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
unset BUILD_WORKING_DIRECTORY
checks=0
failures=0

# check WHAT COMMAND...: one check, which holds if the command succeeds.
check() {
    checks=$((checks + 1))
    "${@:2}" && return
    failures=$((failures + 1))
    printf 'FAILED: %s\n' "$1"
    tail -n 5 out err 2>/dev/null
}

# run_program PROGRAM ARGUMENT...: its output goes to the files out and err, its status to $status.
run_program() {
    "$@" >out 2>err
    status=$?
}

is() { [[ $1 == "$2" ]]; }

# one_line_error STATUS NAME: the last run ended with the status and one line that begins so.
one_line_error() {
    [[ $status == "$1" && $(wc -l <err) == 1 && $(<err) == "$2: "* ]]
}

# interrupt SIGNAL PROGRAM ARGUMENT...: a run that would take hours gets the signal once it has
# printed a line that begins with $begun; one that ends before has its own status.
begun=epoch
interrupt() {
    : >out # not the lines of the run before
    "${@:2}" >out 2>err &
    local pid=$!
    until grep -q "^$begun" out || ! kill -0 $pid 2>/dev/null; do sleep 0.05; done
    # A background job of a script ignores SIGINT only until the program catches it.
    kill -s "$1" $pid 2>/dev/null
    wait $pid
    status=$?
}

# The last line of a test.
finish_checks() {
    printf '%s: %d checks, %d failed\n' "$(basename "$0" .sh)" "$checks" "$failures"
    [[ $failures == 0 ]]
}
