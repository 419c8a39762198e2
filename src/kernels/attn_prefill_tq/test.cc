// SPDX-License-Identifier: Apache-2.0
// attn_prefill_tq. The oracle decodes every row in float64, rotated back, and is then that of the
// dense op: it knows nothing of the rotated domain.
#include "kernels/attn_prefill_tq/params.h"
#include "kernels/common/tq_oracle_kit.h"

namespace mlxn {
namespace {

using ops::SeqLayout;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;

struct Case {
  int64_t batch = 1, heads = 4, kv_heads = 2, q_len = 33, kv_len = 33, capacity = 0;
  int64_t dim = 64, v_dim = 0;
  int bits_k = 4, bits_v = 4;
  DType q_dtype = f32;
  SeqLayout layout = SeqLayout::kHeadMajor;
  int64_t window_size = 0;
  bool ring = false;

  std::string name() const {
    return std::string(mlxn::name(q_dtype)) + " q_len " + std::to_string(q_len) + " kv_len " +
           std::to_string(kv_len) + " D " + std::to_string(dim) + " bits " +
           std::to_string(bits_k) + "/" + std::to_string(bits_v) + " window " +
           std::to_string(window_size);
  }
};

class AttnPrefillTq : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = testing::entry_device(GetParam());
  Stream stream_{device_};

  // Slots that hold no key have norms of NaN.
  ops::TqRows make_rows(const Case& c, int64_t dim, int bits, Random& random) {
    const int64_t slots = std::max(c.capacity, c.ring ? c.capacity : c.kv_len);
    const ops::TqFormat format{.bits = bits};
    const ops::TqRows rows{
        device_.alloc(u8, {c.batch, c.kv_heads, slots, ops::tq_row_bytes(format, dim)}),
        device_.alloc(f32, {c.batch, c.kv_heads, slots, ops::tq_norm_count(dim)}), format};
    const Buffer src =
        testing::random_buffer(device_, f32, {c.batch, slots, c.kv_heads, dim}, random);
    ops::tq_encode(stream_, {.src = src, .to = rows, .pos = 0});
    stream_.commit().wait();
    testing::poison_slots(rows.norms, [&](int64_t, int64_t slot) { return slot < c.kv_len; });
    return rows;
  }
  ops::AttnPrefillTqArgs make_args(const Case& c, uint32_t seed = 1) {
    Random random(seed);
    ops::AttnPrefillTqArgs args;
    const Shape shape = c.layout == SeqLayout::kHeadMajor ? Shape{c.batch, c.heads, c.q_len, c.dim}
                                                          : Shape{c.batch, c.q_len, c.heads, c.dim};
    args.q = testing::random_buffer(device_, c.q_dtype, shape, random);
    args.k = make_rows(c, c.dim, c.bits_k, random);
    args.v = make_rows(c, c.v_dim ? c.v_dim : c.dim, c.bits_v, random);
    Shape out = shape;
    out[3] = c.v_dim ? c.v_dim : c.dim;
    args.out = device_.alloc(c.q_dtype, out);
    args.q_layout = c.layout;
    args.kv_len = c.kv_len;
    args.ring = c.ring;
    args.window_size = c.window_size;
    args.softmax_scale = 0.1f;
    return args;
  }
  Buffer run(ops::AttnPrefillTqArgs args) {
    const GuardedBuffer out(device_, args.q.dtype(), args.out.shape());
    args.out = out.view();
    ops::attn_prefill_tq(stream_, args);
    stream_.commit().wait();
    out.check();
    return out.view();
  }
  Buffer expect_oracle(ops::AttnPrefillTqArgs args, const std::string& what) {
    args.out = run(args);
    const Buffer found = testing::in_oracle_order(device_, testing::dense_args(device_, args));
    testing::expect_attention(found, testing::tq_oracle_of(device_, args), what);
    return args.out;
  }
  // Rows [begin, begin + count) of every head of [1, H, L, D].
  Buffer rows_of(const Buffer& b, int64_t begin, int64_t count) {
    const int64_t heads = b.dim(1), len = b.dim(2), dim = b.dim(3);
    const Buffer part = device_.alloc(b.dtype(), {1, heads, count, dim});
    const size_t row = static_cast<size_t>(dim) * size_of(b.dtype());
    for (int64_t h = 0; h < heads; ++h) {
      std::memcpy(part.data() + static_cast<size_t>(h * count) * row,
                  b.data() + static_cast<size_t>(h * len + begin) * row,
                  static_cast<size_t>(count) * row);
    }
    return part;
  }
  // Chunks at multiples of 64 over a linear cache, a ring and pages give the bits of the whole, and
  // so does any number of threads.
  void expect_same_bits(const Case& c) {
    const int64_t len = c.q_len;
    const auto whole = make_args(c, 3);
    const Buffer expected = expect_oracle(whole, "whole");
    const auto bits = [&](const ops::AttnPrefillTqArgs& args) {
      return testing::bytes_of(run(args));
    };
    Random random(4);
    auto paged = whole;
    paged.block_table = testing::make_block_table(device_, 1, len / 64, random);
    paged.k = testing::on_pages(device_, whole.k, paged.block_table, 64);
    paged.v = testing::on_pages(device_, whole.v, paged.block_table, 64);
    EXPECT_EQ(bits(paged), testing::bytes_of(expected));
    for (int64_t at = 0; at < len; at += 64) {
      for (const auto& source : {whole, paged}) {
        auto part = source;
        part.q = rows_of(whole.q, at, 64);
        part.out = device_.alloc(f32, part.q.shape());
        part.kv_len = at + 64;
        EXPECT_EQ(bits(part), testing::bytes_of(rows_of(expected, at, 64))) << at;
        if (part.block_table) continue;
        const int64_t slots =
            (c.window_size + 63 + 31) / 32 * 32;  // window + chunk - 1, rounded up
        part.k = testing::ring_of(device_, whole.k, at + 64, slots);
        part.v = testing::ring_of(device_, whole.v, at + 64, slots);
        part.ring = true;
        EXPECT_EQ(bits(part), testing::bytes_of(rows_of(expected, at, 64))) << "ring " << at;
      }
    }
    for (int threads : testing::unless_short<int>({1, 3}, {1})) {
      const Device device = testing::entry_device(GetParam(), threads);
      Stream stream(device);
      const auto copy = [&](const Buffer& b) {
        return device.upload(b.data(), b.dtype(), b.shape());
      };
      auto again = whole;
      again.q = copy(whole.q);
      for (auto [to, from] : {std::pair{&again.k, &whole.k}, std::pair{&again.v, &whole.v}}) {
        to->codes = copy(from->codes);
        to->norms = copy(from->norms);
      }
      again.out = device.alloc(f32, whole.q.shape());
      ops::attn_prefill_tq(stream, again);
      stream.commit().wait();
      EXPECT_EQ(testing::bytes_of(again.out), testing::bytes_of(expected));
    }
  }
};

INSTANTIATE_TEST_SUITE_P(
    Entries, AttnPrefillTq,
    ::testing::ValuesIn(testing::runnable(kernels::attn_prefill_tq_entries())));

TEST_P(AttnPrefillTq, LinearAndRings) {
  const auto cases = testing::unless_short<Case>(
      {{.q_len = 33, .kv_len = 33, .dim = 128},
       {.q_len = 7, .kv_len = 300, .capacity = 320, .dim = 512},
       {.q_len = 64, .kv_len = 500, .capacity = 192, .dim = 80, .window_size = 100, .ring = true},
       {.q_len = 50, .kv_len = 90, .capacity = 192, .dim = 80, .window_size = 40, .ring = true},
       {.heads = 9, .kv_heads = 3, .q_len = 130, .kv_len = 131, .dim = 256},
       {.q_len = 1, .kv_len = 65, .capacity = 70, .dim = 256}},
      {{.q_len = 5, .kv_len = 9, .dim = 128},
       {.q_len = 3, .kv_len = 20, .dim = 512},
       {.q_len = 4, .kv_len = 70, .capacity = 64, .dim = 80, .window_size = 20, .ring = true}});
  for (Case c : cases) {
    for (SeqLayout layout : {SeqLayout::kHeadMajor, SeqLayout::kSeqMajor}) {
      c.layout = layout;
      c.bits_k = 5;
      expect_oracle(make_args(c), c.name());
    }
  }
}

TEST_P(AttnPrefillTq, EveryWidthHeadDimAndDtype) {
  const int widths[] = {2, 3, 4, 5, 6, 8};
  uint32_t seed = 0;
  for (int64_t dim = 8; dim <= 512; dim += testing::is_short() ? 72 : 8) {
    const auto at = static_cast<size_t>(dim / 8);
    const Case c{.heads = 3,
                 .kv_heads = 1,
                 .q_len = 9,
                 .kv_len = 67,
                 .dim = dim,
                 .v_dim = 520 - dim,
                 .bits_k = widths[at % 6],
                 .bits_v = widths[at / 6 % 6],
                 .q_dtype = at % 3 == 0   ? f32
                            : at % 3 == 1 ? f16
                                          : bf16};
    expect_oracle(make_args(c, ++seed), c.name());
  }
}

// Matrix units take dims that are powers of two.
TEST_P(AttnPrefillTq, EveryPairOfWidths) {
  const int widths[] = {2, 3, 4, 5, 6, 8};
  for (const int64_t dim : testing::unless_short<int64_t>({64, 128, 256, 512}, {64})) {
    for (int i = 0; i < 36; ++i) {
      const Case c{.q_len = 35 + i,
                   .kv_len = 100,
                   .dim = dim,
                   .bits_k = widths[i / 6],
                   .bits_v = widths[i % 6],
                   .q_dtype = i % 3 == 0   ? f32
                              : i % 3 == 1 ? f16
                                           : bf16};
      expect_oracle(make_args(c, static_cast<uint32_t>(i)), c.name());
    }
  }
}

TEST_P(AttnPrefillTq, TheSameBits) {
  const int widths[] = {2, 3, 4, 5, 6, 8};
  for (int64_t dim : {64, 512}) {
    for (int width : widths) {
      SCOPED_TRACE(std::to_string(width) + " bits, D " + std::to_string(dim));
      const int64_t len = testing::is_short() ? 128 : 448;
      expect_same_bits({.heads = testing::is_short() ? 2 : 4,
                        .q_len = len,
                        .kv_len = len,
                        .dim = dim,
                        .bits_k = width,
                        .bits_v = width,
                        .window_size = testing::is_short() ? 20 : 100});
    }
  }
  const auto two = make_args({.batch = 2, .q_len = 40, .kv_len = 70}, 5);
  const Buffer both = expect_oracle(two, "two sequences");
  for (int64_t b : {0, 1}) {
    auto one = two;
    one.q = two.q.rows(b, 1);
    one.out = two.out.rows(b, 1);
    for (auto [to, from] : {std::pair{&one.k, &two.k}, std::pair{&one.v, &two.v}}) {
      to->codes = from->codes.rows(b, 1);
      to->norms = from->norms.rows(b, 1);
    }
    EXPECT_EQ(testing::bytes_of(run(one)), testing::bytes_of(both.rows(b, 1)));
  }
}

TEST_P(AttnPrefillTq, RowsThatSeeNothingAreZero) {
  auto args = make_args({.q_len = 20, .kv_len = 8});
  const Buffer out = run(args);  // twelve queries lie in front of position 0
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t i = 0; i < 12 * 64; ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(out.span<float>()[static_cast<size_t>(h * 20 * 64 + i)]),
                0u);
    }
  }
  args.lse = device_.alloc(f32, {1, 4, 20});
  expect_oracle(args, "more queries than keys");
  EXPECT_EQ(args.lse.span<float>()[0], -INFINITY);
}

// A norm or a query that is not finite reaches the rows that use it and no other.
TEST_P(AttnPrefillTq, NanStaysInItsRow) {
  constexpr int64_t kRows = 21, kKeys = 70, kOffset = 30;
  struct Rule {
    int64_t window_size, some, none;  // a key that some rows see, a key that no row sees
  };
  for (int64_t dim : testing::unless_short<int64_t>({64, 80, 128, 256, 512}, {80, 512})) {
    for (const int bits : testing::unless_short<int>({2, 4, 5, 8}, {4, 5})) {
      for (const Rule& rule : {Rule{0, kOffset + 9, kOffset + kRows},  //
                               Rule{17, kOffset - 5, kOffset - 17}}) {
        const Case c{.heads = 4,
                     .kv_heads = 2,
                     .q_len = kRows,
                     .kv_len = kKeys,
                     .dim = dim,
                     .bits_k = bits,
                     .bits_v = 12 - bits == 7 ? 6 : std::min(12 - bits, 8),
                     .window_size = rule.window_size};
        auto args = make_args(c);
        args.q_offset = kOffset;
        const Buffer clean = expect_oracle(args, c.name());
        const auto expect = [&](const ops::AttnPrefillTqArgs& changed, int64_t heads,
                                const auto& spoiled, const std::string& what, bool lost = true) {
          testing::expect_spoiled(
              run(changed), clean,
              [&](int64_t r, int64_t) { return r / kRows >= 4 - heads && spoiled(r % kRows); },
              c.name() + " " + what, lost);
        };
        auto changed = args;
        changed.q = testing::with_elements(device_, args.q, (3 * kRows + 7) * dim, dim, NAN);
        expect(
            changed, 1, [](int64_t i) { return i == 7; }, "query");
        for (float bad : {NAN, INFINITY}) {
          for (auto rows : {&ops::AttnPrefillTqArgs::k, &ops::AttnPrefillTqArgs::v}) {
            // An infinite logit may be the negative one, whose weight is 0.
            const bool is_v = rows == &ops::AttnPrefillTqArgs::v;
            for (int64_t key : {rule.some, rule.none}) {
              changed = args;
              const Buffer& norms = (args.*rows).norms;  // of KV head 1, with heads 2 and 3
              const int64_t count = norms.shape().back();
              (changed.*rows).norms =
                  testing::with_elements(device_, norms, (kKeys + key) * count, count, bad);
              expect(
                  changed, 2,
                  [&](int64_t i) {
                    const int64_t ahead = key - kOffset - i;
                    return ahead <= 0 && (rule.window_size == 0 || -ahead < rule.window_size);
                  },
                  "norm of key " + std::to_string(key), std::isnan(bad) || is_v);
            }
          }
        }
      }
    }
  }
}

TEST_P(AttnPrefillTq, DirectCapturedAndReplayedAgree) {
  const auto args = make_args({.batch = 2, .q_len = 20, .kv_len = 90, .q_dtype = f16});
  testing::expect_repeatable(device_, [&](Stream& s) { ops::attn_prefill_tq(s, args); },
                             {args.out});
}

TEST(AttnPrefillTqErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const auto rows = [&](int64_t capacity, int64_t dim) {
    return ops::TqRows{
        device.alloc(u8, {1, 2, capacity, dim / 2}), device.alloc(f32, {1, 2, capacity, 1}), {}};
  };
  ops::AttnPrefillTqArgs prefill;
  prefill.q = device.alloc(f32, {1, 4, 3, 64});
  prefill.out = device.alloc(f32, {1, 4, 3, 64});
  prefill.k = rows(8, 64);
  prefill.v = rows(8, 64);
  prefill.kv_len = 8;
  const auto refuse = [&](std::vector<std::string> fragments, const auto& change) {
    ops::AttnPrefillTqArgs args = prefill;
    change(args);
    fragments.push_back("attn_prefill_tq");
    testing::expect_error(ErrorKind::kInvalidArgument, fragments,
                          [&] { ops::attn_prefill_tq(stream, args); });
  };
  using Chunk = ops::AttnPrefillTqArgs;
  refuse({"kv_len", "9", "8"}, [](Chunk& a) { a.kv_len = 9; });
  refuse({"q_offset", "6 with 3 queries"}, [](Chunk& a) { a.q_offset = 6; });
  refuse({"softmax_scale"}, [](Chunk& a) { a.softmax_scale = NAN; });
  refuse({"window_size", "-1"}, [](Chunk& a) { a.window_size = -1; });
  refuse({"ring_start", "8"}, [](Chunk& a) { a.ring_start = 8; });
  refuse({"q_layout", "7"}, [](Chunk& a) { a.q_layout = static_cast<ops::SeqLayout>(7); });
  refuse({"chunk_size", "-1"}, [](Chunk& a) { a.chunk_size = -1; });
  refuse({"k: capacity", "8 slots of a ring"}, [](Chunk& a) { a.ring = true, a.kv_len = 20; });
  refuse({"prefix_len", "-1"}, [](Chunk& a) { a.prefix_len = -1; });
  refuse({"out", "[1, 4, 2, 64]"}, [&](Chunk& a) { a.out = device.alloc(f32, {1, 4, 2, 64}); });
  // Lengths in memory that the op writes.
  const Buffer lse = device.alloc(f32, {1, 4, 3});
  for (const auto& [name, field] :
       {std::pair{"kv_len", &Chunk::kv_len}, std::pair{"q_offset", &Chunk::q_offset},
        std::pair{"ring_start", &Chunk::ring_start}, std::pair{"prefix_len", &Chunk::prefix_len}}) {
    refuse({"attn_prefill_tq: out:", "overlap", name},
           [&](Chunk& a) { a.*field = a.out.slice(0, 1).view_as(i32, {1}); });
    refuse({"attn_prefill_tq: lse:", "overlap", name},
           [&](Chunk& a) { a.lse = lse, a.*field = lse.slice(4, 1).view_as(i32, {1}); });
  }
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::attn_prefill_tq(stream, prefill);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
