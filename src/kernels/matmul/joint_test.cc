// SPDX-License-Identifier: Apache-2.0
// joint_matmul against the ops that it stands for, bit for bit; those have oracles.
#include "kernels/matmul/test_cases.h"
#include "ops/fused.h"

namespace mlxn {
namespace {

using ops::Activation;
using testing::bytes_of;
using testing::expect_error;
using testing::Random;
using testing::random_buffer;
using testing::random_weight;
using testing::test_device;
using testing::unless_short;
using testing::WeightKind;

std::vector<WeightKind> kinds() {
  std::vector<WeightKind> all = testing::coded_kinds();
  all.push_back({Format::kBF16});
  return unless_short(all, {{Format::kAffine, 4, 64, bf16}, {Format::kQ8_0}});
}

// What a call is made of. Rows of x: 1 and more, up to 16 and up to 64, are kernels of their own.
struct Case {
  WeightKind kind;
  int64_t rows = 1;
  std::vector<int64_t> ns = {48, 21, 70};  // rows of the weights
  bool gated = false;                      // ns: gate and up, or both in one
  int64_t experts = 0;                     // 0: none
  bool prepared = true;
  DType x_dtype = f32;
  Activation activation = Activation::kGeluTanh;
};

ops::JointMatmulArgs make_args(const Device& device, const Case& c) {
  constexpr int64_t kTopK = 2;
  Random random(static_cast<uint32_t>(c.rows));
  const int64_t k = std::max<int64_t>(32, c.kind.block()) * 9;
  const Buffer x = random_buffer(device, c.x_dtype, {c.rows, k}, random);
  std::vector<uint32_t> ids;
  for (int64_t i = 0; i < c.rows * kTopK; ++i) {
    ids.push_back(static_cast<uint32_t>(random.integer(0, c.experts)));  // the last one is none
  }
  const Buffer id_rows = device.upload(ids.data(), u32, {c.rows, kTopK});
  ops::JointMatmulArgs args;
  std::vector<Buffer> outs;
  for (int64_t n : c.ns) {
    Shape shape = {n, k};
    if (c.experts > 0) shape.insert(shape.begin(), c.experts);
    Weight weight = random_weight(device, c.kind, shape, random);
    if (c.prepared) weight = prepare(device, weight);
    outs.push_back(device.alloc(f32, c.experts > 0 ? Shape{c.rows, kTopK, n} : Shape{c.rows, n}));
    if (c.experts > 0) {
      args.expert_parts.push_back({.x = x, .weight = weight, .ids = id_rows, .out = outs.back()});
    } else {
      args.parts.push_back({.x = x, .weight = weight, .out = outs.back()});
    }
  }
  if (c.gated) {
    Shape shape = outs[0].shape();
    if (outs.size() == 1) shape.back() /= 2;
    args.glu = {.gate = outs[0], .out = device.alloc(f32, shape), .activation = c.activation};
    if (outs.size() == 2) args.glu.up = outs[1];
  }
  return args;
}

std::vector<std::vector<std::byte>> run(const Device& device, const ops::JointMatmulArgs& args,
                                        bool separately) {
  Stream stream(device);
  if (separately) {
    for (const auto& part : args.parts) ops::matmul(stream, part);
    for (const auto& part : args.expert_parts) ops::expert_matmul(stream, part);
    if (args.glu.out) ops::glu(stream, args.glu);
  } else {
    ops::joint_matmul(stream, args);
  }
  stream.commit().wait();
  if (args.glu.out) return {bytes_of(args.glu.out)};
  std::vector<std::vector<std::byte>> outs;
  for (const auto& part : args.parts) outs.push_back(bytes_of(part.out));
  return outs;
}

void expect_same(const Device& device, const Case& c) {
  EXPECT_EQ(run(device, make_args(device, c), false), run(device, make_args(device, c), true))
      << c.kind.name() << " rows " << c.rows << " n " << c.ns[0] << " experts " << c.experts;
}

TEST(JointMatmulTest, GivesTheBitsOfTheSeparateOps) {
  const Device device = test_device();
  bool turn = false;
  for (const WeightKind& kind : kinds()) {
    for (int64_t rows : unless_short<int64_t>({1, 3, 20, 70}, {1, 3})) {
      turn = !turn;
      expect_same(device, {.kind = kind, .rows = rows, .prepared = turn});
      expect_same(device, {.kind = kind, .rows = rows, .ns = {16, 33}, .x_dtype = bf16});
      for (const Activation activation : {Activation::kGeluTanh, Activation::kSilu}) {
        Case c{.kind = kind, .rows = rows, .ns = {21, 21}, .gated = true, .prepared = turn};
        c.activation = activation;
        expect_same(device, c);
        c.ns = {64};
        expect_same(device, c);
      }
    }
  }
}

TEST(JointMatmulTest, GateAndUpOfExperts) {
  const Device device = test_device();
  for (const WeightKind& kind : kinds()) {
    for (int64_t rows : unless_short<int64_t>({1, 5, 70}, {1, 5})) {  // 70 are sorted
      Case c{.kind = kind, .rows = rows, .ns = {32, 32}, .gated = true, .experts = 3};
      c.prepared = rows != 5;
      expect_same(device, c);
      c.ns = {64};
      expect_same(device, c);
    }
  }
}

TEST(JointMatmulTest, ManyPanels) {
  const Device device = test_device();
  const WeightKind kind{Format::kAffine, 4, 64, bf16};
  for (int64_t n : unless_short<int64_t>({700, 2112, 6000}, {100})) {
    expect_same(device, {.kind = kind, .ns = {n, 30, n}});
    expect_same(device, {.kind = kind, .ns = {n, n}, .gated = true});
    expect_same(device, {.kind = kind, .ns = {n, n}, .gated = true, .experts = 3});
  }
}

TEST(JointMatmulTest, IsOneKernelOnCuda) {
  const Device device = test_device();
  Stream stream(device);
  const WeightKind kind{Format::kAffine, 4, 64, bf16};
  ops::joint_matmul(stream, make_args(device, {.kind = kind, .ns = {32, 32}, .gated = true}));
  EXPECT_EQ(stream.counters().dispatches == 1u, device.kind() == DeviceKind::kCuda);
}

TEST(JointMatmulTest, WhatNoKernelTakesRunsToo) {
  const Device device = test_device();
  const WeightKind kind{Format::kQ8_0};
  for (Activation activation : {Activation::kGeluErf, Activation::kSigmoid}) {
    Case c{.kind = kind, .rows = 3, .ns = {20, 20}, .gated = true};
    c.activation = activation;
    expect_same(device, c);
  }
  const auto mixed = [&] {  // formats that differ
    Random random(3);
    ops::JointMatmulArgs args = make_args(device, {.kind = kind});
    args.parts[1].weight = random_weight(device, {Format::kF16}, {21, 32 * 9}, random);
    return args;
  };
  EXPECT_EQ(run(device, mixed(), false), run(device, mixed(), true));
  const auto folded = [&] {  // the same x in rows of another length
    Random random(4);
    ops::JointMatmulArgs args = make_args(device, {.kind = kind, .rows = 3});
    args.parts[1].x = args.parts[1].x.reshape({9, 32 * 3});
    args.parts[1].weight = prepare(device, random_weight(device, kind, {21, 32 * 3}, random));
    args.parts[1].out = device.alloc(f32, {9, 21});
    return args;
  };
  EXPECT_EQ(run(device, folded(), false), run(device, folded(), true));
}

TEST(JointMatmulErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const auto expect = [&](const std::vector<std::string>& fragments, auto&& change) {
    ops::JointMatmulArgs bad = make_args(device, {.kind = {Format::kQ8_0}, .ns = {16, 16}});
    change(bad);
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::joint_matmul(stream, bad); });
  };
  expect({"joint_matmul: parts:", "0 and 0"}, [](auto& a) { a.parts.clear(); });
  expect({"parts:", "4 and 0"}, [](auto& a) { a.parts.resize(4); });
  expect({"joint_matmul: x:", "empty"}, [](auto& a) { a.parts[0].x = {}; });
  expect({"parts.out:", "overlap", "out of another"},
         [](auto& a) { a.parts[1].out = a.parts[0].out; });
  EXPECT_EQ(stream.counters().dispatches, 0u);
}

}  // namespace
}  // namespace mlxn
