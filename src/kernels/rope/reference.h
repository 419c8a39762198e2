// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of rope and head_norm_rope. The angle is the exact product of the position and
// the f32 inverse frequency.
#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "kernels/common/float_io.h"
#include "kernels/rope/params.h"

namespace mlxn::kernels {

// The two elements of pair i.
inline std::pair<int64_t, int64_t> rope_pair(const RopeParams& p, int64_t i) {
  switch (p.pairing) {
    case ops::RopePairing::kSplitHead:
      return {i, i + p.head_dim / 2};
    case ops::RopePairing::kSplitRotary:
      return {i, i + p.pairs};
    case ops::RopePairing::kInterleaved:
      break;
  }
  return {2 * i, 2 * i + 1};
}

struct RopeReference {
  std::vector<double> out;        // [tokens, heads, head_dim]
  std::vector<double> magnitude;  // |x0| + |x1| of the element's pair after the norm, or |x|
  std::vector<double> angle;      // |angle| of the element's pair, 0 if it is not rotated
};

inline RopeReference rope_reference(const RopeParams& p) {
  RopeReference r;
  for (int64_t row = 0; row < p.tokens * p.heads; ++row) {
    std::vector<double> v;
    double sum_sq = 0.0;
    for (int64_t i = 0; i < p.head_dim; ++i) {
      v.push_back(load_one(p.dtype, p.x, row * p.head_dim + i));
      sum_sq += v.back() * v.back();
    }
    const double inv = 1.0 / std::sqrt(sum_sq / static_cast<double>(p.head_dim) + p.eps);
    for (size_t i = 0; p.norm && i < v.size(); ++i) {
      const double w = p.weight ? load_one(p.weight_dtype, p.weight, static_cast<int64_t>(i)) : 1.0;
      v[i] *= inv * (p.weight ? p.weight_offset + w : 1.0);
    }
    std::vector<double> out = v, magnitude, angle(v.size(), 0.0);
    for (double value : v) magnitude.push_back(std::abs(value));
    for (int64_t i = 0; i < p.pairs; ++i) {
      const auto [first, second] = rope_pair(p, i);
      const size_t a = static_cast<size_t>(first), b = static_cast<size_t>(second);
      const double theta = double(p.positions[row / p.heads]) * double(p.inv_freq[i]);
      out[a] = v[a] * std::cos(theta) - v[b] * std::sin(theta);
      out[b] = v[a] * std::sin(theta) + v[b] * std::cos(theta);
      magnitude[a] = magnitude[b] = std::abs(v[a]) + std::abs(v[b]);
      angle[a] = angle[b] = std::abs(theta);
    }
    r.out.insert(r.out.end(), out.begin(), out.end());
    r.magnitude.insert(r.magnitude.end(), magnitude.begin(), magnitude.end());
    r.angle.insert(r.angle.end(), angle.begin(), angle.end());
  }
  return r;
}

}  // namespace mlxn::kernels
