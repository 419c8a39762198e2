// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/test_kit.h"
#include "kernels/rms_norm/reference.h"
#include "mlxn/ops/rms_norm.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

constexpr float kEps = 1e-6f;

// ops.md D1: relative 2e-6 * (1 + dim / 4096), plus the rounding of the store; a sum that is added
// adds its own rounding.
double tolerance(DType dtype, double reference, double extra, int64_t dim) {
  const double relative = 2e-6 * (1.0 + static_cast<double>(dim) / 4096.0);
  return relative * (std::abs(reference) + extra) + testing::store_tolerance(dtype, reference) +
         1e-30;
}

// rms_norm of x without weight; tests fill in the rest.
kernels::RmsNormParams params_of(const Buffer& x, DType dtype) {
  return {.x = x.data(),
          .add_before = nullptr,
          .add_after = nullptr,
          .factor = nullptr,
          .weight = nullptr,
          .sum = nullptr,
          .out = nullptr,
          .rows = x.element_count() / x.shape().back(),
          .dim = x.shape().back(),
          .dtype = dtype,
          .weight_dtype = f32,
          .eps = kEps,
          .weight_offset = 0.0f,
          .scale = 1.0f};
}

class RmsNormTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, RmsNormTest,
                         ::testing::ValuesIn(testing::runnable(kernels::rms_norm_entries())));

TEST_P(RmsNormTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  for (DType dtype : {f32, f16, bf16}) {
    for (DType weight_dtype : {f32, f16, bf16}) {
      for (int64_t dim : {1, 2, 31, 32, 33, 63, 65, 127, 129, 255, 257, 511, 513, 4096, 8193}) {
        const bool many = dim == 33 && weight_dtype == f32;
        const int64_t rows = dim > 1000 ? 2 : many ? 2100 : 7;
        const Buffer x = random_buffer(device, dtype, {rows, dim}, random);
        const Buffer w = random_buffer(device, weight_dtype, {dim}, random);
        const GuardedBuffer out(device, dtype, {rows, dim});
        ops::rms_norm(stream,
                      {.x = x, .weight = w, .out = out.view(), .eps = kEps, .weight_offset = 1.0f});
        stream.commit().wait();
        kernels::RmsNormParams p = params_of(x, dtype);
        p.weight = w.data();
        p.weight_dtype = weight_dtype;
        p.weight_offset = 1.0f;
        const auto reference = kernels::rms_norm_reference(p);
        testing::expect_close(
            testing::to_floats(out.view()), reference.out,
            [&](size_t i) { return tolerance(dtype, reference.out[i], 0.0, dim); },
            "dim " + std::to_string(dim));
        out.check();
      }
    }
  }
}

TEST_P(RmsNormTest, FusedFormsMatchOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(2);
  for (DType dtype : {f32, f16, bf16}) {
    for (int64_t dim : {1, 33, 256, 513}) {
      const int64_t rows = 5;
      const Buffer x = random_buffer(device, dtype, {rows, dim}, random);
      const Buffer residual = random_buffer(device, dtype, {rows, dim}, random);
      const Buffer w = random_buffer(device, f32, {dim}, random);
      const GuardedBuffer sum(device, dtype, {rows, dim}), out(device, dtype, {rows, dim});
      ops::add_rms_norm(stream, {.residual = residual,
                                 .x = x,
                                 .weight = w,
                                 .sum = sum.view(),
                                 .out = out.view(),
                                 .eps = kEps});
      const GuardedBuffer after(device, dtype, {rows, dim});
      ops::rms_norm_add(
          stream, {.residual = residual, .x = x, .out = after.view(), .eps = kEps, .scale = 0.25f});
      const GuardedBuffer times(device, dtype, {rows, dim});
      ops::rms_norm_mul(
          stream, {.x = x, .weight = w, .factor = residual, .out = times.view(), .eps = kEps});
      stream.commit().wait();
      kernels::RmsNormParams before = params_of(x, dtype), after_it = before, multiplied = before;
      before.add_before = residual.data();
      before.weight = multiplied.weight = w.data();
      after_it.add_after = residual.data();
      after_it.scale = 0.25f;
      multiplied.factor = residual.data();
      const auto before_ref = kernels::rms_norm_reference(before);
      const auto after_ref = kernels::rms_norm_reference(after_it);
      const auto times_ref = kernels::rms_norm_reference(multiplied);
      const std::string what = std::string(name(dtype)) + " dim " + std::to_string(dim);
      testing::expect_close(
          testing::to_floats(sum.view()), before_ref.sum,
          [&](size_t i) { return tolerance(dtype, before_ref.sum[i], 0.0, 1); }, "sum " + what);
      testing::expect_close(
          testing::to_floats(out.view()), before_ref.out,
          [&](size_t i) { return tolerance(dtype, before_ref.out[i], 4.0, dim); }, "out " + what);
      testing::expect_close(
          testing::to_floats(after.view()), after_ref.out,
          [&](size_t i) { return tolerance(dtype, after_ref.out[i], 4.0, dim); }, "add " + what);
      testing::expect_close(
          testing::to_floats(times.view()), times_ref.out,
          [&](size_t i) { return tolerance(dtype, times_ref.out[i], 0.0, dim); }, "mul " + what);
      sum.check();
      out.check();
      after.check();
      times.check();
    }
  }
}

TEST_P(RmsNormTest, InPlaceGivesTheSameBits) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(3);
  const Buffer x = random_buffer(device, f32, {9, 257}, random);
  const Buffer out = device.alloc(f32, {9, 257});
  ops::rms_norm(stream, {.x = x, .out = out, .eps = kEps});
  ops::rms_norm(stream, {.x = x, .out = x, .eps = kEps});
  stream.commit().wait();
  EXPECT_EQ(testing::bytes_of(x), testing::bytes_of(out));
}

TEST_P(RmsNormTest, ThreadsAndRowsDoNotChangeBits) {
  Random random(4);
  const int64_t rows = 300, dim = 129;
  const auto values = random.normals(rows * dim);
  std::vector<std::byte> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    const Buffer x = testing::make_buffer(device, f32, {rows, dim}, values);
    const Buffer out = device.alloc(f32, {rows, dim}), one = device.alloc(f32, {1, dim});
    ops::rms_norm(stream, {.x = x, .out = out, .eps = kEps});
    ops::rms_norm(stream, {.x = x.rows(rows - 1, 1), .out = one, .eps = kEps});
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(out);
    EXPECT_EQ(testing::bytes_of(out), expected) << threads << " threads";
    EXPECT_EQ(testing::bytes_of(out.rows(rows - 1, 1)), testing::bytes_of(one));
  }
}

TEST_P(RmsNormTest, SpecialValues) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  const std::vector<float> values = {0, 0, 0, 0, NAN, 1, 2, 3};
  const Buffer x = testing::make_buffer(device, f32, {2, 4}, values);
  const Buffer out = device.alloc(f32, {2, 4});
  ops::rms_norm(stream, {.x = x, .out = out, .eps = kEps});
  stream.commit().wait();
  const auto found = out.span<float>();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(found[i], 0.0f);
  for (int i = 4; i < 8; ++i) EXPECT_TRUE(std::isnan(found[i]));
}

TEST_P(RmsNormTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(5);
  const Shape shape = {60, 257};
  const Buffer x = random_buffer(device, f32, shape, random);
  const Buffer residual = random_buffer(device, f32, shape, random);
  const Buffer weight = random_buffer(device, bf16, {257}, random);
  const Buffer out = device.alloc(f32, shape), sum = device.alloc(f32, shape);
  const Buffer before = device.alloc(f32, shape), after = device.alloc(f32, shape);
  testing::expect_repeatable(
      device,
      [&](Stream& stream) {
        ops::rms_norm(stream, {.x = x, .weight = weight, .out = out, .eps = kEps});
        ops::add_rms_norm(stream, {.residual = residual,
                                   .x = x,
                                   .weight = weight,
                                   .sum = sum,
                                   .out = before,
                                   .eps = kEps});
        ops::rms_norm_add(
            stream, {.residual = residual, .x = x, .weight = weight, .out = after, .eps = kEps});
      },
      {out, sum, before, after});
}

TEST(RmsNormErrors, EachRuleNamesItsParameter) {
  const Device device = test_device(), other = test_device();
  Stream stream(device);
  const Buffer x = device.alloc(f32, {4, 8}), out = device.alloc(f32, {4, 8});
  const auto expect = [&](const std::vector<std::string>& fragments, ops::RmsNormArgs args) {
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::rms_norm(stream, args); });
  };
  expect({"rms_norm", "x"}, {.x = {}, .out = out});
  expect({"out"}, {.x = x, .out = {}});
  expect({"out", "bf16"}, {.x = x, .out = device.alloc(bf16, {4, 8})});
  expect({"out", "[3, 8]"}, {.x = x, .out = device.alloc(f32, {3, 8})});
  expect({"x", "i32"}, {.x = device.alloc(i32, {4, 8}), .out = out});
  expect({"weight", "7", "8"}, {.x = x, .weight = device.alloc(f32, {7}), .out = out});
  expect({"eps"}, {.x = x, .out = out, .eps = -1.0f});
  expect({"eps"}, {.x = x, .out = out, .eps = NAN});
  expect({"x", "device"}, {.x = other.alloc(f32, {4, 8}), .out = out});
  expect_error(ErrorKind::kInvalidArgument, {"rms_norm_mul", "factor", "[2, 8]"}, [&] {
    ops::rms_norm_mul(stream, {.x = x, .factor = device.alloc(f32, {2, 8}), .out = out});
  });
  const Buffer wide = device.alloc(f32, {6, 8});
  expect({"out", "overlap"}, {.x = wide.rows(0, 4), .out = wide.rows(1, 4)});
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::rms_norm(stream, {.x = x, .out = out, .eps = kEps});
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 1u);
}

}  // namespace
}  // namespace mlxn
