// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/test_kit.h"
#include "kernels/rope/reference.h"

namespace mlxn {
namespace {

using ops::RopePairing;
using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::random_buffer;
using testing::test_device;

constexpr float kEps = 1e-6f;
constexpr RopePairing kPairings[] = {RopePairing::kSplitHead, RopePairing::kSplitRotary,
                                     RopePairing::kInterleaved};

class RopeTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, RopeTest,
                         ::testing::ValuesIn(testing::runnable(kernels::rope_entries())));

Buffer upload_frequencies(const Device& device, const std::vector<float>& inv_freq) {
  if (inv_freq.empty()) return {};
  return device.upload(inv_freq.data(), f32, {static_cast<int64_t>(inv_freq.size())});
}

kernels::RopeParams params_of(const ops::HeadNormRopeArgs& a, bool norm) {
  return {.x = a.x.data(),
          .weight = a.weight.data(),
          .positions = reinterpret_cast<const int32_t*>(a.positions.data()),
          .inv_freq = reinterpret_cast<const float*>(a.inv_freq.data()),
          .out = nullptr,
          .tokens = a.x.dim(0),
          .heads = a.x.dim(1),
          .head_dim = a.x.dim(2),
          .pairs = a.inv_freq ? a.inv_freq.element_count() : 0,
          .pairing = a.pairing,
          .norm = norm,
          .dtype = a.x.dtype(),
          .weight_dtype = a.weight.dtype(),
          .eps = a.eps,
          .weight_offset = a.weight_offset};
}

// ops.md D7, and D1 for the norm in front of it.
void expect_matches(const ops::HeadNormRopeArgs& args, bool norm, const std::string& what) {
  const auto r = kernels::rope_reference(params_of(args, norm));
  const double norm_error = norm ? 2e-6 * (1.0 + static_cast<double>(args.x.dim(2)) / 4096) : 0.0;
  testing::expect_close(
      testing::to_floats(args.out), r.out,
      [&](size_t i) {
        return r.magnitude[i] * (1e-6 + 0x1p-22 * r.angle[i] + norm_error) +
               testing::store_tolerance(args.x.dtype(), r.out[i]) + 1e-30;
      },
      what);
}

TEST_P(RopeTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  const std::vector<int32_t> positions = {0, 1, 7, 1 << 15, 1 << 17, -3};
  for (DType dtype : {f32, f16, bf16}) {
    for (int64_t head_dim : {2, 8, 80, 256, 512, 1100}) {
      for (int64_t rotary_dim : {int64_t{0}, int64_t{2}, head_dim / 4 / 2 * 2, head_dim}) {
        for (RopePairing pairing : kPairings) {
          const Shape shape = {6, 3, head_dim};
          const GuardedBuffer out(device, dtype, shape), normed(device, dtype, shape);
          ops::HeadNormRopeArgs args{
              .x = random_buffer(device, dtype, shape, random),
              .weight = random_buffer(device, bf16, {head_dim}, random),
              .positions = testing::make_i32(device, positions),
              .inv_freq =
                  upload_frequencies(device, ops::rope_frequencies(10000.0, rotary_dim, head_dim)),
              .out = out.view(),
              .pairing = pairing,
              .eps = kEps,
              .weight_offset = 1.0f};
          ops::rope(stream, {.x = args.x,
                             .positions = args.positions,
                             .inv_freq = args.inv_freq,
                             .out = out.view(),
                             .pairing = pairing});
          stream.commit().wait();
          const std::string what = std::string(name(dtype)) + " head dim " +
                                   std::to_string(head_dim) + " rotary " +
                                   std::to_string(rotary_dim);
          expect_matches(args, false, "rope " + what);
          args.out = normed.view();
          ops::head_norm_rope(stream, args);
          stream.commit().wait();
          expect_matches(args, true, "head_norm_rope " + what);
          out.check();
          normed.check();
        }
      }
    }
  }
}

TEST_P(RopeTest, ManyTokens) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(7);
  for (const auto& [dtype, shape] : std::vector<std::pair<DType, Shape>>{
           {f32, {2100, 2, 34}}, {bf16, {2100, 2, 34}}, {f16, {4100, 11, 8}}}) {
    std::vector<int32_t> positions;
    for (int32_t i = 0; i < shape[0]; ++i) positions.push_back(i);
    const GuardedBuffer out(device, dtype, shape);
    const ops::HeadNormRopeArgs args{
        .x = random_buffer(device, dtype, shape, random),
        .positions = testing::make_i32(device, positions),
        .inv_freq = upload_frequencies(device, ops::rope_frequencies(1e4, shape[2], shape[2])),
        .out = out.view(),
        .eps = kEps};
    ops::rope(
        stream,
        {.x = args.x, .positions = args.positions, .inv_freq = args.inv_freq, .out = out.view()});
    stream.commit().wait();
    expect_matches(args, false, "rope");
    ops::head_norm_rope(stream, args);
    stream.commit().wait();
    expect_matches(args, true, "head_norm_rope");
    out.check();
  }
}

TEST_P(RopeTest, NormOnlyOfAnOddHeadDim) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(2);
  for (int64_t head_dim : {1, 33, 255, 513}) {
    const GuardedBuffer out(device, f32, {2, 5, head_dim});
    const ops::HeadNormRopeArgs args{
        .x = random_buffer(device, f32, {2, 5, head_dim}, random), .out = out.view(), .eps = kEps};
    ops::head_norm_rope(stream, args);
    stream.commit().wait();
    expect_matches(args, true, "head dim " + std::to_string(head_dim));
    out.check();
  }
}

// Gemma 4's full layers: 64 of 256 pairs rotate, (i, i + 256), exponents over the whole head.
TEST_P(RopeTest, PartialSplitHeadLeavesOtherElementsAlone) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(3);
  const Buffer x = random_buffer(device, f32, {1, 2, 512}, random);
  const Buffer out = device.alloc(f32, {1, 2, 512});
  ops::rope(stream, {.x = x,
                     .positions = testing::make_i32(device, {1000}),
                     .inv_freq = upload_frequencies(device, ops::rope_frequencies(1e6, 128, 512)),
                     .out = out});
  stream.commit().wait();
  const auto before = x.span<float>(), after = out.span<float>();
  for (size_t i = 0; i < 1024; ++i) {
    const bool rotates = i % 256 < 64;
    EXPECT_EQ(before[i] != after[i], rotates) << i;
  }
}

TEST_P(RopeTest, PositionZeroCopiesAndHugeFactorsStayFinite) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  const Buffer x =
      testing::make_buffer(device, f32, {1, 1, 4}, std::vector<float>{INFINITY, NAN, -1, 1e-40f});
  const Buffer out = device.alloc(f32, {1, 1, 4});
  ops::rope(stream, {.x = x,
                     .positions = testing::make_i32(device, {0}),
                     .inv_freq = upload_frequencies(device, {1.0f, 0.5f}),
                     .out = out});
  stream.commit().wait();
  EXPECT_EQ(testing::bytes_of(x), testing::bytes_of(out));

  Random random(4);
  const Buffer finite = random_buffer(device, f32, {1, 3, 8}, random);
  const Buffer same = device.alloc(f32, {1, 3, 8});
  ops::rope(stream,
            {.x = finite,
             .positions = testing::make_i32(device, {1 << 17}),
             .inv_freq = upload_frequencies(
                 device, ops::rope_frequencies(10000.0, 8, 8, std::vector<float>(4, 1e30f))),
             .out = same});
  stream.commit().wait();
  const auto before = finite.span<float>(), after = same.span<float>();
  for (size_t i = 0; i < before.size(); ++i) EXPECT_FLOAT_EQ(before[i], after[i]);
}

TEST_P(RopeTest, InPlaceAndOffsetViewsGiveTheSameBits) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(5);
  for (DType dtype : {f32, f16, bf16}) {
    const Buffer x = random_buffer(device, dtype, {4, 3, 66}, random).rows(1, 2);
    const Buffer positions = testing::make_i32(device, {9, 8, 7, 6}).slice(8, 2);
    const Buffer inv_freq = upload_frequencies(device, ops::rope_frequencies(1e4, 66, 66));
    const Buffer out = device.alloc(dtype, {2, 3, 66});
    ops::HeadNormRopeArgs args{
        .x = x, .positions = positions, .inv_freq = inv_freq, .out = out, .eps = kEps};
    ops::head_norm_rope(stream, args);
    args.out = x;
    ops::head_norm_rope(stream, args);
    stream.commit().wait();
    EXPECT_EQ(testing::bytes_of(x), testing::bytes_of(out));
  }
}

TEST_P(RopeTest, ThreadsAndTokensDoNotChangeBits) {
  Random random(6);
  const Shape shape = {40, 33, 512};  // two tasks a token
  const auto values = random.normals(testing::count_of(shape));
  std::vector<int32_t> positions;
  for (int32_t i = 0; i < 40; ++i) positions.push_back(i * 97);
  std::vector<std::byte> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    ops::HeadNormRopeArgs args{
        .x = testing::make_buffer(device, f32, shape, values),
        .positions = testing::make_i32(device, positions),
        .inv_freq = upload_frequencies(device, ops::rope_frequencies(1e4, 512, 512)),
        .out = device.alloc(f32, shape),
        .eps = kEps};
    ops::head_norm_rope(stream, args);
    ops::HeadNormRopeArgs last = args;
    last.x = args.x.rows(39, 1);
    last.positions = args.positions.rows(39, 1);
    last.out = device.alloc(f32, {1, 33, 512});
    ops::head_norm_rope(stream, last);
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(args.out);
    EXPECT_EQ(testing::bytes_of(args.out), expected) << threads << " threads";
    EXPECT_EQ(testing::bytes_of(args.out.rows(39, 1)), testing::bytes_of(last.out));
  }
}

TEST_P(RopeTest, UnsignedPositionsGiveTheSameBits) {
  const Device device = test_device(GetParam());
  Random random(9);
  const std::vector<uint32_t> positions = {0, 5, 1u << 17, 0x7fffffffu};
  ops::HeadNormRopeArgs args{
      .x = random_buffer(device, f32, {4, 3, 64}, random),
      .positions = testing::make_i32(device, {0, 5, 1 << 17, 0x7fffffff}),
      .inv_freq = upload_frequencies(device, ops::rope_frequencies(1e4, 64, 64)),
      .out = device.alloc(f32, {4, 3, 64}),
      .eps = kEps};
  ops::HeadNormRopeArgs of_unsigned = args;
  of_unsigned.positions = device.upload(positions.data(), u32, {4});
  of_unsigned.out = device.alloc(f32, {4, 3, 64});
  const Buffer plain = device.alloc(f32, {4, 3, 64}),
               plain_of_unsigned = device.alloc(f32, {4, 3, 64});
  Stream stream(device);
  ops::head_norm_rope(stream, args);
  ops::head_norm_rope(stream, of_unsigned);
  ops::rope(stream,
            {.x = args.x, .positions = args.positions, .inv_freq = args.inv_freq, .out = plain});
  ops::rope(stream, {.x = args.x,
                     .positions = of_unsigned.positions,
                     .inv_freq = args.inv_freq,
                     .out = plain_of_unsigned});
  stream.commit().wait();
  EXPECT_EQ(testing::bytes_of(args.out), testing::bytes_of(of_unsigned.out));
  EXPECT_EQ(testing::bytes_of(plain), testing::bytes_of(plain_of_unsigned));
}

TEST_P(RopeTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(8);
  const ops::HeadNormRopeArgs args{
      .x = random_buffer(device, f32, {4, 9, 256}, random),
      .weight = random_buffer(device, f32, {256}, random),
      .positions = testing::make_i32(device, {3, 4, 500, 100000}),
      .inv_freq = upload_frequencies(device, ops::rope_frequencies(1e4, 256, 256)),
      .out = device.alloc(f32, {4, 9, 256}),
      .eps = kEps};
  const Buffer rotated = device.alloc(f32, {4, 9, 256});
  testing::expect_repeatable(
      device,
      [&](Stream& stream) {
        ops::head_norm_rope(stream, args);
        ops::rope(
            stream,
            {.x = args.x, .positions = args.positions, .inv_freq = args.inv_freq, .out = rotated});
      },
      {args.out, rotated});
}

TEST(RopeFrequencies, FollowTheFormula) {
  const auto plain = ops::rope_frequencies(10000.0, 8, 8);
  ASSERT_EQ(plain.size(), 4u);
  EXPECT_FLOAT_EQ(plain[0], 1.0f);
  EXPECT_FLOAT_EQ(plain[1], 0.1f);
  EXPECT_FLOAT_EQ(plain[2], 0.01f);
  const auto partial = ops::rope_frequencies(10000.0, 4, 16, {1.0f, 8.0f});
  ASSERT_EQ(partial.size(), 2u);
  EXPECT_FLOAT_EQ(partial[1], static_cast<float>(std::pow(10000.0, -0.125) / 8.0));
  EXPECT_TRUE(ops::rope_frequencies(10000.0, 0, 16).empty());
  const auto expect = [](const char* parameter, auto&& call) {
    expect_error(ErrorKind::kInvalidArgument, {"rope_frequencies", parameter}, call);
  };
  expect("theta", [] { ops::rope_frequencies(0.0, 8, 8); });
  expect("theta", [] { ops::rope_frequencies(NAN, 8, 8); });
  expect("rotary_dim", [] { ops::rope_frequencies(1e4, 7, 8); });
  expect("rotary_dim", [] { ops::rope_frequencies(1e4, -2, 8); });
  expect("denominator", [] { ops::rope_frequencies(1e4, 8, 0); });
  expect("factors", [] { ops::rope_frequencies(1e4, 4, 8, {1.0f, 0.0f}); });
  expect("factors", [] { ops::rope_frequencies(1e4, 4, 8, {1.0f}); });
}

TEST(RopeErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const ops::HeadNormRopeArgs good{.x = device.alloc(f32, {2, 3, 8}),
                                   .positions = device.alloc(i32, {2}),
                                   .inv_freq = device.alloc(f32, {4}),
                                   .out = device.alloc(f32, {2, 3, 8}),
                                   .eps = kEps};
  const auto expect = [&](const std::vector<std::string>& fragments, auto&& change) {
    ops::HeadNormRopeArgs bad = good;
    change(bad);
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::head_norm_rope(stream, bad); });
  };
  expect({"head_norm_rope: x:"}, [](auto& a) { a.x = {}; });
  expect({"x:", "[T, H, D]"}, [](auto& a) { a.x = a.x.reshape({6, 8}); });
  expect({"x:", "even"}, [&](auto& a) {
    a.x = device.alloc(f32, {2, 3, 7});
    a.out = device.alloc(f32, {2, 3, 7});
  });
  expect({"out:"}, [](auto& a) { a.out = {}; });
  expect({"out:", "bf16"}, [&](auto& a) { a.out = device.alloc(bf16, {2, 3, 8}); });
  expect({"out:", "overlap"}, [&](auto& a) {
    const Buffer wide = device.alloc(f32, {3, 3, 8});
    a.x = wide.rows(0, 2);
    a.out = wide.rows(1, 2);
  });
  expect({"weight:", "7"}, [&](auto& a) { a.weight = device.alloc(f32, {7}); });
  expect({"weight:", "u8"}, [&](auto& a) { a.weight = device.alloc(u8, {8}); });
  expect({"positions:", "empty"}, [](auto& a) { a.positions = {}; });
  expect({"positions:", "3"}, [&](auto& a) { a.positions = device.alloc(i32, {3}); });
  expect({"positions:", "f32"}, [&](auto& a) { a.positions = device.alloc(f32, {2}); });
  expect({"inv_freq:", "5", "4"}, [&](auto& a) { a.inv_freq = device.alloc(f32, {5}); });
  expect({"inv_freq:", "f16"}, [&](auto& a) { a.inv_freq = device.alloc(f16, {4}); });
  expect({"eps:"}, [](auto& a) { a.eps = -1.0f; });
  expect({"weight_offset:"}, [](auto& a) { a.weight_offset = INFINITY; });
  expect_error(ErrorKind::kInvalidArgument, {"rope: x:", "even"}, [&] {
    const Buffer odd = device.alloc(f32, {2, 3, 7});
    ops::rope(stream, {.x = odd, .positions = good.positions, .inv_freq = {}, .out = odd});
  });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::head_norm_rope(stream, good);
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 1u);
  EXPECT_EQ(stream.counters().barriers, 0u);
}

}  // namespace
}  // namespace mlxn
