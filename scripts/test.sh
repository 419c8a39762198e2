#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds the release and runs its test suite, then the Python package's.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh ccache
export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER:-ccache}  # the wheel is made of the same objects
cmake --preset release
cmake --build --preset release
ctest --preset release --parallel "$(nproc)" "$@"
scripts/test_python.sh
