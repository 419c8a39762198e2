// SPDX-License-Identifier: Apache-2.0
// Attention over coded caches.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "base/no_memory.h"
#include "kernels/attn_decode_tq/params.h"
#include "ops/turboquant_args.h"

namespace mlxn::ops {
namespace {

constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();

// q and out of `rank` extents, the caches of their last extents. Returns C.
int64_t check_operands(const char* op, const Device& device, const Buffer& q, const TqRows& k,
                       const TqRows& v, const Buffer& out, size_t rank) {
  check_buffer(op, "q", q, device, {f32});
  check_output(op, "out", out, device, {f32});
  for (const auto& [name, buffer] : {std::pair{"q", &q}, std::pair{"out", &out}}) {
    if (buffer->rank() == rank) continue;
    fail(op, name, "shape " + to_string(buffer->shape()), std::to_string(rank) + " extents");
  }
  const int64_t batch = q.dim(0);
  const int64_t capacity = check_tq_rows(op, "k", device, k, batch, 0, q.dim(rank - 1));
  check_tq_rows(op, "v", device, v, batch, k.codes.dim(1), out.dim(rank - 1));
  check_range(op, "v.codes: capacity", v.codes.dim(2), capacity, capacity);
  for (const Buffer* input : {&q, &k.codes, &k.norms, &v.codes, &v.norms}) {
    check_overlap(op, "out", out, "an input", *input);
  }
  return capacity;
}

void check(const Device& device, const AttnDecodeTqArgs& args) {
  const char* op = "attn_decode_tq";
  const int64_t capacity = check_operands(op, device, args.q, args.k, args.v, args.out, 3);
  const int64_t batch = args.q.dim(0), heads = args.q.dim(1);
  check_shape(op, "out", args.out, {batch, heads, args.out.dim(2)});
  check_head_counts(op, batch, heads, args.k.codes.dim(1));
  check_score_rule(op, args.softmax_scale, args.logits_soft_cap);
  if (args.mask != MaskKind::kNone && args.mask != MaskKind::kCausal &&
      args.mask != MaskKind::kWindow) {
    fail(op, "mask", std::to_string(static_cast<int>(args.mask)), "kNone, kCausal or kWindow");
  }
  const bool window = args.mask == MaskKind::kWindow;
  check_range(op, "window_size", args.window_size, window ? 1 : 0, window ? kIntMax : 0);
  check_range(op, "n_split", args.n_split, 0, 1024);
  check_lengths(op, "kv_len", device, args.kv_len, batch, 1, args.ring ? kIntMax : capacity);
  check_overlap(op, "out", args.out, "kv_len", args.kv_len.device);
  if (args.ring_start.empty()) return;
  if (args.ring) fail(op, "ring_start", "given together with ring", "one of the two");
  check_lengths(op, "ring_start", device, args.ring_start, batch, 0, capacity - 1);
  check_overlap(op, "out", args.out, "ring_start", args.ring_start.device);
}

// What can be known before anything is recorded; attn_prefill checks shapes and positions again.
void check(const char* op, const Device& device, const AttnPrefillTqArgs& args, int64_t capacity) {
  const bool head_major = args.q_layout == SeqLayout::kHeadMajor;
  if (!head_major && args.q_layout != SeqLayout::kSeqMajor) {
    fail(op, "q_layout", std::to_string(static_cast<int>(args.q_layout)),
         "kHeadMajor or kSeqMajor");
  }
  const int64_t batch = args.q.dim(0), q_len = args.q.dim(head_major ? 2 : 1);
  check_shape(op, "out", args.out, {batch, args.q.dim(1), args.q.dim(2), args.out.dim(3)});
  check_head_counts(op, batch, args.q.dim(head_major ? 1 : 2), args.k.codes.dim(1));
  check_score_rule(op, args.softmax_scale, args.logits_soft_cap);
  check_range(op, "window_size", args.window_size, 0, kIntMax);
  check_lengths(op, "kv_len", device, args.kv_len, batch, 1, args.ring ? kIntMax : capacity);
  if (!args.q_offset.empty()) {
    check_lengths(op, "q_offset", device, args.q_offset, batch, 0, kIntMax);
  }
  for (int64_t b = 0; b < batch; ++b) {
    const auto kv_len = host_value(args.kv_len, b), offset = host_value(args.q_offset, b);
    if (!kv_len || !offset || *offset == 0) continue;
    check_range(op, "q_offset", *offset, 0, std::max<int64_t>(0, *kv_len - q_len));
  }
  if (args.ring_start.empty()) return;
  if (args.ring) fail(op, "ring_start", "given together with ring", "one of the two");
  check_lengths(op, "ring_start", device, args.ring_start, batch, 0, capacity - 1);
}

// Slots of the cache that prefill may read: those in use, or all if that is not known.
int64_t slots_in_use(const AttnPrefillTqArgs& args, int64_t batch, int64_t capacity) {
  if (!args.ring_start.empty()) return capacity;
  int64_t most = 0;
  for (int64_t b = 0; b < batch; ++b) {
    most = std::max(most, host_value(args.kv_len, b).value_or(capacity));
  }
  return std::clamp<int64_t>(most, 1, capacity);
}

Buffer float_scratch(Stream& stream, const char* parameter, const Shape& shape) {
  const auto count = base::checked_product(shape);
  const auto bytes = count ? base::checked_mul(*count, int64_t{sizeof(float)}) : std::nullopt;
  if (!bytes) fail("attn_prefill_tq", parameter, to_string(shape), "a copy below 2^63 bytes");
  return stream.impl().scratch(static_cast<size_t>(*bytes)).view_as(f32, shape);
}

// An f32 copy of the first `slots` slots, in the rotated domain.
Buffer decoded(Stream& stream, const char* parameter, const TqRows& rows, int64_t slots,
               int64_t dim) {
  const Buffer out =
      float_scratch(stream, parameter, {rows.codes.dim(0), rows.codes.dim(1), slots, dim});
  tq_decode(stream, {.from = rows, .out = out});
  return out;
}

}  // namespace

void attn_decode_tq(Stream& stream, const AttnDecodeTqArgs& args) try {
  check(stream.device(), args);
  const int64_t batch = args.q.dim(0);
  const Buffer kv_len = resolve_lengths(stream, args.kv_len, batch);
  const Buffer ring_start =
      args.ring_start.empty() ? Buffer() : resolve_lengths(stream, args.ring_start, batch);
  kernels::AttnDecodeParams attn{};
  attn.q = args.q.data();
  attn.out = args.out.data();
  attn.kv_len = address_of(kv_len);
  attn.ring_start = address_of(ring_start);
  attn.batch = batch;
  attn.num_heads = args.q.dim(1);
  attn.num_kv_heads = args.k.codes.dim(1);
  attn.capacity = args.k.codes.dim(2);
  attn.window_size = args.window_size;
  attn.head_dim = static_cast<int32_t>(args.q.dim(2));
  attn.v_dim = static_cast<int32_t>(args.out.dim(2));
  attn.n_split = args.n_split;
  attn.q_dtype = f32;
  attn.softmax_scale = args.softmax_scale;
  attn.logits_soft_cap = args.logits_soft_cap;
  attn.ring = args.ring;
  const kernels::AttnDecodeTqParams params{.attn = attn,
                                           .k = tq_cache_of(args.k, attn.head_dim),
                                           .v = tq_cache_of(args.v, attn.v_dim),
                                           .rotated = args.rotated};
  backends::Access access;
  for (const Buffer* input : {&args.q, &args.k.codes, &args.k.norms, &args.v.codes, &args.v.norms,
                              &kv_len, &ring_start}) {
    access.read(*input);
  }
  access.write(args.out);
  const auto& entry =
      kernels::choose("attn_decode_tq", kernels::attn_decode_tq_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void attn_prefill_tq(Stream& stream, const AttnPrefillTqArgs& args) try {
  const char* op = "attn_prefill_tq";
  const int64_t capacity = check_operands(op, stream.device(), args.q, args.k, args.v, args.out, 4);
  const int64_t batch = args.q.dim(0);
  check(op, stream.device(), args, capacity);
  // With fewer tokens than slots a ring has not wrapped.
  const int64_t slots = slots_in_use(args, batch, capacity);
  const int64_t dim = args.q.dim(3), v_dim = args.out.dim(3);
  AttnPrefillArgs dense;
  dense.q_layout = args.q_layout;
  dense.kv_len = args.kv_len;
  dense.q_offset = args.q_offset;
  dense.ring_start = args.ring_start;
  dense.ring = args.ring && slots == capacity;
  dense.softmax_scale = args.softmax_scale;
  dense.logits_soft_cap = args.logits_soft_cap;
  dense.causal = args.causal;
  dense.window_size = args.window_size;
  dense.q = args.rotated ? args.q : float_scratch(stream, "q", args.q.shape());
  dense.out = args.rotated ? args.out : float_scratch(stream, "out", args.out.shape());
  if (!args.rotated) {
    fwht(stream, {.x = args.q,
                  .out = dense.q,
                  .mode = FwhtMode::kForward,
                  .signs = args.k.format.signs,
                  .blocks = true});
  }
  dense.k = decoded(stream, "k", args.k, slots, dim);
  dense.v = decoded(stream, "v", args.v, slots, v_dim);
  attn_prefill(stream, dense);
  if (args.rotated) return;
  fwht(stream, {.x = dense.out,
                .out = args.out,
                .mode = FwhtMode::kInverse,
                .signs = args.v.format.signs,
                .blocks = true});
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
