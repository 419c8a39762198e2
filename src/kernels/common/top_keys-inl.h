// SPDX-License-Identifier: Apache-2.0
// The largest elements of an f32 row in rank order (rank_key.h). Included by kernel files once per
// target.
#if defined(MLXN_KERNELS_COMMON_TOP_KEYS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_COMMON_TOP_KEYS_INL_H
#undef MLXN_KERNELS_COMMON_TOP_KEYS_INL_H
#else
#define MLXN_KERNELS_COMMON_TOP_KEYS_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>

#include "kernels/common/rank_key.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Index of the first element in [begin, count) above the threshold, to within the width of a block;
// count if there is none. NaN elements are not above anything.
inline int64_t FirstBlockAbove(const float* x, int64_t begin, int64_t count, float threshold) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto t = hn::Set(d, threshold);
  int64_t i = begin;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    const auto m0 = hn::Or(hn::Gt(hn::LoadU(d, x + i), t), hn::Gt(hn::LoadU(d, x + i + lanes), t));
    const auto m1 = hn::Or(hn::Gt(hn::LoadU(d, x + i + 2 * lanes), t),
                           hn::Gt(hn::LoadU(d, x + i + 3 * lanes), t));
    if (!hn::AllFalse(d, hn::Or(m0, m1))) return i;
  }
  while (i < count && !(x[i] > threshold)) ++i;
  return i;
}

// The k highest keys of x[0, count), 1 <= k <= count, to keys[0, k) in descending order.
inline void TopKeys(const float* x, int64_t count, int64_t k, uint64_t* keys) {
  const int64_t room = top_keys_room(count, k);
  int64_t size = 0, i = 0;
  for (; i < room; ++i) keys[size++] = rank_key(x[i], static_cast<uint32_t>(i));
  const auto keep_best = [&] {
    std::nth_element(keys, keys + k - 1, keys + size, std::greater<>());
    size = k;
  };
  if (size > k) keep_best();
  uint64_t least = keys[size - 1];
  while (i < count) {
    // Elements come by rising index, so one that equals the least kept value does not displace it.
    const float threshold = x[rank_index(least)];
    if (!std::isnan(threshold)) i = FirstBlockAbove(x, i, count, threshold);
    const int64_t stop = std::min(count, i + 64);
    for (; i < stop; ++i) {
      const uint64_t key = rank_key(x[i], static_cast<uint32_t>(i));
      if (key <= least) continue;
      keys[size++] = key;
      if (size == room) {
        keep_best();
        least = keys[k - 1];
      }
    }
  }
  if (size > k) keep_best();
  std::sort(keys, keys + k, std::greater<>());
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
