#!/usr/bin/env bash
# Runs tests under clocks that stand a minute before a moment at which code breaks:
# tools/test_clock.sh [what pytest takes]. CLOCKS="leap-day new-year" picks some.
# The clock goes on from there, of the tests' Postgres too. Monotonic clocks are left alone.
# Files keep the machine's clock, and a browser does not start under it.
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
preload=$(faketime -m -f +0 printenv LD_PRELOAD)

for clock in ${CLOCKS:-month-end leap-day after-leap-day new-year summer-time winter-time}; do
    # An offset, not a moment: all processes agree on it, whoever runs them.
    offset=$(($(date -d "${moments[$clock]}" +%s) - $(date +%s)))
    printf '\n%s: %s\n' "$clock" "${moments[$clock]}"
    env LD_PRELOAD="$preload" FAKETIME="$(printf '%+d' "$offset")" FAKETIME_DONT_FAKE_MONOTONIC=1 \
        DONT_FAKE_MONOTONIC=1 PYTHONPATH="$PWD/tools/clock" .venv/bin/pytest -p no:cacheprovider "$@"
done
