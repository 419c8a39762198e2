// SPDX-License-Identifier: Apache-2.0
#include "kernels/attn_decode/params.h"
#include "kernels/common/attn_test_kit.h"
#include "kernels/kv_append/reference.h"

namespace mlxn {
namespace {

using ops::CacheLayout;
using testing::bytes_of;
using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;

// A value for element i of token t, head h, so that rows tell where they came from.
Buffer numbered(const Device& device, int64_t tokens, int64_t heads, int64_t dim) {
  std::vector<float> values;
  for (int64_t i = 0; i < tokens * heads * dim; ++i) values.push_back(static_cast<float>(i));
  return testing::make_buffer(device, f32, {1, tokens, heads, dim}, values);
}

class KvAppendTest : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = test_device(GetParam());
  Stream stream_{device_};

  void append(const ops::KvAppendArgs& args) {
    ops::kv_append(stream_, args);
    stream_.commit().wait();
  }

  // A fresh cache of 0xff bytes with guards, after the append; checked against the oracle.
  std::vector<std::byte> expect_oracle(ops::KvAppendArgs args, DType cache_dtype, int64_t capacity,
                                       const std::vector<int32_t>& pos) {
    const int64_t batch = args.k.dim(0), heads = args.k.dim(2), dim = args.k.dim(3);
    const bool token_major = args.layout == CacheLayout::kTokenMajor;
    const Shape shape =
        token_major ? Shape{batch, capacity, heads * dim} : Shape{batch, heads, capacity, dim};
    const GuardedBuffer cache(device_, cache_dtype, shape);
    auto expected = bytes_of(cache.view());
    args.k_cache = cache.view();
    args.pos = testing::make_i32(device_, pos);
    append(args);
    cache.check();
    const int64_t n = args.n == -1 ? args.k.dim(1) - args.src_offset : args.n;
    const int64_t lost = std::max<int64_t>(0, n - capacity);
    kernels::kv_append_reference({.k = nullptr,
                                  .v = nullptr,
                                  .k_cache = nullptr,
                                  .v_cache = nullptr,
                                  .pos = pos.data(),
                                  .batch = batch,
                                  .n_src = args.k.dim(1),
                                  .src_offset = args.src_offset + lost,
                                  .n = n - lost,
                                  .pos_skip = lost,
                                  .num_kv_heads = heads,
                                  .capacity = capacity,
                                  .dim = dim,
                                  .src_dtype = args.k.dtype(),
                                  .cache_dtype = cache_dtype,
                                  .ring = args.ring,
                                  .token_major = token_major},
                                 args.k.data(), expected.data());
    const auto found = bytes_of(cache.view());
    EXPECT_EQ(found, expected);
    return found;
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, KvAppendTest,
                         ::testing::ValuesIn(testing::runnable(kernels::kv_append_entries())));

TEST_P(KvAppendTest, SixteenBitRowsAreCopied) {  // K1
  for (DType dtype : {f16, bf16}) {
    const Buffer k = device_.alloc(dtype, {1, 4, 1, 128});
    Random random(1);
    for (uint16_t& bits : k.span<uint16_t>()) {
      bits = static_cast<uint16_t>(random.integer(0, 0xffff));
    }
    k.span<uint16_t>()[0] = 0x7fff;  // NaN with payload in both formats
    k.span<uint16_t>()[1] = 0xfd01;  // signalling NaN in f16
    const auto cache = expect_oracle(
        {.k = k, .k_cache = {}, .pos = {}, .layout = CacheLayout::kTokenMajor}, dtype, 64, {0});
    EXPECT_EQ(std::memcmp(cache.data(), k.data(), k.byte_len()), 0);
  }
}

TEST_P(KvAppendTest, RingWraps) {  // K2
  const Buffer k = numbered(device_, 3, 1, 8);
  const Buffer cache = device_.alloc(f32, {1, 1, 4, 8});
  append({.k = k, .k_cache = cache, .pos = 6, .ring = true});
  EXPECT_EQ(cache.span<float>()[2 * 8], 0.0f);
  EXPECT_EQ(cache.span<float>()[3 * 8], 8.0f);
  EXPECT_EQ(cache.span<float>()[0 * 8], 16.0f);
}

TEST_P(KvAppendTest, MoreTokensThanSlots) {  // K3
  const Buffer k = numbered(device_, 8, 2, 4);
  const Buffer cache = device_.alloc(f32, {1, 2, 4, 4});
  append({.k = k, .k_cache = cache, .pos = 0, .ring = true});
  for (int64_t h = 0; h < 2; ++h) {
    for (int64_t slot = 0; slot < 4; ++slot) {
      EXPECT_EQ(cache.span<float>()[(h * 4 + slot) * 4],
                static_cast<float>(((4 + slot) * 2 + h) * 4));
    }
  }
  for (int64_t n : {4, 5, 37}) {
    for (int32_t pos : {0, 1, 6}) {
      expect_oracle({.k = numbered(device_, 40, 2, 4),
                     .k_cache = {},
                     .src_offset = 3,
                     .n = n,
                     .pos = {},
                     .ring = true},
                    f16, 4, {pos});
    }
  }
}

TEST_P(KvAppendTest, OtherSlotsKeepTheirBits) {  // K4
  const auto cache =
      expect_oracle({.k = numbered(device_, 3, 1, 16), .k_cache = {}, .pos = {}}, f32, 8, {0});
  for (size_t i = 3 * 64; i < 8 * 64; ++i) ASSERT_EQ(cache[i], std::byte{0xff});
}

TEST_P(KvAppendTest, EveryConversion) {  // K5
  std::vector<float> values = {70000.0f,    -70000.0f,   65519.996f, 65520.0f,    1.00048828125f,
                               1.0014648f,  0x1p-24f,    0x1p-25f,   0x1.8p-25f,  0x1p-149f,
                               -0.0f,       INFINITY,    -INFINITY,  0x1.fep127f, 0x1.ffp127f,
                               1.00390625f, 1.01171875f, 6.1e-5f,    0x1p-133f,   0x1.8p-134f};
  Random random(5);
  while (values.size() < 2 * 7 * 3 * 40) {
    values.push_back(std::ldexp(random.normal(), static_cast<int>(random.integer(-30, 20))));
  }
  for (DType src : {f32, f16, bf16}) {
    for (DType cache : {f32, f16, bf16}) {
      for (int64_t dim : {1, 8, 20, 40}) {
        for (CacheLayout layout : {CacheLayout::kHeadMajor, CacheLayout::kTokenMajor}) {
          const Buffer k = testing::make_buffer(device_, src, {2, 7, 3, dim}, values);
          expect_oracle(
              {.k = k, .k_cache = {}, .src_offset = 1, .n = 5, .pos = {}, .layout = layout}, cache,
              11, {2, 6});
        }
      }
    }
  }
  const Buffer nan = testing::make_buffer(device_, f32, {1, 1, 1, 8}, std::vector<float>(8, NAN));
  for (DType dtype : {f16, bf16}) {
    const Buffer cache = device_.alloc(dtype, {1, 1, 1, 8});
    append({.k = nan, .k_cache = cache, .pos = 0});
    for (float value : testing::to_floats(cache)) EXPECT_TRUE(std::isnan(value));
  }
}

TEST_P(KvAppendTest, DualEqualsTwoCalls) {  // K6
  Random random(6);
  const Buffer k = testing::random_buffer(device_, f32, {2, 5, 3, 24}, random);
  const Buffer v = testing::random_buffer(device_, f32, {2, 5, 3, 24}, random);
  std::vector<Buffer> caches;
  for (int i = 0; i < 4; ++i) caches.push_back(device_.alloc(f16, {2, 3, 4, 24}));
  append({.k = k, .k_cache = caches[0], .v = v, .v_cache = caches[1], .pos = 3, .ring = true});
  append({.k = k, .k_cache = caches[2], .pos = 3, .ring = true});
  append({.k = v, .k_cache = caches[3], .pos = 3, .ring = true});
  EXPECT_EQ(bytes_of(caches[0]), bytes_of(caches[2]));
  EXPECT_EQ(bytes_of(caches[1]), bytes_of(caches[3]));
  EXPECT_NE(bytes_of(caches[0]), bytes_of(caches[1]));
}

// Values of another width than keys go in the same launch.
TEST_P(KvAppendTest, ValuesOfTheirOwnWidth) {
  Random random(7);
  for (const auto& [dim, v_dim] : std::vector<std::pair<int64_t, int64_t>>{{24, 40}, {40, 8}}) {
    for (CacheLayout layout : {CacheLayout::kHeadMajor, CacheLayout::kTokenMajor}) {
      const auto shape = [&](int64_t width) {
        return layout == CacheLayout::kHeadMajor ? Shape{2, 3, 4, width} : Shape{2, 4, 3 * width};
      };
      const Buffer k = testing::random_buffer(device_, f32, {2, 5, 3, dim}, random);
      const Buffer v = testing::random_buffer(device_, f32, {2, 5, 3, v_dim}, random);
      const GuardedBuffer k_cache(device_, bf16, shape(dim)), v_cache(device_, bf16, shape(v_dim));
      const Buffer k_alone = device_.alloc(bf16, shape(dim));
      const Buffer v_alone = device_.alloc(bf16, shape(v_dim));
      ops::KvAppendArgs args{.k = k, .k_cache = k_cache.view(), .pos = {3, 9}, .ring = true};
      args.layout = layout;
      args.v = v;
      args.v_cache = v_cache.view();
      append(args);
      k_cache.check();
      v_cache.check();
      args.v = args.v_cache = Buffer();
      args.k_cache = k_alone;
      append(args);
      args.k = v;
      args.k_cache = v_alone;
      append(args);
      EXPECT_EQ(bytes_of(k_cache.view()), bytes_of(k_alone));
      EXPECT_EQ(bytes_of(v_cache.view()), bytes_of(v_alone));
    }
  }
}

// Tokens go to the page that the table names for their slot, those of a page that is not in the
// cache nowhere.
TEST_P(KvAppendTest, Pages) {
  Random random(8);
  const int64_t heads = 2, dim = 24, page_size = 16;
  const std::vector<int32_t> table = {5, 1, 3, 0, 4, 77};
  for (bool ring : {false, true}) {
    for (DType dtype : {f32, f16}) {
      const Buffer k = testing::random_buffer(device_, f32, {2, 30, heads, dim}, random);
      const GuardedBuffer cache(device_, dtype, {6, heads, page_size, dim});
      auto expected = bytes_of(cache.view());
      const std::vector<int32_t> pos =
          ring ? std::vector<int32_t>{40, 100} : std::vector<int32_t>{11, 18};
      append({.k = k,
              .k_cache = cache.view(),
              .pos = testing::make_i32(device_, pos),
              .ring = ring,
              .block_table = device_.upload(table.data(), DType::kI32, {2, 3})});
      cache.check();
      kernels::kv_append_reference({.k = nullptr,
                                    .v = nullptr,
                                    .k_cache = nullptr,
                                    .v_cache = nullptr,
                                    .pos = pos.data(),
                                    .batch = 2,
                                    .n_src = 30,
                                    .src_offset = 0,
                                    .n = 30,
                                    .pos_skip = 0,
                                    .num_kv_heads = heads,
                                    .capacity = 48,
                                    .dim = dim,
                                    .src_dtype = f32,
                                    .cache_dtype = dtype,
                                    .ring = ring,
                                    .token_major = false,
                                    .v_dim = 0,
                                    .pages = {table.data(), 3, page_size, 6}},
                                   k.data(), expected.data());
      EXPECT_EQ(bytes_of(cache.view()), expected);
    }
  }
}

TEST_P(KvAppendTest, DevicePositionsStayInside) {
  const Buffer k = numbered(device_, 3, 2, 8);
  const Buffer pos = testing::make_i32(device_, {0});
  const GuardedBuffer cache(device_, f32, {1, 2, 4, 8});
  stream_.begin_capture();
  ops::kv_append(stream_, {.k = k, .k_cache = cache.view(), .pos = pos});
  const Graph graph = stream_.end_capture();
  for (int32_t value : {1, 3, 1000, -2, std::numeric_limits<int32_t>::max()}) {
    pos.span<int32_t>()[0] = value;
    std::memset(cache.view().data(), 0xff, cache.view().byte_len());
    stream_.replay(graph);
    stream_.commit().wait();
    cache.check();
    for (int64_t slot = 0; slot < 4; ++slot) {
      const int64_t token = slot - value;
      const float found = cache.view().span<float>()[slot * 8];
      if (token >= 0 && token < 3) {
        EXPECT_EQ(found, static_cast<float>(token * 16)) << value;
      } else {
        EXPECT_TRUE(std::isnan(found)) << value;
      }
    }
  }
}

TEST_P(KvAppendTest, AppendThenDecode) {  // K8
  ASSERT_FALSE(testing::runnable(kernels::attn_decode_entries()).empty());
  const int64_t capacity = 12, heads = 4, kv_heads = 2, dim = 16;
  for (int64_t window : {12, 5}) {
    Random random(8);
    const int64_t total = 3 * capacity;
    const Buffer k = testing::random_buffer(device_, f32, {1, total, kv_heads, dim}, random);
    const Buffer v = testing::random_buffer(device_, f32, {1, total, kv_heads, dim}, random);
    const Buffer q = testing::random_buffer(device_, f32, {1, heads, dim}, random);
    const Buffer ring_k = device_.alloc(f32, {1, kv_heads, capacity, dim});
    const Buffer ring_v = device_.alloc(f32, {1, kv_heads, capacity, dim});
    const Buffer all_k = device_.alloc(f32, {1, kv_heads, total, dim});
    const Buffer all_v = device_.alloc(f32, {1, kv_heads, total, dim});
    const Buffer out = device_.alloc(f32, {1, heads, dim});
    const Buffer expected = device_.alloc(f32, {1, heads, dim});
    const Buffer k_rows = k.reshape({total, kv_heads, dim}),
                 v_rows = v.reshape({total, kv_heads, dim});
    for (int64_t tokens = 1; tokens <= total; ++tokens) {
      const Shape one = {1, 1, kv_heads, dim};
      ops::KvAppendArgs append{.k = k_rows.rows(tokens - 1, 1).reshape(one),
                               .k_cache = ring_k,
                               .v = v_rows.rows(tokens - 1, 1).reshape(one),
                               .v_cache = ring_v,
                               .pos = tokens - 1,
                               .ring = true};
      ops::kv_append(stream_, append);
      append.k_cache = all_k;
      append.v_cache = all_v;
      append.ring = false;
      ops::kv_append(stream_, append);
      ops::AttnDecodeArgs decode;
      decode.q = q;
      decode.mask = ops::MaskKind::kWindow;
      decode.window_size = window;
      decode.kv_len = tokens;
      decode.k = ring_k;
      decode.v = ring_v;
      decode.out = out;
      decode.ring = true;
      ops::attn_decode(stream_, decode);
      decode.k = all_k;
      decode.v = all_v;
      decode.out = expected;
      decode.ring = false;
      ops::attn_decode(stream_, decode);
      stream_.commit().wait();
      ASSERT_EQ(bytes_of(out), bytes_of(expected)) << tokens;
      // Against the history itself.
      std::vector<const float*> keys, values;
      kernels::AttnReference reference;
      for (int64_t h = 0; h < heads; ++h) {
        keys.clear();
        values.clear();
        for (int64_t a = std::max<int64_t>(0, tokens - window); a < tokens; ++a) {
          keys.push_back(k.span<float>().data() + (a * kv_heads + h / 2) * dim);
          values.push_back(v.span<float>().data() + (a * kv_heads + h / 2) * dim);
        }
        append_row(reference, {dim, dim, 1.0, 0.0}, q.span<float>().data() + h * dim, keys, values);
      }
      testing::expect_attention(out, reference, std::to_string(tokens));
    }
  }
}

TEST_P(KvAppendTest, ThreadsDoNotChangeBits) {
  std::vector<std::byte> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    Random random(9);
    const Buffer k = testing::random_buffer(device, f32, {2, 300, 4, 64}, random);
    const Buffer cache = device.alloc(bf16, {2, 4, 250, 64});
    ops::kv_append(stream, {.k = k, .k_cache = cache, .pos = {7, 100}, .ring = true});
    stream.commit().wait();
    if (expected.empty()) expected = bytes_of(cache);
    EXPECT_EQ(bytes_of(cache), expected) << threads;
  }
}

TEST_P(KvAppendTest, DirectCapturedAndReplayedAgree) {
  Random random(8);
  const Buffer k = testing::random_buffer(device_, f32, {2, 5, 3, 40}, random);
  const Buffer v = testing::random_buffer(device_, f32, {2, 5, 3, 40}, random);
  const Buffer k_cache = device_.alloc(f16, {2, 3, 8, 40}),
               v_cache = device_.alloc(f16, {2, 3, 8, 40});
  const Buffer pos = testing::make_i32(device_, {6, 30});
  testing::expect_repeatable(
      device_,
      [&](Stream& stream) {
        ops::kv_append(
            stream,
            {.k = k, .k_cache = k_cache, .v = v, .v_cache = v_cache, .pos = pos, .ring = true});
      },
      {k_cache, v_cache});
}

TEST(KvAppendErrors, EachRuleNamesItsParameter) {  // K7
  const Device device = test_device();
  Stream stream(device);
  using Args = ops::KvAppendArgs;
  const Args good{.k = device.alloc(f32, {1, 3, 2, 8}),
                  .k_cache = device.alloc(f16, {1, 2, 16, 8}),
                  .v = device.alloc(f32, {1, 3, 2, 8}),
                  .v_cache = device.alloc(f16, {1, 2, 16, 8}),
                  .pos = 0};
  const auto expect = [&](const std::vector<std::string>& fragments, const auto& change) {
    Args args = good;
    change(args);
    auto all = fragments;
    all.push_back("kv_append");
    expect_error(ErrorKind::kInvalidArgument, all, [&] { ops::kv_append(stream, args); });
  };
  const auto claim = [&](const Buffer& b, const Shape& shape) {
    return Buffer(b.allocation(), 0, b.byte_len(), b.dtype(), shape);
  };
  expect({"pos", "14", "13"}, [](Args& a) { a.pos = 14; });
  expect({"pos", "-1"}, [](Args& a) { a.pos = -1; });
  expect({"pos"}, [](Args& a) { a.pos = std::numeric_limits<int64_t>::max(); });
  expect({"pos"}, [](Args& a) { a.pos = std::numeric_limits<int64_t>::max(), a.ring = true; });
  expect({"pos", "0 values"}, [](Args& a) { a.pos = Lengths(); });
  expect({"n", "17", "16"}, [&](Args& a) {
    a.k = device.alloc(f32, {1, 17, 2, 8});
    a.v = Buffer();
    a.v_cache = Buffer();
  });
  expect({"n", "4", "3"}, [](Args& a) { a.n = 4; });
  expect({"n", "-2"}, [](Args& a) { a.n = -2; });
  expect({"src_offset", "4"}, [](Args& a) { a.src_offset = 4; });
  expect({"k_cache", "extents"}, [&](Args& a) { a.k_cache = claim(a.k_cache, {1, 2, 0, 8}); });
  expect({"k", "bytes"}, [&](Args& a) { a.k = claim(a.k, {1, 4, 2, 8}); });
  expect({"k_cache", "bytes"}, [&](Args& a) { a.k_cache = claim(a.k_cache, {1, 2, 17, 8}); });
  expect({"k_cache", "[1, 4, 8, 8]"}, [&](Args& a) {
    a.k_cache = a.k_cache.reshape({1, 4, 8, 8});
  });
  expect({"v_cache", "empty"}, [](Args& a) { a.v_cache = Buffer(); });
  expect({"v", "empty"}, [](Args& a) { a.v = Buffer(); });
  expect({"v", "f16"}, [&](Args& a) { a.v = device.alloc(f16, {1, 3, 2, 8}); });
  expect({"v_cache", "f32"}, [&](Args& a) { a.v_cache = device.alloc(f32, {1, 2, 16, 8}); });
  expect({"v_cache", "overlap"}, [](Args& a) { a.v_cache = a.k_cache; });
  expect({"v", "[1, 2, 2, 8]"}, [&](Args& a) { a.v = device.alloc(f32, {1, 2, 2, 8}); });
  expect({"v_cache", "[1, 2, 15, 8]"}, [&](Args& a) {
    a.v_cache = device.alloc(f16, {1, 2, 15, 8});
  });
  const auto paged = [&](Args& a) {
    a.v = a.v_cache = Buffer();
    a.k_cache = device.alloc(f16, {4, 2, 16, 8});
    a.block_table = device.alloc(DType::kI32, {1, 2});
  };
  expect({"pos", "30", "29"}, [&](Args& a) { paged(a), a.pos = 30; });
  expect({"k_cache", "pages of 8 slots"}, [&](Args& a) {
    paged(a), a.k_cache = device.alloc(f16, {4, 2, 8, 8});
  });
  expect({"block_table", "[2, 2]"}, [&](Args& a) {
    paged(a), a.block_table = device.alloc(DType::kI32, {2, 2});
  });
  expect({"layout", "block_table"}, [&](Args& a) {
    paged(a);
    a.layout = CacheLayout::kTokenMajor;
    a.k_cache = device.alloc(f16, {4, 16, 16});
  });
  expect({"layout", "5"}, [](Args& a) { a.layout = static_cast<CacheLayout>(5); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  // No tokens or no heads: nothing happens.
  Args none = good;
  none.n = 0;
  ops::kv_append(stream, none);
  none = good;
  none.src_offset = 3;
  ops::kv_append(stream, none);
  none = good;
  none.k = claim(good.k, {1, 3, 0, 8});
  ops::kv_append(stream, none);
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::kv_append(stream, good);
  EXPECT_EQ(stream.counters().dispatches, 1u);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
