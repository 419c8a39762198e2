// SPDX-License-Identifier: Apache-2.0
// The CUDA entries of matmul, expert_matmul and joint_matmul for formats of codes and scales.
#pragma once

#include <optional>
#include <string_view>

#include "kernels/matmul/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> matmul_cuda_leaves(const MatmulParams& p);
std::optional<std::string_view> matmul_cuda_refuses(const MatmulParams& p);
void matmul_cuda(StreamImpl& stream, const MatmulParams& p, backends::Access access);

std::optional<std::string_view> joint_cuda_refuses(const JointMatmulParams& p);
void joint_cuda(StreamImpl& stream, const JointMatmulParams& p, backends::Access access);

// The CUDA entry of matmul for weights stored as floats.
std::optional<std::string_view> dense_cuda_leaves(const MatmulParams& p);
std::optional<std::string_view> dense_cuda_refuses(const MatmulParams& p);
void dense_cuda(StreamImpl& stream, const MatmulParams& p, backends::Access access);

// Bit i: slice i of so many spans or blocks along K has one.
uint32_t cuda_slices(int64_t count);

// Writes the panels of a weight (quant/panels.h) to `out`, panel_layout(weight).total_bytes.
void pack_cuda(StreamImpl& stream, const quant::WeightView& weight, backends::Access access,
               void* out);

}  // namespace mlxn::kernels
