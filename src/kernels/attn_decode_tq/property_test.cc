// SPDX-License-Identifier: Apache-2.0
// Random calls of tq_encode, tq_decode, attn_decode_tq and attn_prefill_tq over every parameter:
// each gives what the oracle says, or the error that its arguments deserve.
//   MLXN_PROPERTY_SEED   another seed; case i of a run is case 0 of seed + i
//   MLXN_PROPERTY_CASES  their number
#include "kernels/attn_decode_tq/params.h"
#include "kernels/common/property_test_kit.h"
#include "kernels/common/tq_oracle_kit.h"

namespace mlxn {
namespace {

using testing::GuardedBuffer;
using testing::random_buffer;

// One random call.
class Property : testing::RandomCall {
 public:
  using RandomCall::RandomCall;

  void run() {
    if (chance(30)) return encode();
    if (chance(50)) return decode();
    prefill();
  }

 private:
  // A multiple of 8 up to 512; small ones and powers of two more often.
  int64_t head_dim() {
    if (chance(40)) return 8 * random_.integer(1, 8);
    return chance(60) ? any_of<int64_t>({64, 80, 96, 128, 192, 256, 512})
                      : 8 * random_.integer(9, 64);
  }

  ops::TqFormat format(int64_t dim) {
    ops::TqFormat f{.bits = any_of({2, 3, 4, 5, 6, 8})};
    if (chance(25)) f.packing = ops::TqPacking::kBytes;
    if (chance(20)) {
      for (int64_t i = 0; i < dim / 8 + random_.integer(0, 3); ++i) {
        f.signs.push_back(static_cast<uint8_t>(random_.integer(0, 255)));
      }
    }
    if (chance(20)) {  // ascending levels of another writer
      float level = -3.5f;
      for (int i = 0; i < 1 << f.bits; ++i) {
        f.codebook.push_back(level);
        level += random_.uniform(0.5f, 1.5f) * 7.0f / static_cast<float>(1 << f.bits);
      }
    }
    if (dim == 512 && chance(20)) f.scale_factor = any_of({0.0f, 0.5f, 1.5f});
    return f;
  }

  ops::TqRows alloc_rows(const ops::TqFormat& f, const Shape& blocks, int64_t dim) {
    const auto shape = [&](int64_t width) { return Shape{blocks[0], blocks[1], blocks[2], width}; };
    const ops::TqRows rows{device_.alloc(u8, shape(ops::tq_row_bytes(f, dim))),
                           device_.alloc(f32, shape(ops::tq_norm_count(dim))), f};
    std::memset(rows.codes.data(), 0xff, rows.codes.byte_len());
    std::memset(rows.norms.data(), 0xff, rows.norms.byte_len());
    return rows;
  }

  // How a cache is laid out.
  struct Layout {
    int64_t batch, heads, capacity;  // capacity: slots of a sequence
    int64_t page_size = 0, blocks = 0;
    Buffer table = {};

    Shape shape() const {
      return table ? Shape{blocks, heads, page_size} : Shape{batch, heads, capacity};
    }
    // Where slot `slot` of sequence b lies; -1: on a page that is not there.
    int64_t row(int64_t b, int64_t head, int64_t slot) const {
      if (!table) return (b * heads + head) * capacity + slot;
      const int64_t pages = table.dim(1);
      const int64_t page = table.span<int32_t>()[static_cast<size_t>(b * pages + slot / page_size)];
      return page < 0 || page >= blocks ? -1 : (page * heads + head) * page_size + slot % page_size;
    }
  };

  // Pages stand in a random order, some of them unused, and one entry may be bad.
  Layout layout(int64_t batch, int64_t heads, int64_t most) {
    if (chance(65)) return {batch, heads, random_.integer(1, most)};
    Layout l{batch, heads, 0, any_of<int64_t>({16, 32, 64, 128, 256})};
    const int64_t pages = random_.integer(1, std::max<int64_t>(1, most / l.page_size));
    l.capacity = pages * l.page_size;
    l.blocks = batch * pages + random_.integer(0, 2);
    std::vector<int32_t> order(static_cast<size_t>(l.blocks));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    for (size_t i = order.size() - 1; i > 0; --i) {
      std::swap(order[i], order[static_cast<size_t>(random_.integer(0, static_cast<int64_t>(i)))]);
    }
    order.resize(static_cast<size_t>(batch * pages));
    if (chance(20)) order.back() = any_of<int32_t>({-1, 1 << 20});
    l.table = device_.upload(order.data(), i32, {batch, pages});
    return l;
  }

  void encode() {
    const int64_t batch = random_.integer(1, 3), heads = random_.integer(1, 3), dim = head_dim();
    const int64_t n_src = random_.integer(1, 40);
    const Layout l = layout(batch, heads, 60);
    ops::TqEncodeArgs args;
    args.src = random_buffer(device_, float_type(), {batch, n_src, heads, dim}, random_);
    args.to = alloc_rows(format(dim), l.shape(), dim);
    args.src_offset = random_.integer(0, n_src);
    const int64_t left = n_src - args.src_offset;
    args.n = chance(30) ? -1 : random_.integer(0, left);
    const int64_t n = args.n == -1 ? left : args.n;
    args.ring = chance(50);
    args.norm_correction = chance(30);
    args.block_table = l.table;
    std::vector<int64_t> pos;
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t last = args.ring ? 3 * l.capacity : std::max<int64_t>(0, l.capacity - n);
      pos.push_back(random_.integer(0, last));
    }
    args.pos = lengths(pos);
    const auto call = [&] { ops::tq_encode(stream_, args); };
    if (n > 0 && !args.ring && n > l.capacity) return expect_refused("n", "tq_encode", call);
    if (n > 0 && chance(10)) {
      const std::string named = spoil(args);
      return expect_refused(named, "tq_encode", call);
    }
    call();
    stream_.commit().wait();
    expect_encoded(args, l, pos, n);
    if (chance(30)) expect_decoded(args.to, dim);
  }
  std::string spoil(ops::TqEncodeArgs& args) {
    switch (random_.integer(0, 4)) {
      case 0:
        args.to.format.bits = 7;
        return "to.format.bits";
      case 1:
        args.to.format.codebook.assign(3, 0.0f);
        return "to.format.codebook";
      case 2:
        args.to.norms = device_.alloc(f32, {args.to.norms.element_count() + 1});
        return "to.norms";
      case 3:
        args.src = device_.alloc(u8, args.src.shape());
        return "src";
      default:
        args.src_offset = args.src.dim(1) + 1;
        return "src_offset";
    }
  }
  // Every slot holds its last token, or still what it was filled with.
  void expect_encoded(const ops::TqEncodeArgs& args, const Layout& l,
                      const std::vector<int64_t>& pos, int64_t n) {
    const int64_t dim = args.src.dim(3);
    const kernels::TqCache c = kernels::tq_cache(args.to, dim);
    const auto src = testing::to_floats(args.src);
    std::vector<bool> written(static_cast<size_t>(testing::count_of(l.shape())), false);
    for (int64_t b = 0; b < l.batch; ++b) {
      for (int64_t t = std::max<int64_t>(0, n - l.capacity); t < n; ++t) {
        const int64_t at = pos[static_cast<size_t>(b)] + t;
        for (int64_t h = 0; h < l.heads; ++h) {
          const int64_t row = l.row(b, h, args.ring ? at % l.capacity : at);
          if (row < 0) continue;
          written[static_cast<size_t>(row)] = true;
          const int64_t from = ((b * args.src.dim(1) + args.src_offset + t) * l.heads + h) * dim;
          testing::expect_coded_row(c, row, src.data() + from, args.norm_correction);
        }
      }
    }
    for (size_t row = 0; row < written.size(); ++row) {
      if (!written[row]) {
        EXPECT_TRUE(std::isnan(c.norms[row * static_cast<size_t>(c.norm_count)])) << row;
      }
    }
  }
  void expect_decoded(const ops::TqRows& rows, int64_t dim) {
    ops::TqDecodeArgs args{.from = rows, .out = {}};
    const int64_t capacity = rows.codes.dim(2);
    args.first_slot = random_.integer(0, capacity - 1);
    const int64_t n = random_.integer(1, capacity - args.first_slot), rows_each = n;
    args.rotate_back = chance(50);
    const Shape blocks = rows.codes.shape();
    const GuardedBuffer out(device_, f32, {blocks[0], blocks[1], n, dim});
    args.out = out.view();
    ops::tq_decode(stream_, args);
    stream_.commit().wait();
    out.check();
    const kernels::TqCache c = kernels::tq_cache(rows, dim);
    for (int64_t i = 0; i < blocks[0] * blocks[1] * n; ++i) {
      const int64_t row = i / rows_each * capacity + args.first_slot + i % rows_each;
      const auto expected = kernels::tq_decode_reference(c, row, args.rotate_back);
      double sum = 0.0;
      for (const double v : expected) sum += v * v;
      if (!std::isfinite(sum)) continue;
      testing::expect_close(
          out.view().span<float>().subspan(static_cast<size_t>(i * dim), static_cast<size_t>(dim)),
          expected,
          [&](size_t j) {
            return args.rotate_back ? 2e-6 * std::sqrt(sum) + 1e-37
                                    : 0x1p-22 * std::abs(expected[j]) + 1e-37;
          },
          "tq_decode");
    }
  }

  // A cache whose slots below held[b] are coded rows; the others have norms of NaN.
  ops::TqRows filled(const Layout& l, int64_t dim, const std::vector<int64_t>& held) {
    const ops::TqRows rows = alloc_rows(format(dim), l.shape(), dim);
    const Buffer src = random_buffer(device_, f32, {l.batch, l.capacity, l.heads, dim}, random_);
    for (int64_t b = 0; b < l.batch; ++b) {
      ops::TqEncodeArgs args{.src = src.rows(b, 1), .to = rows, .pos = 0};
      args.n = held[static_cast<size_t>(b)];
      if (l.table) {
        args.block_table = l.table.rows(b, 1);
      } else {
        args.to.codes = rows.codes.rows(b, 1);
        args.to.norms = rows.norms.rows(b, 1);
      }
      ops::tq_encode(stream_, args);
    }
    stream_.commit().wait();
    stream_.reset_counters();
    return rows;
  }

  // What decode and prefill share: caches of `batch` sequences with their lengths.
  struct Held {
    Layout layout;
    std::vector<int64_t> kv_len, starts;
    bool ring, started;
  };
  Held held(int64_t batch, int64_t heads, int64_t most) {
    Held h{layout(batch, heads, most), {}, {}, chance(30), false};
    h.started = !h.ring && chance(25);
    for (int64_t b = 0; b < batch; ++b) {
      h.kv_len.push_back(random_.integer(1, (h.ring ? 3 : 1) * h.layout.capacity));
      h.starts.push_back(random_.integer(0, h.layout.capacity - 1));
    }
    return h;
  }
  template <class Args>
  void give_caches(Args& args, const Held& h, int64_t dim, int64_t v_dim) {
    std::vector<int64_t> slots;
    for (const int64_t len : h.kv_len) slots.push_back(std::min(len, h.layout.capacity));
    args.k = filled(h.layout, dim, slots);
    args.v = filled(h.layout, v_dim, slots);
    args.block_table = h.layout.table;
    args.kv_len = lengths(h.kv_len);
    args.ring = h.ring;
    if (h.started) args.ring_start = lengths(h.starts);
  }
  template <class Args>
  std::string spoil(Args& args) {
    switch (random_.integer(0, 6)) {
      case 0:
        args.softmax_scale = NAN;
        return "softmax_scale";
      case 1:
        args.window_size = -1;
        return "window_size";
      case 2:
        args.k.format.bits = 1;
        return "k.format.bits";
      case 3:
        args.v.norms = device_.alloc(f32, {args.v.norms.element_count() + 1});
        return "v.norms";
      case 4:
        args.out = device_.alloc(args.q.dtype() == f32 ? f16 : f32, args.out.shape());
        return "out";
      case 5:
        args.alibi_slopes = device_.alloc(f16, {1});
        return "alibi_slopes";
      default:
        args.lse = device_.alloc(f32, {args.q.element_count() + 1});
        return "lse";
    }
  }
  // q and out of the rotated domain, and what they are outside of it.
  template <class Args>
  void rotate(Args& args) {
    args.rotated = true;
    const Buffer q = device_.alloc(f32, args.q.shape());
    ops::fwht(stream_, {.x = args.q,
                        .out = q,
                        .mode = ops::FwhtMode::kForward,
                        .signs = args.k.format.signs,
                        .blocks = true});
    stream_.commit().wait();
    stream_.reset_counters();
    args.q = q;
  }
  void rotate_back(const Buffer& out, const ops::TqRows& v) {
    ops::fwht(stream_, {.x = out,
                        .out = out,
                        .mode = ops::FwhtMode::kInverse,
                        .signs = v.format.signs,
                        .blocks = true});
    stream_.commit().wait();
  }

  void decode() {
    const int64_t batch = random_.integer(1, 3), kv_heads = random_.integer(1, 3);
    const int64_t heads = kv_heads * random_.integer(1, 9), dim = head_dim();
    const int64_t v_dim = chance(50) ? dim : head_dim();
    const Held h = held(batch, kv_heads, chance(80) ? 130 : 700);
    ops::AttnDecodeTqArgs args;
    args.q = random_buffer(device_, float_type(), {batch, heads, dim}, random_);
    give_caches(args, h, dim, v_dim);
    score_rule(args, dim);
    head_options(args, heads);
    args.mask = any_of({ops::MaskKind::kNone, ops::MaskKind::kCausal, ops::MaskKind::kWindow,
                        ops::MaskKind::kChunk});
    const bool windowed = args.mask == ops::MaskKind::kWindow || args.mask == ops::MaskKind::kChunk;
    if (windowed) args.window_size = random_.integer(1, 2 * h.layout.capacity);
    args.n_split = static_cast<int>(any_of<int64_t>({0, 0, 1, 2, 7, random_.integer(1, 1024)}));
    const GuardedBuffer out(device_, args.q.dtype(), {batch, heads, v_dim});
    const GuardedBuffer lse(device_, f32, {batch, heads});
    args.out = out.view();
    args.lse = lse.view();
    const auto call = [&] { ops::attn_decode_tq(stream_, args); };
    if (args.mask == ops::MaskKind::kChunk && h.started) {
      return expect_refused("mask", "attn_decode_tq", call);
    }
    if (chance(10)) {
      const std::string named = spoil(args);
      return expect_refused(named, "attn_decode_tq", call);
    }
    const auto reference = testing::tq_oracle_of(device_, args);
    if (args.q.dtype() == f32 && chance(20)) rotate(args);
    call();
    stream_.commit().wait();
    out.check();
    lse.check();
    if (args.rotated) rotate_back(args.out, args.v);
    testing::expect_attention(args.out, reference, "decode");
    testing::expect_lse(testing::to_floats(args.lse), reference, "decode");
  }

  void prefill() {
    const int64_t batch = random_.integer(1, 3), kv_heads = random_.integer(1, 2);
    const int64_t heads = kv_heads * random_.integer(1, 5), dim = head_dim();
    const int64_t v_dim = chance(50) ? dim : head_dim(), rows = random_.integer(1, 70);
    const Held h = held(batch, kv_heads, 200);
    ops::AttnPrefillTqArgs args;
    args.q_layout = any_of({ops::SeqLayout::kHeadMajor, ops::SeqLayout::kSeqMajor});
    const bool head_major = args.q_layout == ops::SeqLayout::kHeadMajor;
    const Shape shape =
        head_major ? Shape{batch, heads, rows, dim} : Shape{batch, rows, heads, dim};
    args.q = random_buffer(device_, float_type(), shape, random_);
    give_caches(args, h, dim, v_dim);
    score_rule(args, dim);
    head_options(args, heads);
    std::vector<int64_t> offsets, prefixes;
    for (const int64_t len : h.kv_len) {
      offsets.push_back(random_.integer(0, std::max<int64_t>(0, len - rows)));
      prefixes.push_back(random_.integer(0, 100));
    }
    if (chance(50)) args.q_offset = lengths(offsets);
    if (chance(20)) args.prefix_len = lengths(prefixes);
    args.causal = chance(60);
    if (chance(40)) args.window_size = random_.integer(1, 150);
    if (chance(20)) args.window_ahead = random_.integer(1, 50);
    if (chance(20)) args.chunk_size = random_.integer(1, 100);
    Shape out_shape = shape;
    out_shape.back() = v_dim;
    const GuardedBuffer out(device_, args.q.dtype(), out_shape);
    const GuardedBuffer lse(device_, f32, {batch, heads, rows});
    args.out = out.view();
    args.lse = lse.view();
    const auto call = [&] { ops::attn_prefill_tq(stream_, args); };
    const std::vector<int64_t> q_len(static_cast<size_t>(batch), rows);
    if (ring_lost_keys(args, q_len, h.kv_len, offsets, h.layout.capacity)) {
      return expect_refused("k: capacity", "attn_prefill_tq", call);
    }
    if (chance(10)) {
      const std::string named = spoil(args);
      return expect_refused(named, "attn_prefill_tq", call);
    }
    const auto reference = testing::tq_oracle_of(device_, args);
    if (args.q.dtype() == f32 && chance(20)) rotate(args);
    call();
    stream_.commit().wait();
    out.check();
    lse.check();
    if (args.rotated) rotate_back(args.out, args.v);
    const auto dense = testing::dense_args(device_, args);
    testing::expect_attention(testing::in_oracle_order(device_, dense), reference, "prefill");
    testing::expect_lse(testing::to_floats(args.lse), reference, "prefill");
  }
};

TEST(TqProperty, RandomCallsGiveTheOracleOrTheError) {
  const auto names = testing::runnable(kernels::attn_decode_tq_entries());
  testing::run_random_calls(
      names, 20240608, is_short() ? 50 : 2000,
      [](const Device& device, uint32_t seed) { Property(device, seed).run(); });
}

}  // namespace
}  // namespace mlxn
