#!/bin/sh
# Runs each argument as a shell command, shows its output, and ends with the sum of their closing lines `N passed, N failed`.
# A command without a closing line, or one that dies after it, counts as one failed.       sh tests/sum.sh COMMAND...
passed=0 failed=0
log=build/sum.log.$$
mkdir -p build
trap 'rm -f "$log" "$log.rc"' EXIT
for command; do
    { sh -c "$command" 2>&1; echo $? > "$log.rc"; } | tee "$log" | grep -Ev '^[0-9]+ passed, [0-9]+ failed$'
    rc=$(cat "$log.rc")
    p=$(sed -n 's/^\([0-9][0-9]*\) passed, [0-9][0-9]* failed$/\1/p' "$log" | tail -n 1)
    f=$(sed -n 's/^[0-9][0-9]* passed, \([0-9][0-9]*\) failed$/\1/p' "$log" | tail -n 1)
    if [ -z "$p" ] || { [ "$rc" -ne 0 ] && [ "$f" -eq 0 ]; }; then
        echo "FAIL $command: exit status $rc"
        f=$((${f:-0} + 1))
    fi
    passed=$((passed + ${p:-0})) failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
