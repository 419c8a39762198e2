#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What developers and CI run besides scripts/test.sh: layering, formatting, forbidden calls, sanitizers.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh clang-format python3
scripts/check_layers
scripts/check_sources
git ls-files '*.h' '*.cc' | xargs clang-format --dry-run --Werror

# Address and undefined behaviour: the whole suite.
cmake --preset asan -DMLXN_BUILD_CLI=ON
cmake --build --preset asan
ctest --preset asan --parallel "$(nproc)"

# Threads: what runs concurrently.
cmake --preset tsan -DMLXN_BUILD_CLI=OFF
cmake --build --preset tsan
ctest --preset tsan --parallel "$(nproc)" --label-regex 'cpu|model'
