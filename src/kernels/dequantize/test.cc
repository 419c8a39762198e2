// SPDX-License-Identifier: Apache-2.0
#include "kernels/dequantize/reference.h"
#include "kernels/dequantize/test_weights.h"
#include "mlxn/ops/dequantize.h"

namespace mlxn {
namespace {

using testing::expect_error;
using testing::expect_same_floats;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;
using testing::WeightKind;

class DequantizeTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, DequantizeTest,
                         ::testing::ValuesIn(testing::runnable(kernels::dequantize_entries())));

void expect_oracle(const Device& device, const Weight& weight, const std::string& what) {
  Stream stream(device);
  const auto expected = kernels::dequantize_reference(quant::view_of(weight));
  for (const DType dtype : {f32, f16, bf16}) {
    const GuardedBuffer out(device, dtype, weight.shape);
    ops::dequantize(stream, {.weight = weight, .out = out.view()});
    stream.commit().wait();
    expect_same_floats(testing::to_floats(out.view()), testing::rounded_to(dtype, expected),
                       what + " to " + std::string(name(dtype)));
    out.check();
  }
}

TEST_P(DequantizeTest, EveryFormatHasTheBitsOfItsScalarDecoder) {
  const Device device = test_device(GetParam());
  Random random(1);
  for (const WeightKind& kind : testing::weight_kinds()) {
    const int64_t unit = kind.unit();
    for (const Shape& shape : {Shape{1, unit}, Shape{3, 2 * unit}, Shape{2, 5, 3 * unit}}) {
      expect_oracle(device, testing::random_weight(device, kind, shape, random),
                    kind.text() + " " + to_string(shape));
    }
  }
}

TEST_P(DequantizeTest, AnyBitsAsScales) {
  const Device device = test_device(GetParam());
  Random random(2);
  for (const WeightKind& kind : testing::weight_kinds()) {
    const Shape shape = {7, 2 * kind.unit()};
    expect_oracle(device, testing::random_bytes_weight(device, kind, shape, random),
                  kind.text() + " random bytes");
  }
}

TEST_P(DequantizeTest, RowLengthsOfDenseWeights) {
  const Device device = test_device(GetParam());
  Random random(3);
  for (const int64_t cols : {1, 2, 31, 32, 33, 127, 257, 513, 8193}) {
    for (const Format format : {Format::kF32, Format::kF16, Format::kBF16}) {
      expect_oracle(device, testing::random_weight(device, {format}, {5, cols}, random),
                    std::string(name(format)) + " " + std::to_string(cols));
    }
  }
}

TEST_P(DequantizeTest, ThreadsDoNotChangeBits) {
  for (const WeightKind& kind :
       {WeightKind{Format::kQ4_K}, WeightKind{Format::kAffine, 4, 64, bf16}}) {
    std::vector<std::byte> expected;
    for (const int threads : {1, 2, 3, 8}) {
      const Device device = test_device(GetParam(), threads);
      Random random(4);
      const Weight weight = testing::random_weight(device, kind, {301, 256}, random);
      const Buffer out = device.alloc(f32, weight.shape);
      Stream stream(device);
      ops::dequantize(stream, {.weight = weight, .out = out});
      stream.commit().wait();
      if (expected.empty()) expected = testing::bytes_of(out);
      EXPECT_EQ(testing::bytes_of(out), expected) << threads << " threads, " << kind.text();
    }
  }
}

TEST_P(DequantizeTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(6);
  for (const WeightKind& kind :
       {WeightKind{Format::kQ6_K}, WeightKind{Format::kAffine, 4, 64, bf16}}) {
    const Weight weight = testing::random_weight(device, kind, {70, 256}, random);
    const Buffer out = device.alloc(f32, weight.shape);
    testing::expect_repeatable(
        device, [&](Stream& stream) { ops::dequantize(stream, {.weight = weight, .out = out}); },
        {out});
  }
}

TEST(DequantizeErrors, EachRuleNamesItsParameter) {
  const Device device = test_device(), other = test_device();
  Stream stream(device);
  Random random(5);
  const WeightKind kind{Format::kAffine, 4, 32, f16};
  const Weight good = testing::random_weight(device, kind, {4, 64}, random);
  const Buffer out = device.alloc(f32, {4, 64});
  const auto expect = [&](const std::vector<std::string>& fragments, const Weight& weight,
                          const Buffer& target) {
    expect_error(ErrorKind::kInvalidArgument, fragments,
                 [&] { ops::dequantize(stream, {.weight = weight, .out = target}); });
  };
  const auto changed = [&](const std::function<void(Weight&)>& change) {
    Weight weight = good;
    change(weight);
    return weight;
  };
  expect({"dequantize", "weight", "shape"}, Weight{}, out);
  expect({"weight", "bits", "7"}, changed([](Weight& w) { w.bits = 7; }), out);
  expect({"weight", "group_size", "48"}, changed([](Weight& w) { w.group_size = 48; }), out);
  expect({"weight", "data"}, changed([](Weight& w) { w.data = {}; }), out);
  expect({"weight", "data"}, changed([](Weight& w) { w.data = w.data.rows(0, 3); }), out);
  expect({"weight", "scales"}, changed([](Weight& w) { w.scales = w.scales.rows(0, 3); }), out);
  expect({"weight", "biases"}, changed([&](Weight& w) {
           w.biases = device.alloc(f32, {4, 2});
         }),
         out);
  expect({"weight", "device"}, testing::random_weight(other, kind, {4, 64}, random), out);
  expect({"out"}, good, {});
  expect({"out", "i32"}, good, device.alloc(i32, {4, 64}));
  expect({"out", "[4, 63]", "[4, 64]"}, good, device.alloc(f32, {4, 63}));
  expect({"out", "device"}, good, other.alloc(f32, {4, 64}));
  const Buffer shared = device.alloc(f32, {8, 64});
  Weight dense;
  dense.shape = {4, 64};
  dense.data = shared.rows(0, 4);
  expect({"out", "overlap", "weight"}, dense, shared.rows(3, 4));
  const std::vector<float> read_only(4 * 64);
  expect({"out", "read-only"}, good,
         device.wrap(read_only.data(), read_only.size() * 4, f32, {4, 64}, nullptr));

  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::dequantize(stream, {.weight = good, .out = out});
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 1u);
}

}  // namespace
}  // namespace mlxn
