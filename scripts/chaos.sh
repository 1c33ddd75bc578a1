#!/usr/bin/env bash
# Runs the promises of sessions under faults for long, one run after the other; docs/chaos.md explains
# it. `chaos.sh [PART OF A NAME…]`
#   CHAOS_SECONDS  for each run that goes on for a time, 60 when unset
#   CHAOS_ROUNDS   of each run that is counted, 1000 when unset
#   ASSAY_SEED     the dice of the first round; drawn when unset
set -euo pipefail
cd "$(dirname "$0")/.."

export ASSAY_CHAOS_SECONDS=${CHAOS_SECONDS:-60}
export ASSAY_CHAOS_ROUNDS=${CHAOS_ROUNDS:-1000}
log=$PWD/target/chaos.log

cargo test --locked --test it --no-run
printf '| run | store | rounds | operations | violations | recovery, middle / longest | beside |\n'
printf '|---|---|---|---|---|---|---|\n'
filters=("$@")
[ ${#filters[@]} -gt 0 ] || filters=(chaos::)
result=0
cargo test --locked --test it -- "${filters[@]}" --nocapture --test-threads=1 >"$log" 2>&1 || result=$?
# The harness begins a line with the name of the test.
sed -nE 's/^(test .* \.\.\. )?(\| .* \|)$/\2/p' "$log"
if [ "$result" -ne 0 ]; then
    grep -nE 'to repeat it|panicked|promises broken' "$log" >&2 || true
    printf 'chaos: FAILED, see %s\n' "$log" >&2
    exit 1
fi
