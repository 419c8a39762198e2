// SPDX-License-Identifier: Apache-2.0
// What the attention tests share: the tolerances of attention.md 1.9 and NaN-poisoned caches.
#pragma once

#include "kernels/common/attn_reference.h"
#include "kernels/common/test_kit.h"
#include "mlxn/ops/attention.h"

namespace mlxn::testing {

// Elementwise and NRMSE gates for outputs of `dtype` (the dtype of q, whatever the cache holds).
inline void expect_attention(const Buffer& out, const kernels::AttnReference& reference,
                             const std::string& what) {
  const DType dtype = out.dtype();
  const auto found = to_floats(out);
  const size_t width = reference.out.size() / reference.z_max.size();
  // Matrix units take weights of the type of the values, which in bf16 are off by up to 2^-8.
  const double bf16_weight = test_device_id() == "cuda" ? 0x1p-8 : 0x1p-9;
  const auto tolerance = [&](size_t i) {
    const double weight = reference.weight[i], value = std::abs(reference.out[i]);
    if (dtype == f16) return 0x1p-10 * value + 0x1p-11 * weight + 0x1p-25;
    if (dtype == bf16) return 0x1p-8 * value + bf16_weight * weight + 1e-37;
    return (4e-6 + 1e-6 * reference.z_max[i / width]) * weight + 1e-37;
  };
  expect_close(found, reference.out, tolerance, what);
  double error = 0.0, norm = 0.0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double difference = static_cast<double>(found[i]) - reference.out[i];
    error += difference * difference;
    norm += reference.out[i] * reference.out[i];
  }
  const double gate = dtype == f16 ? 1e-3 : dtype == bf16 ? 6e-3 : 5e-5;
  EXPECT_LE(std::sqrt(error), gate * std::sqrt(norm)) << what;
}

// Sets every element of the rows of [B, Hkv, C, D] for which keep(b, slot) is false to NaN.
inline void poison_slots(const Buffer& cache, const std::function<bool(int64_t, int64_t)>& keep) {
  const int64_t heads = cache.dim(1), capacity = cache.dim(2), dim = cache.dim(3);
  const std::vector<float> nan(static_cast<size_t>(dim), NAN);
  for (int64_t b = 0; b < cache.dim(0); ++b) {
    for (int64_t slot = 0; slot < capacity; ++slot) {
      if (keep(b, slot)) continue;
      for (int64_t h = 0; h < heads; ++h) {
        kernels::store_f32(cache.dtype(), nan.data(), dim, cache.data(),
                           ((b * heads + h) * capacity + slot) * dim);
      }
    }
  }
}

// Sets every element of slot `slot` of [B, Hkv, C, D].
inline void fill_slot(const Buffer& cache, int64_t slot, float value) {
  const std::vector<float> row(static_cast<size_t>(cache.dim(3)), value);
  for (int64_t block = 0; block < cache.dim(0) * cache.dim(1); ++block) {
    kernels::store_f32(cache.dtype(), row.data(), cache.dim(3), cache.data(),
                       (block * cache.dim(2) + slot) * cache.dim(3));
  }
}

// A copy of a buffer of floats with `value` in elements begin .. begin + count - 1.
inline Buffer with_elements(const Device& device, const Buffer& b, int64_t begin, int64_t count,
                            float value) {
  const Buffer copy = device.upload(b.data(), b.dtype(), b.shape());
  const std::vector<float> values(static_cast<size_t>(count), value);
  kernels::store_f32(copy.dtype(), values.data(), count, copy.data(), begin);
  return copy;
}

// Elements for which spoiled(row, element) is true are not finite, or may be anything if they are
// not `lost`; all others have the bits of `clean`. A row is the last extent; rows are counted from
// the first of the buffer.
inline void expect_spoiled(const Buffer& found, const Buffer& clean,
                           const std::function<bool(int64_t, int64_t)>& spoiled,
                           const std::string& what, bool lost = true) {
  const auto values = to_floats(found);
  const int64_t dim = found.shape().back();
  const size_t size = size_of(found.dtype());
  int64_t leaked = 0, finite = 0, first = -1;
  for (int64_t i = 0; i < found.element_count(); ++i) {
    const auto at = static_cast<size_t>(i);
    if (spoiled(i / dim, i % dim)) {
      finite += std::isfinite(values[at]) ? 1 : 0;
    } else if (std::memcmp(found.data() + at * size, clean.data() + at * size, size) != 0) {
      first = leaked++ == 0 ? i : first;
    }
  }
  EXPECT_EQ(leaked, 0) << what << ": elements that changed, the first in row " << first / dim;
  EXPECT_EQ(lost ? finite : 0, 0) << what << ": elements that should not be finite";
}

}  // namespace mlxn::testing
