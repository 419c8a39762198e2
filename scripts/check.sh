#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What developers run besides scripts/test.sh: layering, formatting, forbidden calls, GPU kernels under strict address
# spaces, sanitizers, fuzzing. "short", as CI does: sanitizers over fewer programs, with the short versions of their cases.
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

# Builds the preset $1 and runs the given programs, or all of them.
sanitized() {
  local preset=$1
  shift
  cmake --preset "$preset" -DMLXN_BUILD_CLI=$([ $# -eq 0 ] && echo ON || echo OFF) -DMLXN_PRECOMPILE=ON
  cmake --build --preset "$preset" ${1:+--target "$@"}
  ctest --preset "$preset" --parallel "$(nproc)" ${1:+--tests-regex "^($(IFS='|'; echo "$*"))\$"}
}

# Address and undefined behaviour: the whole suite; short: the kernels with the most edges, and what reads files.
if [ "${1-}" = short ]; then
  programs=(fuzz_replay_test kv_cache_kv_cache_test kv_cache_paged_test models_model_test
            quant_blocks_test quant_weight_test tests_fuzz_bad_files_test tests_fuzz_load_faults_test
            tests_model_goldens_test tokenizer_template_test)
  for op in attn_decode{,_options,_tq,_tq_property} attn_prefill{,_mask,_property,_tq} dequantize embed kv_append \
      matmul matmul_expert moe_route rope sample top_k turboquant; do
    programs+=("kernels_${op}_test")
  done
  export MLXN_TEST_SHORT=1
  sanitized asan "${programs[@]}"
else
  sanitized asan
fi

# Every parser, 30 s each, two at a time.
scripts/fuzz.sh

# Threads: what runs concurrently. Thousands of prefill offsets say nothing new about threads and take minutes here; short:
# nor do kernels of other instructions than the best ones.
concurrent=(base_base_test backends_backends_test kernels_matmul_test kernels_attn_decode_test kernels_attn_prefill_test
            models_model_test runtime_generator_test)
[ "${1-}" = short ] || concurrent+=(kernels_matmul_expert_test kernels_rms_norm_test kernels_sample_test
                                    tests_model_goldens_test)
skipped='*OffsetsAndFutureKeys*'
[ "${1-}" != short ] || skipped+=':Entries/*/1:Entries/*/2:Entries/*/3'
GTEST_FILTER="-$skipped" sanitized tsan "${concurrent[@]}"
