#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What developers and CI run besides scripts/test.sh: layering, formatting, forbidden calls, GPU kernels under
# strict address spaces, sanitizers, fuzzing.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh clang-format python3 python3-pip clang-19
scripts/check_layers
scripts/check_sources
git ls-files '*.h' '*.cc' | xargs clang-format --dry-run --Werror

# GPU kernels as Metal would take them, and that the check refuses what it should.
scripts/check_metal_source
scripts/metal_check/cases

# The Metal backend against Apple's headers, over its stand-in.
scripts/verify_metal.sh short

# 64-bit Arm: everything compiles, and the ops that differ most run (scripts/test_arm.sh runs them all).
scripts/test_arm.sh short

# The Python package next to its peers of PyPI, and the examples.
CMAKE_CXX_COMPILER_LAUNCHER=ccache scripts/test_python.sh peers

# Address and undefined behaviour: the whole suite.
cmake --preset asan
cmake --build --preset asan
ctest --preset asan --parallel "$(nproc)"

# Every parser, 30 s each, two at a time.
scripts/fuzz.sh

# Threads: what runs concurrently.
concurrent=(base_base_test backends_backends_test kernels_matmul_test kernels_matmul_expert_test
            kernels_attn_decode_test kernels_attn_prefill_test kernels_rms_norm_test kernels_sample_test
            models_model_test runtime_generator_test tests_model_goldens_test)
cmake --preset tsan -DMLXN_BUILD_CLI=OFF
cmake --build --preset tsan --target "${concurrent[@]}"
# Thousands of prefill offsets say nothing new about threads and take minutes here.
GTEST_FILTER='-*OffsetsAndFutureKeys*' ctest --preset tsan --parallel "$(nproc)" \
  --tests-regex "^($(IFS='|'; echo "${concurrent[*]}"))\$"
