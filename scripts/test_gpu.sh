#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The op suite on an NVIDIA GPU. The programs are built beforehand and need only the driver:
#   scripts/test_gpu.sh [BUILD_DIR]              build/release by default: run what was built there
#   scripts/test_gpu.sh --pack FILE [BUILD_DIR]  put the programs and their libraries into FILE (.tar.xz)
#   scripts/test_gpu.sh --packed FILE            unpack them elsewhere and run them
# Each program runs twice: kernels compiled ahead of time, then from PTX.
#   --sanitize     also under compute-sanitizer's memcheck, racecheck, initcheck and synccheck, with the cases that the
#                  emulator runs; racecheck wants them built with -DMLXN_CUDA_RACECHECK=ON
#   --runs LIST    exactly these, with commas between them: ahead, ptx, memcheck, racecheck, initcheck, synccheck
#   --only REGEX   programs whose names match
#   --shards N     each program N times, every time with other tests, which may run side by side; 1 by default
#   --jobs N       programs at a time, 1 by default, shared among the GPUs; sanitizers spend their time on the processor
#   --limit N      seconds after which a run counts as failed, 3600 by default
set -euo pipefail
scripts=$(dirname "$(realpath "$0")")

runs=ahead,ptx only=. shards=1 jobs=1 limit=3600
pack='' packed='' build=build/release
while [ $# -gt 0 ]; do
  case "$1" in
    --pack | --packed | --runs | --only | --shards | --jobs | --limit)
      [ $# -ge 2 ] || { echo "test_gpu.sh: $1: found no value, required one" >&2; exit 2; } ;;
  esac
  case "$1" in
    --sanitize) runs=ahead,ptx,memcheck,racecheck,initcheck,synccheck ;;
    --pack) pack=$(realpath -m "$2"); shift ;;
    --packed) packed=$(realpath "$2"); shift ;;
    --runs) runs=$2; shift ;;
    --only) only=$2; shift ;;
    --shards) shards=$2; shift ;;
    --jobs) jobs=$2; shift ;;
    --limit) limit=$2; shift ;;
    -*) echo "test_gpu.sh: $1: found an unknown flag, required one of those in this script's first lines" >&2; exit 2 ;;
    *) build=$1 ;;
  esac
  shift
done
for count in "$shards" "$jobs" "$limit"; do
  [[ "$count" =~ ^[1-9][0-9]*$ ]] ||
    { echo "test_gpu.sh: --shards, --jobs, --limit: found $count, required a whole number from 1" >&2; exit 2; }
done
for kind in ${runs//,/ }; do
  case "$kind" in
    ahead | ptx | memcheck | racecheck | initcheck | synccheck) ;;
    *) echo "test_gpu.sh: --runs: found $kind, required ahead, ptx, memcheck, racecheck, initcheck or synccheck" >&2; exit 2 ;;
  esac
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

programs_of_build() {
  [ -d "$build/cuda/tests" ] || { echo "test_gpu.sh: $build: found no CUDA tests, required a build with nvcc" >&2; exit 2; }
  cat "$build"/cuda/tests/* | grep -E "/[^/]*($only)[^/]*$"
}

if [ -n "$pack" ]; then
  mapfile -t programs < <(programs_of_build)
  "$scripts/pack_programs.sh" "$pack" "${programs[@]}"
  exit
fi

if [ -n "$packed" ]; then
  "$scripts/pack_programs.sh" --unpack "$packed" "$scratch"
  export LD_LIBRARY_PATH="$scratch/gpu/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  mapfile -t programs < <(ls "$scratch"/gpu/*_test | grep -E "/[^/]*($only)[^/]*$")
else
  mapfile -t programs < <(programs_of_build)
fi
[ ${#programs[@]} -gt 0 ] || { echo "test_gpu.sh: --only: found no program named like $only" >&2; exit 2; }

run() {  # a kind of run, a program, a shard from 0: prints one line, or a few more of a failure
  local kind=$1 program=$2 shard=$3 code=0
  export GTEST_SHARD_INDEX=$shard
  local label="$(basename "$program") $kind" log=$scratch/$(basename "$program").$kind.$shard
  [ "$shards" -gt 1 ] && label+=" $((shard + 1))/$shards"
  [[ "$kind" == *check && "$program" == *_plan_test ]] && return 0  # it launches nothing
  [[ "$kind" == *check ]] && export MLXN_TEST_SHORT=1
  [ "$shard" -eq 0 ] || [ "$shard" -lt "$("$program" --gtest_list_tests | grep -c '^  ')" ] || return 0
  case "$kind" in
    ahead) timeout "$limit" "$program" ;;
    ptx) CUDA_FORCE_PTX_JIT=1 timeout "$limit" "$program" ;;
    # An error that a test provokes is not one.
    *) timeout "$limit" compute-sanitizer --tool "$kind" --report-api-errors no --error-exitcode 9 "$program" ;;
  esac >"$log" 2>&1 || code=$?
  case $code in
    0) echo "ok    $label: $(sed -n 's/^\[==========\] \([0-9]* tests*\) .* ran\. (\(.*\) total)$/\1, \2/p' "$log")" ;;
    77)
      echo "none  $(grep -m1 SKIPPED "$log" || echo 'no GPU')"
      return 255  # no further runs
      ;;
    124) echo "FAIL  $label: not done after $limit s" ;;
    255)  # how compute-sanitizer ends where nothing was launched
      if grep -q 'before first instrumented API call' "$log" && grep -q '^\[  PASSED  \]' "$log"; then
        echo "ok    $label: launches nothing"
      else
        echo "FAIL  $label (exit code $code)"
      fi
      ;;
    *)
      echo "FAIL  $label (exit code $code)
$(grep -m12 -E '\[  FAILED  \]|=========.*(rror|azard)|what\(\)|exception' "$log" || tail -n 5 "$log")" ;;
  esac
}
export -f run
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU') || gpus=1
export scratch limit gpus shards MLXN_TEST_DEVICE=cuda GTEST_TOTAL_SHARDS=$shards

for kind in ${runs//,/ }; do
  for program in "${programs[@]}"; do
    for ((shard = 0; shard < shards; shard++)); do printf '%s\0' "$kind" "$program" "$shard"; done
  done
done |
  xargs -0 -n 3 -P "$jobs" --process-slot-var=slot \
    bash -c 'CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-$((slot % gpus))} run "$@"' run 2>/dev/null | tee "$scratch/report" || true
if grep -q '^none' "$scratch/report"; then
  echo "test_gpu.sh: found no GPU" >&2
  exit 1
fi
failed=$(grep -c '^FAIL' "$scratch/report") || true
passed=$(grep -c '^ok' "$scratch/report") || true
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
