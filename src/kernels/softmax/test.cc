// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/test_kit.h"
#include "kernels/softmax/reference.h"
#include "mlxn/ops/elementwise.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

class SoftmaxTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, SoftmaxTest,
                         ::testing::ValuesIn(testing::runnable(kernels::softmax_entries())));

void expect_matches(const Buffer& x, const Buffer& out, const std::string& what) {
  const int64_t cols = x.shape().back();
  const auto reference =
      kernels::softmax_reference({x.data(), nullptr, x.element_count() / cols, cols, x.dtype()});
  testing::expect_close(
      testing::to_floats(out), reference,
      [&](size_t i) {
        return 1e-6 + 5e-6 * reference[i] + testing::store_tolerance(x.dtype(), reference[i]);
      },
      what);
}

TEST_P(SoftmaxTest, MatchesOracleAndSumsToOne) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  for (DType dtype : {f32, f16, bf16}) {
    for (int64_t cols : {1, 2, 31, 33, 63, 65, 127, 129, 257, 511, 4097, 70001}) {
      const int64_t rows = cols > 1000 ? 2 : 7;
      auto values = random.normals(rows * cols);
      for (float& value : values) value *= 4.0f;
      values[0] = 60.0f;  // one dominates its row
      const Buffer x = testing::make_buffer(device, dtype, {rows, cols}, values);
      const GuardedBuffer out(device, dtype, {rows, cols});
      ops::softmax(stream, {.x = x, .out = out.view()});
      stream.commit().wait();
      expect_matches(x, out.view(), std::string(name(dtype)) + " cols " + std::to_string(cols));
      out.check();
      if (dtype != f32) continue;
      const auto found = out.view().span<float>();
      for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
        double sum = 0.0;
        for (size_t i = 0; i < static_cast<size_t>(cols); ++i) {
          sum += found[row * static_cast<size_t>(cols) + i];
        }
        const double n = static_cast<double>(cols);  // RED(cols) of ops.md 0.4
        EXPECT_NEAR(sum, 1.0, (8 + n / 256 + std::log2(n)) * 0x1p-24 + 1e-7) << cols;
      }
    }
  }
}

TEST_P(SoftmaxTest, SpecialRows) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  const float inf = INFINITY;
  for (int64_t cols : {4, 37}) {
    const size_t n = static_cast<size_t>(cols);
    std::vector<std::vector<float>> rows(7, std::vector<float>(n, 1.0f));
    rows[0].assign(n, -inf);      // nothing is left: zeros
    rows[1][n - 1] = NAN;         // NaN everywhere
    rows[2][0] = inf;             // NaN everywhere
    rows[3][1] = -inf;            // exactly 0 there
    rows[4].assign(n, -3.0e38f);  // equal and huge
    rows[4][0] = 3.0e38f;
    rows[5].assign(n, -inf);
    rows[5][n - 1] = NAN;  // NaN everywhere
    rows[6].assign(n, 1e-40f);
    std::vector<float> flat;
    for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
    const Buffer x = testing::make_buffer(device, f32, {7, cols}, flat);
    const Buffer out = device.alloc(f32, {7, cols});
    ops::softmax(stream, {.x = x, .out = out});
    stream.commit().wait();
    expect_matches(x, out, "special rows");
    EXPECT_EQ(out.span<float>()[3 * n + 1], 0.0f);
    EXPECT_EQ(out.span<float>()[0], 0.0f);
  }
}

TEST_P(SoftmaxTest, InPlaceAndOffsetViewsGiveTheSameBits) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(3);
  for (DType dtype : {f32, f16, bf16}) {
    const Buffer x = random_buffer(device, dtype, {9, 259}, random).rows(3, 4);
    const Buffer out = device.alloc(dtype, {4, 259});
    ops::softmax(stream, {.x = x, .out = out});
    ops::softmax(stream, {.x = x, .out = x});
    stream.commit().wait();
    EXPECT_EQ(testing::bytes_of(x), testing::bytes_of(out));
  }
}

TEST_P(SoftmaxTest, ThreadsAndRowsDoNotChangeBits) {
  Random random(4);
  const int64_t rows = 300, cols = 131;
  const auto values = random.normals(rows * cols);
  std::vector<std::byte> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    const Buffer x = testing::make_buffer(device, f32, {rows, cols}, values);
    const Buffer out = device.alloc(f32, {rows, cols}), one = device.alloc(f32, {1, cols});
    ops::softmax(stream, {.x = x, .out = out});
    ops::softmax(stream, {.x = x.rows(rows - 1, 1), .out = one});
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(out);
    EXPECT_EQ(testing::bytes_of(out), expected) << threads << " threads";
    EXPECT_EQ(testing::bytes_of(out.rows(rows - 1, 1)), testing::bytes_of(one));
  }
}

TEST_P(SoftmaxTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(5);
  const ops::SoftmaxArgs args{.x = random_buffer(device, f16, {50, 1031}, random),
                              .out = device.alloc(f16, {50, 1031})};
  testing::expect_repeatable(device, [&](Stream& stream) { ops::softmax(stream, args); },
                             {args.out});
}

TEST(SoftmaxErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const ops::SoftmaxArgs good{.x = device.alloc(f32, {4, 8}), .out = device.alloc(f32, {4, 8})};
  const auto expect = [&](const std::vector<std::string>& fragments, auto&& change) {
    ops::SoftmaxArgs bad = good;
    change(bad);
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::softmax(stream, bad); });
  };
  expect({"softmax: x:", "empty"}, [](auto& a) { a.x = {}; });
  expect({"x:", "i32"}, [&](auto& a) { a.x = device.alloc(i32, {4, 8}); });
  expect({"out:", "empty"}, [](auto& a) { a.out = {}; });
  expect({"out:", "bf16"}, [&](auto& a) { a.out = device.alloc(bf16, {4, 8}); });
  expect({"out:", "[3, 8]"}, [&](auto& a) { a.out = device.alloc(f32, {3, 8}); });
  expect({"out:", "overlap"}, [&](auto& a) {
    const Buffer wide = device.alloc(f32, {5, 8});
    a.x = wide.rows(0, 4);
    a.out = wide.rows(1, 4);
  });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::softmax(stream, good);
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 1u);
  EXPECT_EQ(stream.counters().barriers, 0u);
}

}  // namespace
}  // namespace mlxn
