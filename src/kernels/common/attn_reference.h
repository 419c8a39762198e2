// SPDX-License-Identifier: Apache-2.0
// The float64 oracle that attn_decode and attn_prefill share: one query row at a time, over the
// list of keys that the caller found visible.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/common/float_io.h"

namespace mlxn::kernels {

struct AttnReference {
  std::vector<double> out;     // rows of v_dim
  std::vector<double> weight;  // like out: sum_j p_j |v_j|, the scale of the error
  std::vector<double> z_max;   // per row: at least the largest |z|, the scale of its rounding
  std::vector<double> lse;     // per row: log of the sum of exponentials, the sink's included
};

struct AttnReferenceRule {
  int64_t head_dim;
  int64_t v_dim;
  double scale;
  double cap;
};

// Elements 0 .. count of any float dtype as f32.
inline std::vector<float> widened(DType dtype, const void* values, int64_t count) {
  std::vector<float> result(static_cast<size_t>(count));
  load_f32(dtype, values, 0, count, result.data());
  return result;
}

// Appends one row. keys[j] and values[j] point to the rows of visible key j. bias[j] is added to
// its score, unless the list is empty; a sink of -infinity is none.
inline void append_row(AttnReference& r, const AttnReferenceRule& rule, const float* q,
                       const std::vector<const float*>& keys,
                       const std::vector<const float*>& values,
                       const std::vector<double>& bias = {}, double sink = -INFINITY) {
  std::vector<double> z(keys.size());
  double max = -INFINITY, z_max = 0.0, sum = 0.0;
  for (size_t j = 0; j < keys.size(); ++j) {
    double dot = 0.0, squares = 0.0;
    for (int64_t c = 0; c < rule.head_dim; ++c) {
      const double term = double{q[c]} * double{keys[j][c]};
      dot += term;
      squares += term * term;
    }
    z[j] = rule.scale * dot;
    // Terms that happen to cancel round as those that do not; a cap leaves of their rounding what
    // it leaves of a small change of the score.
    double rounding = std::abs(rule.scale) * std::sqrt(squares);
    if (rule.cap > 0.0) {
      const double capped = std::tanh(z[j] / rule.cap);
      z[j] = rule.cap * capped;
      rounding *= 1.0 - capped * capped;
    }
    z_max = std::max({z_max, std::abs(z[j]), rounding});
    if (!bias.empty()) z[j] += bias[j];
    max = std::max(max, z[j]);
    z_max = std::max(z_max, std::abs(z[j]));
  }
  const size_t at = r.out.size();
  r.out.resize(at + static_cast<size_t>(rule.v_dim), 0.0);
  r.weight.resize(r.out.size(), 0.0);
  r.z_max.push_back(z_max);
  max = std::max(max, sink);
  for (double& value : z) sum += value = std::exp(value - max);
  if (sink > -INFINITY) sum += std::exp(sink - max);
  r.lse.push_back(sum > 0.0 ? max + std::log(sum) : -INFINITY);
  double* out = r.out.data() + at;
  double* weight = r.weight.data() + at;
  for (size_t j = 0; j < keys.size(); ++j) {
    const double p = z[j] / sum;
    for (int64_t c = 0; c < rule.v_dim; ++c) {
      out[c] += p * double{values[j][c]};
      weight[c] += p * std::abs(double{values[j][c]});
    }
  }
}

}  // namespace mlxn::kernels
