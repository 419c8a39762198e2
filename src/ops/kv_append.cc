// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <utility>

#include "base/no_memory.h"
#include "ops/attention_args.h"
#include "ops/calls.h"

namespace mlxn::ops {
namespace {

constexpr const char* kOp = "kv_append";
constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();

// Slots of the cache, or of a page of it, whose extents are checked against those of the new
// tokens.
int64_t check_cache(const Device& device, const char* parameter, const Buffer& cache,
                    const Buffer& src, const KvAppendArgs& args) {
  check_output(kOp, parameter, cache, device, {f32, f16, bf16});
  const int64_t heads = src.dim(2), dim = src.dim(3);
  const bool head_major = args.layout == CacheLayout::kHeadMajor;
  const size_t rank = head_major ? 4 : 3;
  if (cache.rank() != rank) {
    fail(kOp, parameter, "shape " + to_string(cache.shape()), std::to_string(rank) + " extents");
  }
  const int64_t blocks = args.block_table ? cache.dim(0) : src.dim(0);
  const int64_t slots = cache.dim(head_major ? 2 : 1);
  check_shape(kOp, parameter, cache,
              head_major ? Shape{blocks, heads, slots, dim} : Shape{blocks, slots, heads * dim});
  check_range(kOp, parameter, slots, 1, kIntMax);
  return slots;
}

void check_dtype(const char* op, const char* parameter, const Buffer& buffer, const Buffer& like,
                 const char* like_name) {
  if (buffer.dtype() == like.dtype()) return;
  fail(op, parameter, std::string(name(buffer.dtype())),
       std::string(name(like.dtype())) + ", the dtype of " + like_name);
}

void check_source(const Device& device, const char* parameter, const Buffer& src) {
  check_buffer(kOp, parameter, src, device, {f32, f16, bf16});
  if (src.rank() != 4) {
    fail(kOp, parameter, "shape " + to_string(src.shape()), "4 extents");
  }
}

// V, and that its cache has the slots of K's.
void check_values(const Device& device, const KvAppendArgs& args) {
  if (args.v.valid() != args.v_cache.valid()) {
    fail(kOp, args.v.valid() ? "v_cache" : "v", "an empty buffer",
         "both v and v_cache, or neither");
  }
  if (!args.v) return;
  check_source(device, "v", args.v);
  check_shape(kOp, "v", args.v, {args.k.dim(0), args.k.dim(1), args.k.dim(2), args.v.dim(3)});
  check_dtype(kOp, "v", args.v, args.k, "k");
  check_cache(device, "v_cache", args.v_cache, args.v, args);
  Shape shape = args.k_cache.shape();
  shape.back() = args.v_cache.shape().back();
  check_shape(kOp, "v_cache", args.v_cache, shape);
  check_dtype(kOp, "v_cache", args.v_cache, args.k_cache, "k_cache");
}

// What the shapes say of the cache.
struct Cache {
  int64_t capacity;
  kernels::KeyPages pages;
};

Cache check(const Device& device, const KvAppendArgs& args, int64_t n) {
  if (args.layout != CacheLayout::kHeadMajor && args.layout != CacheLayout::kTokenMajor) {
    fail(kOp, "layout", std::to_string(static_cast<int>(args.layout)), "kHeadMajor or kTokenMajor");
  }
  Cache cache{check_cache(device, "k_cache", args.k_cache, args.k, args), {}};
  check_values(device, args);
  const int64_t batch = args.k.dim(0);
  if (args.block_table) {
    if (args.layout != CacheLayout::kHeadMajor) {
      fail(kOp, "layout", "kTokenMajor with block_table", "kHeadMajor");
    }
    cache.pages = check_block_table(kOp, device, args.block_table, "k_cache", args.k_cache, batch);
    cache.capacity = cache.pages.per_sequence * cache.pages.page_size;
  }
  check_disjoint(kOp, {{"k_cache", &args.k_cache}, {"v_cache", &args.v_cache}},
                 {{"k", &args.k},
                  {"v", &args.v},
                  {"pos", &args.pos.device},
                  {"block_table", &args.block_table}});
  if (!args.ring) check_range(kOp, "n", n, 0, cache.capacity);
  const int64_t last = (args.ring ? kIntMax : cache.capacity) - n;
  check_lengths(kOp, "pos", device, args.pos, batch, 0, last);
  return cache;
}

}  // namespace

std::optional<Call<kernels::KvAppendParams>> kv_append_call(Stream& stream,
                                                            const KvAppendArgs& args) {
  if (args.n == 0 || is_empty(args.k)) return std::nullopt;
  check_source(stream.device(), "k", args.k);
  const int64_t n = token_count(kOp, "k", args.k, args.src_offset, args.n);
  if (n == 0) return std::nullopt;
  const auto [capacity, pages] = check(stream.device(), args, n);
  // A ring keeps the last `capacity` tokens only.
  const int64_t lost = std::max<int64_t>(0, n - capacity);
  const Buffer pos = resolve_lengths(stream, args.pos, args.k.dim(0));
  const kernels::KvAppendParams params{
      .k = args.k.data(),
      .v = args.v ? args.v.data() : nullptr,
      .k_cache = args.k_cache.data(),
      .v_cache = args.v ? args.v_cache.data() : nullptr,
      .pos = address_of(pos),
      .batch = args.k.dim(0),
      .n_src = args.k.dim(1),
      .src_offset = args.src_offset + lost,
      .n = n - lost,
      .pos_skip = lost,
      .num_kv_heads = args.k.dim(2),
      .capacity = capacity,
      .dim = args.k.dim(3),
      .src_dtype = args.k.dtype(),
      .cache_dtype = args.k_cache.dtype(),
      .ring = args.ring,
      .token_major = args.layout == CacheLayout::kTokenMajor,
      .v_dim = args.v ? args.v.dim(3) : 0,
      .pages = pages,
  };
  backends::Access access;
  for (const Buffer* input : {&args.k, &args.v, &pos, &args.block_table}) access.read(*input);
  access.write(args.k_cache);
  access.write(args.v_cache);
  return Call<kernels::KvAppendParams>{params, std::move(access)};
}

void kv_append(Stream& stream, const KvAppendArgs& args) {
  kv_append(stream, args, [] {});
}

void kv_append(Stream& stream, const KvAppendArgs& args, const std::function<void()>& ready) try {
  const auto call = kv_append_call(stream, args);
  if (!call) return;
  ready();
  kernels::record(kOp, kernels::kv_append_entries(), stream.impl(), *call);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
