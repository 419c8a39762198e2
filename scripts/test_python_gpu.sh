#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Python package on an NVIDIA GPU, without network: builds the wheel with the nanobind, scikit-build-core and nvcc that are
# there, installs it into build/python/gpu, runs every op on PyTorch's CUDA tensors, on its streams and in its graphs, and models.
# CMAKE_ARGS="-DMLXN_CUDA_TARGETS=-gencode=arch=compute_90a,code=sm_90a" builds for one kind of GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/python
python3 -m pip wheel . --no-index --no-deps --no-build-isolation -w "$build/wheel" -C "build-dir=$build/cmake_gpu" -C cmake.define.MLXN_CUDA=ON
rm -rf "$build/gpu"
python3 -m pip install --no-deps --no-index --target "$build/gpu" "$build"/wheel/mlxn-*.whl
export PYTHONPATH=$PWD/$build/gpu
CUDA_VISIBLE_DEVICES= python3 -c "import mlxn; print('without a GPU:', mlxn.Device.list()[1])"
models=python/tests/test_models.py
MLXN_TEST_DEVICE=cuda python3 -m pytest python/tests/test_ops.py $models::test_logits_are_those_of_transformers $models::test_caches \
  python/tests/test_cuda.py
