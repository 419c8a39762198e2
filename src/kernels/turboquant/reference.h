// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of fwht, tq_encode and tq_decode.
#pragma once

#include <bit>
#include <cmath>
#include <vector>

#include "kernels/turboquant/params.h"

namespace mlxn::kernels {

// H x / sqrt(size) per block of a power of two, the largest first.
inline std::vector<double> fwht_reference(std::vector<double> x) {
  for (size_t begin = 0; begin < x.size();) {
    const size_t size = std::bit_floor(x.size() - begin);
    for (size_t h = 1; h < size; h *= 2) {
      for (size_t i = begin; i < begin + size; ++i) {
        if (((i - begin) & h) != 0) continue;
        const double a = x[i], b = x[i + h];
        x[i] = a + b;
        x[i + h] = a - b;
      }
    }
    for (size_t i = 0; i < size; ++i) x[begin + i] /= std::sqrt(static_cast<double>(size));
    begin += size;
  }
  return x;
}

inline void negate_reference(const quant::TqTable& t, std::vector<double>& x) {
  for (size_t j = 0; j < x.size(); ++j) {
    if (t.signs[j / 32] >> (j % 32) & 1) x[j] = -x[j];
  }
}
inline std::vector<double> rotate_reference(const quant::TqTable& t, std::vector<double> x) {
  negate_reference(t, x);
  return fwht_reference(x);
}
inline std::vector<double> rotate_back_reference(const quant::TqTable& t,
                                                 const std::vector<double>& y) {
  std::vector<double> x = fwht_reference(y);
  negate_reference(t, x);
  return x;
}

// A row before it is packed.
struct TqRowReference {
  std::vector<double> z;
  std::vector<uint32_t> index;  // ascending
  std::vector<double> norms;
};

inline TqRowReference tq_encode_reference(const TqCache& c, const float* src) {
  const auto y = rotate_reference(c.table, std::vector<double>(src, src + c.dim));
  const size_t count = y.size() / static_cast<size_t>(c.norm_count);
  TqRowReference r;
  for (size_t begin = 0; begin < y.size(); begin += count) {
    double sum = 0.0;
    for (size_t j = 0; j < count; ++j) sum += y[begin + j] * y[begin + j];
    const double root = std::sqrt(static_cast<double>(count));
    const double norm = std::sqrt(sum) / (c.norm_count > 1 ? root : 1.0);
    const double wanted = c.norm_count > 1 ? double{c.table.scale_factor} : root;
    for (size_t j = 0; j < count; ++j) {
      const double z = norm <= double{quant::kTqZeroNorm} ? 0.0 : y[begin + j] * wanted / norm;
      uint32_t index = 0;
      while (index + 1 < (1u << c.table.bits) && double{c.table.bounds[index]} < z) ++index;
      r.z.push_back(z);
      r.index.push_back(index);
    }
    r.norms.push_back(norm);
  }
  return r;
}

inline uint32_t tq_code_reference(const TqCache& c, int64_t row, int64_t j) {
  uint32_t code = 0;
  for (int64_t b = 0; b < c.table.code_bits; ++b) {
    const int64_t at = j * c.table.code_bits + b;
    code |= (c.codes[row * c.row_bytes + at / 8] >> (at % 8) & 1u) << b;
  }
  return code & ((1u << c.table.bits) - 1);
}

// Row `row` of the cache, in the rotated domain or not.
inline std::vector<double> tq_decode_reference(const TqCache& c, int64_t row, bool rotate_back) {
  std::vector<double> y;
  for (int64_t j = 0; j < c.dim; ++j) {
    const double norm = c.norms[row * c.norm_count + j * c.norm_count / c.dim];
    const double factor =
        c.norm_count > 1 ? norm / c.table.scale_factor : norm / std::sqrt(double(c.dim));
    y.push_back(factor * double{c.table.levels[tq_code_reference(c, row, j)]});
  }
  return rotate_back ? rotate_back_reference(c.table, y) : y;
}

}  // namespace mlxn::kernels
