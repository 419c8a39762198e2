// SPDX-License-Identifier: Apache-2.0
// attn_decode_tq. The oracle decodes every row in float64, rotated back, and is then that of the
// dense op: it knows nothing of the rotated domain.
#include "kernels/attn_decode_tq/params.h"
#include "kernels/common/tq_oracle_kit.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;

struct Case {
  int64_t batch = 1, heads = 4, kv_heads = 2, dim = 64, v_dim = 0, capacity = 64;
  std::vector<int64_t> kv_len = {64};
  int bits_k = 4, bits_v = 4;
  float softmax_scale = 0.1f, logits_soft_cap = 0.0f;
  int64_t window_size = 0;
  bool ring = false;

  std::string name() const {
    return "H " + std::to_string(heads) + "/" + std::to_string(kv_heads) + " D " +
           std::to_string(dim) + " bits " + std::to_string(bits_k) + "/" + std::to_string(bits_v) +
           " kv_len " + std::to_string(kv_len[0]) + "/" + std::to_string(capacity) + " window " +
           std::to_string(window_size);
  }
};

class AttnTqTest : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = testing::entry_device(GetParam());
  Stream stream_{device_};

  ops::TqRows make_rows(const Case& c, int64_t dim, ops::TqFormat format, Random& random) {
    const ops::TqRows rows{
        device_.alloc(u8, {c.batch, c.kv_heads, c.capacity, ops::tq_row_bytes(format, dim)}),
        device_.alloc(f32, {c.batch, c.kv_heads, c.capacity, ops::tq_norm_count(dim)}), format};
    const Buffer src =
        testing::random_buffer(device_, f32, {c.batch, c.capacity, c.kv_heads, dim}, random);
    ops::tq_encode(stream_, {.src = src, .to = rows, .pos = 0});
    stream_.commit().wait();
    testing::poison_slots(rows.norms, [&](int64_t b, int64_t slot) {
      return slot < c.kv_len[c.kv_len.size() == 1 ? 0 : static_cast<size_t>(b)];
    });
    return rows;
  }

  ops::AttnDecodeTqArgs make_args(const Case& c, uint32_t seed = 1) {
    Random random(seed);
    ops::AttnDecodeTqArgs args;
    const int64_t v_dim = c.v_dim ? c.v_dim : c.dim;
    args.q = testing::random_buffer(device_, f32, {c.batch, c.heads, c.dim}, random);
    args.k = make_rows(c, c.dim, {.bits = c.bits_k}, random);
    args.v = make_rows(c, v_dim, {.bits = c.bits_v}, random);
    args.out = device_.alloc(f32, {c.batch, c.heads, v_dim});
    args.kv_len = Lengths(c.kv_len);
    args.softmax_scale = c.softmax_scale;
    args.logits_soft_cap = c.logits_soft_cap;
    args.window_size = c.window_size;
    args.mask = c.window_size > 0 ? ops::MaskKind::kWindow : ops::MaskKind::kCausal;
    args.ring = c.ring;
    return args;
  }

  // Runs twice, expects the same bits.
  Buffer run(ops::AttnDecodeTqArgs args) {
    const GuardedBuffer out(device_, args.q.dtype(), args.out.shape());
    const GuardedBuffer again(device_, args.q.dtype(), args.out.shape());
    for (const GuardedBuffer* target : {&out, &again}) {
      args.out = target->view();
      ops::attn_decode_tq(stream_, args);
    }
    stream_.commit().wait();
    out.check();
    EXPECT_EQ(testing::bytes_of(out.view()), testing::bytes_of(again.view()));
    return out.view();
  }

  kernels::AttnReference reference_of(const ops::AttnDecodeTqArgs& args) const {
    return testing::tq_oracle_of(device_, args);
  }

  Buffer expect_oracle(const Case& c, uint32_t seed = 1) {
    const auto args = make_args(c, seed);
    const Buffer out = run(args);
    testing::expect_attention(out, reference_of(args), c.name());
    return out;
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, AttnTqTest,
                         ::testing::ValuesIn(testing::runnable(kernels::attn_decode_tq_entries())));

TEST_P(AttnTqTest, EveryWidth) {  // Q12
  struct Extent {
    int64_t heads, kv_heads, dim, kv_len;
  };
  const auto extents = testing::unless_short<Extent>({{8, 4, 256, 64},
                                                      {4, 2, 512, 32},
                                                      {4, 4, 256, 8},
                                                      {32, 4, 256, 1024},
                                                      {8, 2, 128, 777},
                                                      {8, 2, 64, 333},
                                                      {6, 3, 80, 777},
                                                      {10, 1, 96, 345},
                                                      {9, 3, 192, 777}},
                                                     {{8, 4, 256, 20},
                                                      {4, 2, 512, 19},
                                                      {8, 2, 128, 77},
                                                      {3, 3, 80, 77},
                                                      {5, 1, 96, 77},
                                                      {8, 1, 192, 77}});
  uint32_t seed = 0;
  for (const Extent& e : extents) {
    for (int bits : {2, 3, 4, 5, 6, 8}) {
      for (int64_t window : {0, 64}) {
        for (bool ring : {false, true}) {
          const Case c{.heads = e.heads,
                       .kv_heads = e.kv_heads,
                       .dim = e.dim,
                       .capacity = e.kv_len,
                       .kv_len = {ring ? e.kv_len + 13 : e.kv_len},
                       .bits_k = bits,
                       .bits_v = bits,
                       .softmax_scale = 1.0f / 16,
                       .window_size = window,
                       .ring = ring};
          auto args = make_args(c, ++seed);
          args.n_split = ring ? 1 : 0;
          testing::expect_attention(run(args), reference_of(args), c.name());
        }
      }
    }
  }
}

TEST_P(AttnTqTest, EveryHeadDimAndMixedWidths) {  // Q19
  const int widths[] = {2, 3, 4, 5, 6, 8};
  uint32_t seed = 0;
  for (int64_t dim = 8; dim <= 512; dim += is_short() ? 72 : 8) {
    const int64_t group = 1 + dim / 8 % 9;
    const auto bits = static_cast<size_t>(dim / 8);
    expect_oracle({.heads = 2 * group,
                   .kv_heads = 2,
                   .dim = dim,
                   .v_dim = 520 - dim,
                   .capacity = 71,
                   .kv_len = {70},
                   .bits_k = widths[bits % 6],
                   .bits_v = widths[bits / 6 % 6]},
                  ++seed);
  }
  expect_oracle(
      {.heads = 8, .kv_heads = 2, .dim = 256, .capacity = 200, .kv_len = {199}, .bits_k = 8});
}

// In one part, so that a simdgroup on a GPU has more tiles than its ring has slots, and in several.
TEST_P(AttnTqTest, PairsOfWidths) {
  const auto dims =
      testing::unless_short<int64_t>({64, 80, 96, 128, 192, 256, 512}, {64, 192, 512});
  const auto widths = testing::unless_short<int>({2, 3, 4, 5, 6, 8}, {3, 4, 8});
  const int64_t keys = is_short() ? 70 : 555;
  uint32_t seed = 0;
  for (size_t d = 0; d < dims.size(); ++d) {
    for (size_t i = 0; i < widths.size(); ++i) {
      for (size_t j = 0; j < widths.size(); ++j) {
        if (i == j || (!is_short() && (d + i + j) % 2 == 0)) continue;
        const bool ring = ++seed % 3 == 0;
        const Case c{.heads = seed % 4 == 0 ? 18 : 8,
                     .dim = dims[d],
                     .capacity = keys,
                     .kv_len = {ring ? keys + 13 : keys - 3},
                     .bits_k = widths[i],
                     .bits_v = widths[j],
                     .softmax_scale = 1.0f / 16,
                     .window_size = seed % 5 == 0 ? 40 : 0,
                     .ring = ring};
        auto args = make_args(c, seed);
        args.n_split = seed % 2 == 0 ? 1 : 0;
        testing::expect_attention(run(args), reference_of(args), c.name());
      }
    }
  }
}

// In one part of many tiles for every simdgroup of a GPU, that has few of them on their way.
TEST_P(AttnTqTest, LongParts) {
  uint32_t seed = 0;
  for (int64_t dim : testing::unless_short<int64_t>({64, 80, 96, 128, 192, 256, 512}, {64})) {
    for (int bits : testing::unless_short<int>({3, 4, 8}, {4})) {
      const Case c{.heads = seed % 2 == 0 ? 3 : 5,
                   .kv_heads = 1,
                   .dim = dim,
                   .capacity = 5003,
                   .kv_len = {4999},
                   .bits_k = bits,
                   .bits_v = bits,
                   .softmax_scale = 1.0f / 16};
      auto args = make_args(c, ++seed);
      args.n_split = 1;
      testing::expect_attention(run(args), reference_of(args), c.name());
    }
  }
}

TEST_P(AttnTqTest, SoftCapLongAndShort) {
  expect_oracle({.heads = 8,
                 .dim = 128,
                 .capacity = 150,
                 .kv_len = {150},
                 .softmax_scale = 1.0f,
                 .logits_soft_cap = 5.0f});
  expect_oracle({.heads = 16,
                 .dim = 128,
                 .capacity = is_short() ? 300 : 5000,
                 .kv_len = {is_short() ? 300 : 4999}});
  expect_oracle({.capacity = 3, .kv_len = {1}});
  auto blocked = make_args({.capacity = 4, .kv_len = {1}});  // Q15
  blocked.ring_start = 2;
  for (float value : testing::to_floats(run(blocked))) EXPECT_EQ(value, 0.0f);
}

TEST_P(AttnTqTest, BatchThreadsAndSplits) {
  const int64_t most = is_short() ? 150 : 700;
  const Case c{.batch = 3, .heads = 8, .dim = 128, .capacity = most, .kv_len = {1, 77, most}};
  auto args = make_args(c, 7);
  const Buffer all = run(args);
  testing::expect_attention(all, reference_of(args), c.name());
  const size_t row = all.byte_len() / 3;
  for (int threads : testing::unless_short<int>({1, 3}, {1})) {
    const Device device = testing::entry_device(GetParam(), threads);
    Stream stream(device);
    const auto copy = [&](const Buffer& b) {
      return device.upload(b.data(), b.dtype(), b.shape());
    };
    for (int64_t b = 0; b < 3; ++b) {
      auto one = args;
      one.q = copy(args.q.rows(b, 1));
      for (auto [to, from] : {std::pair{&one.k, &args.k}, std::pair{&one.v, &args.v}}) {
        to->codes = copy(from->codes.rows(b, 1));
        to->norms = copy(from->norms.rows(b, 1));
      }
      one.out = device.alloc(f32, {1, 8, 128});
      one.kv_len = c.kv_len[static_cast<size_t>(b)];
      ops::attn_decode_tq(stream, one);
      stream.commit().wait();
      EXPECT_EQ(std::memcmp(one.out.data(), all.data() + static_cast<size_t>(b) * row, row), 0);
    }
  }
  for (int n_split : {1, 7, 64}) {
    args.n_split = n_split;
    testing::expect_attention(run(args), reference_of(args), "n_split " + std::to_string(n_split));
  }
  args.out = device_.alloc(f32, {3, 8, 128});
  testing::expect_repeatable(device_, [&](Stream& s) { ops::attn_decode_tq(s, args); }, {args.out});
}

// A norm or a query that is not finite reaches the heads that use it and no other; a key that has
// left the window reaches none.
TEST_P(AttnTqTest, NanStaysInItsRow) {
  for (int64_t dim : testing::unless_short<int64_t>({64, 80, 96, 128, 192, 256, 512}, {80, 512})) {
    for (int bits : testing::unless_short<int>({2, 3, 4, 5, 6, 8}, {4, 6})) {
      for (int64_t group : testing::unless_short<int64_t>({1, 4, 8}, {4})) {
        const Case c{.batch = 2,
                     .heads = 2 * group,
                     .kv_heads = 2,
                     .dim = dim,
                     .capacity = 90,
                     .kv_len = {80, 90},
                     .bits_k = bits,
                     .bits_v = bits,
                     .window_size = 40};
        const auto args = make_args(c);
        const Buffer clean = run(args);
        testing::expect_attention(clean, reference_of(args), c.name());
        // Rows [begin, end) of the output use what was changed.
        const auto expect = [&](const ops::AttnDecodeTqArgs& changed, int64_t begin, int64_t end,
                                const std::string& what, bool lost = true) {
          testing::expect_spoiled(
              run(changed), clean, [&](int64_t r, int64_t) { return r >= begin && r < end; },
              c.name() + " " + what, lost);
        };
        auto changed = args;
        changed.q = testing::with_elements(device_, args.q, (group + 1) * dim, dim, NAN);
        expect(changed, group + 1, group + 2, "query");
        for (float bad : {NAN, INFINITY}) {
          for (auto rows : {&ops::AttnDecodeTqArgs::k, &ops::AttnDecodeTqArgs::v}) {
            // An infinite logit may be the negative one, whose weight is 0.
            const bool is_v = rows == &ops::AttnDecodeTqArgs::v;
            for (int64_t key : {35, 39, 40, 66}) {  // keys 40 to 79 of sequence 0 are seen
              changed = args;
              const Buffer& norms = (args.*rows).norms;  // of KV head 1 of sequence 0
              const int64_t count = norms.shape().back();
              (changed.*rows).norms =
                  testing::with_elements(device_, norms, (90 + key) * count, count, bad);
              expect(changed, group, key < 40 ? group : 2 * group,
                     "norm of key " + std::to_string(key), std::isnan(bad) || is_v);
            }
          }
        }
      }
    }
  }
}

TEST_P(AttnTqTest, RotatedModeAndOtherSigns) {  // Q13
  Random random(13);
  const Case c{.heads = 6, .dim = 96, .capacity = 130, .kv_len = {130}};
  auto args = make_args(c);
  ops::TqFormat format_k, format_v{.bits = 5, .packing = ops::TqPacking::kBytes};
  for (int i = 0; i < 12; ++i) {
    format_k.signs.push_back(static_cast<uint8_t>(random.integer(0, 255)));
    format_v.signs.push_back(static_cast<uint8_t>(random.integer(0, 255)));
  }
  for (int i = 0; i < 32; ++i) format_v.codebook.push_back(0.17f * (static_cast<float>(i) - 15.4f));
  args.k = make_rows(c, 96, format_k, random);
  args.v = make_rows(c, 96, format_v, random);
  const Buffer plain = run(args);
  testing::expect_attention(plain, reference_of(args), "foreign tables");
  auto rotated = args;
  rotated.rotated = true;
  rotated.q = device_.alloc(f32, args.q.shape());
  ops::fwht(stream_, {.x = args.q,
                      .out = rotated.q,
                      .mode = ops::FwhtMode::kForward,
                      .signs = format_k.signs,
                      .blocks = true});
  const Buffer out = run(rotated);
  ops::fwht(stream_, {.x = out,
                      .out = out,
                      .mode = ops::FwhtMode::kInverse,
                      .signs = format_v.signs,
                      .blocks = true});
  stream_.commit().wait();
  testing::expect_attention(out, reference_of(args), "rotated by the caller");
}

// Levels that are exact in f16 go by shorter ways, by half of a table where levels mirror each
// other.
TEST_P(AttnTqTest, OtherTablesExactInHalf) {
  Random random(14);
  for (int64_t dim : testing::unless_short<int64_t>({64, 80, 128, 512}, {80})) {
    const Case c{.heads = 6, .dim = dim, .capacity = 70, .kv_len = {70}};
    auto args = make_args(c);
    for (int bits : {2, 3, 4, 5, 6, 8}) {
      for (const bool mirrored : {false, true}) {
        for (const auto packing : {ops::TqPacking::kDense, ops::TqPacking::kBytes}) {
          ops::TqFormat format{.bits = bits, .packing = packing};
          const int count = 1 << bits;
          for (int i = 0; i < count; ++i) {  // below 4 in magnitude, of 10 bits
            format.codebook.push_back(static_cast<float>(4 * i + (mirrored ? 2 : 1) - 2 * count) *
                                      2.0f / static_cast<float>(count));
          }
          args.k = make_rows(c, dim, format, random);
          args.v = make_rows(c, dim, format, random);
          testing::expect_attention(run(args), reference_of(args),
                                    std::to_string(bits) + " bits of " + std::to_string(dim));
        }
      }
    }
  }
}

TEST_P(AttnTqTest, ErrorAgainstUncodedAttention) {  // Q14
  // NRMSE by width: at scale 1/16 of any number of keys, at scale 1 of 1024 and noisy. There the
  // two best keys share nearly all the weight, and an error e of a logit, 16 times that of a row,
  // is 0.3 e of an output: 0.12 and 0.032 at 6 and 8 bits.
  struct Bounds {
    float softmax_scale;
    double factor, of_width[9];
  };
  const Bounds all[] = {{1.0f / 16, 1.25, {0, 0, 0.454, 0.259, 0.137, 0.071, 0.035, 0, 0.0091}},
                        {1.0f, 1.4, {0, 0, 1.06, 0.634, 0.385, 0.195, 0.12, 0, 0.032}}};
  const int64_t heads = is_short() ? 4 : 64, kv_heads = is_short() ? 1 : 4;
  for (int64_t keys : testing::unless_short<int64_t>({64, 512, 1024}, {64})) {
    for (const Bounds& bounds : all) {
      if (bounds.softmax_scale == 1.0f && (is_short() || keys != 1024)) continue;
      double last = 10.0;
      for (int bits : testing::unless_short<int>({2, 3, 4, 5, 6, 8}, {4, 8})) {
        Random random(14);
        const Case c{.heads = heads,
                     .kv_heads = kv_heads,
                     .dim = 256,
                     .capacity = keys,
                     .kv_len = {keys},
                     .bits_k = bits,
                     .bits_v = bits,
                     .softmax_scale = bounds.softmax_scale};
        ops::AttnDecodeTqArgs args = make_args(c, 14);
        ops::AttnDecodeArgs dense;
        dense.q = testing::random_buffer(device_, f32, {1, heads, 256}, random);
        dense.out = device_.alloc(f32, {1, heads, 256});
        dense.kv_len = keys;
        dense.softmax_scale = bounds.softmax_scale;
        for (Buffer* cache : {&dense.k, &dense.v}) {
          const Buffer src = testing::random_buffer(device_, f32, {1, keys, kv_heads, 256}, random);
          *cache = device_.alloc(f32, {1, kv_heads, keys, 256});
          ops::kv_append(stream_, {.k = src, .k_cache = *cache, .pos = 0});
        }
        ops::attn_decode(stream_, dense);
        const auto coded = testing::to_floats(run(args)), exact = testing::to_floats(dense.out);
        double error = 0.0, power = 0.0;
        for (size_t i = 0; i < coded.size(); ++i) {
          error += std::pow(double{coded[i]} - exact[i], 2);
          power += double{exact[i]} * exact[i];
        }
        const double found = std::sqrt(error / power);
        EXPECT_LT(found, bounds.factor * bounds.of_width[bits])
            << bits << " bits, " << keys << " keys, scale " << bounds.softmax_scale;
        EXPECT_LT(found, last) << bits << " bits, " << keys << " keys";
        last = found;
      }
    }
  }
}

// The last keys give the same bits from a cache that holds all, from a longer one and from a ring,
// told by its length or by where it starts.
TEST_P(AttnTqTest, RingEqualsLinear) {
  const int64_t tokens = is_short() ? 75 : 650;
  const auto bits = [&](const ops::AttnDecodeTqArgs& args) { return testing::bytes_of(run(args)); };
  for (int64_t dim : testing::unless_short<int64_t>({64, 80, 96, 192, 512}, {64, 80, 512})) {
    const int64_t capacity = is_short() ? 40 : dim == 64 || dim == 512 ? 128 : 301;
    for (auto [k, v] : {std::pair{2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}, {8, 8}, {8, 4}, {2, 6}}) {
      SCOPED_TRACE(std::to_string(k) + " and " + std::to_string(v) + " bits, D " +
                   std::to_string(dim));
      auto args = make_args({.dim = dim,
                             .capacity = tokens,
                             .kv_len = {tokens},
                             .bits_k = k,
                             .bits_v = v,
                             .window_size = capacity - 3},
                            23);
      const Buffer out = run(args);
      testing::expect_attention(out, reference_of(args), "linear");
      const auto linear = testing::bytes_of(out);
      const auto held_in = [&](int64_t slots) {
        auto other = args;
        other.k = testing::ring_of(device_, args.k, tokens, slots);
        other.v = testing::ring_of(device_, args.v, tokens, slots);
        return other;
      };
      EXPECT_EQ(bits(held_in(tokens + 50)), linear) << "longer cache";
      auto ring = held_in(capacity);
      ring.ring = true;
      EXPECT_EQ(bits(ring), linear) << "ring";
      ring.ring = false;
      ring.kv_len = capacity;
      ring.ring_start = tokens % capacity;
      EXPECT_EQ(bits(ring), linear) << "ring_start";
      args.window_size = 0;
      args.mask = ops::MaskKind::kCausal;
      const auto all = bits(args);
      EXPECT_NE(all, linear);
      EXPECT_EQ(bits(held_in(tokens + 50)), all) << "longer cache, no window";
    }
  }
}

TEST_P(AttnTqTest, DeviceLengthsAreReadAtRunTime) {
  const Case c{.batch = 2, .capacity = 300, .kv_len = {300, 300}};
  auto args = make_args(c, 8);
  const Buffer kv_len = testing::make_i32(device_, {300, 300});
  args.kv_len = kv_len;
  stream_.begin_capture();
  ops::attn_decode_tq(stream_, args);
  const Graph graph = stream_.end_capture();
  for (const auto& values : std::vector<std::vector<int32_t>>{{1, 300}, {257, 3}}) {
    std::copy(values.begin(), values.end(), kv_len.span<int32_t>().begin());
    stream_.replay(graph);
    stream_.commit().wait();
    auto known = args;
    known.kv_len = Lengths({values[0], values[1]});
    EXPECT_EQ(testing::bytes_of(args.out), testing::bytes_of(run(known)));
    testing::expect_attention(args.out, reference_of(known), "replay");
  }
}

// Codes that lie on pages in any order give the bits of those that lie in a row, options included.
TEST_P(AttnTqTest, PagesEqualTheContiguousCache) {
  struct Rows {
    int64_t dim;
    int bits_k, bits_v;
    DType q_dtype;
  };
  const auto all = testing::unless_short<Rows>({{64, 4, 4, f32},
                                                {64, 4, 4, f16},
                                                {64, 4, 4, bf16},
                                                {64, 5, 5, f16},
                                                {64, 8, 4, f32},
                                                {80, 3, 3, f32},
                                                {80, 6, 6, f16},
                                                {96, 2, 2, f32},
                                                {96, 4, 4, f16},
                                                {96, 5, 5, f32},
                                                {128, 4, 4, f16},
                                                {128, 5, 2, f16},
                                                {192, 3, 3, bf16},
                                                {192, 4, 4, f32},
                                                {512, 4, 4, f32}},
                                               {{64, 4, 4, f32},
                                                {64, 4, 4, f16},
                                                {64, 8, 4, bf16},
                                                {80, 5, 5, f16},
                                                {96, 2, 2, f32},
                                                {192, 4, 4, f32}});
  for (const Rows& r : all) {
    for (int64_t page_size : testing::unless_short<int64_t>({16, 64, 256}, {16})) {
      Random random(21);
      const int64_t slots = testing::is_short() ? 64 : 768;
      const Case c{.batch = 2,
                   .heads = 8,
                   .dim = r.dim,
                   .capacity = slots,
                   .kv_len = {slots, 33},
                   .bits_k = r.bits_k,
                   .bits_v = r.bits_v};
      auto args = make_args(c);
      args.q = testing::random_buffer(device_, r.q_dtype, {2, 8, r.dim}, random);
      args.out = device_.alloc(r.q_dtype, {2, 8, r.dim});
      args.sinks = testing::random_buffer(device_, f32, {8}, random);
      const auto slopes = ops::alibi_slopes(8);
      args.alibi_slopes = device_.upload(slopes.data(), f32, {8});
      const Buffer plain = run(args);
      testing::expect_attention(plain, reference_of(args), c.name());
      args.block_table = testing::make_block_table(device_, 2, slots / page_size, random);
      args.k = testing::on_pages(device_, args.k, args.block_table, page_size);
      args.v = testing::on_pages(device_, args.v, args.block_table, page_size);
      EXPECT_EQ(testing::bytes_of(run(args)), testing::bytes_of(plain)) << page_size;
      args.block_table.span<int32_t>()[1] = -1;
      testing::expect_attention(run(args), reference_of(args), "a page that is not there");
    }
  }
}

TEST_P(AttnTqTest, ChunksAndLogSumExp) {
  auto args = make_args({.heads = 6, .capacity = 300, .kv_len = {300}}, 22);
  args.mask = ops::MaskKind::kChunk;
  for (int64_t chunk : {1, 64, 77, 1000}) {
    for (int64_t kv_len : {1, 64, 65, 299}) {
      args.window_size = chunk;
      args.kv_len = kv_len;
      const GuardedBuffer lse(device_, f32, {1, 6});
      args.lse = lse.view();
      const Buffer out = run(args);
      lse.check();
      const auto reference = reference_of(args);
      testing::expect_attention(out, reference, "chunk " + std::to_string(chunk));
      testing::expect_lse(testing::to_floats(lse.view()), reference, "chunk");
    }
  }
}

TEST(AttnTqErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const auto rows = [&](int64_t capacity, int64_t dim) {
    return ops::TqRows{
        device.alloc(u8, {1, 2, capacity, dim / 2}), device.alloc(f32, {1, 2, capacity, 1}), {}};
  };
  ops::AttnDecodeTqArgs good;
  good.q = device.alloc(f32, {1, 4, 64});
  good.out = device.alloc(f32, {1, 4, 64});
  good.k = rows(8, 64);
  good.v = rows(8, 64);
  good.kv_len = 8;
  using Args = ops::AttnDecodeTqArgs;
  const auto expect = [&](std::vector<std::string> fragments, const auto& change) {
    Args args = good;
    change(args);
    fragments.push_back("attn_decode_tq");
    expect_error(ErrorKind::kInvalidArgument, fragments,
                 [&] { ops::attn_decode_tq(stream, args); });
  };
  expect({"kv_len", "9", "8"}, [](Args& a) { a.kv_len = 9; });
  expect({"kv_len", "0"}, [](Args& a) { a.kv_len = 0; });
  expect({"v.codes: capacity", "7"}, [&](Args& a) { a.v = rows(7, 64); });
  expect({"k.codes", "[1, 2, 8, 32]"}, [&](Args& a) { a.k = rows(8, 128); });
  expect({"k.format.bits", "1"}, [](Args& a) { a.k.format.bits = 1; });
  expect({"v.format.scale_factor"}, [](Args& a) { a.v.format.scale_factor = 16.0f; });
  expect({"k.norms", "empty"}, [](Args& a) { a.k.norms = {}; });
  expect({"q", "3 heads"}, [&](Args& a) {
    a.q = device.alloc(f32, {1, 3, 64});
    a.out = device.alloc(f32, {1, 3, 64});
  });
  expect({"window_size", "0"}, [](Args& a) { a.mask = ops::MaskKind::kWindow; });
  expect({"ring_start", "8"}, [](Args& a) { a.ring_start = 8; });
  expect({"ring_start", "ring"}, [](Args& a) { a.ring_start = 1, a.ring = true; });
  expect({"n_split", "1025"}, [](Args& a) { a.n_split = 1025; });
  expect({"softmax_scale"}, [](Args& a) { a.softmax_scale = INFINITY; });
  expect({"out", "overlap"}, [](Args& a) { a.out = a.q; });
  expect({"out", "f32", "f16"}, [&](Args& a) { a.q = device.alloc(f16, {1, 4, 64}); });
  expect({"mask", "9"}, [](Args& a) { a.mask = static_cast<ops::MaskKind>(9); });
  expect({"mask", "ring_start"},
         [](Args& a) { a.mask = ops::MaskKind::kChunk, a.window_size = 4, a.ring_start = 1; });
  expect({"sinks", "[3]", "[4]"}, [&](Args& a) { a.sinks = device.alloc(f32, {3}); });
  expect({"lse", "[1, 3]"}, [&](Args& a) { a.lse = device.alloc(f32, {1, 3}); });
  const Buffer table = device.alloc(i32, {1, 2});
  expect({"k.codes", "pages of 8 slots"}, [&](Args& a) { a.block_table = table; });
  expect({"block_table", "[2, 2]"}, [&](Args& a) {
    a.k = a.v = rows(16, 64), a.block_table = device.alloc(i32, {2, 2});
  });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::attn_decode_tq(stream, good);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
