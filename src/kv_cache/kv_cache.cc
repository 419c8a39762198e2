// SPDX-License-Identifier: Apache-2.0
#include "mlxn/kv_cache.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>

#include "base/checked.h"
#include "base/no_memory.h"

namespace mlxn {
namespace {

// Ring capacities are multiples of the key tile of prefill, so that no tile wraps.
constexpr int64_t kSlotMultiple = 64;

[[noreturn]] void fail(const char* field, const std::string& found, const std::string& required) {
  throw Error(ErrorKind::kInvalidArgument, ErrorDetail{"KvCache", field, found, required});
}

void check_range(const char* field, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return;
  fail(field, std::to_string(value), std::to_string(min) + " to " + std::to_string(max));
}

void check_dim(const char* field, int64_t dim) {
  if (dim >= 8 && dim <= 512 && dim % 8 == 0) return;
  fail(field, std::to_string(dim), "a multiple of 8 from 8 to 512");
}

int64_t v_dim_of(const KvCacheShape& s) { return s.v_dim == 0 ? s.head_dim : s.v_dim; }

void check(const KvCacheShape& s) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  check_range("batch", s.batch, 1, kMax);
  check_range("num_kv_heads", s.num_kv_heads, 1, kMax);
  check_dim("head_dim", s.head_dim);
  check_dim("v_dim", v_dim_of(s));
  if (!is_float(s.dtype)) fail("dtype", std::string(name(s.dtype)), "f32, f16 or bf16");
  check_range("max_context", s.max_context, 1, kMax);
  check_range("window_size", s.window_size, 0, kMax);
  check_range("max_chunk", s.max_chunk, 1, kMax);
}

}  // namespace

int64_t KvCache::capacity_of(const KvCacheShape& s) {
  check(s);
  if (s.window_size == 0) return s.max_context;
  return std::min(s.max_context, base::round_up(s.window_size + s.max_chunk - 1, kSlotMultiple));
}

int64_t KvCache::cache_bytes(const KvCacheShape& s) {
  const std::array<int64_t, 5> extents = {s.batch, s.num_kv_heads, capacity_of(s),
                                          s.head_dim + v_dim_of(s),
                                          static_cast<int64_t>(size_of(s.dtype))};
  const auto bytes = base::checked_product(extents);
  if (!bytes) {
    fail("batch",
         std::to_string(s.batch) + " sequences of " + std::to_string(extents[2]) + " slots in " +
             std::to_string(s.num_kv_heads) + " heads",
         "a size below 2^63 bytes");
  }
  return *bytes;
}

KvCache::KvCache(const Device& device, const KvCacheShape& shape) try
    : shape_(shape), capacity_(capacity_of(shape)) {
  cache_bytes(shape);  // reports an overflow
  shape_.v_dim = v_dim_of(shape);
  k_ = device.alloc(shape.dtype, {shape.batch, shape.num_kv_heads, capacity_, shape.head_dim});
  v_ = device.alloc(shape.dtype, {shape.batch, shape.num_kv_heads, capacity_, shape_.v_dim});
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

int64_t KvCache::bytes() const { return static_cast<int64_t>(k_.byte_len() + v_.byte_len()); }

KvCache KvCache::sequences(int64_t begin, int64_t count) const try {
  check_range("begin", begin, 0, shape_.batch - 1);
  check_range("count", count, 1, shape_.batch - begin);
  KvCache view = *this;
  view.shape_.batch = count;
  view.k_ = k_.rows(begin, count);
  view.v_ = v_.rows(begin, count);
  return view;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void KvCache::append(Stream& stream, const Buffer& k, const Buffer& v, const Lengths& pos) const
    try {
  const int64_t n = k.valid() && k.rank() == 4 ? k.dim(1) : 0;
  if (is_ring() && n > shape_.max_chunk) {
    fail("k", std::to_string(n) + " tokens",
         "at most max_chunk " + std::to_string(shape_.max_chunk));
  }
  for (int64_t first : pos.host) {
    if (pos.device.valid() || first <= shape_.max_context - n) continue;
    throw Error(ErrorKind::kContextFull,
                ErrorDetail{"KvCache", "pos",
                            std::to_string(first) + " with " + std::to_string(n) + " new tokens",
                            "at most max_context " + std::to_string(shape_.max_context)});
  }
  ops::KvAppendArgs args{.k = k, .k_cache = k_, .pos = pos, .ring = is_ring()};
  if (shape_.v_dim == shape_.head_dim) {
    args.v = v;
    args.v_cache = v_;
    return ops::kv_append(stream, args);
  }
  ops::kv_append(stream, args);
  args.k = v;
  args.k_cache = v_;
  ops::kv_append(stream, args);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

ops::AttnDecodeArgs KvCache::decode_args(const Buffer& q, const Buffer& out,
                                         const Lengths& kv_len) const try {
  ops::AttnDecodeArgs args{.q = q, .k = k_, .v = v_, .out = out, .kv_len = kv_len};
  args.ring = is_ring();
  args.mask = is_ring() ? ops::MaskKind::kWindow : ops::MaskKind::kCausal;
  args.window_size = shape_.window_size;
  return args;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

ops::AttnPrefillArgs KvCache::prefill_args(const Buffer& q, const Buffer& out,
                                           const Lengths& kv_len) const try {
  ops::AttnPrefillArgs args{.q = q, .k = k_, .v = v_, .out = out, .kv_len = kv_len};
  args.ring = is_ring();
  args.window_size = shape_.window_size;
  return args;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
