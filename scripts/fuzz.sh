#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzz targets and runs them, two at a time: scripts/fuzz.sh [seconds] [target...]
# An input that crashes a parser, keeps it for a second or makes it allocate more than 64 MiB at once ends
# the script with its path. New inputs of interest collect in build/fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-30}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(gguf safetensors config tokenizer chat_template)
case "$seconds" in '' | *[!0-9]* | 0*) echo "fuzz: seconds: found $seconds, required a number over 0" >&2; exit 2 ;; esac

# Fixtures of the rooms that are good inputs too.
declare -A more=([gguf]="src/checkpoint/testdata/*.gguf" [safetensors]="src/checkpoint/testdata/*.safetensors"
                 [config]="tests/goldens/*/config.json" [tokenizer]="" [chat_template]="")
for target in "${targets[@]}"; do
  [ -n "${more[$target]+there}" ] || { echo "fuzz: target: found $target, required one of ${!more[*]}" >&2; exit 2; }
done

scripts/setup.sh clang-14 libclang-rt-14-dev >&2
cmake --preset fuzz >&2
cmake --build --preset fuzz --target "${targets[@]/#/fuzz_}" >&2

work=build/fuzz
run_target() {
  local target=$1 corpus=$work/corpus/$1 log=$work/$1.log
  mkdir -p "$corpus" "$work/findings"
  # shellcheck disable=SC2086  # the patterns are meant to expand
  [ -z "${more[$target]}" ] || cp ${more[$target]} "$corpus" 2>/dev/null || true
  local regressions=tests/fuzz/regressions/$target
  [ -d "$regressions" ] || regressions=
  # shellcheck disable=SC2086
  if ! "$work/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=1 -malloc_limit_mb=64 -rss_limit_mb=1024 \
      -max_len=65536 -print_final_stats=1 -dict="tests/fuzz/dictionaries/$target.dict" \
      -artifact_prefix="$work/findings/$target-" "$corpus" "tests/fuzz/seeds/$target" $regressions >"$log" 2>&1; then
    grep -hE "ERROR|SUMMARY|broken promise|runtime error|Test unit written" "$log" >&2 || tail -n 20 "$log" >&2
    echo "fuzz: $target: failed; see $log" >&2
    return 1
  fi
  echo "fuzz: $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, no finding"
}

status=0
running=()
for target in "${targets[@]}"; do
  if [ ${#running[@]} -eq 2 ]; then
    wait "${running[0]}" || status=1
    running=("${running[1]}")
  fi
  run_target "$target" &
  running+=($!)
done
for job in "${running[@]}"; do wait "$job" || status=1; done
exit $status
