#!/usr/bin/env bash
# leak_check.sh PROGRAM ARGUMENT... -- runs a test and fails if LeakSanitizer reports.
# Criterion has taken a case's result before its process exits, which is when leaks
# are found: alone it passes a case that leaks.
output=$TEST_TMPDIR/leak_check.output
# The system's library of fonts keeps what it has read; all else is looked at.
printf 'leak:libfontconfig\n' >"$TEST_TMPDIR/leak_check.known"
export LSAN_OPTIONS=suppressions=$TEST_TMPDIR/leak_check.known:print_suppressions=0
"$@" 2>&1 | tee "$output"
status=${PIPESTATUS[0]}
if grep -aq 'ERROR: LeakSanitizer' "$output"; then
    echo 'leak_check: memory leaked (see above)'
    exit 1
fi
exit "$status"
