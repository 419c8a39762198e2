// SPDX-License-Identifier: Apache-2.0
#include "kernels/argmax/reference.h"
#include "kernels/common/test_kit.h"
#include "mlxn/ops/sampling.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;

class ArgmaxTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, ArgmaxTest,
                         ::testing::ValuesIn(testing::runnable(kernels::argmax_entries())));

void expect_exact(Stream& stream, const Buffer& x) {
  const Device& device = stream.device();
  const int64_t rows = x.dim(0), count = x.dim(1);
  const GuardedBuffer indices(device, u32, {rows}), values(device, f32, {rows});
  ops::argmax(stream, {.x = x, .indices = indices.view(), .values = values.view()});
  stream.commit().wait();
  const float* data = reinterpret_cast<const float*>(x.data());
  const auto expected = kernels::argmax_reference({data, nullptr, nullptr, rows, count});
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    EXPECT_EQ(indices.view().span<uint32_t>()[row], expected[row]) << "row of " << count;
    const float value = data[row * static_cast<size_t>(count) + expected[row]];
    const float found = values.view().span<float>()[row];
    EXPECT_TRUE(found == value || (std::isnan(found) && std::isnan(value)));
  }
  indices.check();
  values.check();
}

TEST_P(ArgmaxTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  for (int64_t count : {1, 2, 31, 32, 33, 63, 65, 127, 129, 257, 511, 4096, 4097, 8193, 262144}) {
    expect_exact(stream, testing::random_buffer(device, f32, {3, count}, random));
  }
}

TEST_P(ArgmaxTest, TiesGoToTheLowestIndex) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(2);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<float> values(10000);
    for (float& value : values) value = static_cast<float>(random.integer(0, 3));
    values[static_cast<size_t>(random.integer(0, 9999))] = 4.0f;
    values[static_cast<size_t>(random.integer(0, 9999))] = 4.0f;
    expect_exact(stream, testing::make_buffer(device, f32, {1, 10000}, values));
  }
}

TEST_P(ArgmaxTest, NanAndInfinity) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  const float inf = INFINITY;
  for (int64_t count : {3, 200, 9000}) {
    const size_t n = static_cast<size_t>(count);
    std::vector<std::vector<float>> rows(7, std::vector<float>(n, NAN));
    rows[1][n - 1] = -inf;                            // the only number
    rows[2].assign(n, -inf);                          // index 0
    rows[3].assign(n, 1.0f), rows[3][0] = NAN;        // NaN first
    rows[4].assign(n, 1.0f), rows[4][n - 1] = NAN;    // NaN last
    rows[5].assign(n, inf), rows[5][0] = NAN;         // first infinity
    rows[6].assign(n, -0.0f), rows[6][n - 1] = 0.0f;  // zeros are equal
    std::vector<float> flat;
    for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
    expect_exact(stream, testing::make_buffer(device, f32, {7, count}, flat));
  }
}

TEST_P(ArgmaxTest, ThreadsAndOffsetsDoNotMatter) {
  Random random(3);
  const auto values = random.normals(50 * 777);
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    expect_exact(stream, testing::make_buffer(device, f32, {50, 777}, values).rows(3, 40));
  }
}

TEST_P(ArgmaxTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(4);
  const ops::ArgmaxArgs args{.x = testing::random_buffer(device, f32, {20, 777}, random),
                             .indices = device.alloc(u32, {20}),
                             .values = device.alloc(f32, {20})};
  testing::expect_repeatable(device, [&](Stream& stream) { ops::argmax(stream, args); },
                             {args.indices, args.values});
}

TEST(ArgmaxErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const ops::ArgmaxArgs good{.x = device.alloc(f32, {4, 8}),
                             .indices = device.alloc(u32, {4}),
                             .values = device.alloc(f32, {4})};
  const auto expect = [&](const std::vector<std::string>& fragments, auto&& change) {
    ops::ArgmaxArgs bad = good;
    change(bad);
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::argmax(stream, bad); });
  };
  expect({"argmax: x:", "empty"}, [](auto& a) { a.x = {}; });
  expect({"x:", "f16"}, [&](auto& a) { a.x = device.alloc(f16, {4, 8}); });
  expect({"indices:", "[3]"}, [&](auto& a) { a.indices = device.alloc(u32, {3}); });
  expect({"indices:", "i32"}, [&](auto& a) { a.indices = device.alloc(i32, {4}); });
  expect({"values:", "[5]"}, [&](auto& a) { a.values = device.alloc(f32, {5}); });
  expect({"values:", "overlap"}, [](auto& a) { a.values = a.x.slice(0, 4); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::argmax(stream, good);
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 1u);
  EXPECT_EQ(stream.counters().barriers, 0u);
}

}  // namespace
}  // namespace mlxn
