#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The figures of docs/benchmarks.md that are a GPU's. The programs are built beforehand and need only the driver:
#   scripts/bench_gpu.sh OUT [PART...]                  of the build in build/bench (cmake --preset bench): OUT/PART.txt
#   scripts/bench_gpu.sh --pack FILE                    put the programs and their libraries into FILE (.tar.xz)
#   scripts/bench_gpu.sh --packed FILE OUT [PART...]    unpack them elsewhere and run them
# Parts, all of them by default: rows matmul sample decode prefill models time_per_token
set -euo pipefail
cd "$(dirname "$0")/.."

case "$#:${1:-}" in
  1:--pack | [12]:--packed) echo "bench_gpu.sh: found too few arguments, required those in its first lines" >&2; exit 2 ;;
esac
programs=(backends_cuda_bench backends_cuda_attention_bench mlxn)
folder=build/bench
case "${1:-}" in
  --pack) exec scripts/pack_programs.sh "$2" "${programs[@]/#/$folder/}" ;;
  --packed)
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    scripts/pack_programs.sh --unpack "$2" "$scratch"
    folder=$scratch/gpu
    export LD_LIBRARY_PATH="$folder/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    shift 2
    ;;
esac
[ $# -gt 0 ] || { echo "bench_gpu.sh: found no folder for the results, required one" >&2; exit 2; }
out=$1
shift
mkdir -p "$out"

rows() { "$folder/backends_cuda_bench" --benchmark_filter='-matmul|sample'; }
matmul() { "$folder/backends_cuda_bench" --benchmark_filter='^copy|matmul'; }
sample() { "$folder/backends_cuda_bench" --benchmark_filter='^copy|sample'; }
decode() { "$folder/backends_cuda_attention_bench" --benchmark_filter='-prefill'; }
prefill() { "$folder/backends_cuda_attention_bench" --benchmark_filter='^copy|prefill'; }
models() {
  "$folder/mlxn" bench --device cuda --random-weights --config bench/configs/gemma4-26b-a4b.json -p 512 -n 64 -d 1024 -r 3
  for kv_type in f16 tq4; do
    "$folder/mlxn" bench --device cuda -m demo/model-mlx-4bit --kv-type $kv_type -p 512 -n 128 -r 5
  done
}
time_per_token() {
  python3 bench/time_per_token.py measure --mlxn "$folder/mlxn" --device cuda -m demo/model-q4_0.gguf
}

parts=("$@")
[ $# -gt 0 ] || parts=(rows matmul sample decode prefill models time_per_token)
failed=0
for part in "${parts[@]}"; do
  [ "$(type -t "$part")" = function ] || { echo "bench_gpu.sh: $part: found an unknown part" >&2; exit 2; }
  echo "== $part"
  "$part" >"$out/$part.txt" 2>&1 || { failed=1; echo "bench_gpu.sh: $part failed: $(tail -n 1 "$out/$part.txt")" >&2; }
done
exit $failed
