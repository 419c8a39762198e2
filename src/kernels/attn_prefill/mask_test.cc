// SPDX-License-Identifier: Apache-2.0
// Explicit masks of attn_prefill, the classes of their tiles, and the masks that need no memory.
#include "kernels/common/attn_oracle_kit.h"

namespace mlxn {
namespace {

using ops::SeqLayout;
using testing::expect_error;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

struct Case {
  int64_t batch = 1, heads = 2, kv_heads = 2, q_len = 64, kv_len = 64, dim = 64;
  DType q_dtype = f32;
  std::optional<DType> kv_dtype = {};  // none: the entry's own
  bool causal = false;
};

class AttnPrefillMask : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = testing::entry_device(GetParam());
  Stream stream_{device_};

  ops::AttnPrefillArgs make_args(const Case& c, uint32_t seed = 1) {
    Random random(seed);
    ops::AttnPrefillArgs args;
    args.q = random_buffer(device_, c.q_dtype, {c.batch, c.heads, c.q_len, c.dim}, random);
    const DType kv_dtype = c.kv_dtype.value_or(testing::entry_dtype(GetParam()));
    args.k = random_buffer(device_, kv_dtype, {c.batch, c.kv_heads, c.kv_len, c.dim}, random);
    args.v = random_buffer(device_, kv_dtype, {c.batch, c.kv_heads, c.kv_len, c.dim}, random);
    args.kv_len = c.kv_len;
    args.causal = c.causal;
    args.softmax_scale = 1.0f / std::sqrt(static_cast<float>(c.dim));
    return args;
  }
  // A mask of `value(i, j)`.
  template <class Fn>
  Buffer make_mask(DType dtype, int64_t q_len, int64_t kv_len, Fn value) {
    const Buffer mask = device_.alloc(dtype, {q_len, kv_len});
    for (int64_t i = 0; i < q_len; ++i) {
      for (int64_t j = 0; j < kv_len; ++j) {
        const float cell = value(i, j);
        if (dtype == u8) {
          mask.span<uint8_t>()[static_cast<size_t>(i * kv_len + j)] = cell == 0.0f ? 1 : 0;
        } else {
          kernels::store_f32(dtype, &cell, 1, mask.data(), i * kv_len + j);
        }
      }
    }
    return mask;
  }
  Buffer built(DType dtype, int64_t q_len, int64_t kv_len, int64_t q_offset, bool causal,
               std::optional<int64_t> window) {
    const Buffer mask = device_.alloc(dtype, {q_len, kv_len});
    ops::attn_mask_build(
        stream_, {.out = mask, .q_offset = q_offset, .causal = causal, .window_size = window});
    stream_.commit().wait();
    return mask;
  }
  ops::AttnMaskTiles classify(const Buffer& mask) {
    Shape shape = mask.shape();
    const size_t rank = mask.rank();
    shape[rank - 2] = (shape[rank - 2] + ops::kAttnMaskQTile - 1) / ops::kAttnMaskQTile;
    shape[rank - 1] = (shape[rank - 1] + ops::kAttnMaskKTile - 1) / ops::kAttnMaskKTile;
    ops::AttnMaskTiles tiles{.classes = device_.alloc(u8, shape),
                             .q_tile = ops::kAttnMaskQTile,
                             .k_tile = ops::kAttnMaskKTile};
    ops::attn_mask_classify(stream_, {.mask = mask, .tiles = tiles});
    return tiles;
  }
  Buffer run(const ops::AttnPrefillArgs& args) { return testing::run_prefill(stream_, args).out; }
  std::vector<std::byte> bytes(const ops::AttnPrefillArgs& args) {
    return testing::bytes_of(run(args));
  }
  Buffer expect_oracle(ops::AttnPrefillArgs args, const std::string& what) {
    args = testing::run_prefill(stream_, args);
    const auto reference = testing::oracle_of(args);
    testing::expect_attention(testing::in_oracle_order(device_, args), reference, what);
    testing::expect_lse(testing::to_floats(args.lse), reference, what);
    return args.out;
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, AttnPrefillMask,
                         ::testing::ValuesIn(testing::runnable(kernels::attn_prefill_entries())));

TEST_P(AttnPrefillMask, Checkerboard) {  // P5
  for (DType dtype : {f32, f16, bf16, u8}) {
    auto args = make_args({.q_len = 128, .kv_len = 128, .dim = 256});
    args.mask = make_mask(dtype, 128, 128,
                          [](int64_t i, int64_t j) { return (i + j) % 2 == 0 ? 0.0f : -1e4f; });
    expect_oracle(args, "checkerboard " + std::string(name(dtype)));
  }
}

TEST_P(AttnPrefillMask, EverythingBlocked) {  // P6
  for (int64_t dim : {64, 256, 512}) {
    for (DType dtype : {f32, f16, bf16, u8}) {
      for (float value : {-INFINITY, dtype == f16 ? -65504.0f : -1e30f}) {
        auto args = make_args({.q_len = 32, .kv_len = 32, .dim = dim});
        args.mask = make_mask(dtype, 32, 32, [&](int64_t, int64_t) { return value; });
        const auto ran = testing::run_prefill(stream_, args);
        const auto plain = testing::bytes_of(ran.out);
        for (std::byte byte : plain) ASSERT_EQ(byte, std::byte{0});
        for (float found : testing::to_floats(ran.lse)) ASSERT_EQ(found, -INFINITY);
        args.mask_tiles = classify(args.mask);
        EXPECT_EQ(bytes(args), plain);
      }
    }
  }
}

TEST_P(AttnPrefillMask, Biases) {
  Random random(3);
  for (DType dtype : {f32, f16, bf16}) {
    // Large finite biases stay biases in every type.
    auto args = make_args({.batch = 2, .heads = 4, .q_len = 50, .kv_len = 130, .causal = true});
    args.mask = make_mask(dtype, 50, 130, [&](int64_t i, int64_t) {
      if (i == 7) return -60000.0f;
      return random.integer(0, 3) == 0 ? -INFINITY : 3.0f * random.normal();
    });
    expect_oracle(args, "biases " + std::string(name(dtype)));
    args.logits_soft_cap = 3.0f;
    args.window_size = 40;
    const auto slopes = ops::alibi_slopes(4);
    args.alibi_slopes = device_.upload(slopes.data(), f32, {4});
    args.sinks = random_buffer(device_, f32, {4}, random);
    expect_oracle(args, "biases, cap, window, alibi, sinks " + std::string(name(dtype)));
  }
}

TEST_P(AttnPrefillMask, RankTwoEqualsRankFourAndTheImplicitWindow) {  // P9
  for (int64_t dim : testing::unless_short<int64_t>({256, 512}, {512})) {
    auto args = make_args({.heads = 4, .q_len = 128, .kv_len = 128, .dim = dim});
    args.mask = built(bf16, 128, 128, 0, true, 64);
    const auto rank2 = testing::bytes_of(expect_oracle(args, "rank 2"));
    auto full = args;
    full.mask = device_.alloc(bf16, {1, 4, 128, 128});
    for (int64_t h = 0; h < 4; ++h) {
      std::memcpy(full.mask.data() + h * 128 * 128 * 2, args.mask.data(), 128 * 128 * 2);
    }
    EXPECT_EQ(bytes(full), rank2);
    full.mask_tiles = classify(full.mask);
    EXPECT_EQ(bytes(full), rank2);
    auto implicit = args;
    implicit.mask = Buffer();
    implicit.causal = true;
    implicit.window_size = 64;
    EXPECT_EQ(bytes(implicit), rank2);
  }
}

// A mask for every sequence and head, the classes of each its own.
TEST_P(AttnPrefillMask, RankFour) {
  Random random(4);
  for (const auto& [batch, heads] :
       std::vector<std::pair<int64_t, int64_t>>{{2, 4}, {1, 4}, {2, 1}, {1, 1}}) {
    for (DType dtype : {u8, bf16}) {
      auto args = make_args({.batch = 2, .heads = 4, .q_len = 70, .kv_len = 150});
      const int64_t planes = batch * heads;
      const Buffer flat = make_mask(dtype, planes * 70, 150, [&](int64_t i, int64_t j) {
        const int64_t plane = i / 70;
        if (j / 64 == plane % 3) return -INFINITY;
        if (j / 64 == (plane + 1) % 3) return 0.0f;
        return random.integer(0, 1) ? -INFINITY : 0.0f;
      });
      args.mask = flat.reshape({batch, heads, 70, 150});
      const auto plain = testing::bytes_of(expect_oracle(args, "rank 4"));
      args.mask_tiles = classify(args.mask);
      EXPECT_EQ(bytes(args), plain);
    }
  }
}

TEST_P(AttnPrefillMask, ClassesChangeNoBit) {  // M5
  Random random(5);
  for (int64_t dim : {64, 256, 512}) {
    for (int64_t len : testing::unless_short<int64_t>({64, 65, 100, 512}, {100})) {
      std::vector<Buffer> masks = {built(bf16, len, len, 0, true, {})};
      for (int64_t window : {1, 31, 64, 100}) {
        masks.push_back(built(f16, len, len, 0, true, window));
      }
      masks.push_back(make_mask(bf16, len, len, [](int64_t, int64_t) { return 0.0f; }));
      masks.push_back(make_mask(f32, len, len, [](int64_t, int64_t) { return -INFINITY; }));
      masks.push_back(make_mask(f32, len, len, [](int64_t, int64_t) { return -1e30f; }));
      masks.push_back(make_mask(f32, len, len, [&](int64_t, int64_t) {
        return random.integer(0, 1) ? -INFINITY : 0.0f;
      }));
      masks.push_back(make_mask(u8, len, len, [&](int64_t i, int64_t j) {
        return i == 5 && j == 63 ? 0.0f : -INFINITY;
      }));
      const bool large = (len == 512 || testing::is_short()) && dim != 64;
      if (large) masks = {masks[0], masks[4], masks[8]};  // causal, window 100, random
      const int64_t heads = large ? 1 : testing::is_short() ? 2 : 4;
      const int64_t kv_heads = large ? 1 : 2;
      auto args = make_args(
          {.heads = heads, .kv_heads = kv_heads, .q_len = len, .kv_len = len, .dim = dim});
      const auto slopes = ops::alibi_slopes(heads);
      for (size_t m = 0; m < masks.size(); ++m) {
        args.mask = masks[m];
        args.alibi_slopes = m % 2 ? device_.upload(slopes.data(), f32, {heads}) : Buffer();
        args.mask_tiles = {};
        const auto plain = bytes(args);
        args.mask_tiles = classify(args.mask);
        EXPECT_EQ(bytes(args), plain) << "mask " << m << " len " << len << " dim " << dim;
      }
    }
  }
}

TEST_P(AttnPrefillMask, LongWindow) {  // P10
  const int64_t len = testing::is_short() ? 300 : 2455;
  auto args = make_args({.heads = 1,
                         .kv_heads = 1,
                         .q_len = len,
                         .kv_len = len,
                         .dim = 256,
                         .q_dtype = bf16,
                         .kv_dtype = bf16});
  args.mask = built(bf16, len, len, 0, true, testing::is_short() ? 130 : 1024);
  args.out = run(args);
  const auto plain = testing::bytes_of(args.out);
  args.mask_tiles = classify(args.mask);
  EXPECT_EQ(bytes(args), plain);
  const Buffer last = args.out.slice(static_cast<size_t>(len - 20) * 512, 20 * 256);
  testing::expect_attention(last, testing::oracle_of(args, len - 20), "last rows");
}

TEST(AttnPrefillLongMask, CellsBeyondTwoToThe31) {  // P18, on the best entry
  if (testing::is_short()) GTEST_SKIP() << "far too long";
  const Device device = test_device();
  Stream stream(device);
  const int64_t q_len = 40000, kv_len = 65536;  // 2.6 GB of u8, of which one row is touched
  Random random(6);
  ops::AttnPrefillArgs args;
  args.q = random_buffer(device, f32, {1, 1, q_len, 64}, random);
  args.k = random_buffer(device, f16, {1, 1, kv_len, 64}, random);
  args.v = random_buffer(device, f16, {1, 1, kv_len, 64}, random);
  args.kv_len = kv_len;
  args.softmax_scale = 0.125f;
  args.causal = false;
  args.q_offset = 0;
  try {
    args.mask = device.alloc(u8, {q_len, kv_len});
  } catch (const Error& error) {
    ASSERT_EQ(error.kind(), ErrorKind::kBufferAllocation);
    GTEST_SKIP() << error.what();
  }
  args.mask_tiles = {
      .classes = device.alloc(u8, {q_len / 32, kv_len / 64}), .q_tile = 32, .k_tile = 64};
  // Only the last row's tiles are looked at; its cells lie beyond 2^31.
  std::fill_n(args.mask_tiles.classes.span<uint8_t>().end() - kv_len / 64, kv_len / 64, 1);
  uint8_t* row = args.mask.span<uint8_t>().data() + (q_len - 1) * kv_len;
  for (int64_t j = 0; j < kv_len; j += 3) row[j] = 1;
  args.out = device.alloc(f32, args.q.shape());
  ops::attn_prefill(stream, args);
  stream.commit().wait();
  const Buffer last = args.out.slice(static_cast<size_t>((q_len - 1) * 64 * 4), 64);
  testing::expect_attention(last, testing::oracle_of(args, q_len - 1), "last row");
}

// Columns count positions, so that a mask serves a chunk over any cache.
TEST_P(AttnPrefillMask, ResumedAndRings) {
  Random random(7);
  const int64_t len = 300, capacity = 128, q_len = 40;
  auto args = make_args({.heads = 4, .q_len = q_len, .kv_len = len, .causal = true});
  args.window_size = 80;
  args.mask = make_mask(f16, q_len, len, [&](int64_t, int64_t) {
    return random.integer(0, 2) == 0 ? -INFINITY : random.normal();
  });
  args.q_offset = len - q_len;
  const auto linear = testing::bytes_of(expect_oracle(args, "linear"));
  auto ring = args;
  const size_t row = 64 * size_of(args.k.dtype());
  for (auto [target, source] : {std::pair(&ring.k, &args.k), std::pair(&ring.v, &args.v)}) {
    *target = device_.alloc(args.k.dtype(), {1, 2, capacity, 64});
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t a = len - capacity; a < len; ++a) {
        std::memcpy(target->data() + (h * capacity + a % capacity) * row,
                    source->data() + (h * len + a) * row, row);
      }
    }
  }
  ring.ring = true;
  EXPECT_EQ(testing::bytes_of(expect_oracle(ring, "ring")), linear);
  ring.mask_tiles = classify(ring.mask);
  EXPECT_EQ(bytes(ring), linear);
  // Keys beyond the mask's columns are blocked where kv_len is known on the device only.
  args.mask = make_mask(f16, q_len, 280, [](int64_t, int64_t) { return 0.0f; });
  args.kv_len = testing::make_i32(device_, {300});
  expect_oracle(args, "narrow mask");
}

TEST_P(AttnPrefillMask, BlockedKeysHaveNoInfluence) {  // P21
  for (float bad : {NAN, INFINITY}) {
    for (DType dtype : testing::unless_short<DType>({f32, bf16, u8}, {u8})) {
      auto args = make_args({.dim = 128});
      args.mask =
          make_mask(dtype, 64, 64, [](int64_t, int64_t j) { return j == 17 ? -INFINITY : 0.0f; });
      const auto clean = testing::bytes_of(expect_oracle(args, "clean"));
      testing::fill_slot(args.k, 17, bad);
      testing::fill_slot(args.v, 17, bad);
      EXPECT_EQ(bytes(args), clean);
      args.mask_tiles = classify(args.mask);
      EXPECT_EQ(bytes(args), clean);
    }
  }
}

TEST_P(AttnPrefillMask, SymmetricAndChunkedWindows) {
  for (int64_t q_len : testing::unless_short<int64_t>({1, 40, 150}, {1, 40})) {
    for (int64_t window : testing::unless_short<int64_t>({1, 7, 64, 70, 1000}, {7, 70})) {
      auto args = make_args({.heads = 4, .q_len = q_len, .kv_len = 150});
      args.window_size = window;
      args.window_ahead = window;
      expect_oracle(args, "symmetric " + std::to_string(window));
      args.window_ahead = 3;
      expect_oracle(args, "ahead 3, window " + std::to_string(window));
      args.window_size = 0;
      args.window_ahead = 0;
      args.chunk_size = window;
      expect_oracle(args, "chunks of " + std::to_string(window));
      args.causal = true;
      expect_oracle(args, "causal chunks of " + std::to_string(window));
    }
  }
  // Chunks are counted from position 0, in a ring too.
  auto args = make_args({.q_len = 20, .kv_len = 64, .causal = true});
  args.ring = true;
  args.chunk_size = 50;
  args.kv_len = 320;
  expect_oracle(args, "chunks in a ring");
}

TEST_P(AttnPrefillMask, PrefixLm) {
  auto args = make_args({.batch = 3, .heads = 4, .q_len = 100, .kv_len = 100, .causal = true});
  args.prefix_len = {0, 33, 100};
  const Buffer out = expect_oracle(args, "prefix");
  auto causal = args;
  causal.prefix_len = {};
  const auto without = testing::bytes_of(run(causal));
  const auto with = testing::bytes_of(out);
  const size_t sequence = with.size() / 3;
  EXPECT_EQ(std::memcmp(with.data(), without.data(), sequence), 0);
  EXPECT_NE(std::memcmp(with.data() + sequence, without.data() + sequence, sequence), 0);
  args.window_size = 20;
  expect_oracle(args, "prefix, window");
  args.prefix_len = testing::make_i32(device_, {5, 1000, -3});
  expect_oracle(args, "prefix, device");
}

TEST(AttnPrefillMaskErrors, EachRuleNamesItsParameter) {  // P20
  const Device device = test_device();
  Stream stream(device);
  using Args = ops::AttnPrefillArgs;
  Args good;
  good.q = device.alloc(f32, {2, 4, 40, 64});
  good.k = device.alloc(f32, {2, 2, 100, 64});
  good.v = device.alloc(f32, {2, 2, 100, 64});
  good.out = device.alloc(f32, {2, 4, 40, 64});
  good.kv_len = 100;
  good.mask = device.alloc(bf16, {40, 100});
  good.mask_tiles = {.classes = device.alloc(u8, {2, 2}), .q_tile = 32, .k_tile = 64};
  const auto expect = [&](const std::vector<std::string>& fragments, const auto& change) {
    Args args = good;
    change(args);
    auto all = fragments;
    all.push_back("attn_prefill");
    expect_error(ErrorKind::kInvalidArgument, all, [&] { ops::attn_prefill(stream, args); });
  };
  const auto claim = [&](const Buffer& b, const Shape& shape) {
    return Buffer(b.allocation(), 0, b.byte_len(), b.dtype(), shape);
  };
  expect({"mask", "2 or 4 extents"}, [](Args& a) { a.mask = a.mask.reshape({1, 40, 100}); });
  expect({"mask", "[39, 100]", "40"}, [&](Args& a) { a.mask = device.alloc(bf16, {39, 100}); });
  expect({"mask", "99 keys", "100"}, [&](Args& a) { a.mask = device.alloc(bf16, {40, 99}); });
  expect({"mask", "[2, 3, 40, 100]"}, [&](Args& a) { a.mask = device.alloc(u8, {2, 3, 40, 100}); });
  expect({"mask", "i32"}, [&](Args& a) { a.mask = device.alloc(DType::kI32, {40, 100}); });
  expect({"mask", "bytes"}, [&](Args& a) { a.mask = claim(a.mask, {40, 101}); });
  expect({"mask_tiles", "mask"}, [](Args& a) { a.mask = Buffer(); });
  expect({"mask_tiles", "32 x 16", "32 x 64"}, [&](Args& a) {
    a.mask_tiles = {.classes = device.alloc(u8, {2, 7}), .q_tile = 32, .k_tile = 16};
  });
  expect({"mask_tiles", "[2, 3]", "[2, 2]"}, [&](Args& a) {
    a.mask_tiles.classes = device.alloc(u8, {2, 3});
  });
  expect({"mask_tiles", "[2, 2]", "[2, 4, 2, 2]"}, [&](Args& a) {
    a.mask = device.alloc(bf16, {2, 4, 40, 100});
  });
  expect({"mask_tiles", "f32"}, [&](Args& a) { a.mask_tiles.classes = device.alloc(f32, {2, 2}); });
  expect({"out", "overlap", "mask"}, [&](Args& a) { a.mask = a.out.view_as(bf16, {40, 100}); });
  expect({"window_ahead", "-1"}, [](Args& a) { a.window_ahead = -1; });
  expect({"chunk_size", "-2"}, [](Args& a) { a.chunk_size = -2; });
  expect({"prefix_len", "-1"}, [](Args& a) { a.prefix_len = -1; });
  expect({"prefix_len", "3 values"}, [](Args& a) { a.prefix_len = {1, 2, 3}; });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::attn_prefill(stream, good);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
