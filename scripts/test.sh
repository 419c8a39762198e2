#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds the release and runs its test suite, then the Python package's. MLXN_TEST_FLAGS:
# more flags for cmake.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh ccache
export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER:-ccache}  # the wheel is made of the same objects
export CCACHE_DEPEND=${CCACHE_DEPEND:-1}  # headers as the compiler lists them, without preprocessing everything first
# Nobody runs kernels where there is no GPU: one kind of machine code, and the PTX, show that they compile.
targets=()
command -v nvidia-smi >/dev/null ||
  targets=("-DMLXN_CUDA_TARGETS=-gencode=arch=compute_80,code=compute_80;-gencode=arch=compute_90a,code=sm_90a")
cmake --preset release "${targets[@]}" ${MLXN_TEST_FLAGS-}
cmake --build --preset release
ctest --preset release --parallel "$(nproc)" "$@"
scripts/test_python.sh
