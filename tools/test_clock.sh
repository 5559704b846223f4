#!/usr/bin/env bash
# Runs tests under clocks that stand a minute before a moment at which code breaks:
# tools/test_clock.sh [what pytest takes]. CLOCKS="leap-day new-year" picks some.
# Without arguments those that read the clock: the models' maths, the gateway and the cases are given
# their times; benchmarks, deploy, e2e and orchestration start whole installations, for minutes each.
# The clock goes on from there, of the tests' Postgres and browser too: tools/clock.c moves it.
# Files keep the machine's clock. For Linux with glibc 2.30 or later, and a C compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A moments=(
    [month-end]="2027-01-31 23:59 UTC"
    [leap-day]="2028-02-28 23:59 UTC"
    [after-leap-day]="2028-02-29 23:59 UTC"
    [new-year]="2026-12-31 23:59 UTC"
    [summer-time]="2027-03-28 00:59 UTC"
    [winter-time]="2027-10-31 00:59 UTC"
)
export TZ=Europe/Berlin # where the last two are
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
chmod 755 "$folder" # Postgres has an account of its own
"${CC:-cc}" -O2 -shared -fPIC -o "$folder/clock.so" tools/clock.c

[ $# -gt 0 ] || set -- tests/storage tests/going_live tests/data_checks tests/serving
failed=()
for clock in ${CLOCKS:-month-end leap-day after-leap-day new-year summer-time winter-time}; do
    # An offset, not a moment: all processes agree on it, whoever runs them.
    offset=$(($(date -d "${moments[$clock]}" +%s) - $(date +%s)))
    printf '\n%s: %s\n' "$clock" "${moments[$clock]}"
    env LD_PRELOAD="$folder/clock.so" CLOCK_OFFSET="$offset" \
        .venv/bin/pytest -p no:cacheprovider "$@" || failed+=("$clock")
done
[ ${#failed[@]} -eq 0 ] || { echo "Tests failed under ${failed[*]}"; exit 1; }
