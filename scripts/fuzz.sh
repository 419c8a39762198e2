#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzz targets and runs them: scripts/fuzz.sh [--seconds N | --runs N] [--jobs N] [TARGET...]
# An input that crashes a parser, takes a second of the processor or 64 MiB beyond its size ends the script
# with its path. New inputs of interest collect in build/fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."

until_flag=-max_total_time=30
jobs=2
targets=()
bad() { echo "fuzz: $1: found $2, required $3" >&2; exit 2; }
number() { case "$2" in '' | *[!0-9]* | 0*) bad "$1" "$2" "a number over 0" ;; esac; echo "$2"; }
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) until_flag=-max_total_time=$(number "$1" "${2-}") ;;
    --runs) until_flag=-runs=$(number "$1" "${2-}") ;;
    --jobs) jobs=$(number "$1" "${2-}") ;;
    -*) bad flag "$1" "--seconds, --runs or --jobs" ;;
    *) targets+=("$1"); shift; continue ;;
  esac
  shift 2
done
[ ${#targets[@]} -gt 0 ] || targets=(gguf safetensors config tokenizer chat_template)

# The longest input of a target: a little more than its seeds, for speed.
declare -A length=([gguf]=16384 [safetensors]=4096 [config]=4096 [tokenizer]=8192 [chat_template]=4096)
# Fixtures of the rooms that are good inputs too.
declare -A more=([gguf]="src/checkpoint/testdata/*.gguf" [safetensors]="src/checkpoint/testdata/*.safetensors"
                 [config]="tests/goldens/*/config.json" [tokenizer]="" [chat_template]="")
for target in "${targets[@]}"; do
  [ -n "${length[$target]-}" ] || bad target "$target" "one of ${!length[*]}"
done

scripts/setup.sh clang-14 libclang-rt-14-dev >&2
cmake --preset fuzz >&2
cmake --build --preset fuzz --target "${targets[@]/#/fuzz_}" >&2

work=build/fuzz
# Short stacks of allocations and little memory held back after a free: twice as many inputs a second.
export ASAN_OPTIONS=malloc_context_size=2:quarantine_size_mb=8

run_target() {
  local target=$1 corpus=$work/corpus/$1 log=$work/$1.log
  mkdir -p "$corpus" "$work/findings"
  # shellcheck disable=SC2086  # the patterns are meant to expand
  [ -z "${more[$target]}" ] || cp ${more[$target]} "$corpus" 2>/dev/null || true
  local regressions=tests/fuzz/regressions/$target
  [ -d "$regressions" ] || regressions=
  # The targets measure time and memory themselves; the limits here end what never comes back.
  # shellcheck disable=SC2086
  if ! "$work/tests/fuzz/fuzz_$target" "$until_flag" -timeout=60 -malloc_limit_mb=64 -rss_limit_mb=1024 \
      -max_len="${length[$target]}" -entropic=0 -print_final_stats=1 \
      -dict="tests/fuzz/dictionaries/$target.dict" -artifact_prefix="$work/findings/$target-" \
      "$corpus" "tests/fuzz/seeds/$target" $regressions >"$log" 2>&1; then
    grep -hE "ERROR|SUMMARY|broken promise|runtime error|Test unit written" "$log" >&2 || tail -n 20 "$log" >&2
    echo "fuzz: $target: failed; see $log" >&2
    return 1
  fi
  echo "fuzz: $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, no finding"
}

status=0
running=()
for target in "${targets[@]}"; do
  if [ ${#running[@]} -eq "$jobs" ]; then
    wait "${running[0]}" || status=1
    running=("${running[@]:1}")
  fi
  run_target "$target" &
  running+=($!)
done
for job in "${running[@]}"; do wait "$job" || status=1; done
exit $status
