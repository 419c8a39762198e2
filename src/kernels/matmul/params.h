// SPDX-License-Identifier: Apache-2.0
// What a matmul kernel gets. One struct serves matmul and expert_matmul: both multiply rows of x by
// rows of one expert of the weight.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/common/entry.h"
#include "kernels/glu/params.h"
#include "mlxn/dtype.h"
#include "quant/weight_view.h"

namespace mlxn::kernels {

struct MatmulParams {
  quant::WeightView weight;  // [E, N, K]; E = 1 for matmul
  const void* x;             // [x_rows, K]
  const void* residual;      // [out_rows, N] of out_dtype, or null
  void* out;                 // [out_rows, N]
  const uint32_t* ids;       // expert_matmul: [out_rows]; null for matmul
  int64_t x_rows;
  int64_t out_rows;    // matmul: x_rows
  int64_t rows_per_x;  // out row r multiplies x row r / rows_per_x
  DType x_dtype;       // f32, f16, bf16
  DType out_dtype;     // f32 or x_dtype
};

std::span<const Entry<MatmulParams>> matmul_entries();
std::span<const Entry<MatmulParams>> expert_matmul_entries();

inline constexpr size_t kMaxJointParts = 3;

// The calls that joint_matmul stands for.
struct JointMatmulParams {
  std::vector<MatmulParams> parts;
  std::optional<GluParams> glu;
};

// For devices with a kernel for the whole.
std::span<const Entry<JointMatmulParams>> joint_matmul_entries();

}  // namespace mlxn::kernels
