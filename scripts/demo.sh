#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh checkout to text: installs what is missing, builds the release, runs the shipped model.
# Arguments go to `mlxn generate`, for instance: scripts/demo.sh -p "Tell me a story about a fox."
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/release
# Rebuild when something the command is made of is newer than the last good build.
newer=$(find CMakeLists.txt cmake include src cli \( -name '*.cc' -o -name '*.h' -o -name '*.txt' -o -name '*.cmake' -o -name '*.in' \) \
        -not -name '*_test.cc' -not -name test.cc -not -name bench.cc -newer "$build/mlxn" -print -quit 2>/dev/null || true)
if [ ! -x "$build/mlxn" ] || [ -n "$newer" ]; then
  scripts/setup.sh
  # A build that is configured stays as it is.
  cuda=$(sed -n 's/^MLXN_CUDA:STRING=//p' $build/CMakeCache.txt 2>/dev/null || true)
  if [ -z "$cuda" ] && ! command -v nvidia-smi >/dev/null; then
    cuda=OFF
    echo "demo.sh: found no NVIDIA GPU: leaving its kernels out, which take longer than the rest (cmake --preset release has them built)" >&2
  fi
  # The build's own output goes to stderr: stdout carries the model's text alone.
  cmake --preset release -DMLXN_CUDA=${cuda:-AUTO} >&2
  cmake --build --preset release --target mlxn_command >&2
  touch "$build/mlxn"
fi
prompt=(--prompt "Tell me a story about a fox.")
for argument in "$@"; do
  case "$argument" in -p | -p* | --prompt | --prompt=* | --prompt-tokens*) prompt=() ;; esac
done
exec "$build/mlxn" generate --model demo/model-mlx-4bit --max-tokens 300 "${prompt[@]}" "$@"
