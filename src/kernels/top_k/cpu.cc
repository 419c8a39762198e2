// SPDX-License-Identifier: Apache-2.0
// top_k with SIMD, a row a task. Blocks without an element above the k-th best so far are skipped.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/top_k/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/simd.h"
#include "kernels/common/top_keys-inl.h"
#include "kernels/top_k/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {

// `keys` is working memory of top_keys_room(count, k) elements.
void TopKTask(const TopKParams& p, int64_t row, uint64_t* keys) {
  const float* x = p.x + row * p.count;
  TopKeys(x, p.count, p.k, keys);
  for (int64_t j = 0; j < p.k; ++j) {
    p.indices[row * p.k + j] = rank_index(keys[j]);
    p.values[row * p.k + j] = x[rank_index(keys[j])];
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(TopKTask);

namespace {

void launch(StreamImpl& stream, const TopKParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto row = variant(HWY_DISPATCH_TABLE(TopKTask), isa);
  const int64_t room = top_keys_room(p.count, p.k);
  const Buffer scratch = stream.scratch(static_cast<size_t>(p.rows * room) * sizeof(uint64_t));
  access.write(scratch);
  uint64_t* keys = reinterpret_cast<uint64_t*>(scratch.data());
  backends::cpu::cpu_stream(stream).dispatch(
      "top_k", name, std::move(access), p.rows,
      [p, row, keys, room](uint32_t task) { row(p, task, keys + task * room); });
}

}  // namespace

void top_k_avx512(StreamImpl& stream, const TopKParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void top_k_avx2(StreamImpl& stream, const TopKParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void top_k_baseline(StreamImpl& stream, const TopKParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
