#!/usr/bin/env bash
# manual_test.sh PROGRAM MANUAL -- the manual lists the options that the program has, with their
# defaults, and no others.
set -u

lm=$(realpath "$1")
manual=$(realpath "$2")
# shellcheck source=../checks.sh
. "$(dirname "$0")/../checks.sh"

# help_options COMMAND: "NAME VALUE|DEFAULT" of each entry of the help, but for --help.
help_options() {
    "$lm" "$1" --help | awk '
        /^example:/ { exit }
        /^  [^ ]/ && !/^  -h, --help/ {
            name = substr($0, 3, 24)
            sub(/ +$/, "", name)
            text = substr($0, 27)
            if (match(text, / \(default [^()]*\)$/)) text = substr(text, RSTART + 10, RLENGTH - 11)
            else text = ""
            print name "|" text
        }'
}

# manual_options COMMAND: the same of the entries "- `NAME VALUE` (default DEFAULT): ..." of the
# section about the command.
manual_options() {
    awk -v heading="### lm $1" '
        /^##[^#]/ || /^###[^#]/ { inside = $0 == heading }
        inside && /^- `/ {
            split($0, part, "`")
            name = part[2]
            text = substr($0, length(name) + 5)
            if (match(text, /^ \(default [^()]*\):/)) text = substr(text, 11, RLENGTH - 12)
            else if (text ~ /^:/) text = ""
            print name "|" text
        }' "$manual"
}

same_options() { diff <(help_options "$1") <(manual_options "$1") >out; }
stands_in_synopsis() { grep -q "^    lm $1\( \|$\)" "$manual"; }

commands=(train generate score inspect trace plot)
for command in "${commands[@]}"; do
    check "lm $command --help lists options" test -n "$(help_options "$command")"
    check "docs/lm.md lists the options of lm $command" same_options "$command"
    check "docs/lm.md has lm $command in its synopsis" stands_in_synopsis "$command"
done

named=$("$lm" --help | awk '/^       lm [a-z]/ { print $2 }')
check 'these are the commands of lm --help' is "$named" "$(printf '%s\n' "${commands[@]}")"

# Every preset has a row in the table, and every row is a preset.
"$lm" train --preset none 2>&1 | sed 's/.*one of //; s/, /\n/g' >presets
# shellcheck disable=SC2016
sed -n '/^#### Presets/,/^#### W/s/^| `\([^`]*\)`.*/\1/p' "$manual" >rows
check 'docs/lm.md lists the presets' diff <(sort presets) <(sort rows)

# The header of the log.
grep -o 'epoch,step,[a-z_,]*' "$manual" >header
seq -f 'line %g of a text' 40 >text.txt
check 'a short training' "$lm" train --text text.txt --hidden 4 --embedding 0 --batch 2 \
    --steps 8 --epochs 1 --out run >/dev/null
check 'docs/lm.md has the header of log.csv' diff header <(head -n 1 run/log.csv)
for file in run/*; do
    check "docs/lm.md tells of $file" grep -q "\`${file#run/}\`" "$manual"
done

finish_checks
