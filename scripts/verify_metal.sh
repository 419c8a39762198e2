#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the Metal backend, runs every test on it, and prints a report that can be pasted into an issue:
#   scripts/verify_metal.sh [short]       short: without the models that take minutes on the emulator
# A Mac needs Xcode's command line tools and, from Homebrew: cmake ninja pkg-config highway fmt nlohmann-json
# simdjson cli11 utf8proc googletest. On Linux the same runs over tests/fake_metal, without a GPU. The exit code
# is 0 if everything was built and passed.
set -uo pipefail
cd "$(dirname "$0")/.."

build=build/release
mkdir -p $build
log=$build/metal_build.log results=$build/metal_tests.log
jobs=$(getconf _NPROCESSORS_ONLN)

fail() { echo "verify_metal: $1" >&2; exit 1; }
scripts/fetch_metal_cpp || fail "metal-cpp could not be fetched"
if [ "$(uname -s)" = Darwin ]; then
  command -v ninja >/dev/null && command -v cmake >/dev/null || fail "found no cmake or ninja, required: brew install cmake ninja"
  target=all only=()
else
  scripts/setup.sh clang-19 || exit 1
  target=mlxn_metal_tests only=(--label-regex metal)
fi
[ "${1:-}" != short ] || only+=(--exclude-regex 'goldens|generator')
cmake --preset release -DMLXN_METAL=ON >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "cmake failed"; }
cmake --build --preset release --target $target -- -k 0 >>"$log" 2>&1
built=$?
ctest --preset release --parallel "$jobs" ${only[@]+"${only[@]}"} >"$results" 2>&1
tested=$?

# One line of a command, or what to say without it.
line() { { "$@" 2>/dev/null || echo unknown; } | head -n 1; }
# "12 passed, 1 failed, 0 skipped" of the tests whose names end like this.
count() {
  awk -v pattern="$1" '
    /^ *[0-9]+\/[0-9]+ +Test +#/ && $0 ~ pattern {
      if (/ Passed /) p++; else if (/Skipped/) s++; else f++
    }
    END { printf "%d passed, %d failed, %d skipped\n", p, f, s }' "$results"
}

echo '## Metal report'
echo
echo "- commit: $(line git rev-parse --short HEAD)$(git diff --quiet 2>/dev/null || echo ', with changes')"
if [ "$(uname -s)" = Darwin ]; then
  echo "- machine: $(line sysctl -n machdep.cpu.brand_string), $(($(sysctl -n hw.memsize) >> 30)) GiB"
  echo "- system: macOS $(line sw_vers -productVersion), $(line xcodebuild -version), $(line clang --version)"
else
  echo "- machine: no Mac; the stand-in for Apple's frameworks, kernels on the emulator"
  echo "- system: $(line uname -sr), $(line clang++-19 --version)"
fi
echo "- build: $([ $built -eq 0 ] && echo complete || echo "FAILED, see below")"
echo "- tests on Metal: $(count '(_metal|_metal_[a-z_]*test) \.')"
echo "- all tests: $(count .)"
if [ "$(uname -s)" = Darwin ] && [ -x $build/cli/mlxn ]; then
  metal=$($build/cli/mlxn generate -q -m demo/model --raw --device metal -p 'A little red fox' -n 48 2>&1)
  cpu=$($build/cli/mlxn generate -q -m demo/model --raw --device cpu -p 'A little red fox' -n 48 2>&1)
  echo "- greedy text of the demo model: $([ "$metal" = "$cpu" ] && echo the CPU\'s || echo "NOT the CPU's: $metal")"
  echo
  echo '```'
  $build/cli/mlxn doctor --device metal 2>&1 | head -n 40
  echo '```'
fi
if [ $built -ne 0 ]; then
  echo
  echo '### What did not build'
  echo '```'
  grep -E 'error|FAILED:|undefined|Undefined' "$log" | head -n 40
  echo '```'
fi
if [ $tested -ne 0 ]; then
  echo
  echo '### What failed'
  echo '```'
  grep -E '^[[:space:]]*[0-9]+ - |Failure$|what\(\)|C\+\+ exception|fake Metal:|\[  FAILED  \]|program_source' "$results" | head -n 80
  echo '```'
fi
echo
echo "Whole logs: $log, $results"
[ $built -eq 0 ] && [ $tested -eq 0 ]
