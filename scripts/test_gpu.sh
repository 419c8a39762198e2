#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The op suite on an NVIDIA GPU. The programs are built beforehand and need only the driver:
#   scripts/test_gpu.sh [BUILD_DIR]              build/release by default: run what was built there
#   scripts/test_gpu.sh --pack FILE [BUILD_DIR]  put the programs and their libraries into FILE (.tar.xz)
#   scripts/test_gpu.sh --packed FILE            unpack them elsewhere and run them
# Each program runs twice: kernels compiled ahead of time, then from PTX. --sanitize adds compute-sanitizer's
# memcheck, racecheck, initcheck and synccheck.
set -euo pipefail

sanitize=no
pack='' packed='' build=build/release
while [ $# -gt 0 ]; do
  case "$1" in
    --sanitize) sanitize=yes ;;
    --pack) pack=$(realpath -m "$2"); shift ;;
    --packed) packed=$(realpath "$2"); shift ;;
    -*) echo "test_gpu.sh: $1: found an unknown flag, required --sanitize, --pack or --packed" >&2; exit 2 ;;
    *) build=$1 ;;
  esac
  shift
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

programs_of_build() {
  [ -d "$build/cuda/tests" ] || { echo "test_gpu.sh: $build: found no CUDA tests, required a build with nvcc" >&2; exit 2; }
  cat "$build"/cuda/tests/*
}

if [ -n "$pack" ]; then
  mkdir -p "$scratch/gpu/lib"
  while read -r program; do
    strip -o "$scratch/gpu/$(basename "$program")" "$program"
    ldd "$program" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p'
  done < <(programs_of_build) | sort -u | grep -vE '/(libc|libm|libdl|librt|libpthread)\.so|ld-linux' |
    xargs -I{} cp -L {} "$scratch/gpu/lib/"
  # The programs have most bytes in common: a dictionary that spans them finds that.
  tar -C "$scratch" -cf - gpu | xz --lzma2=preset=2,dict=192MiB >"$pack"
  echo "test_gpu.sh: $(ls "$scratch/gpu" | grep -c _test) programs in $pack"
  exit
fi

if [ -n "$packed" ]; then
  tar -C "$scratch" -xJf "$packed"
  export LD_LIBRARY_PATH="$scratch/gpu/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  mapfile -t programs < <(ls "$scratch"/gpu/*_test)
else
  mapfile -t programs < <(programs_of_build)
fi

export MLXN_TEST_DEVICE=cuda
failed=0 passed=0
run() {  # label, command...
  local label=$1 log=$scratch/log code=0
  shift
  "$@" >"$log" 2>&1 || code=$?
  if [ $code -eq 0 ]; then
    passed=$((passed + 1))
    echo "ok    $label: $(sed -n 's/^\[==========\] \([0-9]* tests*\) .* ran\. (\(.*\) total)$/\1, \2/p' "$log")"
  elif [ $code -eq 77 ]; then
    echo "test_gpu.sh: $(grep -m1 SKIPPED "$log" || echo 'no GPU')" >&2
    exit 1
  else
    failed=$((failed + 1))
    echo "FAIL  $label (exit code $code)"
    grep -E '\[  FAILED  \]|=========.*(rror|azard)|what\(\)|exception' "$log" | head -n 12 || tail -n 5 "$log"
  fi
}

for program in "${programs[@]}"; do
  name=$(basename "$program")
  run "$name" "$program"
  CUDA_FORCE_PTX_JIT=1 run "$name from PTX" "$program"
  if [ $sanitize = yes ]; then
    for tool in memcheck racecheck initcheck synccheck; do
      # racecheck multiplies the time; an error that a test provokes is not one.
      run "$name $tool" compute-sanitizer --tool $tool --report-api-errors no --error-exitcode 9 "$program"
    done
  fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
