// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/test_kit.h"
#include "kernels/skeleton/reference.h"
#include "mlxn/ops/axpy.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

// Every test runs once per entry of the table that this machine can execute.
class AxpyTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, AxpyTest,
                         ::testing::ValuesIn(testing::runnable(kernels::axpy_entries())));

kernels::AxpyParams params_of(const ops::AxpyArgs& args) {
  return {args.x.data(), args.y.data(), nullptr, args.x.element_count(), args.a, args.x.dtype()};
}

TEST_P(AxpyTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  for (DType dtype : {f32, f16, bf16}) {
    for (int64_t count : {1, 2, 31, 32, 33, 255, 257, 4096, 16385, 40000}) {
      const GuardedBuffer out(device, dtype, {count});
      const ops::AxpyArgs args{.x = random_buffer(device, dtype, {count}, random),
                               .y = random_buffer(device, dtype, {count}, random),
                               .out = out.view(),
                               .a = 0.7f};
      ops::axpy(stream, args);
      stream.commit().wait();
      const auto reference = kernels::axpy_reference(params_of(args));
      // Two roundings in f32, and the store.
      testing::expect_close(
          testing::to_floats(out.view()), reference,
          [&](size_t i) {
            return 0x1p-23 * (5.0 + std::abs(reference[i])) +
                   testing::store_tolerance(dtype, reference[i]);
          },
          std::string(name(dtype)) + " count " + std::to_string(count));
      out.check();
    }
  }
}

TEST_P(AxpyTest, InPlaceAndOffsetViews) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(2);
  const Buffer x = random_buffer(device, f32, {3, 37}, random).rows(1, 1);
  const Buffer y = random_buffer(device, f32, {3, 37}, random).rows(2, 1);
  const Buffer out = device.alloc(f32, {37});
  ops::axpy(stream, {.x = x, .y = y, .out = out, .a = -2.0f});
  ops::axpy(stream, {.x = x, .y = y, .out = y, .a = -2.0f});
  stream.commit().wait();
  EXPECT_EQ(testing::bytes_of(y), testing::bytes_of(out));
}

TEST_P(AxpyTest, ThreadsDoNotChangeBits) {
  Random random(3);
  const int64_t count = 50001;
  const auto x = random.normals(count), y = random.normals(count);
  std::vector<std::byte> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    const Buffer out = device.alloc(f32, {count});
    ops::axpy(stream, {.x = testing::make_buffer(device, f32, {count}, x),
                       .y = testing::make_buffer(device, f32, {count}, y),
                       .out = out,
                       .a = 0.1f});
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(out);
    EXPECT_EQ(testing::bytes_of(out), expected) << threads << " threads";
  }
}

TEST_P(AxpyTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(4);
  const Buffer x = random_buffer(device, bf16, {20001}, random);
  const Buffer y = random_buffer(device, bf16, {20001}, random);
  const Buffer out = device.alloc(bf16, {20001});
  testing::expect_repeatable(
      device, [&](Stream& stream) { ops::axpy(stream, {.x = x, .y = y, .out = out, .a = 0.3f}); },
      {out});
}

TEST_P(AxpyTest, SpecialValues) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  const Buffer x = testing::make_buffer(device, f32, {4}, std::vector<float>{NAN, INFINITY, 0, 1});
  const Buffer y = testing::make_buffer(device, f32, {4}, std::vector<float>{1, 1, NAN, -1});
  const Buffer out = device.alloc(f32, {4});
  ops::axpy(stream, {.x = x, .y = y, .out = out, .a = 1.0f});
  stream.commit().wait();
  const auto found = out.span<float>();
  EXPECT_TRUE(std::isnan(found[0]));
  EXPECT_EQ(found[1], INFINITY);
  EXPECT_TRUE(std::isnan(found[2]));
  EXPECT_EQ(found[3], 0.0f);
}

TEST(AxpyErrors, EachRuleNamesItsParameter) {
  const Device device = test_device(), other = test_device();
  Stream stream(device);
  const Buffer x = device.alloc(f32, {8}), y = device.alloc(f32, {8}), out = device.alloc(f32, {8});
  const auto expect = [&](const std::vector<std::string>& fragments, ops::AxpyArgs args) {
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::axpy(stream, args); });
  };
  expect({"axpy", "x"}, {.x = {}, .y = y, .out = out});
  expect({"y", "empty"}, {.x = x, .y = {}, .out = out});
  expect({"out", "empty"}, {.x = x, .y = y, .out = {}});
  expect({"y", "[7]", "[8]"}, {.x = x, .y = device.alloc(f32, {7}), .out = out});
  expect({"out", "f16", "f32"}, {.x = x, .y = y, .out = device.alloc(f16, {8})});
  expect({"x", "i32"}, {.x = device.alloc(i32, {8}), .y = y, .out = out});
  expect({"x", "device"}, {.x = other.alloc(f32, {8}), .y = y, .out = out});
  expect({": a:", "nan"}, {.x = x, .y = y, .out = out, .a = NAN});
  const Buffer wide = device.alloc(f32, {12});
  expect({"out", "overlap"}, {.x = wide.slice(0, 8), .y = y, .out = wide.slice(16, 8)});
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::axpy(stream, {.x = x, .y = y, .out = out});
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
