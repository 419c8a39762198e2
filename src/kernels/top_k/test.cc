// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/test_kit.h"
#include "kernels/top_k/reference.h"
#include "mlxn/ops/sampling.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;

class TopKTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, TopKTest,
                         ::testing::ValuesIn(testing::runnable(kernels::top_k_entries())));

void expect_exact(Stream& stream, const Buffer& x, int64_t k) {
  const Device& device = stream.device();
  if (device.kind() != DeviceKind::kCpu && k > 1024) {  // GPU entries say that they do not serve it
    const Buffer indices = device.alloc(u32, {x.dim(0), k}),
                 values = device.alloc(f32, {x.dim(0), k});
    return expect_error(ErrorKind::kKernelNotFound, {"top_k", "k up to 1024"}, [&] {
      ops::top_k(stream, {.x = x, .indices = indices, .values = values});
    });
  }
  const int64_t rows = x.dim(0), count = x.dim(1);
  const GuardedBuffer indices(device, u32, {rows, k}), values(device, f32, {rows, k});
  ops::top_k(stream, {.x = x, .indices = indices.view(), .values = values.view()});
  stream.commit().wait();
  const float* data = reinterpret_cast<const float*>(x.data());
  const auto expected = kernels::top_k_reference({data, nullptr, nullptr, rows, count, k});
  const auto found = indices.view().span<uint32_t>();
  ASSERT_EQ(std::vector<uint32_t>(found.begin(), found.end()), expected)
      << "k " << k << " of " << count;
  for (size_t i = 0; i < expected.size(); ++i) {
    const float value = data[i / static_cast<size_t>(k) * static_cast<size_t>(count) + expected[i]];
    const float found_value = values.view().span<float>()[i];
    ASSERT_TRUE(found_value == value || (std::isnan(found_value) && std::isnan(value)));
  }
  indices.check();
  values.check();
}

TEST_P(TopKTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  for (int64_t count : {1, 2, 33, 127, 257, 2000, 5003, 40000}) {
    const Buffer x = testing::random_buffer(device, f32, {3, count}, random);
    for (int64_t k : {int64_t{1}, int64_t{2}, int64_t{40}, int64_t{128}, int64_t{1500}, count}) {
      if (k <= count) expect_exact(stream, x, k);
    }
  }
}

TEST_P(TopKTest, SortedRowsAndTies) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(2);
  const size_t n = 6000;
  std::vector<float> rising(n), falling(n), few(n), equal(n, 1.0f);
  for (size_t i = 0; i < n; ++i) {
    rising[i] = static_cast<float>(i);
    falling[i] = -static_cast<float>(i);
    few[i] = static_cast<float>(random.integer(0, 5));
  }
  for (const auto& values : {rising, falling, few, equal}) {
    const Buffer x = testing::make_buffer(device, f32, {1, 6000}, values);
    for (int64_t k : {1, 7, 64, 2500, 6000}) expect_exact(stream, x, k);
  }
}

TEST_P(TopKTest, NanLastAndInfinityWithItsTrueIndex) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  std::vector<float> values(3000, -INFINITY);
  for (size_t i = 0; i < 2900; ++i) values[i] = NAN;
  values[2950] = 1.0f;
  values[2960] = INFINITY;
  const Buffer x = testing::make_buffer(device, f32, {1, 3000}, values);
  for (int64_t k : {1, 2, 3, 102, 103, 3000}) expect_exact(stream, x, k);
  const Buffer nans = testing::make_buffer(device, f32, {1, 3000}, std::vector<float>(3000, NAN));
  for (int64_t k : {1, 5, 3000}) expect_exact(stream, nans, k);
}

TEST_P(TopKTest, ThreadsAndOffsetsDoNotMatter) {
  Random random(3);
  const auto values = random.normals(20 * 1777);
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    expect_exact(stream, testing::make_buffer(device, f32, {20, 1777}, values).rows(3, 15), 50);
  }
}

TEST_P(TopKTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(4);
  const ops::TopKArgs args{.x = testing::random_buffer(device, f32, {9, 1777}, random),
                           .indices = device.alloc(u32, {9, 40}),
                           .values = device.alloc(f32, {9, 40})};
  testing::expect_repeatable(device, [&](Stream& stream) { ops::top_k(stream, args); },
                             {args.indices, args.values});
}

TEST(TopKErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const ops::TopKArgs good{.x = device.alloc(f32, {4, 8}),
                           .indices = device.alloc(u32, {4, 3}),
                           .values = device.alloc(f32, {4, 3})};
  const auto expect = [&](const std::vector<std::string>& fragments, auto&& change) {
    ops::TopKArgs bad = good;
    change(bad);
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::top_k(stream, bad); });
  };
  expect({"top_k: x:", "empty"}, [](auto& a) { a.x = {}; });
  expect({"indices:", "[3, 3]"}, [&](auto& a) { a.indices = device.alloc(u32, {3, 3}); });
  expect({"indices: k:", "9", "8"}, [&](auto& a) { a.indices = device.alloc(u32, {4, 9}); });
  expect({"values:", "[4, 2]"}, [&](auto& a) { a.values = device.alloc(f32, {4, 2}); });
  expect({"values:", "empty"}, [](auto& a) { a.values = {}; });
  expect({"values:", "overlap"}, [](auto& a) { a.values = a.x.slice(0, 12).reshape({4, 3}); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::top_k(stream, good);
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 1u);
  EXPECT_EQ(stream.counters().barriers, 0u);
}

}  // namespace
}  // namespace mlxn
