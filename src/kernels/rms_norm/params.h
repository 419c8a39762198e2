// SPDX-License-Identifier: Apache-2.0
// What an rms_norm kernel gets. Pointers address element 0 of the view; rows are dense.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/common/entry.h"
#include "kernels/moe_combine/params.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

struct RmsNormParams {
  const void* x;           // [rows, dim]
  const void* add_before;  // [rows, dim] or null: added to x before the norm
  const void* add_after;   // [rows, dim] or null: added to the normed row
  const void* factor;      // [rows, dim] or null: multiplies the normed row, before add_after
  const void* weight;      // [dim] or null
  void* sum;               // [rows, dim] or null: receives x + add_before
  void* out;               // [rows, dim]
  int64_t rows;
  int64_t dim;  // elements per row
  DType dtype;  // of x, add_before, add_after, factor, sum, out
  DType weight_dtype;
  float eps;
  float weight_offset;
  float scale;  // multiplies the result
};

std::span<const Entry<RmsNormParams>> rms_norm_entries();

inline constexpr size_t kMaxNormedRows = 3;

// The calls that residual_norms stands for, in order.
struct ResidualNormsParams {
  std::optional<MoeCombineParams> combine;
  std::vector<RmsNormParams> norms;  // with combine first those of x and the experts; join; normed

  const RmsNormParams& join() const { return norms[combine ? 2 : 0]; }
  std::span<const RmsNormParams> normed() const {
    return std::span(norms).subspan(combine ? 3 : 1);
  }
};

// For devices with a kernel for the whole.
std::span<const Entry<ResidualNormsParams>> residual_norms_entries();

}  // namespace mlxn::kernels
