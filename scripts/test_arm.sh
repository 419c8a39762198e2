#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Cross-compiles the CPU part for 64-bit Arm with Debian's compiler and runs the suite of ops under qemu-user, NEON
# entries included. Installs what is missing. "short" runs the ops where Arm differs most, in a few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh g++-12-aarch64-linux-gnu qemu-user

# Debian's arm64 packages of the libraries, unpacked: installed beside this machine's they would replace those that
# cannot exist twice.
packages=(libhwy-dev libhwy1 libfmt-dev libfmt9 libsimdjson-dev libsimdjson14 libutf8proc-dev libutf8proc2
          libgtest-dev nlohmann-json3-dev libcli11-dev)
root=build/arm64-root
if [ "$(cat "$root/packages" 2>/dev/null || true)" != "${packages[*]}" ]; then
  apt=build/arm64-apt
  mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/debs"
  options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=
           -o "Dir::State=$PWD/$apt/state" -o "Dir::State::status=/dev/null" -o "Dir::Cache=$PWD/$apt/cache")
  apt-get "${options[@]}" update >&2
  (cd "$apt/debs" && apt-get "${options[@]}" download "${packages[@]}") >&2
  rm -rf "$root"
  for deb in "$apt"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
  rm -rf "$apt"
  echo "${packages[*]}" >"$root/packages"
fi

# Not under qemu: limits on memory, which it ignores, and cases of minutes that say nothing new about Arm.
flags=()
skipped='ThreadPool.ThreadsThatCannotStart*:AttnPrefillLong.*:*OffsetsAndFutureKeys*'
if [ "${1:-}" = short ]; then
  targets=(kernels_common_simd_math_test kernels_dequantize_test kernels_matmul_test kernels_rms_norm_test
           kernels_rope_test kernels_softmax_test)
  flags=("-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG" -DMLXN_PRECOMPILE=ON)
  flags+=(-DMLXN_WERROR=OFF)  # at -O1 g++ warns of copies in std::string that cannot happen
  skipped+=':*MatchesOracle/1:*SameBitsForEveryRowCount*'
else
  targets=(base_base_test backends_backends_test backends_graph_plan_test)
  for source in src/kernels/*/test.cc src/kernels/*/*_test.cc; do
    name=${source#src/}
    name=${name%.cc}
    [[ $source = */gpu_dialect/* ]] || targets+=("${name//\//_}")
  done
fi
cmake --preset aarch64 "${flags[@]}"
cmake --build --preset aarch64 --target "${targets[@]}"
GTEST_FILTER="-$skipped" ctest --preset aarch64 --parallel "$(nproc)" --timeout 1800 \
  --tests-regex "^($(IFS='|'; echo "${targets[*]}"))\$"
