// SPDX-License-Identifier: Apache-2.0
// Random calls of attn_decode, attn_prefill, kv_append and attn_merge over every parameter: each
// gives what the oracle says, or the error that its arguments deserve.
//   MLXN_PROPERTY_SEED   another seed; case i of a run is case 0 of seed + i
//   MLXN_PROPERTY_CASES  their number
#include "base/checked.h"
#include "kernels/attn_merge/reference.h"
#include "kernels/common/attn_oracle_kit.h"
#include "kernels/common/property_test_kit.h"
#include "kernels/kv_append/reference.h"

namespace mlxn {
namespace {

using testing::GuardedBuffer;
using testing::random_buffer;

// One random call.
class Property : testing::RandomCall {
 public:
  using RandomCall::RandomCall;

  void run() {
    switch (random_.integer(0, 9)) {
      case 0:
        return merge();
      case 1:
      case 2:
        return append();
      case 3:
      case 4:
      case 5:
        return decode();
      default:
        return prefill();
    }
  }

 private:
  int64_t head_dim() {
    if (chance(40)) return 8 * random_.integer(1, 8);
    return chance(80) ? any_of<int64_t>({64, 80, 96, 128, 192, 256, 512})
                      : 8 * random_.integer(17, 64);
  }
  // NaN wherever no token has been.
  void poison(const Buffer& cache, const std::vector<int64_t>& kv_len) {
    testing::poison_slots(
        cache, [&](int64_t b, int64_t slot) { return slot < kv_len[static_cast<size_t>(b)]; });
  }
  // 0: no pages.
  int64_t page_size(int percent) {
    return chance(percent) ? any_of<int64_t>({16, 32, 64, 128, 256}) : 0;
  }
  // Cuts the caches into pages. The slots of a ring are those of its table, which then has no page
  // more than was filled.
  template <class Args>
  void page(Args& args, int64_t size) {
    const auto paged = testing::make_pages(device_, args.k, args.v, size, random_);
    args.k = paged.k;
    args.v = paged.v;
    args.block_table = paged.block_table;
    if (!args.ring) return;
    const int64_t batch = paged.block_table.dim(0), columns = paged.block_table.dim(1);
    std::vector<int32_t> table;
    for (int64_t i = 0; i < batch * columns; ++i) {
      if (i % columns + 1 < columns) {
        table.push_back(paged.block_table.template span<int32_t>()[static_cast<size_t>(i)]);
      }
    }
    args.block_table = device_.upload(table.data(), DType::kI32, {batch, columns - 1});
  }
  // Changes the call so that it must be refused; says what the error has to name.
  template <class Args>
  std::string spoil(Args& args) {
    switch (random_.integer(0, 8)) {
      case 0:
        args.softmax_scale = NAN;
        return "softmax_scale";
      case 1:
        args.logits_soft_cap = -2.0f;
        return "logits_soft_cap";
      case 2:
        args.window_size = -1;
        return "window_size";
      case 3:
        args.v = device_.alloc(args.k.dtype() == f32 ? bf16 : f32, args.v.shape());
        return "v";
      case 4:
        args.out = args.q;
        return "out";
      case 5:
        args.sinks = device_.alloc(f32, {args.q.element_count() + 1});
        return "sinks";
      case 6:
        args.alibi_slopes = device_.alloc(f16, {1});
        return "alibi_slopes";
      case 7:
        args.k = Buffer();
        return "k";
      default:
        args.lse = device_.alloc(f32, {args.q.element_count() + 1});
        return "lse";
    }
  }
  void decode() {
    ops::AttnDecodeArgs args;
    const int64_t batch = random_.integer(1, 3), kv_heads = random_.integer(1, 3);
    const int64_t heads = kv_heads * random_.integer(1, 9), dim = head_dim();
    const int64_t v_dim = chance(50) ? dim : head_dim();
    int64_t capacity = chance(80) ? random_.integer(1, 150) : random_.integer(1, 900);
    const int64_t size = page_size(30);
    const int where = static_cast<int>(random_.integer(0, 2));  // linear, ring_start, ring
    if (size > 0 && where == 2) capacity = base::round_up(capacity, size);
    std::vector<int64_t> kv_len, starts, held;
    for (int64_t b = 0; b < batch; ++b) {
      kv_len.push_back(random_.integer(1, where == 2 ? 3 * capacity : capacity));
      starts.push_back(random_.integer(0, capacity - 1));
      held.push_back(std::min(kv_len.back(), capacity));
    }
    const DType kv_dtype = float_type();
    args.q = random_buffer(device_, float_type(), {batch, heads, dim}, random_);
    args.k = random_buffer(device_, kv_dtype, {batch, kv_heads, capacity, dim}, random_);
    args.v = random_buffer(device_, kv_dtype, {batch, kv_heads, capacity, v_dim}, random_);
    poison(args.k, held);
    poison(args.v, held);
    args.kv_len = lengths(kv_len);
    args.ring = where == 2;
    if (size > 0) page(args, size);
    if (where == 1) args.ring_start = lengths(starts);
    score_rule(args, dim);
    head_options(args, heads);
    args.mask = any_of({ops::MaskKind::kNone, ops::MaskKind::kCausal, ops::MaskKind::kWindow,
                        ops::MaskKind::kChunk});
    const bool windowed = args.mask == ops::MaskKind::kWindow || args.mask == ops::MaskKind::kChunk;
    if (windowed) args.window_size = random_.integer(1, 2 * capacity);
    args.n_split = static_cast<int>(any_of<int64_t>({0, 0, 1, 2, 7, random_.integer(1, 1024)}));
    const GuardedBuffer out(device_, args.q.dtype(), {batch, heads, v_dim});
    const GuardedBuffer lse(device_, f32, {batch, heads});
    args.out = out.view();
    args.lse = lse.view();
    const auto call = [&] { ops::attn_decode(stream_, args); };
    if (args.mask == ops::MaskKind::kChunk && where == 1) {
      return expect_refused("mask", "attn_decode", call);
    }
    if (chance(12)) return expect_refused(spoil(args), "attn_decode", call);
    call();
    stream_.commit().wait();
    out.check();
    lse.check();
    const auto reference = testing::oracle_of(args);
    testing::expect_attention(args.out, reference, "decode");
    testing::expect_lse(testing::to_floats(args.lse), reference, "decode");
  }

  // A random mask over q_len queries and at least `keys` keys, maybe with the classes of its tiles.
  void mask(ops::AttnPrefillArgs& args, int64_t batch, int64_t heads, int64_t q_len, int64_t keys) {
    const int64_t columns = keys + random_.integer(0, 40);
    const DType dtype = any_of({f32, f16, bf16, u8});
    const Shape shape = chance(50)
                            ? Shape{q_len, columns}
                            : Shape{chance(50) ? 1 : batch, chance(50) ? 1 : heads, q_len, columns};
    args.mask = device_.alloc(dtype, shape);
    const int64_t density = random_.integer(0, 3);
    for (int64_t i = 0; i < testing::count_of(shape); ++i) {
      const bool block = i / 97 % 3 == 0 || random_.integer(0, 3) < density;
      if (dtype == u8) {
        args.mask.span<uint8_t>()[static_cast<size_t>(i)] = block ? 0 : 1;
        continue;
      }
      const float sentinel = dtype == f16 ? -65504.0f : -1e30f;
      const float cell =
          block ? (chance(50) ? -INFINITY : sentinel) : (density == 1 ? random_.normal() : 0.0f);
      kernels::store_f32(dtype, &cell, 1, args.mask.data(), i);
    }
    if (chance(50)) return;
    Shape tiles = shape;
    tiles[tiles.size() - 2] = (q_len + ops::kAttnMaskQTile - 1) / ops::kAttnMaskQTile;
    tiles[tiles.size() - 1] = (columns + ops::kAttnMaskKTile - 1) / ops::kAttnMaskKTile;
    args.mask_tiles = {.classes = device_.alloc(u8, tiles),
                       .q_tile = ops::kAttnMaskQTile,
                       .k_tile = ops::kAttnMaskKTile};
    ops::attn_mask_classify(stream_, {.mask = args.mask, .tiles = args.mask_tiles});
    stream_.commit().wait();
    stream_.reset_counters();
  }
  // Sequence lengths and their offsets.
  std::vector<int64_t> packed(int64_t batch, int64_t most, std::vector<int64_t>& lens) {
    std::vector<int64_t> starts = {0};
    for (int64_t b = 0; b < batch; ++b) {
      lens.push_back(chance(20) ? 0 : random_.integer(1, most));
      starts.push_back(starts.back() + lens.back());
    }
    if (starts.back() == 0) ++starts.back(), ++lens.back();
    return starts;
  }
  Shape shape(ops::SeqLayout layout, int64_t batch, int64_t heads, int64_t len, int64_t dim) {
    return layout == ops::SeqLayout::kHeadMajor ? Shape{batch, heads, len, dim}
                                                : Shape{batch, len, heads, dim};
  }

  void prefill() {
    ops::AttnPrefillArgs args;
    const int64_t batch = random_.integer(1, 3), kv_heads = random_.integer(1, 2);
    const int64_t heads = kv_heads * random_.integer(1, 5), dim = head_dim();
    const int64_t v_dim = chance(50) ? dim : head_dim();
    const DType q_dtype = float_type(), kv_dtype = float_type();
    const bool packed_q = chance(20), packed_k = packed_q && chance(50);
    args.q_layout = any_of({ops::SeqLayout::kHeadMajor, ops::SeqLayout::kSeqMajor});
    std::vector<int64_t> q_len, kv_len, offsets, starts;
    int64_t rows = random_.integer(1, 70);
    if (packed_q) {
      const auto q_starts = packed(batch, 50, q_len);
      args.q_starts = lengths(q_starts);
      rows = q_starts.back();
      args.q = random_buffer(device_, q_dtype, {rows, heads, dim}, random_);
    } else {
      q_len.assign(static_cast<size_t>(batch), rows);
      args.q =
          random_buffer(device_, q_dtype, shape(args.q_layout, batch, heads, rows, dim), random_);
    }
    int64_t capacity = random_.integer(1, 200);
    args.ring = !packed_k && chance(25);
    if (!packed_k) {
      args.kv_layout = any_of({ops::SeqLayout::kHeadMajor, ops::SeqLayout::kSeqMajor});
    }
    const bool in_blocks = !packed_k && args.kv_layout == ops::SeqLayout::kHeadMajor;
    const int64_t size = in_blocks ? page_size(40) : 0;
    if (size > 0 && args.ring) capacity = base::round_up(capacity, size);
    if (packed_k) {
      const auto k_starts = packed(batch, 120, kv_len);
      args.k_starts = lengths(k_starts);
      args.k = random_buffer(device_, kv_dtype, {k_starts.back(), kv_heads, dim}, random_);
      args.v = random_buffer(device_, kv_dtype, {k_starts.back(), kv_heads, v_dim}, random_);
    } else {
      const Shape k = shape(args.kv_layout, batch, kv_heads, capacity, dim);
      const Shape v = shape(args.kv_layout, batch, kv_heads, capacity, v_dim);
      args.k = random_buffer(device_, kv_dtype, k, random_);
      args.v = random_buffer(device_, kv_dtype, v, random_);
      std::vector<int64_t> held;
      for (int64_t b = 0; b < batch; ++b) {
        kv_len.push_back(random_.integer(1, args.ring ? 2 * capacity : capacity));
        starts.push_back(random_.integer(0, capacity - 1));
        held.push_back(std::min(kv_len.back(), capacity));
      }
      if (args.kv_layout == ops::SeqLayout::kHeadMajor) {
        poison(args.k, held);
        poison(args.v, held);
        if (size > 0) page(args, size);
      }
      args.kv_len = lengths(kv_len);
      if (!args.ring && chance(20)) args.ring_start = lengths(starts);
    }
    for (int64_t b = 0; b < batch; ++b) {
      const auto at = static_cast<size_t>(b);
      offsets.push_back(random_.integer(0, std::max<int64_t>(0, kv_len[at] - q_len[at])));
    }
    if (chance(50)) args.q_offset = lengths(offsets);
    args.causal = chance(60);
    if (chance(40)) args.window_size = random_.integer(1, 150);
    if (chance(20)) args.window_ahead = random_.integer(1, 50);
    if (chance(20)) args.chunk_size = random_.integer(1, 100);
    if (chance(20)) {
      std::vector<int64_t> prefix;
      for (int64_t b = 0; b < batch; ++b) prefix.push_back(random_.integer(0, 100));
      args.prefix_len = lengths(prefix);
    }
    if (!packed_q && chance(40)) {
      mask(args, batch, heads, rows, *std::max_element(kv_len.begin(), kv_len.end()));
    }
    score_rule(args, dim);
    head_options(args, heads);
    Shape out_shape = args.q.shape();
    out_shape.back() = v_dim;
    const GuardedBuffer out(device_, q_dtype, out_shape);
    const GuardedBuffer lse(device_, f32,
                            packed_q ? Shape{heads, rows} : Shape{batch, heads, rows});
    args.out = out.view();
    args.lse = lse.view();
    const auto call = [&] { ops::attn_prefill(stream_, args); };
    if (chance(10)) return expect_refused(spoil(args), "attn_prefill", call);
    if (ring_lost_keys(args, q_len, kv_len, offsets, capacity)) {
      return expect_refused("k: capacity", "attn_prefill", call);
    }
    call();
    stream_.commit().wait();
    out.check();
    lse.check();
    const auto reference = testing::oracle_of(args);
    testing::expect_attention(testing::in_oracle_order(device_, args), reference, "prefill");
    if (packed_q) return;  // its order of rows is tested in options_test.cc
    testing::expect_lse(testing::to_floats(args.lse), reference, "prefill");
  }

  void append() {
    ops::KvAppendArgs args;
    const int64_t batch = random_.integer(1, 3), heads = random_.integer(1, 4);
    const int64_t dim = random_.integer(1, 80), v_dim = chance(50) ? dim : random_.integer(1, 80);
    const int64_t n_src = random_.integer(1, 60);
    const DType src = float_type(), dst = float_type();
    args.k = random_buffer(device_, src, {batch, n_src, heads, dim}, random_);
    args.src_offset = random_.integer(0, n_src);
    const int64_t left = n_src - args.src_offset;
    args.n = chance(30) ? -1 : random_.integer(0, left);
    const int64_t n = args.n == -1 ? left : args.n;
    args.ring = chance(50);
    args.layout = any_of({ops::CacheLayout::kHeadMajor, ops::CacheLayout::kTokenMajor});
    const bool paged = args.layout == ops::CacheLayout::kHeadMajor && chance(40);
    const int64_t page_size = any_of<int64_t>({16, 32}), pages = random_.integer(1, 3);
    const int64_t capacity = paged ? page_size * pages : random_.integer(1, 70);
    const int64_t blocks = paged ? batch * pages + 2 : batch;
    const int64_t slots = paged ? page_size : capacity;
    const auto cache_shape = [&](int64_t width) {
      return args.layout == ops::CacheLayout::kHeadMajor ? Shape{blocks, heads, slots, width}
                                                         : Shape{blocks, slots, heads * width};
    };
    std::vector<int32_t> table;
    if (paged) {  // pages of the sequences, from the last one on, and one that is nowhere
      for (int64_t i = 0; i < batch * pages; ++i)
        table.push_back(static_cast<int32_t>(blocks - 1 - i));
      if (chance(20)) table.back() = any_of({-1, 1 << 20});
      args.block_table = device_.upload(table.data(), DType::kI32, {batch, pages});
    }
    const GuardedBuffer k_cache(device_, dst, cache_shape(dim));
    const GuardedBuffer v_cache(device_, dst, cache_shape(v_dim));
    args.k_cache = k_cache.view();
    if (chance(60)) {
      args.v = random_buffer(device_, src, {batch, n_src, heads, v_dim}, random_);
      args.v_cache = v_cache.view();
    }
    std::vector<int64_t> pos;
    for (int64_t b = 0; b < batch; ++b) {
      pos.push_back(
          random_.integer(0, args.ring ? 3 * capacity : std::max<int64_t>(0, capacity - n)));
    }
    if (!args.ring && chance(10)) pos[0] = capacity - n + 1;
    args.pos = lengths(pos);
    auto expected_k = testing::bytes_of(args.k_cache),
         expected_v = testing::bytes_of(v_cache.view());
    const auto call = [&] { ops::kv_append(stream_, args); };
    if (n > 0 && !args.ring) {
      if (n > capacity) return expect_refused("n", "kv_append", call);
      if (is_host(args.pos) && (pos[0] > capacity - n || pos[0] < 0)) {
        return expect_refused("pos", "kv_append", call);
      }
      if (pos[0] > capacity - n) return;  // trusted; kv_append's own test has it
    }
    call();
    stream_.commit().wait();
    k_cache.check();
    v_cache.check();
    const int64_t lost = std::max<int64_t>(0, n - capacity);
    const std::vector<int32_t> first(pos.begin(), pos.end());
    kernels::KvAppendParams p{.k = nullptr,
                              .v = nullptr,
                              .k_cache = nullptr,
                              .v_cache = nullptr,
                              .pos = first.data(),
                              .batch = batch,
                              .n_src = n_src,
                              .src_offset = args.src_offset + lost,
                              .n = n - lost,
                              .pos_skip = lost,
                              .num_kv_heads = heads,
                              .capacity = capacity,
                              .dim = dim,
                              .src_dtype = src,
                              .cache_dtype = dst,
                              .ring = args.ring,
                              .token_major = args.layout == ops::CacheLayout::kTokenMajor};
    if (paged) p.pages = {table.data(), pages, page_size, blocks};
    kernels::kv_append_reference(p, args.k.data(), expected_k.data());
    EXPECT_EQ(testing::bytes_of(args.k_cache), expected_k);
    p.dim = v_dim;
    if (args.v) kernels::kv_append_reference(p, args.v.data(), expected_v.data());
    EXPECT_EQ(testing::bytes_of(v_cache.view()), expected_v);
  }

  void merge() {
    const int64_t parts = random_.integer(1, 9), rows = random_.integer(1, 40);
    const int64_t dim = random_.integer(1, 200);
    const DType dtype = float_type();
    ops::AttnMergeArgs args;
    args.parts = random_buffer(device_, dtype, {parts, rows, dim}, random_);
    args.lse = random_buffer(device_, f32, {parts, rows}, random_);
    for (float& value : args.lse.span<float>()) {
      if (chance(20)) value = chance(80) ? -INFINITY : 90.0f * value;
    }
    const GuardedBuffer out(device_, dtype, {rows, dim}), lse(device_, f32, {rows});
    args.out = out.view();
    args.out_lse = lse.view();
    const auto call = [&] { ops::attn_merge(stream_, args); };
    if (chance(10)) {
      args.lse = device_.alloc(f32, {rows, parts + 1});
      return expect_refused("lse", "attn_merge", call);
    }
    call();
    stream_.commit().wait();
    out.check();
    lse.check();
    const auto reference = kernels::attn_merge_reference({.parts = args.parts.data(),
                                                          .lse = args.lse.span<float>().data(),
                                                          .out = nullptr,
                                                          .out_lse = nullptr,
                                                          .num_parts = parts,
                                                          .rows = rows,
                                                          .dim = dim,
                                                          .dtype = dtype});
    const auto tolerance = [&](size_t i) {
      return 5e-6 * reference.weight[i] + testing::store_tolerance(dtype, reference.out[i]) + 1e-37;
    };
    testing::expect_close(testing::to_floats(args.out), reference.out, tolerance, "merge");
    testing::expect_close(
        testing::to_floats(args.out_lse), reference.lse,
        [&](size_t i) { return 2e-6 * (1.0 + std::abs(reference.lse[i])); }, "merge lse");
  }
};

TEST(AttnProperty, RandomCallsGiveTheOracleOrTheError) {
  const auto names = testing::runnable(kernels::attn_prefill_entries());
  testing::run_random_calls(
      names, 20240607, testing::is_short() ? 60 : 2000,
      [](const Device& device, uint32_t seed) { Property(device, seed).run(); });
}

}  // namespace
}  // namespace mlxn
