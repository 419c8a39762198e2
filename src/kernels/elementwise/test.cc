// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/test_kit.h"
#include "kernels/elementwise/reference.h"
#include "mlxn/ops/elementwise.h"

namespace mlxn {
namespace {

using kernels::ElementwiseKind;
using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

constexpr ElementwiseKind kKinds[] = {ElementwiseKind::kAdd, ElementwiseKind::kMul,
                                      ElementwiseKind::kScale, ElementwiseKind::kSoftcap};
constexpr int64_t kCounts[] = {1, 2, 31, 33, 63, 65, 127, 129, 257, 511, 8193, 40000};

void call(Stream& stream, ElementwiseKind kind, const Buffer& a, const Buffer& b, const Buffer& out,
          float scalar) {
  switch (kind) {
    case ElementwiseKind::kAdd:
      return ops::add(stream, {.a = a, .b = b, .out = out});
    case ElementwiseKind::kMul:
      return ops::mul(stream, {.a = a, .b = b, .out = out});
    case ElementwiseKind::kScale:
      return ops::scale(stream, {.x = a, .out = out, .factor = scalar});
    case ElementwiseKind::kSoftcap:
      return ops::softcap(stream, {.x = a, .out = out, .cap = scalar});
    case ElementwiseKind::kCast:
      return ops::cast(stream, {.x = a, .out = out});
  }
}

class ElementwiseTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, ElementwiseTest,
                         ::testing::ValuesIn(testing::runnable(kernels::elementwise_entries())));

TEST_P(ElementwiseTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  for (ElementwiseKind kind : kKinds) {
    for (DType dtype : {f32, f16, bf16}) {
      for (int64_t count : kCounts) {
        const Buffer a = random_buffer(device, dtype, {count}, random);
        const Buffer b = random_buffer(device, dtype, {count}, random);
        const GuardedBuffer out(device, dtype, {count});
        call(stream, kind, a, b, out.view(), 0.7f);
        stream.commit().wait();
        const auto reference = kernels::elementwise_reference(
            {kind, a.data(), b.data(), nullptr, count, dtype, dtype, 0.7f});
        const auto found = testing::to_floats(out.view());
        out.check();
        if (kind == ElementwiseKind::kSoftcap) {
          testing::expect_close(
              found, reference,
              [&](size_t i) {
                return 1e-6 + 1e-5 * std::abs(reference[i]) +
                       testing::store_tolerance(dtype, reference[i]);
              },
              "softcap");
          continue;
        }
        // EXACT: the exact result to f32, then to the dtype.
        for (size_t i = 0; i < found.size(); ++i) {
          float expected = static_cast<float>(reference[i]);
          if (dtype == f16) expected = to_float(to_f16(expected));
          if (dtype == bf16) expected = to_float(to_bf16(expected));
          ASSERT_EQ(found[i], expected) << i << " of " << count;
        }
      }
    }
  }
}

TEST_P(ElementwiseTest, CastRoundsToNearestEven) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(2);
  for (DType from : {f32, f16, bf16}) {
    for (DType to : {f32, f16, bf16}) {
      auto values = random.normals(1000);
      const float special[] = {0.0f,     -0.0f,    INFINITY, -INFINITY, NAN,
                               65504.0f, 65520.0f, 65519.0f, 1e-7f,     1e-40f,
                               2049.0f,  2051.0f,  1e38f,    -7e4f,     6.1e-5f,
                               5.9e-8f,  2.9e-8f,  3.0e-8f,  0x1.01p0f, 0x1.03p0f};
      std::copy(std::begin(special), std::end(special), values.begin());
      const Buffer x = testing::make_buffer(device, from, {1000}, values);
      const GuardedBuffer out(device, to, {1000});
      ops::cast(stream, {.x = x, .out = out.view()});
      stream.commit().wait();
      out.check();
      const auto source = testing::to_floats(x), found = testing::to_floats(out.view());
      for (size_t i = 0; i < found.size(); ++i) {
        float expected = source[i];
        if (to == f16) expected = to_float(to_f16(expected));
        if (to == bf16) expected = to_float(to_bf16(expected));
        if (std::isnan(expected)) {
          EXPECT_TRUE(std::isnan(found[i]));
        } else {
          EXPECT_EQ(found[i], expected) << source[i];
        }
      }
    }
  }
}

TEST_P(ElementwiseTest, SoftcapStaysInsideTheCap) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  const std::vector<float> values = {0.0f,  INFINITY, -INFINITY, NAN,    3.4e38f, -3.4e38f,
                                     1e-3f, 30.0f,    -29.9f,    1e-40f, 300.0f,  1e4f};
  const Buffer x = testing::make_buffer(device, f32, {12}, values);
  const Buffer out = device.alloc(f32, {12});
  for (float cap : {30.0f, 1e-3f, 1e30f}) {
    ops::softcap(stream, {.x = x, .out = out, .cap = cap});
    stream.commit().wait();
    const auto found = out.span<float>();
    EXPECT_EQ(found[0], 0.0f);
    EXPECT_EQ(found[1], cap);
    EXPECT_EQ(found[2], -cap);
    EXPECT_TRUE(std::isnan(found[3]));
    for (size_t i = 4; i < 12; ++i) EXPECT_LE(std::abs(found[i]), cap);
  }
}

TEST_P(ElementwiseTest, NanAndInfinityPropagate) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  const Buffer a = testing::make_buffer(device, f32, {3}, std::vector<float>{NAN, INFINITY, 1});
  const Buffer b = testing::make_buffer(device, f32, {3}, std::vector<float>{1, -INFINITY, NAN});
  const Buffer out = device.alloc(f32, {3});
  ops::add(stream, {.a = a, .b = b, .out = out});
  stream.commit().wait();
  for (float value : out.span<float>()) EXPECT_TRUE(std::isnan(value));
  ops::mul(stream, {.a = a, .b = b, .out = out});
  stream.commit().wait();
  EXPECT_TRUE(std::isnan(out.span<float>()[0]));
  EXPECT_EQ(out.span<float>()[1], -INFINITY);
}

TEST_P(ElementwiseTest, InPlaceAndOffsetViewsGiveTheSameBits) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(3);
  for (ElementwiseKind kind : kKinds) {
    const Buffer a = random_buffer(device, f32, {4, 65}, random).rows(1, 2).rows(1, 1);
    const Buffer b = random_buffer(device, f32, {4, 65}, random).rows(3, 1);
    const Buffer out = device.alloc(f32, {65});
    call(stream, kind, a, b, out, 0.7f);
    call(stream, kind, a, b, b, 0.7f);
    stream.commit().wait();
    EXPECT_EQ(testing::bytes_of(b), testing::bytes_of(out));
    const Buffer again = random_buffer(device, f32, {65}, random);
    call(stream, kind, a, again, out, 0.7f);
    call(stream, kind, a, again, a, 0.7f);
    stream.commit().wait();
    EXPECT_EQ(testing::bytes_of(a), testing::bytes_of(out));
  }
}

TEST_P(ElementwiseTest, ThreadsAndPlaceDoNotChangeBits) {
  Random random(4);
  const int64_t count = 50001;
  const auto values = random.normals(count);
  std::vector<std::byte> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    const Buffer x = testing::make_buffer(device, f32, {count}, values);
    const Buffer out = device.alloc(f32, {count}), one = device.alloc(f32, {1});
    ops::softcap(stream, {.x = x, .out = out, .cap = 0.5f});
    ops::softcap(stream, {.x = x.rows(777, 1), .out = one, .cap = 0.5f});
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(out);
    EXPECT_EQ(testing::bytes_of(out), expected) << threads << " threads";
    EXPECT_EQ(testing::bytes_of(out.rows(777, 1)), testing::bytes_of(one));
  }
}

TEST_P(ElementwiseTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(5);
  const Buffer a = random_buffer(device, f32, {20001}, random);
  const Buffer b = random_buffer(device, f32, {20001}, random);
  std::vector<Buffer> outputs;
  for (size_t i = 0; i < std::size(kKinds); ++i) outputs.push_back(device.alloc(f32, {20001}));
  const Buffer narrow = device.alloc(bf16, {20001});
  outputs.push_back(narrow);
  testing::expect_repeatable(
      device,
      [&](Stream& stream) {
        for (size_t i = 0; i < std::size(kKinds); ++i) {
          call(stream, kKinds[i], a, b, outputs[i], 0.7f);
        }
        ops::cast(stream, {.x = a, .out = narrow});
      },
      outputs);
}

TEST(ElementwiseErrors, EachRuleNamesItsParameter) {
  const Device device = test_device(), other = test_device();
  Stream stream(device);
  const Buffer x = device.alloc(f32, {8}), y = device.alloc(f32, {8}), out = device.alloc(f32, {8});
  const auto invalid = [&](const std::vector<std::string>& fragments, auto&& run) {
    expect_error(ErrorKind::kInvalidArgument, fragments, run);
  };
  const Buffer short_y = device.alloc(f32, {7}), half = device.alloc(f16, {8});
  const Buffer ints = device.alloc(i32, {8}), wide = device.alloc(f32, {12}), none;
  invalid({"add: a:", "empty"}, [&] { ops::add(stream, {.a = none, .b = y, .out = out}); });
  invalid({"add: b:", "[7]"}, [&] { ops::add(stream, {.a = x, .b = short_y, .out = out}); });
  invalid({"add: out:", "f16"}, [&] { ops::add(stream, {.a = x, .b = y, .out = half}); });
  invalid({"mul: a:", "i32"}, [&] { ops::mul(stream, {.a = ints, .b = y, .out = out}); });
  invalid({"mul: b:", "device"},
          [&] { ops::mul(stream, {.a = x, .b = other.alloc(f32, {8}), .out = out}); });
  invalid({"mul: out:", "overlap", "a"},
          [&] { ops::mul(stream, {.a = wide.slice(0, 8), .b = y, .out = wide.slice(4, 8)}); });
  invalid({"scale: factor:", "inf"},
          [&] { ops::scale(stream, {.x = x, .out = out, .factor = INFINITY}); });
  invalid({"scale: out:", "[7]"}, [&] { ops::scale(stream, {.x = x, .out = short_y}); });
  invalid({"softcap: cap:", "0"}, [&] { ops::softcap(stream, {.x = x, .out = out, .cap = 0}); });
  invalid({"softcap: cap:", "nan"},
          [&] { ops::softcap(stream, {.x = x, .out = out, .cap = NAN}); });
  invalid({"cast: out:", "[7]"}, [&] { ops::cast(stream, {.x = x, .out = short_y}); });
  invalid({"cast: out:", "overlap"}, [&] { ops::cast(stream, {.x = x, .out = x}); });
  invalid({"cast: x:", "i32"}, [&] { ops::cast(stream, {.x = ints, .out = out}); });
  const float constant[8] = {};
  const Buffer mapped = device.wrap(constant, sizeof constant, f32, {8}, nullptr);
  invalid({"scale: out:", "read-only"}, [&] { ops::scale(stream, {.x = x, .out = mapped}); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::add(stream, {.a = x, .b = y, .out = out});
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 1u);
  EXPECT_EQ(stream.counters().barriers, 0u);
}

}  // namespace
}  // namespace mlxn
