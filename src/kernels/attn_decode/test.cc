// SPDX-License-Identifier: Apache-2.0
#include "kernels/attn_decode/splits.h"
#include "kernels/common/attn_oracle_kit.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

struct Case {
  int64_t batch = 1, heads = 1, kv_heads = 1, dim = 64, v_dim = 0;
  int64_t capacity = 64;
  std::vector<int64_t> kv_len = {64};
  DType q_dtype = f32;
  std::optional<DType> kv_dtype = {};  // none: the entry's own
  float softmax_scale = 1.0f, logits_soft_cap = 0.0f;
  ops::MaskKind mask = ops::MaskKind::kCausal;
  int64_t window_size = 0;
  int n_split = 0;
  float key_factor = 1.0f;  // multiplies K

  std::string name() const {
    return std::string(mlxn::name(q_dtype)) + "/" +
           (kv_dtype ? std::string(mlxn::name(*kv_dtype)) : "own") + " H " + std::to_string(heads) +
           "/" + std::to_string(kv_heads) + " D " + std::to_string(dim) + " kv_len " +
           std::to_string(kv_len[0]) + "/" + std::to_string(capacity) + " window " +
           std::to_string(window_size);
  }
};

// Inputs of a case for an entry; slots without a key are NaN.
ops::AttnDecodeArgs make_args(const Device& device, const Case& c, uint32_t seed,
                              const std::string& kernel) {
  Random random(seed);
  const DType kv_dtype = c.kv_dtype.value_or(testing::entry_dtype(kernel));
  const int64_t v_dim = c.v_dim ? c.v_dim : c.dim;
  ops::AttnDecodeArgs args;
  args.softmax_scale = c.softmax_scale;
  args.logits_soft_cap = c.logits_soft_cap;
  args.mask = c.mask;
  args.window_size = c.window_size;
  args.n_split = c.n_split;
  args.q = random_buffer(device, c.q_dtype, {c.batch, c.heads, c.dim}, random);
  auto keys = random.normals(c.batch * c.kv_heads * c.capacity * c.dim);
  for (float& value : keys) value *= c.key_factor;
  args.k = testing::make_buffer(device, kv_dtype, {c.batch, c.kv_heads, c.capacity, c.dim}, keys);
  args.v = random_buffer(device, kv_dtype, {c.batch, c.kv_heads, c.capacity, v_dim}, random);
  args.kv_len = Lengths(c.kv_len);
  const auto held = [&](int64_t b, int64_t slot) {
    return slot < c.kv_len[c.kv_len.size() == 1 ? 0 : static_cast<size_t>(b)];
  };
  testing::poison_slots(args.k, held);
  testing::poison_slots(args.v, held);
  return args;
}

// Runs the op twice, expects the same bits, and returns the output.
Buffer run(Stream& stream, ops::AttnDecodeArgs args) {
  const Shape shape = {args.q.dim(0), args.q.dim(1), args.v.dim(3)};
  const GuardedBuffer out(stream.device(), args.q.dtype(), shape);
  const GuardedBuffer again(stream.device(), args.q.dtype(), shape);
  args.out = out.view();
  ops::attn_decode(stream, args);
  args.out = again.view();
  ops::attn_decode(stream, args);
  stream.commit().wait();
  out.check();
  EXPECT_EQ(testing::bytes_of(out.view()), testing::bytes_of(again.view()));
  return out.view();
}

class AttnDecodeTest : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = testing::entry_device(GetParam());
  Stream stream_{device_};

  static ops::AttnDecodeArgs make_args(const Device& device, const Case& c, uint32_t seed) {
    return mlxn::make_args(device, c, seed, GetParam());
  }
  // The query heads that a matrix product takes at a time move the references of their weights
  // together, so that on "mma" what one of them holds shows in the last bits of others.
  static void expect_other_heads_equal(const std::vector<float>& found,
                                       const std::vector<float>& expected, size_t dim,
                                       size_t head) {
    for (size_t i = 0; i < found.size(); ++i) {
      if (i / dim == head) continue;
      if (GetParam() == "mma") {
        EXPECT_NEAR(found[i], expected[i], 1e-5) << head << " " << i;
      } else {
        EXPECT_EQ(found[i], expected[i]) << head << " " << i;
      }
    }
  }
  Buffer expect_oracle(const Case& c, uint32_t seed = 1) {
    const auto args = make_args(device_, c, seed);
    const Buffer out = run(stream_, args);
    testing::expect_attention(out, testing::oracle_of(args), c.name());
    return out;
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, AttnDecodeTest,
                         ::testing::ValuesIn(testing::runnable(kernels::attn_decode_entries())));

TEST_P(AttnDecodeTest, SmallCases) {  // D1, D2, D4
  expect_oracle(
      {.heads = 4, .kv_heads = 4, .dim = 256, .kv_len = {32}, .softmax_scale = 1.0f / 16});
  expect_oracle({.heads = 16, .kv_heads = 8, .dim = 256, .kv_len = {48}});
  expect_oracle({.heads = 4,
                 .kv_heads = 4,
                 .dim = 512,
                 .kv_len = {32},
                 .softmax_scale = 1.0f / std::sqrt(512.0f)});
  expect_oracle({.heads = 16, .kv_heads = 2, .dim = 512, .capacity = 1024, .kv_len = {1000}});
}

TEST_P(AttnDecodeTest, WindowEqualsTheLastKeysAlone) {  // D3
  const Case c{.heads = 4,
               .kv_heads = 4,
               .dim = 256,
               .capacity = 128,
               .mask = ops::MaskKind::kWindow,
               .window_size = 16};
  const Buffer out = expect_oracle(c);
  auto args = make_args(device_, c, 1);
  for (Buffer* cache : {&args.k, &args.v}) {
    const Buffer sliced = device_.alloc(cache->dtype(), {1, 4, 16, 256});
    const size_t row = sliced.byte_len() / (4 * 16);
    for (size_t h = 0; h < 4; ++h) {
      std::memcpy(sliced.data() + h * 16 * row, cache->data() + (h * 128 + 48) * row, 16 * row);
    }
    *cache = sliced;
  }
  args.kv_len = 16;
  args.mask = ops::MaskKind::kCausal;
  args.window_size = 0;
  EXPECT_EQ(testing::bytes_of(run(stream_, args)), testing::bytes_of(out));
}

TEST_P(AttnDecodeTest, EveryDimLengthAndDtype) {  // D5
  uint32_t seed = 10;
  for (int64_t dim : {64, 80, 96, 128, 192, 256, 512}) {
    for (int64_t kv_len : {1, 2, 31, 32, 33, 127, 128, 129, 1000}) {
      for (DType kv_dtype : {f32, f16, bf16}) {
        const int64_t capacity = kv_len == 1000 ? 1024 : kv_len;
        expect_oracle({.heads = 8,
                       .kv_heads = 2,
                       .dim = dim,
                       .capacity = capacity,
                       .kv_len = {kv_len},
                       .kv_dtype = kv_dtype,
                       .softmax_scale = 1.0f / std::sqrt(static_cast<float>(dim))},
                      ++seed);
      }
    }
  }
}

TEST_P(AttnDecodeTest, EveryMultipleOfEightAndGroupSize) {
  uint32_t seed = 100;
  for (int64_t dim = 8; dim <= 512; dim += 8) {
    const int64_t v_dim = 520 - dim, group = 1 + dim / 8 % 9;
    const DType kv_dtype = dim % 3 == 0 ? f32 : dim % 3 == 1 ? f16 : bf16;
    expect_oracle({.heads = 2 * group,
                   .kv_heads = 2,
                   .dim = dim,
                   .v_dim = v_dim,
                   .capacity = 71,
                   .kv_len = {70},
                   .kv_dtype = kv_dtype,
                   .softmax_scale = 0.1f},
                  ++seed);
  }
}

// Groups of one head to more than two head tiles, none of them a multiple of the tile, against
// lengths around four keys, a block of keys and a part of the keys.
TEST_P(AttnDecodeTest, EveryGroupSizeAroundTheTiles) {
  uint32_t seed = 200;
  for (int64_t group = 1; group <= 17; ++group) {
    for (int64_t kv_len : {3, 5, 63, 65, 257}) {
      const DType kv_dtype = seed % 3 == 0 ? f32 : seed % 3 == 1 ? f16 : bf16;
      expect_oracle({.heads = 2 * group,
                     .kv_heads = 2,
                     .dim = 24,
                     .v_dim = 40,
                     .capacity = kv_len + 1,
                     .kv_len = {kv_len},
                     .kv_dtype = kv_dtype,
                     .softmax_scale = 0.2f},
                    ++seed);
    }
  }
}

// Every width of a row modulo a vector and modulo the vectors of a value tile, for each size of a
// head tile, each with a last block of another length.
TEST_P(AttnDecodeTest, RowsThatEndInsideATile) {
  uint32_t seed = 400;
  for (int64_t group : {1, 2, 3, 4, 5, 6, 7, 8}) {
    for (int64_t dim : {8, 16, 40, 72, 88, 136, 264}) {
      const int64_t kv_len = 64 + seed % 67;
      expect_oracle({.heads = group,
                     .kv_heads = 1,
                     .dim = dim,
                     .v_dim = 272 - dim,
                     .capacity = kv_len,
                     .kv_len = {kv_len},
                     .kv_dtype = f16,
                     .softmax_scale = 0.1f,
                     .n_split = static_cast<int>(seed % 3)},
                    ++seed);
    }
  }
}

// What a head gives does not depend on the heads that share its tile.
TEST_P(AttnDecodeTest, HeadsOfATileDoNotMix) {
  for (size_t dim : {72, 80}) {
    const auto width = static_cast<int64_t>(dim);
    const Case c{.heads = 9, .kv_heads = 1, .dim = width, .capacity = 300, .kv_len = {300}};
    auto args = make_args(device_, c, 12);
    const auto clean = testing::to_floats(run(stream_, args));
    for (size_t head : {0, 4, 7, 8}) {
      auto poisoned = args;
      poisoned.q = device_.alloc(f32, {1, 9, width});
      std::memcpy(poisoned.q.data(), args.q.data(), args.q.byte_len());
      std::fill_n(poisoned.q.span<float>().data() + head * dim, dim, INFINITY);
      expect_other_heads_equal(testing::to_floats(run(stream_, poisoned)), clean, dim, head);
    }
  }
}

TEST_P(AttnDecodeTest, SixteenBitQueries) {
  for (DType q_dtype : {f16, bf16}) {
    for (DType kv_dtype : {f32, f16, bf16}) {
      expect_oracle({.heads = 8,
                     .kv_heads = 2,
                     .dim = 128,
                     .capacity = 300,
                     .kv_len = {299},
                     .q_dtype = q_dtype,
                     .kv_dtype = kv_dtype,
                     .softmax_scale = 0.09f});
    }
  }
}

TEST_P(AttnDecodeTest, SplitCounts) {  // D6
  Case c{.heads = 32, .kv_heads = 4, .dim = 128, .capacity = 8192, .kv_len = {4097}};
  c.softmax_scale = 1.0f / std::sqrt(128.0f);
  const auto args = make_args(device_, c, 3);
  const auto reference = testing::oracle_of(args);
  for (int n_split : testing::unless_short<int>({0, 1, 2, 3, 7, 16, 32, 64, 1024}, {0, 7})) {
    auto split = args;
    split.n_split = n_split;
    testing::expect_attention(run(stream_, split), reference, "n_split " + std::to_string(n_split));
  }
}

// Scratch is sized by capacity; what is live follows from the keys at run time.
TEST(AttnDecodeSplits, PartsFitTheirScratch) {
  for (int64_t capacity : {1, 256, 257, 2047, 2048, 2049, 4096, 5000, 32768, 32769, 200000}) {
    for (int64_t window : {0, 1, 300, 3000}) {
      kernels::AttnDecodeParams p{};
      p.capacity = capacity;
      p.window_size = window;
      const int64_t most = window > 0 ? std::min(window, capacity) : capacity;
      int64_t parts = 0;
      for (int64_t visible = 1; visible <= most; ++visible) {
        const int64_t keys = kernels::split_keys(visible, 0);
        ASSERT_TRUE(keys == visible || keys % kernels::kAttnKeyTile == 0) << visible;
        parts = std::max(parts, base::ceil_div(visible, keys));
      }
      EXPECT_EQ(parts, kernels::max_splits(p)) << capacity << " " << window;
    }
  }
}

TEST_P(AttnDecodeTest, OneKeyGivesItsValue) {  // D7
  const Case c{.heads = 8,
               .kv_heads = 8,
               .dim = 128,
               .capacity = 32,
               .kv_len = {1},
               .kv_dtype = f32,
               .n_split = 32};
  const auto args = make_args(device_, c, 4);
  const Buffer out = run(stream_, args);
  for (size_t h = 0; h < 8; ++h) {
    EXPECT_EQ(std::memcmp(out.data() + h * 512, args.v.data() + h * 32 * 512, 512), 0);
  }
}

TEST_P(AttnDecodeTest, RingEqualsLinear) {  // D8
  const int64_t capacity = 100, kv_heads = 4, dim = 128;
  for (int64_t window : {100, 64, 1}) {
    for (int64_t tokens : {100, 101, 163, 200, 350}) {
      Case c{.heads = 16,
             .kv_heads = kv_heads,
             .dim = dim,
             .capacity = tokens,
             .kv_len = {tokens},
             .softmax_scale = 0.1f,
             .mask = ops::MaskKind::kWindow,
             .window_size = window};
      const Buffer linear = expect_oracle(c, 5);
      auto ring = make_args(device_, c, 5);
      for (Buffer* cache : {&ring.k, &ring.v}) {
        const Buffer slots = device_.alloc(cache->dtype(), {1, kv_heads, capacity, dim});
        const int64_t row = dim * static_cast<int64_t>(size_of(cache->dtype()));
        for (int64_t h = 0; h < kv_heads; ++h) {
          for (int64_t a = std::max<int64_t>(0, tokens - capacity); a < tokens; ++a) {
            std::memcpy(slots.data() + (h * capacity + a % capacity) * row,
                        cache->data() + (h * tokens + a) * row, static_cast<size_t>(row));
          }
        }
        *cache = slots;
      }
      ring.ring = true;
      EXPECT_EQ(testing::bytes_of(run(stream_, ring)), testing::bytes_of(linear)) << c.name();
      ring.ring = false;
      ring.kv_len = capacity;
      ring.ring_start = tokens % capacity;
      EXPECT_EQ(testing::bytes_of(run(stream_, ring)), testing::bytes_of(linear)) << c.name();
    }
  }
}

TEST_P(AttnDecodeTest, RingStartBeyondTheValidSlots) {
  auto args = make_args(device_, {.heads = 2, .capacity = 10, .kv_len = {7}}, 1);
  for (int64_t start : {0, 1, 5, 7, 9}) {
    args.ring_start = start;
    testing::expect_attention(run(stream_, args), testing::oracle_of(args), std::to_string(start));
  }
  args = make_args(device_, {.heads = 2, .capacity = 4, .kv_len = {1}}, 1);
  args.ring_start = 2;
  for (float value : testing::to_floats(run(stream_, args))) EXPECT_EQ(value, 0.0f);
}

TEST_P(AttnDecodeTest, SoftCap) {  // D10
  Case c{.heads = 8, .kv_heads = 2, .dim = 128, .capacity = 512, .kv_len = {512}};
  const Buffer plain = expect_oracle(c);
  for (float cap : {50.0f, 5.0f}) {
    c.logits_soft_cap = cap;
    EXPECT_NE(testing::bytes_of(expect_oracle(c)), testing::bytes_of(plain));
  }
}

TEST_P(AttnDecodeTest, LargeLogits) {  // D11
  const Case c{
      .heads = 4, .kv_heads = 4, .dim = 128, .capacity = 256, .kv_len = {256}, .key_factor = 10.0f};
  const auto args = make_args(device_, c, 6);
  const auto reference = testing::oracle_of(args);
  EXPECT_GT(*std::max_element(reference.z_max.begin(), reference.z_max.end()), 250.0);
  testing::expect_attention(run(stream_, args), reference, c.name());
}

TEST_P(AttnDecodeTest, ExactAllocations) {  // D12
  for (DType kv_dtype : {f32, f16, bf16}) {
    for (int64_t dim : {128, 72}) {
      expect_oracle({.heads = 2,
                     .dim = dim,
                     .capacity = 299,
                     .kv_len = {299},
                     .kv_dtype = kv_dtype,
                     .softmax_scale = 0.1f});
    }
  }
}

TEST_P(AttnDecodeTest, BatchAndThreadsDoNotChangeBits) {  // D13
  const Case c{.batch = 3,
               .heads = 8,
               .kv_heads = 2,
               .dim = 128,
               .capacity = 2048,
               .kv_len = {1, 77, 2048},
               .softmax_scale = 0.1f};
  const auto expected = testing::bytes_of(expect_oracle(c, 7));
  const size_t row = expected.size() / 3;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = testing::entry_device(GetParam(), threads);
    Stream stream(device);
    const auto args = make_args(device, c, 7);
    EXPECT_EQ(testing::bytes_of(run(stream, args)), expected) << threads << " threads";
    for (int64_t b = 0; b < 3; ++b) {
      auto one = args;
      one.q = args.q.rows(b, 1);
      one.k = args.k.rows(b, 1);
      one.v = args.v.rows(b, 1);
      one.kv_len = c.kv_len[static_cast<size_t>(b)];
      const Buffer out = run(stream, one);
      EXPECT_EQ(std::memcmp(out.data(), expected.data() + static_cast<size_t>(b) * row, row), 0);
    }
  }
}

TEST_P(AttnDecodeTest, DeviceLengthsAreReadAtRunTime) {
  const Case c{.batch = 2, .heads = 4, .kv_heads = 2, .capacity = 600, .kv_len = {600, 600}};
  auto args = make_args(device_, c, 8);
  const Buffer kv_len = testing::make_i32(device_, {600, 600});
  const Buffer out = device_.alloc(f32, {2, 4, 64});
  args.kv_len = kv_len;
  args.out = out;
  stream_.begin_capture();
  ops::attn_decode(stream_, args);
  const Graph graph = stream_.end_capture();
  const std::vector<std::vector<int32_t>> steps = {{1, 600}, {257, 3}, {600, 599}};
  for (const auto& values : steps) {
    std::copy(values.begin(), values.end(), kv_len.span<int32_t>().begin());
    stream_.replay(graph);
    stream_.commit().wait();
    auto known = args;
    known.kv_len = Lengths({values[0], values[1]});
    testing::expect_attention(out, testing::oracle_of(known), "replay");
    EXPECT_EQ(testing::bytes_of(out), testing::bytes_of(run(stream_, known)));
  }
  // Values that do not fit are clamped to the cache.
  kv_len.span<int32_t>()[0] = -5;
  kv_len.span<int32_t>()[1] = 100000;
  stream_.replay(graph);
  stream_.commit().wait();
  auto whole = args;
  whole.kv_len = 600;
  const auto expected = testing::bytes_of(run(stream_, whole));
  EXPECT_EQ(std::memcmp(out.data() + 1024, expected.data() + 1024, 1024), 0);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(out.span<float>()[static_cast<size_t>(i)], 0.0f);
}

TEST_P(AttnDecodeTest, NanStaysInItsRow) {
  const Case c{.heads = 4, .kv_heads = 2, .kv_len = {50}};
  auto args = make_args(device_, c, 9);
  const auto clean = testing::to_floats(run(stream_, args));
  args.q.span<float>()[64 + 5] = NAN;  // head 1
  const auto found = testing::to_floats(run(stream_, args));
  for (size_t i = 64; i < 128; ++i) EXPECT_TRUE(std::isnan(found[i]));
  expect_other_heads_equal(found, clean, 64, 1);
}

// What is not finite in a key reaches the heads that share it if the query sees it, and else
// none.
TEST_P(AttnDecodeTest, NanOfAKeyStaysInItsHeads) {
  struct Rule {
    ops::MaskKind mask;
    int64_t window_size;
    bool ring;
    std::vector<int64_t> seen, blocked;  // positions, of 0 to 79, or from 60 on in the ring
  };
  using Mask = ops::MaskKind;
  const Rule rules[] = {{Mask::kCausal, 0, false, {0, 79}, {}},
                        {Mask::kWindow, 40, false, {40, 66}, {0, 35, 39}},
                        {Mask::kChunk, 32, false, {64, 79}, {63, 40}},
                        {Mask::kWindow, 17, true, {133, 149}, {132, 100}}};
  for (int64_t dim : testing::unless_short<int64_t>({64, 80, 96, 128, 192, 256, 512}, {80, 512})) {
    for (int64_t group : testing::unless_short<int64_t>({1, 3, 8}, {3})) {
      for (const Rule& rule : rules) {
        const Case c{.batch = 2,
                     .heads = 2 * group,
                     .kv_heads = 2,
                     .dim = dim,
                     .capacity = 90,
                     .kv_len = {rule.ring ? 150 : 80, 90},
                     .mask = rule.mask,
                     .window_size = rule.window_size};
        auto args = make_args(device_, c, 11);
        args.ring = rule.ring;
        args.softmax_scale = 0.1f;
        const Buffer clean = run(stream_, args);
        testing::expect_attention(clean, testing::oracle_of(args), c.name());
        const auto expect = [&](int64_t position, bool seen) {
          for (auto rows : {&ops::AttnDecodeArgs::k, &ops::AttnDecodeArgs::v}) {
            for (float bad : {NAN, INFINITY}) {
              auto changed = args;  // KV head 1 of sequence 0
              changed.*rows =
                  testing::with_elements(device_, args.*rows, (90 + position % 90) * dim, dim, bad);
              // An infinite logit may be the negative one, whose weight is 0.
              const bool lost = std::isnan(bad) || rows == &ops::AttnDecodeArgs::v;
              testing::expect_spoiled(
                  run(stream_, changed), clean,
                  [&](int64_t r, int64_t) { return seen && r >= group && r < 2 * group; },
                  c.name() + " position " + std::to_string(position), lost);
            }
          }
        };
        for (int64_t position : rule.seen) expect(position, true);
        for (int64_t position : rule.blocked) expect(position, false);
      }
    }
  }
}

TEST_P(AttnDecodeTest, DirectCapturedAndReplayedAgree) {
  const Case c{.batch = 2, .heads = 4, .kv_heads = 2, .capacity = 600, .kv_len = {600, 33}};
  auto args = make_args(device_, c, 10);
  args.out = device_.alloc(f32, {2, 4, 64});
  for (int n_split : {0, 5}) {
    args.n_split = n_split;
    testing::expect_repeatable(device_, [&](Stream& stream) { ops::attn_decode(stream, args); },
                               {args.out});
  }
}

// Memory that has been wrapped twice overlaps itself.
TEST(AttnDecodeErrors, MemoryThatIsWrappedTwice) {
  const Device device = test_device();
  if (!device.host_visible()) GTEST_SKIP() << "wrapping copies";
  Stream stream(device);
  auto args = make_args(device, {.heads = 4, .kv_heads = 2}, 1, "");
  args.out = device.wrap(args.q.data(), args.q.byte_len(), f32, args.q.shape(), nullptr, true);
  expect_error(ErrorKind::kInvalidArgument, {"out", "overlaps q"},
               [&] { ops::attn_decode(stream, args); });
}

TEST(AttnDecodeErrors, EachRuleNamesItsParameter) {  // D9
  const Device device = test_device();
  Stream stream(device);
  const Case c{.heads = 4, .kv_heads = 2};
  auto good = make_args(device, c, 1, "");
  good.out = device.alloc(f32, {1, 4, 64});
  const auto expect = [&](const std::vector<std::string>& fragments, const auto& change) {
    auto args = good;
    change(args);
    auto all = fragments;
    all.push_back("attn_decode");
    expect_error(ErrorKind::kInvalidArgument, all, [&] { ops::attn_decode(stream, args); });
  };
  using Args = ops::AttnDecodeArgs;
  expect({"ring_start", "64"}, [](Args& a) { a.ring_start = 64; });
  expect({"ring_start", "ring"}, [](Args& a) { a.ring_start = 1, a.ring = true; });
  expect({"kv_len", "0"}, [](Args& a) { a.kv_len = 0; });
  expect({"kv_len", "65", "64"}, [](Args& a) { a.kv_len = 65; });
  expect({"kv_len", "2 values"}, [](Args& a) { a.kv_len = {1, 2}; });
  expect({"kv_len", "0 values"}, [](Args& a) { a.kv_len = Lengths(); });
  expect({"kv_len", "f32"}, [&](Args& a) { a.kv_len = device.alloc(f32, {1}); });
  expect({"kv_len", "[3]"}, [&](Args& a) { a.kv_len = device.alloc(i32, {3}); });
  expect({"q", "6 heads", "4 heads"}, [&](Args& a) {
    a.q = device.alloc(f32, {1, 6, 64});
    a.out = device.alloc(f32, {1, 6, 64});
    a.k = device.alloc(f32, {1, 4, 64, 64});
    a.v = device.alloc(f32, {1, 4, 64, 64});
  });
  expect({"window_size", "0"}, [](Args& a) { a.mask = ops::MaskKind::kWindow; });
  expect({"window_size", "7"}, [](Args& a) { a.window_size = 7; });
  expect({"logits_soft_cap", "-1"}, [](Args& a) { a.logits_soft_cap = -1.0f; });
  expect({"logits_soft_cap"}, [](Args& a) { a.logits_soft_cap = NAN; });
  expect({"softmax_scale"}, [](Args& a) { a.softmax_scale = INFINITY; });
  expect({"mask", "9"}, [](Args& a) { a.mask = static_cast<ops::MaskKind>(9); });
  expect({"n_split", "1025"}, [](Args& a) { a.n_split = 1025; });
  expect({"n_split", "-1"}, [](Args& a) { a.n_split = -1; });
  expect({"v", "f16", "f32"}, [&](Args& a) { a.v = device.alloc(f16, {1, 2, 64, 64}); });
  expect({"out", "f16"}, [&](Args& a) { a.out = device.alloc(f16, {1, 4, 64}); });
  expect({"q", "empty"}, [](Args& a) { a.q = Buffer(); });
  expect({"out", "overlap"}, [](Args& a) { a.out = a.q; });
  expect({"q", "head dim 60"}, [&](Args& a) {
    a.q = device.alloc(f32, {1, 4, 60});
    a.k = device.alloc(f32, {1, 2, 64, 60});
  });
  expect({"k", "[1, 2, 64, 72]"}, [&](Args& a) { a.k = device.alloc(f32, {1, 2, 64, 72}); });
  expect({"v", "head dim 520"}, [&](Args& a) { a.v = device.alloc(f32, {1, 2, 64, 520}); });
  // Shapes that claim more memory than there is, also when their product overflows.
  const auto claim = [&](const Buffer& b, const Shape& shape) {
    return Buffer(b.allocation(), 0, b.byte_len(), b.dtype(), shape);
  };
  expect({"k", "bytes"}, [&](Args& a) { a.k = claim(a.k, {1, 2, 65, 64}); });
  expect({"out", "bytes"}, [&](Args& a) { a.out = claim(a.out, {1, 8, 64}); });
  expect({"v", "shape"}, [&](Args& a) { a.v = claim(a.v, {1, int64_t{1} << 40, 1 << 20, 64}); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::attn_decode(stream, good);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
