// SPDX-License-Identifier: Apache-2.0
#include "mlxn/kv_cache.h"

#include <algorithm>

#include "kernels/common/test_kit.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

KvCacheShape sliding() {
  return {.batch = 2,
          .num_kv_heads = 2,
          .head_dim = 32,
          .dtype = f16,
          .max_context = 500,
          .window_size = 100,
          .max_chunk = 64};
}

KvCacheShape full() {
  KvCacheShape shape = sliding();
  shape.window_size = 0;
  return shape;
}

TEST(KvCacheSize, FollowsTheContract) {
  // Gemma 4 31B in bf16 at 131072 tokens: a full layer keeps them all, a sliding one its window of
  // 1024 and a chunk of 512.
  KvCacheShape layer{.num_kv_heads = 4, .head_dim = 512, .dtype = bf16, .max_context = 131072};
  EXPECT_EQ(KvCache::cache_bytes(layer), int64_t{131072} * 4 * 512 * 2 * 2);
  layer = {.num_kv_heads = 16,
           .head_dim = 256,
           .dtype = bf16,
           .max_context = 131072,
           .window_size = 1024,
           .max_chunk = 512};
  EXPECT_EQ(KvCache::capacity_of(layer), 1536);
  EXPECT_EQ(KvCache::cache_bytes(layer), int64_t{1536} * 16 * 256 * 2 * 2);
  layer.max_chunk = 1;
  EXPECT_EQ(KvCache::capacity_of(layer), 1024);
  layer.max_chunk = 2;
  EXPECT_EQ(KvCache::capacity_of(layer), 1088);
  layer.max_context = 1000;
  EXPECT_EQ(KvCache::capacity_of(layer), 1000);
  layer.v_dim = 128;
  layer.dtype = f32;
  EXPECT_EQ(KvCache::cache_bytes(layer), int64_t{1000} * 16 * (256 + 128) * 4);
}

TEST(KvCacheSize, IsWhatIsAllocated) {
  const Device device = test_device();
  for (const KvCacheShape& shape : {sliding(), full()}) {
    const size_t before = device.allocated_bytes();
    const KvCache cache(device, shape);
    EXPECT_EQ(cache.bytes(), KvCache::cache_bytes(shape));
    const size_t held = device.allocated_bytes() - before;
    if (device.kind() == DeviceKind::kCpu) {
      EXPECT_EQ(held, static_cast<size_t>(cache.bytes()));
    }
    EXPECT_GE(held, static_cast<size_t>(cache.bytes()));  // GPUs hand out whole blocks
    EXPECT_EQ(cache.capacity(), KvCache::capacity_of(shape));
  }
}

// Chunks of a prompt, then single tokens: the ring gives what the linear cache gives under the same
// window, bit for bit, and one sequence alone what it gives in the batch.
TEST(KvCacheAttention, RingEqualsLinear) {
  const Device device = test_device();
  Stream stream(device);
  Random random(1);
  const KvCache ring(device, sliding()), linear(device, full());
  ASSERT_LT(ring.capacity(), 400);
  for (int64_t tokens = 0; tokens < 400;) {
    const int64_t n = tokens < 384 ? 64 : 1;
    const Buffer k = random_buffer(device, f32, {2, n, 2, 32}, random);
    const Buffer v = random_buffer(device, f32, {2, n, 2, 32}, random);
    ring.append(stream, k, v, tokens);
    linear.append(stream, k, v, tokens);
    tokens += n;
    const Shape q_shape = n == 1 ? Shape{2, 4, 32} : Shape{2, 4, n, 32};
    const Buffer q = random_buffer(device, f32, q_shape, random);
    const Buffer a = device.alloc(f32, q_shape), b = device.alloc(f32, q_shape);
    const Buffer alone = device.alloc(f32, q_shape);
    const KvCache one = ring.sequence(1);
    if (n == 1) {
      ops::attn_decode(stream, ring.decode_args(q, a, tokens));
      auto args = linear.decode_args(q, b, tokens);
      args.mask = ops::MaskKind::kWindow;
      args.window_size = 100;
      ops::attn_decode(stream, args);
      ops::attn_decode(stream, one.decode_args(q.rows(1, 1), alone.rows(1, 1), tokens));
    } else {
      ops::attn_prefill(stream, ring.prefill_args(q, a, tokens));
      auto args = linear.prefill_args(q, b, tokens);
      args.window_size = 100;
      ops::attn_prefill(stream, args);
      ops::attn_prefill(stream, one.prefill_args(q.rows(1, 1), alone.rows(1, 1), tokens));
    }
    stream.commit().wait();
    ASSERT_EQ(testing::bytes_of(a), testing::bytes_of(b)) << tokens;
    ASSERT_EQ(testing::bytes_of(alone.rows(1, 1)), testing::bytes_of(a.rows(1, 1))) << tokens;
  }
}

TEST(KvCacheAttention, ValuesOfAnotherWidth) {
  const Device device = test_device();
  Stream stream(device);
  Random random(2);
  KvCacheShape shape = full();
  shape.batch = 1;
  shape.dtype = f32;
  shape.v_dim = 16;
  const KvCache cache(device, shape);
  const Buffer v = random_buffer(device, f32, {1, 1, 2, 16}, random);
  cache.append(stream, random_buffer(device, f32, {1, 1, 2, 32}, random), v, 0);
  const Buffer out = device.alloc(f32, {1, 2, 16});
  ops::attn_decode(stream,
                   cache.decode_args(random_buffer(device, f32, {1, 2, 32}, random), out, 1));
  stream.commit().wait();
  EXPECT_EQ(testing::bytes_of(out), testing::bytes_of(v));
}

// Codes of 8 bits beside f32 rows, token by token and in a chunk: the same attention but for the
// error of the codes, and bit for bit the same in a batch and alone.
TEST(KvCacheAttention, CodesFollowFloats) {
  const Device device = test_device();
  Stream stream(device);
  for (KvCacheShape shape : {sliding(), full()}) {
    Random random(3);
    shape.dtype = f32;
    const KvCache floats(device, shape);
    shape.dtype = KvType::tq(8);
    shape.v_type = KvType::tq(6);
    const KvCache codes(device, shape);
    EXPECT_EQ(codes.bytes(), KvCache::cache_bytes(shape));
    EXPECT_EQ(codes.capacity() % 16, 0);
    const Buffer q = random_buffer(device, f32, {2, 3, 4, 32}, random);
    for (int64_t start = 0; start + 63 <= 500; start += 63) {
      const Buffer k = random_buffer(device, f32, {2, 63, 2, 32}, random);
      const Buffer v = random_buffer(device, f32, {2, 63, 2, 32}, random);
      for (const KvCache* cache : {&floats, &codes}) cache->append(stream, k, v, start);
      const Buffer expected = device.alloc(f32, {2, 3, 4, 32}),
                   found = device.alloc(f32, {2, 3, 4, 32});
      const Buffer alone = device.alloc(f32, {1, 4, 32});
      KvAttention args{.q = q, .out = expected, .kv_len = start + 63, .softmax_scale = 0.2f};
      args.q_layout = ops::SeqLayout::kSeqMajor;
      floats.prefill(stream, args);
      args.out = found;
      codes.prefill(stream, args);
      stream.commit().wait();
      testing::expect_close(
          testing::to_floats(found),
          std::vector<double>(expected.span<float>().begin(), expected.span<float>().end()),
          [](size_t) { return 0.12; }, "prefill");
      // The last row of the chunk is what decode gives for the same query.
      const Buffer last = device.alloc(f32, {2, 4, 32}), out = device.alloc(f32, {2, 4, 32});
      for (int64_t b = 0; b < 2; ++b) {
        std::memcpy(last.rows(b, 1).data(), q.rows(b, 1).reshape({3, 4, 32}).rows(2, 1).data(),
                    512);
      }
      args.q = last;
      args.out = out;
      codes.decode(stream, args);
      args.q = last.rows(1, 1);
      args.out = alone;
      codes.sequence(1).decode(stream, args);
      stream.commit().wait();
      EXPECT_EQ(testing::bytes_of(alone), testing::bytes_of(out.rows(1, 1)));
      for (size_t i = 0; i < 128; ++i) {
        EXPECT_NEAR(out.span<float>()[i], found.span<float>()[256 + i], 2e-5);
      }
    }
  }
}

// Every rule of a call reaches the op, over floats and over codes, and changes something.
TEST(KvCacheAttention, RulesReachTheOps) {
  const Device device = test_device();
  Stream stream(device);
  Random random(5);
  const auto slopes = ops::alibi_slopes(4);
  for (KvType type : {KvType(f32), KvType(bf16), KvType::tq(4)}) {
    KvCacheShape shape = full();
    shape.dtype = type;
    const KvCache cache(device, shape);
    cache.append(stream, random_buffer(device, f32, {2, 50, 2, 32}, random),
                 random_buffer(device, f32, {2, 50, 2, 32}, random), 0);
    KvAttention plain{.q = random_buffer(device, f32, {2, 4, 32}, random),
                      .out = device.alloc(f32, {2, 4, 32}),
                      .kv_len = {50, 41},
                      .softmax_scale = 0.2f};
    KvAttention ruled = plain;
    ruled.logits_soft_cap = 2.0f;
    ruled.sinks = random_buffer(device, f32, {4}, random);
    ruled.alibi_slopes = device.upload(slopes.data(), f32, {4});
    ruled.lse = device.alloc(f32, {2, 4});
    ruled.out = device.alloc(f32, {2, 4, 32});
    // By the op itself, whose arguments have the rules' names.
    const auto expect_op = [&](auto args, const auto& op) {
      args.softmax_scale = ruled.softmax_scale;
      args.logits_soft_cap = ruled.logits_soft_cap;
      args.sinks = ruled.sinks;
      args.alibi_slopes = ruled.alibi_slopes;
      args.lse = device.alloc(f32, ruled.lse.shape());
      args.out = device.alloc(f32, ruled.out.shape());
      op(stream, args);
      stream.commit().wait();
      EXPECT_EQ(testing::bytes_of(ruled.out), testing::bytes_of(args.out)) << name(type);
      EXPECT_EQ(testing::bytes_of(ruled.lse), testing::bytes_of(args.lse)) << name(type);
      EXPECT_NE(testing::bytes_of(ruled.out), testing::bytes_of(plain.out)) << name(type);
    };
    cache.decode(stream, plain);
    cache.decode(stream, ruled);
    if (type.is_coded()) {
      expect_op(ops::AttnDecodeTqArgs{.q = ruled.q,
                                      .k = cache.k_rows(),
                                      .v = cache.v_rows(),
                                      .out = ruled.out,
                                      .kv_len = ruled.kv_len},
                ops::attn_decode_tq);
    } else {
      expect_op(cache.decode_args(ruled.q, ruled.out, ruled.kv_len), ops::attn_decode);
    }

    // Rows 20 to 24 of sequence 0, 11 to 15 of sequence 1, seq-major.
    for (KvAttention* a : {&plain, &ruled}) {
      a->q = random_buffer(device, f32, {2, 5, 4, 32}, random);
      a->out = device.alloc(f32, {2, 5, 4, 32});
      a->q_layout = ops::SeqLayout::kSeqMajor;
    }
    plain.q = ruled.q;
    ruled.q_offset = {20, 11};
    ruled.lse = device.alloc(f32, {2, 4, 5});
    cache.prefill(stream, plain);
    cache.prefill(stream, ruled);
    if (type.is_coded()) {
      ops::AttnPrefillTqArgs args{.q = ruled.q,
                                  .k = cache.k_rows(),
                                  .v = cache.v_rows(),
                                  .out = ruled.out,
                                  .q_layout = ruled.q_layout,
                                  .kv_len = ruled.kv_len,
                                  .q_offset = ruled.q_offset};
      expect_op(args, ops::attn_prefill_tq);
    } else {
      auto args = cache.prefill_args(ruled.q, ruled.out, ruled.kv_len);
      args.q_layout = ruled.q_layout;
      args.q_offset = ruled.q_offset;
      expect_op(args, ops::attn_prefill);
    }
  }
}

// One launch for K and V, whatever their lengths.
TEST(KvCacheAttention, FloatsAreAppendedTogether) {
  const Device device = test_device();
  for (const int64_t v_dim : {32, 16}) {
    Stream stream(device);
    KvCacheShape shape = full();
    shape.v_dim = v_dim;
    const KvCache cache(device, shape);
    cache.append(stream, device.alloc(f32, {2, 3, 2, 32}), device.alloc(f32, {2, 3, 2, v_dim}), 0);
    EXPECT_EQ(stream.counters().dispatches, 1u) << v_dim;
    stream.commit().wait();
  }
}

// With norm_correction a decoded row has the dot product with its original that the original has
// with itself, K and V alike; the codes are the same.
TEST(KvCacheAttention, CorrectedNorms) {
  const Device device = test_device();
  Stream stream(device);
  KvCacheShape shape = sliding();
  shape.batch = 1;
  shape.head_dim = 64;
  shape.v_dim = 32;
  shape.dtype = KvType::tq(3);
  shape.v_type = KvType::tq(2);
  Random random(4);
  const Buffer k = random_buffer(device, f32, {1, 5, 2, 64}, random);
  const Buffer v = random_buffer(device, f32, {1, 5, 2, 32}, random);
  const auto coded_by = [&](bool correction) {
    shape.norm_correction = correction;
    const KvCache cache(device, shape);
    cache.append(stream, k, v, 7);
    stream.commit().wait();
    return cache;
  };
  // The largest |<x, decoded x> / <x, x> - 1| of the rows.
  const auto worst = [&](const ops::TqRows& rows, const Buffer& src) {
    const int64_t dim = src.dim(3);
    const Buffer out = device.alloc(f32, {1, 2, 5, dim});
    ops::tq_decode(stream, {.from = rows, .out = out, .first_slot = 7, .rotate_back = true});
    stream.commit().wait();
    double largest = 0.0;
    for (int64_t row = 0; row < 10; ++row) {
      const int64_t head = row / 5, token = row % 5;
      double with_code = 0.0, with_itself = 0.0;
      for (int64_t j = 0; j < dim; ++j) {
        const double x = src.span<float>()[static_cast<size_t>((token * 2 + head) * dim + j)];
        with_code += x * out.span<float>()[static_cast<size_t>(row * dim + j)];
        with_itself += x * x;
      }
      largest = std::max(largest, std::abs(with_code / with_itself - 1.0));
    }
    return largest;
  };
  const KvCache plain = coded_by(false), corrected = coded_by(true);
  EXPECT_EQ(testing::bytes_of(plain.k()), testing::bytes_of(corrected.k()));
  EXPECT_EQ(testing::bytes_of(plain.v()), testing::bytes_of(corrected.v()));
  EXPECT_GT(worst(plain.k_rows(), k), 0.02);
  EXPECT_GT(worst(plain.v_rows(), v), 0.05);
  EXPECT_LT(worst(corrected.k_rows(), k), 1e-5);
  EXPECT_LT(worst(corrected.v_rows(), v), 1e-5);
}

TEST(KvCacheSize, CodesAndTheirNorms) {
  KvCacheShape shape{.num_kv_heads = 2, .head_dim = 512, .max_context = 1000};
  const int64_t rows = 2 * 1008;
  for (int bits : {2, 3, 4, 5, 6, 8}) {
    shape.dtype = KvType::tq(bits);
    EXPECT_EQ(KvCache::cache_bytes(shape), rows * 2 * (64 * bits + 8)) << bits;
  }
  shape.v_type = KvType::tq(4);
  EXPECT_EQ(KvCache::cache_bytes(shape), rows * (512 + 8 + 256 + 8));
  EXPECT_EQ(name(shape.dtype), "tq8");
  for (const std::string_view text : kKvTypeNames) EXPECT_EQ(name(*parse_kv_type(text)), text);
  EXPECT_FALSE(parse_kv_type("tq7"));
}

// K and V are written both or not at all.
TEST(KvCacheErrors, KeysAndValuesGoTogether) {
  const Device device = test_device();
  Stream stream(device);
  for (KvType type : {KvType(f16), KvType::tq(4)}) {
    KvCacheShape shape = sliding();
    shape.dtype = type;
    const KvCache cache(device, shape);
    const Buffer k = device.alloc(f32, {2, 1, 2, 32});
    const auto expect = [&](const char* found, const Buffer& v) {
      expect_error(ErrorKind::kInvalidArgument, {found}, [&] { cache.append(stream, k, v, 0); });
    };
    expect("5", device.alloc(f32, {2, 5, 2, 32}));
    expect("i32", device.alloc(i32, {2, 1, 2, 32}));
    expect("16", device.alloc(f32, {2, 1, 2, 16}));
  }
  EXPECT_EQ(stream.counters().dispatches, 0u);
}

TEST(KvCacheErrors, EachRuleNamesItsField) {
  const Device device = test_device();
  Stream stream(device);
  const auto expect = [&](const char* field, const auto& change) {
    KvCacheShape shape = sliding();
    change(shape);
    expect_error(ErrorKind::kInvalidArgument, {"KvCache", field},
                 [&] { KvCache::cache_bytes(shape); });
    expect_error(ErrorKind::kInvalidArgument, {"KvCache", field},
                 [&] { KvCache cache(device, shape); });
  };
  expect("batch", [](KvCacheShape& s) { s.batch = 0; });
  expect("num_kv_heads", [](KvCacheShape& s) { s.num_kv_heads = 0; });
  expect("head_dim", [](KvCacheShape& s) { s.head_dim = 12; });
  expect("v_dim", [](KvCacheShape& s) { s.v_dim = 520; });
  expect("dtype", [](KvCacheShape& s) { s.dtype = u8; });
  expect("dtype", [](KvCacheShape& s) { s.dtype = KvType::tq(7); });
  expect("v_type", [](KvCacheShape& s) { s.v_type = KvType::tq(4); });
  expect("v_type", [](KvCacheShape& s) { s.dtype = KvType::tq(4), s.v_type = f16; });
  expect("v_type", [](KvCacheShape& s) { s.v_type = bf16; });
  expect("norm_correction", [](KvCacheShape& s) { s.norm_correction = true; });
  expect("max_context", [](KvCacheShape& s) { s.max_context = 0; });
  expect("max_context", [](KvCacheShape& s) { s.max_context = int64_t{1} << 40; });
  expect("window_size", [](KvCacheShape& s) { s.window_size = -1; });
  expect("max_chunk", [](KvCacheShape& s) { s.max_chunk = 0; });
  expect("2^63", [](KvCacheShape& s) {
    s.batch = s.num_kv_heads = 1 << 30;
    s.max_context = 1 << 30;
    s.window_size = 0;
  });
  const KvCache cache(device, sliding());
  const Buffer one = device.alloc(f32, {2, 1, 2, 32}), many = device.alloc(f32, {2, 65, 2, 32});
  expect_error(ErrorKind::kInvalidArgument, {"max_chunk 64", "65"},
               [&] { cache.append(stream, many, many, 0); });
  expect_error(ErrorKind::kContextFull, {"max_context 500"},
               [&] { cache.append(stream, one, one, 500); });
  expect_error(ErrorKind::kContextFull, {"pos", "500"}, [&] {
    cache.append(stream, one, one, {3, 500});
  });
  expect_error(ErrorKind::kInvalidArgument, {"count", "2"}, [&] { cache.sequences(1, 2); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  cache.append(stream, one, one, 499);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
