// SPDX-License-Identifier: Apache-2.0
// residual_norms against the ops that it stands for, bit for bit; those have oracles.
#include "kernels/common/test_kit.h"
#include "ops/fused.h"

namespace mlxn {
namespace {

using testing::bytes_of;
using testing::random_buffer;
using testing::test_device;

// A call with `normed` copies; with top_k > 0 experts beside x, in place as a decoder calls it.
ops::ResidualNormsArgs make_args(const Device& device, int64_t rows, int64_t dim, int64_t top_k,
                                 size_t normed) {
  testing::Random random(1);
  const auto alloc = [&] { return device.alloc(f32, {rows, dim}); };
  const auto filled = [&](const Shape& shape) { return random_buffer(device, f32, shape, random); };
  const Buffer x = filled({rows, dim}), residual = filled({rows, dim});
  ops::ResidualNormsArgs args{.join = {.residual = residual,
                                       .x = x,
                                       .weight = filled({dim}),
                                       .out = residual,
                                       .eps = 1e-6f,
                                       .weight_offset = 1.0f,
                                       .scale = 0.75f},
                              .normed = {}};
  if (top_k > 0) {
    const Buffer mixed = alloc();
    args.combine = {
        .y = filled({rows, top_k, dim}), .weights = filled({rows, top_k}), .out = mixed};
    args.x_norm = {.x = x, .out = x, .eps = 1e-6f};
    args.experts_norm = {
        .residual = x, .x = mixed, .weight = filled({dim}), .out = x, .eps = 1e-6f};
  }
  for (size_t i = 0; i < normed; ++i) {
    args.normed.push_back({.x = residual,
                           .weight = i == 1 ? Buffer() : filled({dim}),
                           .out = alloc(),
                           .eps = 1e-6f,
                           .weight_offset = static_cast<float>(i)});
  }
  return args;
}

std::vector<std::vector<std::byte>> run(const Device& device, const ops::ResidualNormsArgs& args,
                                        bool separately) {
  Stream stream(device);
  if (!separately) {
    ops::residual_norms(stream, args);
  } else {
    if (args.combine.y) {
      ops::moe_combine(stream, args.combine);
      ops::rms_norm(stream, args.x_norm);
      ops::rms_norm_add(stream, args.experts_norm);
    }
    ops::rms_norm_add(stream, args.join);
    for (const ops::RmsNormArgs& normed : args.normed) ops::rms_norm(stream, normed);
  }
  stream.commit().wait();
  std::vector<std::vector<std::byte>> outputs = {bytes_of(args.join.out)};
  for (const ops::RmsNormArgs& normed : args.normed) outputs.push_back(bytes_of(normed.out));
  return outputs;
}

TEST(ResidualNormsTest, GivesTheBitsOfTheSeparateOps) {
  const Device device = test_device();
  for (int64_t dim : {1, 3, 33, 130, 1030, 2816, 8192, 8201}) {
    for (int64_t top_k : {0, 1, 3, 8}) {
      for (size_t normed : {0, 1, 3}) {
        const auto make = [&] { return make_args(device, dim > 1000 ? 1 : 3, dim, top_k, normed); };
        EXPECT_EQ(run(device, make(), false), run(device, make(), true))
            << "dim " << dim << " experts " << top_k << " normed " << normed;
      }
    }
  }
}

TEST(ResidualNormsTest, IsOneKernelOnGpus) {
  const Device device = test_device();
  Stream stream(device);
  ops::residual_norms(stream, make_args(device, 2, 8192, 8, 3));
  EXPECT_EQ(stream.counters().dispatches, device.kind() == DeviceKind::kCpu ? 7u : 1u);
}

TEST(ResidualNormsTest, WhatNoKernelTakesRunsToo) {
  const Device device = test_device();
  for (const bool linked : {false, true}) {
    const auto make = [&] {
      ops::ResidualNormsArgs args = make_args(device, 2, 64, 0, 2);
      if (linked) args.join.weight = device.alloc(bf16, {64});
      if (!linked) args.normed[1].x = args.join.x;
      return args;
    };
    EXPECT_EQ(run(device, make(), false), run(device, make(), true));
  }
}

TEST(ResidualNormsErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const auto expect = [&](const std::vector<std::string>& fragments, auto&& change) {
    ops::ResidualNormsArgs bad = make_args(device, 4, 8, 2, 3);
    change(bad);
    testing::expect_error(ErrorKind::kInvalidArgument, fragments,
                          [&] { ops::residual_norms(stream, bad); });
  };
  expect({"residual_norms: x:", "empty"}, [](auto& a) { a.join.x = {}; });
  expect({"weights:", "7"}, [&](auto& a) { a.combine.weights = device.alloc(f32, {7}); });
  expect({"normed:", "4", "at most 3"}, [](auto& a) { a.normed.push_back(a.normed[0]); });
  expect({"join.out:", "overlap"}, [](auto& a) { a.join.out = a.combine.y.slice(0, 32); });
  expect({"normed.out:", "overlap"}, [](auto& a) { a.normed[2].out = a.normed[0].out; });
  EXPECT_EQ(stream.counters().dispatches, 0u);
}

}  // namespace
}  // namespace mlxn
