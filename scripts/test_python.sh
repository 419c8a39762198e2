#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the Python package's wheel, installs it in an environment of its own and runs its tests and examples.
#   scripts/test_python.sh          on the data of this tree
#   scripts/test_python.sh peers    also next to MLX, mlx-lm, gguf, safetensors, tokenizers and jinja2 from PyPI, and on
#                                   NumPy 1.26
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh python3 python3-dev python3-venv
build=build/python
[ -x "$build/venv/bin/python" ] || python3 -m venv "$build/venv"
python=$build/venv/bin/python
pip=("$python" -m pip --quiet --disable-pip-version-check)
"${pip[@]}" install scikit-build-core nanobind
# Compiler and flags of the release build, so that a compiler cache serves both.
# GPU kernels only where there is a GPU: the release build has shown that they compile.
cuda=AUTO
command -v nvidia-smi >/dev/null || cuda=OFF
CXX=${CXX:-c++} "${pip[@]}" wheel . --no-deps --no-build-isolation -w "$build/wheel" -C "build-dir=$build/cmake" \
  -C cmake.define.MLXN_WERROR=ON -C cmake.define.MLXN_CUDA=$cuda
"${pip[@]}" install --upgrade pytest hypothesis numpy matplotlib
"${pip[@]}" install --force-reinstall --no-deps "$build"/wheel/mlxn-*.whl
"${pip[@]}" install "$build"/wheel/mlxn-*.whl

if [ "${1:-}" != peers ]; then
  "$python" -m pytest -m 'not peers'
  exit
fi
"${pip[@]}" install 'numpy==1.26.*' ml_dtypes
"$python" -m pytest python/tests/test_ops.py python/tests/test_arrays.py
"${pip[@]}" install --upgrade numpy 'mlx[cpu]' mlx-lm gguf safetensors tokenizers jinja2
MLXN_NEED_PEERS=1 "$python" -m pytest -m peers
MLXN_LEAK_CYCLES=1000 "$python" -m pytest python/tests/test_models.py -k memory
for example in examples/*.py; do
  echo "== $example"
  "$python" "$example" "$build/examples"
done
