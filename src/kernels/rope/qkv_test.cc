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
};
constexpr int64_t kKvHeads = 2;

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
    ops::kv_append(stream, args.append);
  } else {
    ops::qkv_rope(stream, args);
  }
  stream.commit().wait();
  return {bytes_of(args.append.k_cache), bytes_of(args.append.v_cache),
          args.q.x ? bytes_of(args.q.out) : std::vector<std::byte>()};
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
  for (const Case& c : cases) {
    EXPECT_EQ(run(device, make_args(device, c), false), run(device, make_args(device, c), true))
        << "batch " << c.batch << " n " << c.n << " dim " << c.dim << " rotary " << c.rotary_dim
        << " heads " << c.heads << " " << name(c.cache_dtype);
  }
}

TEST(QkvRopeTest, IsOneKernelOnGpus) {
  const Device device = test_device();
  Stream stream(device);
  ops::qkv_rope(stream, make_args(device, {.n = 2, .k_is_v = true}));
  EXPECT_EQ(stream.counters().dispatches, device.kind() == DeviceKind::kCpu ? 4u : 1u);
}

TEST(QkvRopeTest, WhatNoKernelTakesAndPlacesOutsideTheCache) {
  const Device device = test_device();
  for (int i = 0; i < 3; ++i) {
    const auto make = [&] {
      ops::QkvRopeArgs args = make_args(device, {.batch = 3});
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
  EXPECT_EQ(stream.counters().dispatches, 0u);
}

}  // namespace
}  // namespace mlxn
