// SPDX-License-Identifier: Apache-2.0
// qkv_rope against the ops that it stands for, bit for bit; those have oracles.
#include "kernels/common/test_kit.h"
#include "ops/fused.h"

namespace mlxn {
namespace {

using ops::RopePairing;
using testing::bytes_of;
using testing::random_buffer;
using testing::test_device;

// Sizes of a call.
struct Case {
  int64_t batch = 1;
  int64_t n = 1;  // tokens of a sequence
  int64_t heads = 3;
  int64_t dim = 16;
  int64_t rotary_dim = 16;
  int64_t capacity = 8;
  int32_t pos = 0;
  bool k_is_v = false;
  bool norm_v = true;
  bool ring = false;
  DType cache_dtype = f16;
  RopePairing pairing = RopePairing::kSplitHead;
  int k_bits = 0, v_bits = 0;  // of coded caches
  bool paged = false;          // those
};
constexpr int64_t kKvHeads = 2;

// Pages: four of 16 slots.
ops::TqRows coded_rows(const Device& device, const Case& c, int bits) {
  const Shape slots = {c.paged ? 4 : c.batch, kKvHeads, c.paged ? 16 : c.capacity};
  const auto alloc = [&](DType dtype, int64_t width) {
    return device.alloc(dtype, {slots[0], slots[1], slots[2], width});
  };
  return {alloc(u8, ops::tq_row_bytes({.bits = bits}, c.dim)),
          alloc(f32, ops::tq_norm_count(c.dim)),
          {.bits = bits}};
}

ops::QkvRopeArgs make_args(const Device& device, const Case& c) {
  testing::Random random(7);
  const int64_t tokens = c.batch * c.n;
  std::vector<int32_t> positions;
  for (int64_t t = 0; t < tokens; ++t) positions.push_back(c.pos + static_cast<int32_t>(t % c.n));
  const auto rotation = [&](int64_t heads) {
    const Buffer x = random_buffer(device, f32, {tokens, heads, c.dim}, random);
    return ops::HeadNormRopeArgs{.x = x,
                                 .weight = random_buffer(device, f32, {c.dim}, random),
                                 .out = x,
                                 .pairing = c.pairing,
                                 .eps = 1e-6f,
                                 .weight_offset = 1.0f};
  };
  ops::QkvRopeArgs args;
  args.k = rotation(kKvHeads);
  if (c.heads > 0) args.q = rotation(c.heads);
  if (c.rotary_dim > 0) {
    const auto inv_freq = ops::rope_frequencies(1e4, c.rotary_dim, c.dim);
    args.k.inv_freq = device.upload(inv_freq.data(), f32, {c.rotary_dim / 2});
    args.k.positions = testing::make_i32(device, positions);
    args.q.inv_freq = args.k.inv_freq;
    args.q.positions = args.k.positions;
  }
  Buffer v = random_buffer(device, f32, {tokens, kKvHeads, c.dim}, random);
  if (c.norm_v) args.v = {.x = c.k_is_v ? args.k.x : v, .out = v, .eps = 1e-6f};
  const Shape source = {c.batch, c.n, kKvHeads, c.dim};
  if (c.k_bits > 0) {
    args.k_encode = {.src = args.k.out.reshape(source),
                     .to = coded_rows(device, c, c.k_bits),
                     .pos = c.pos,
                     .ring = c.ring};
    // Page 4 does not exist.
    if (c.paged) {
      args.k_encode.block_table = testing::make_i32(device, {3, 1, 0, 4}).reshape({2, 2});
    }
    args.v_encode = args.k_encode;
    args.v_encode.src = v.reshape(source);
    args.v_encode.to = coded_rows(device, c, c.v_bits);
    return args;
  }
  const Shape cache = {c.batch, kKvHeads, c.capacity, c.dim};
  args.append = {.k = args.k.out.reshape(source),
                 .k_cache = device.alloc(c.cache_dtype, cache),
                 .v = v.reshape(source),
                 .v_cache = device.alloc(c.cache_dtype, cache),
                 .pos = c.pos,
                 .ring = c.ring};
  return args;
}

std::vector<std::vector<std::byte>> run(const Device& device, const ops::QkvRopeArgs& args,
                                        bool separately) {
  Stream stream(device);
  if (separately) {
    for (const auto* call : {&args.v, &args.k, &args.q}) {
      if (call->x) ops::head_norm_rope(stream, *call);
    }
    if (args.append.k) ops::kv_append(stream, args.append);
    for (const auto* call : {&args.k_encode, &args.v_encode}) {
      if (call->src) ops::tq_encode(stream, *call);
    }
  } else {
    ops::qkv_rope(stream, args);
  }
  stream.commit().wait();
  std::vector<std::vector<std::byte>> results;
  const ops::TqRows &k = args.k_encode.to, &v = args.v_encode.to;
  for (const Buffer* out : {&args.append.k_cache, &args.append.v_cache, &k.codes, &k.norms,
                            &v.codes, &v.norms, &args.q.out}) {
    results.push_back(*out ? bytes_of(*out) : std::vector<std::byte>());
  }
  return results;
}

TEST(QkvRopeTest, GivesTheBitsOfTheSeparateOps) {
  const Device device = test_device();
  std::vector<Case> cases;
  for (int64_t dim : {8, 72, 256, 512}) {
    for (int64_t rotary_dim : {int64_t{0}, dim / 4 / 2 * 2, dim}) {
      cases.push_back({.dim = dim, .rotary_dim = rotary_dim, .pos = 5});
      cases.push_back({.batch = 2, .n = 3, .dim = dim, .rotary_dim = rotary_dim, .pos = 4});
    }
  }
  for (DType dtype : {f32, f16, bf16}) {
    cases.push_back({.n = 2, .pos = 3, .k_is_v = true, .cache_dtype = dtype});
    cases.push_back({.n = 2, .norm_v = false, .cache_dtype = dtype});
    cases.push_back({.n = 5, .heads = 0, .pos = 30, .ring = true, .cache_dtype = dtype});
  }
  for (RopePairing pairing : {RopePairing::kSplitRotary, RopePairing::kInterleaved}) {
    cases.push_back({.n = 4, .dim = 72, .rotary_dim = 20, .pos = 3, .pairing = pairing});
  }
  // A ring that loses tokens, many heads, several heads of a simdgroup.
  cases.push_back({.n = 11, .pos = 17, .ring = true});
  cases.push_back({.heads = 40, .dim = 512, .rotary_dim = 128, .pos = 7});
  cases.push_back({.n = 400, .heads = 19, .capacity = 400, .k_is_v = true});
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    const int64_t dim = bits == 4 ? 256 : 96;
    cases.push_back({.batch = 2, .n = 3, .dim = dim, .pos = 5, .k_bits = bits, .v_bits = 4});
  }
  for (int64_t dim : {8, 64, 72, 128, 512}) {
    Case c{.batch = 2, .n = 2, .dim = dim, .rotary_dim = dim / 4 * 2, .pos = 5};
    c.k_bits = 4;
    c.v_bits = 8;
    c.k_is_v = dim > 64;
    cases.push_back(c);
    c.norm_v = c.k_is_v = false;
    c.ring = true;
    c.pos = 23;
    cases.push_back(c);
    c.paged = true;
    c.capacity = 32;
    cases.push_back(c);
  }
  cases.push_back({.n = 400, .heads = 40, .capacity = 400, .k_bits = 4, .v_bits = 4});
  for (const Case& c : cases) {
    EXPECT_EQ(run(device, make_args(device, c), false), run(device, make_args(device, c), true))
        << "batch " << c.batch << " n " << c.n << " dim " << c.dim << " rotary " << c.rotary_dim
        << " heads " << c.heads << " " << name(c.cache_dtype) << " bits " << c.k_bits;
  }
}

TEST(QkvRopeTest, IsOneKernelOnGpus) {
  const Device device = test_device();
  const bool is_cpu = device.kind() == DeviceKind::kCpu;
  for (const int bits : {0, 4}) {
    Case c{.batch = 2, .n = 2, .capacity = 32, .k_is_v = true, .k_bits = bits, .v_bits = 8};
    c.paged = bits > 0;
    Stream stream(device);
    ops::qkv_rope(stream, make_args(device, c));
    EXPECT_EQ(stream.counters().dispatches, !is_cpu ? 1u : bits == 0 ? 4u : 5u);
  }
}

TEST(QkvRopeTest, WhatNoKernelTakesAndPlacesOutsideTheCache) {
  const Device device = test_device();
  for (int i = 0; i < 7; ++i) {
    const auto make = [&] {
      const int bits = i < 3 ? 0 : 4;
      ops::QkvRopeArgs args = make_args(device, {.batch = 3, .k_bits = bits, .v_bits = bits});
      if (i == 3) args.v_encode.to = coded_rows(device, {.batch = 3, .capacity = 4}, 5);
      if (i == 4) args.v_encode.norm_correction = true;
      if (i == 5) args.v_encode.pos = 3;
      if (i == 6) args.k_encode.pos = args.v_encode.pos = testing::make_i32(device, {-1, 8, 2});
      if (i == 0) args.append.n = 0;
      if (i == 1) args.q.weight = device.alloc(bf16, {16});
      if (i == 2) args.append.pos = testing::make_i32(device, {-1, 8, 2});
      return args;
    };
    EXPECT_EQ(run(device, make(), false), run(device, make(), true)) << i;
  }
}

TEST(QkvRopeErrors, EachCallNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const auto expect = [&](const std::vector<std::string>& fragments, auto&& change) {
    ops::QkvRopeArgs bad = make_args(device, {.n = 2});
    change(bad);
    testing::expect_error(ErrorKind::kInvalidArgument, fragments,
                          [&] { ops::qkv_rope(stream, bad); });
  };
  expect({"qkv_rope: x:", "empty"}, [](auto& a) { a.k.x = {}; });
  expect({"inv_freq:", "9 frequencies"}, [&](auto& a) { a.q.inv_freq = device.alloc(f32, {9}); });
  expect({"pos:", "7", "0 to 6"}, [](auto& a) { a.append.pos = 7; });
  expect({"tq_encode: pos:", "7", "0 to 6"}, [&](auto& a) {
    a.k_encode = make_args(device, {.n = 2, .pos = 7, .k_bits = 4, .v_bits = 4}).k_encode;
  });
  EXPECT_EQ(stream.counters().dispatches, 0u);
}

}  // namespace
}  // namespace mlxn
