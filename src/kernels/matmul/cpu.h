// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/matmul/tile.h"

namespace mlxn::kernels::matmul {

// Weights of integer codes; x staged by quantise_*. All give the same bits.
void run_avx512_vnni(const Tile& tile);
void run_avx512(const Tile& tile);
void run_avx2(const Tile& tile);
void run_neon(const Tile& tile);
void run_baseline(const Tile& tile);

// Weights of f32, f16, bf16; x staged by widen_*.
void run_dense_avx512(const Tile& tile);
void run_dense_avx2(const Tile& tile);
void run_dense_baseline(const Tile& tile);

}  // namespace mlxn::kernels::matmul
