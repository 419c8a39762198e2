// SPDX-License-Identifier: Apache-2.0
#include "quant/turboquant.h"

#include <cmath>
#include <numeric>

#include "kernels/common/test_kit.h"

namespace mlxn {
namespace {

double density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }

// Mean square error of ascending levels for N(0, 1): the closed form of each cell's moments.
double distortion(const std::vector<double>& levels) {
  const double infinity = std::numeric_limits<double>::infinity();
  double error = 0.0;
  for (size_t i = 0; i < levels.size(); ++i) {
    const double a = i == 0 ? -infinity : (levels[i - 1] + levels[i]) / 2;
    const double b = i + 1 == levels.size() ? infinity : (levels[i] + levels[i + 1]) / 2;
    const double mass = (std::erfc(a / std::sqrt(2.0)) - std::erfc(b / std::sqrt(2.0))) / 2;
    const double first = (std::isinf(a) ? 0 : density(a)) - (std::isinf(b) ? 0 : density(b));
    const double second =
        mass + (std::isinf(a) ? 0 : a * density(a)) - (std::isinf(b) ? 0 : b * density(b));
    error += second - 2 * levels[i] * first + levels[i] * levels[i] * mass;
  }
  return error;
}

// How far the levels are from the means of their cells.
double largest_residual(const std::vector<double>& levels) {
  const double infinity = std::numeric_limits<double>::infinity();
  double largest = 0.0;
  for (size_t i = levels.size() / 2; i < levels.size(); ++i) {  // where erfc keeps its digits
    const double a = (levels[i - 1] + levels[i]) / 2;
    const double b = i + 1 == levels.size() ? infinity : (levels[i] + levels[i + 1]) / 2;
    const double mass = (std::erfc(a / std::sqrt(2.0)) - std::erfc(b / std::sqrt(2.0))) / 2;
    const double first = density(a) - (std::isinf(b) ? 0 : density(b));
    largest = std::max(largest, std::abs(first / mass - levels[i]));
  }
  return largest;
}

std::vector<double> ascending(int bits) {
  const quant::TqTable t = quant::make_tq_table({.bits = bits});
  std::vector<double> levels;
  for (uint32_t i = 0; i < 1u << bits; ++i) levels.push_back(t.levels[t.code_of(i)]);
  return levels;
}

TEST(LloydMax, MatchesThePublishedOptima) {  // Q1
  const std::vector<std::array<double, 3>> expected = {
      {0.797884561, 0.797884561, 0.363380228}, {0.452780035, 1.510417608, 0.117481848},
      {0.245094179, 2.151945705, 0.034547761}, {0.128395030, 2.732589571, 0.009501008},
      {0.065889660, 3.260732493, 0.002504668}, {0.033409506, 3.744101271, 6.442397e-4},
      {0.016828169, 4.189694157, 1.634782e-4}, {0.008446193, 4.603535612, 4.118508e-5}};
  for (int bits = 1; bits <= 8; ++bits) {
    const auto levels = ops::lloyd_max(bits);
    const auto& [smallest, largest, error] = expected[static_cast<size_t>(bits - 1)];
    ASSERT_EQ(levels.size(), size_t{1} << bits);
    EXPECT_NEAR(levels[levels.size() / 2], smallest, 1e-9);
    EXPECT_NEAR(levels.back(), largest, 1e-9);
    EXPECT_NEAR(distortion(levels) / error, 1.0, 1e-6);
    EXPECT_LT(largest_residual(levels), 1e-12);
    for (size_t i = 0; i < levels.size(); ++i) {
      EXPECT_EQ(levels[i], -levels[levels.size() - 1 - i]);
      if (i > 0) {
        EXPECT_GT(levels[i], levels[i - 1]);
      }
    }
  }
  testing::expect_error(ErrorKind::kInvalidArgument, {"lloyd_max", "bits", "9"},
                        [] { ops::lloyd_max(9); });
  testing::expect_error(ErrorKind::kInvalidArgument, {"tq_codebook", "bits", "7"},
                        [] { ops::tq_codebook(7); });
}

TEST(TqCodebook, IsNearlyOptimal) {  // Q2
  for (int bits : {2, 3, 4, 5, 6, 8}) {
    const double best = distortion(ops::lloyd_max(bits));
    EXPECT_LT(distortion(ascending(bits)), best * (bits == 8 ? 1.003 : 1.0006)) << bits;
    EXPECT_TRUE(quant::make_tq_table({.bits = bits}).has_half);
  }
}

TEST(TqCodebook, FourBitsAreSignAndMagnitude) {
  const auto levels = ops::tq_codebook(4);
  EXPECT_EQ(levels[0], 0.131591796875f);
  EXPECT_EQ(levels[7], 2.739501953125f);
  EXPECT_EQ(levels[8], -0.131591796875f);
  const quant::TqTable t = quant::make_tq_table({});
  EXPECT_EQ(t.code_of(0), 15u);
  EXPECT_EQ(t.code_of(7), 8u);
  EXPECT_EQ(t.code_of(8), 0u);
  EXPECT_EQ(t.bounds[7], 0.0f);
  EXPECT_EQ(t.bounds[14], 2.404541015625f);
  EXPECT_EQ(t.bounds[15], std::numeric_limits<float>::infinity());
}

TEST(TqSigns, HaveTheCountsOfTheTable) {
  int count = 0;
  for (int i = 0; const uint8_t byte : ops::tq_signs()) {
    count += std::popcount(byte);
    if (++i == 32) {
      EXPECT_EQ(count, 132);
    }
  }
  EXPECT_EQ(count, 263);
}

TEST(TqStream, RoundTrip) {  // Q8
  for (auto kind :
       {ops::TqStream::k2, ops::TqStream::k2_25, ops::TqStream::k3, ops::TqStream::k4}) {
    std::vector<uint8_t> indices(128);
    const auto bits_of = [&](size_t i) {
      return kind == ops::TqStream::k2_25 ? (i < 32 ? 3 : 2)
             : kind == ops::TqStream::k2  ? 2
             : kind == ops::TqStream::k3  ? 3
                                          : 4;
    };
    for (size_t i = 0; i < 128; ++i) {
      indices[i] = static_cast<uint8_t>((i * 7 + i / 5) % (size_t{1} << bits_of(i)));
    }
    const auto bytes = ops::tq_stream_pack(kind, indices);
    const int bits4 = kind == ops::TqStream::k2_25 ? 9
                                                   : 4 * (kind == ops::TqStream::k2   ? 2
                                                          : kind == ops::TqStream::k3 ? 3
                                                                                      : 4);
    EXPECT_EQ(bytes.size(), size_t{128} * static_cast<size_t>(bits4) / 32);
    EXPECT_EQ(ops::tq_stream_unpack(kind, bytes, 128), indices);
  }
  EXPECT_EQ(ops::tq_stream_pack(ops::TqStream::k4, {0xa, 0x3}), std::vector<uint8_t>{0xa3});
  EXPECT_EQ(ops::tq_stream_pack(ops::TqStream::k3, {5, 2, 7}), (std::vector<uint8_t>{0xab, 0x80}));
  testing::expect_error(ErrorKind::kInvalidArgument, {"indices", "4"},
                        [] { ops::tq_stream_pack(ops::TqStream::k2, {4}); });
  testing::expect_error(ErrorKind::kInvalidArgument, {"bytes", "1"},
                        [] { ops::tq_stream_unpack(ops::TqStream::k4, {1}, 3); });
}

}  // namespace
}  // namespace mlxn
