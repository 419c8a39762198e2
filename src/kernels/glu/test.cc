// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/test_kit.h"
#include "kernels/glu/reference.h"

namespace mlxn {
namespace {

using ops::Activation;
using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

constexpr Activation kActivations[] = {Activation::kGeluTanh, Activation::kGeluErf,
                                       Activation::kSilu, Activation::kSigmoid};

class GluTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, GluTest,
                         ::testing::ValuesIn(testing::runnable(kernels::glu_entries())));

// EW of ops.md 0.4, relative to |act| |up|; near 0 that of the gate, not of a large up.
void expect_matches(const Buffer& out, const kernels::GluParams& p, const std::string& what) {
  const auto reference = kernels::glu_reference(p);
  testing::expect_close(
      testing::to_floats(out), reference,
      [&](size_t i) {
        return 1e-6 + 1e-5 * std::abs(reference[i]) +
               testing::store_tolerance(p.dtype, reference[i]);
      },
      what);
}

TEST_P(GluTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  for (Activation activation : kActivations) {
    for (DType dtype : {f32, f16, bf16}) {
      for (int64_t dim : {1, 2, 31, 33, 64, 127, 257, 513, 4096, 8193}) {
        const int64_t rows = 3;
        const Buffer packed = random_buffer(device, dtype, {rows, 2 * dim}, random);
        const GuardedBuffer from_packed(device, dtype, {rows, dim});
        ops::glu(stream, {.gate = packed, .out = from_packed.view(), .activation = activation});
        const Buffer gate = random_buffer(device, dtype, {rows, dim}, random);
        const Buffer up = random_buffer(device, dtype, {rows, dim}, random);
        const GuardedBuffer out(device, dtype, {rows, dim});
        ops::glu(stream, {.gate = gate, .up = up, .out = out.view(), .activation = activation});
        stream.commit().wait();
        const std::string what = std::string(name(dtype)) + " dim " + std::to_string(dim) +
                                 " activation " + std::to_string(static_cast<int>(activation));
        expect_matches(out.view(),
                       {gate.data(), up.data(), nullptr, rows, dim, dim, dtype, activation}, what);
        expect_matches(from_packed.view(),
                       {packed.data(), packed.data() + static_cast<size_t>(dim) * size_of(dtype),
                        nullptr, rows, dim, 2 * dim, dtype, activation},
                       "packed " + what);
        out.check();
        from_packed.check();
      }
    }
  }
}

// Gates over the whole range with a large `up`: cancellation would show.
TEST_P(GluTest, WideRangeKeepsRelativeAccuracy) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  std::vector<float> gates;
  for (float x = -12.0f; x < 12.0f; x += 0.01f) gates.push_back(x);
  for (float x : {1e20f, -1e20f, 3e38f, -3e38f, 100.0f, -100.0f, 0.0f}) gates.push_back(x);
  const int64_t count = static_cast<int64_t>(gates.size());
  const Buffer gate = testing::make_buffer(device, f32, {count}, gates);
  const Buffer up =
      testing::make_buffer(device, f32, {count}, std::vector<float>(gates.size(), 1e3f));
  const Buffer out = device.alloc(f32, {count});
  for (Activation activation : kActivations) {
    ops::glu(stream, {.gate = gate, .up = up, .out = out, .activation = activation});
    stream.commit().wait();
    auto reference =
        kernels::glu_reference({gate.data(), up.data(), nullptr, 1, count, count, f32, activation});
    for (double& value : reference) value = static_cast<float>(value);  // 3e38 * 1e3 overflows
    testing::expect_close(
        testing::to_floats(out), reference,
        [&](size_t i) { return 1e-6 + 1e-5 * std::abs(reference[i]); },
        "activation " + std::to_string(static_cast<int>(activation)));
  }
}

TEST_P(GluTest, SpecialValues) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  const Buffer gate =
      testing::make_buffer(device, f32, {4}, std::vector<float>{-INFINITY, INFINITY, NAN, 0.0f});
  const Buffer up = testing::make_buffer(device, f32, {4}, std::vector<float>{2, 2, 2, NAN});
  const Buffer out = device.alloc(f32, {4});
  for (Activation activation : kActivations) {
    ops::glu(stream, {.gate = gate, .up = up, .out = out, .activation = activation});
    stream.commit().wait();
    const auto found = out.span<float>();
    EXPECT_EQ(found[0], 0.0f);
    EXPECT_EQ(found[1], activation == Activation::kSigmoid ? 2.0f : INFINITY);
    EXPECT_TRUE(std::isnan(found[2]));
    EXPECT_TRUE(std::isnan(found[3]));
  }
}

TEST_P(GluTest, InPlaceGivesTheSameBits) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(3);
  for (DType dtype : {f32, f16, bf16}) {
    const Buffer gate = random_buffer(device, dtype, {9, 257}, random).rows(2, 5);
    const Buffer up = random_buffer(device, dtype, {9, 257}, random).rows(1, 5);
    const Buffer out = device.alloc(dtype, {5, 257}), gate_copy = device.alloc(dtype, {5, 257});
    std::memcpy(gate_copy.data(), gate.data(), gate.byte_len());
    ops::glu(stream, {.gate = gate, .up = up, .out = out});
    ops::glu(stream, {.gate = gate, .up = up, .out = gate});
    ops::glu(stream, {.gate = gate_copy, .up = up, .out = up});
    stream.commit().wait();
    EXPECT_EQ(testing::bytes_of(gate), testing::bytes_of(out));
    EXPECT_EQ(testing::bytes_of(up), testing::bytes_of(out));
  }
}

TEST_P(GluTest, ThreadsAndRowsDoNotChangeBits) {
  Random random(4);
  const int64_t rows = 40, dim = 1031;
  const auto values = random.normals(rows * dim * 2);
  std::vector<std::byte> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    const Buffer packed = testing::make_buffer(device, f32, {rows, 2 * dim}, values);
    const Buffer out = device.alloc(f32, {rows, dim}), one = device.alloc(f32, {1, dim});
    ops::glu(stream, {.gate = packed, .out = out, .activation = Activation::kGeluTanh});
    ops::glu(stream,
             {.gate = packed.rows(rows - 1, 1), .out = one, .activation = Activation::kGeluTanh});
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(out);
    EXPECT_EQ(testing::bytes_of(out), expected) << threads << " threads";
    EXPECT_EQ(testing::bytes_of(out.rows(rows - 1, 1)), testing::bytes_of(one));
  }
}

TEST_P(GluTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(5);
  for (Activation activation : kActivations) {
    const ops::GluArgs args{.gate = random_buffer(device, f32, {40, 257}, random),
                            .up = random_buffer(device, f32, {40, 257}, random),
                            .out = device.alloc(f32, {40, 257}),
                            .activation = activation};
    testing::expect_repeatable(device, [&](Stream& stream) { ops::glu(stream, args); }, {args.out});
  }
}

TEST(GluErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const ops::GluArgs good{.gate = device.alloc(f32, {4, 8}),
                          .up = device.alloc(f32, {4, 8}),
                          .out = device.alloc(f32, {4, 8})};
  const auto expect = [&](const std::vector<std::string>& fragments, auto&& change) {
    ops::GluArgs bad = good;
    change(bad);
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::glu(stream, bad); });
  };
  expect({"glu: gate:", "empty"}, [](auto& a) { a.gate = {}; });
  expect({"gate:", "u32"}, [&](auto& a) { a.gate = device.alloc(u32, {4, 8}); });
  expect({"up:", "f16"}, [&](auto& a) { a.up = device.alloc(f16, {4, 8}); });
  expect({"up:", "[3, 8]"}, [&](auto& a) { a.up = device.alloc(f32, {3, 8}); });
  expect({"out:", "empty"}, [](auto& a) { a.out = {}; });
  expect({"out:", "[4, 4]"}, [&](auto& a) { a.out = device.alloc(f32, {4, 4}); });
  expect({"out:", "4 rows of 4"}, [](auto& a) { a.up = {}; });
  expect({"gate:", "even"}, [&](auto& a) {
    a.gate = device.alloc(f32, {4, 7});
    a.up = {};
  });
  expect({"out:", "overlap"}, [](auto& a) {
    a.out = a.gate.slice(0, 16).reshape({4, 4});
    a.up = {};
  });
  expect({"activation:", "9"}, [](auto& a) { a.activation = static_cast<Activation>(9); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::glu(stream, good);
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 1u);
  EXPECT_EQ(stream.counters().barriers, 0u);
}

}  // namespace
}  // namespace mlxn
