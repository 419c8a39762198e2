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

// But for 4 bits, whose levels are odd integers times a unit, they are the optima rounded to f16.
TEST(TqCodebook, IsTheOptimumRounded) {
  for (int bits : {2, 3, 5, 6, 8}) {
    const auto best = ops::lloyd_max(bits);
    const auto levels = ops::tq_codebook(bits);
    ASSERT_EQ(levels.size(), best.size());
    for (size_t i = 0; i < best.size(); ++i) {
      EXPECT_EQ(levels[i], to_float(to_f16(static_cast<float>(best[i])))) << bits << " " << i;
    }
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

// Vectors as turboquant.h says that the stream holds them.
class TqStreamVectors : public ::testing::Test {
 protected:
  struct Coded {
    std::vector<uint8_t> bytes;
    double norm;
  };

  Coded to_stream(ops::TqStream kind, const std::vector<float>& x) {
    const std::vector<float> y = plain_fwht(x);
    double sum = 0.0;
    for (const float v : x) sum += double{v} * v;
    const double norm = std::sqrt(sum), scale = std::sqrt(static_cast<double>(x.size())) / norm;
    std::vector<uint8_t> indices;
    for (size_t j = 0; j < y.size(); ++j) {
      const auto& levels = levels_of(kind, j, y.size());
      int below = 0;
      for (size_t i = 0; i + 1 < levels.size(); ++i) {
        below += (levels[i] + levels[i + 1]) / 2 < y[j] * scale ? 1 : 0;
      }
      indices.push_back(static_cast<uint8_t>(below));
    }
    return {ops::tq_stream_pack(kind, indices), norm};
  }

  std::vector<float> from_stream(ops::TqStream kind, const Coded& coded, size_t dim) {
    const auto indices = ops::tq_stream_unpack(kind, coded.bytes, static_cast<int64_t>(dim));
    std::vector<float> y;
    for (size_t j = 0; j < dim; ++j) {
      const double unit = levels_of(kind, j, dim)[indices[j]];
      y.push_back(static_cast<float>(unit * coded.norm / std::sqrt(static_cast<double>(dim))));
    }
    return plain_fwht(y);
  }

 private:
  // Those of coordinate j.
  const std::vector<double>& levels_of(ops::TqStream kind, size_t j, size_t dim) const {
    if (kind == ops::TqStream::k2_25) return levels_[j < dim / 4 ? 1 : 0];
    return levels_[kind == ops::TqStream::k2 ? 0 : kind == ops::TqStream::k3 ? 1 : 2];
  }

  std::vector<float> plain_fwht(const std::vector<float>& x) {
    const Buffer row = device_.upload(x.data(), f32, {static_cast<int64_t>(x.size())});
    ops::fwht(stream_, {.x = row, .out = row});
    stream_.commit().wait();
    return testing::to_floats(row);
  }

  Device device_ = testing::cpu_device();
  Stream stream_{device_};
  std::array<std::vector<double>, 3> levels_ = {ops::lloyd_max(2), ops::lloyd_max(3),
                                                ops::lloyd_max(4)};
};

// The first unit vector times 3: every coordinate of its transform is norm / sqrt(D), which is
// index 3 of 2 bits, 5 of 3 and 11 of 4.
TEST_F(TqStreamVectors, AgreeWithOneWorkedByHand) {
  const std::vector<std::pair<ops::TqStream, std::vector<uint8_t>>> expected = {
      {ops::TqStream::k2, {0xff, 0xff}},
      {ops::TqStream::k2_25, {0xb7, 0xff, 0xc0}},
      {ops::TqStream::k3, {0xb6, 0xdb, 0x6d}},
      {ops::TqStream::k4, {0xbb, 0xbb, 0xbb, 0xbb}}};
  for (const auto& [kind, bytes] : expected) {
    const Coded coded = to_stream(kind, {3, 0, 0, 0, 0, 0, 0, 0});
    EXPECT_EQ(coded.bytes, bytes);
    EXPECT_EQ(coded.norm, 3.0);
  }
  const auto back = from_stream(ops::TqStream::k4, {{0xbb, 0xbb, 0xbb, 0xbb}, 3.0}, 8);
  EXPECT_NEAR(back[0], 3 * ops::lloyd_max(4)[11], 1e-6);
  for (size_t j = 1; j < 8; ++j) EXPECT_NEAR(back[j], 0.0, 1e-6);
}

// On a sphere the error is up to 1.2 % below that of the normal distribution at this length.
TEST_F(TqStreamVectors, ComeBackWithTheErrorOfTheirLevels) {
  constexpr size_t kDim = 256;
  const double two = distortion(ops::lloyd_max(2)), three = distortion(ops::lloyd_max(3));
  const std::vector<std::pair<ops::TqStream, double>> expected = {
      {ops::TqStream::k2, two},
      {ops::TqStream::k2_25, (3 * two + three) / 4},
      {ops::TqStream::k3, three},
      {ops::TqStream::k4, distortion(ops::lloyd_max(4))}};
  for (const auto& [kind, per_coordinate] : expected) {
    testing::Random random(9);
    double error = 0.0, sum = 0.0;
    for (int row = 0; row < 200; ++row) {
      const std::vector<float> x = random.normals(kDim);
      const std::vector<float> back = from_stream(kind, to_stream(kind, x), kDim);
      for (size_t j = 0; j < kDim; ++j) {
        error += std::pow(double{x[j]} - back[j], 2);
        sum += std::pow(double{x[j]}, 2);
      }
    }
    EXPECT_GT(error / sum, 0.97 * per_coordinate) << static_cast<int>(kind);
    EXPECT_LT(error / sum, 1.01 * per_coordinate) << static_cast<int>(kind);
  }
}

TEST(TqStream, RefusesWhatItDoesNotHave) {
  const auto refuse = [](const std::vector<std::string>& fragments,
                         const std::function<void()>& call) {
    testing::expect_error(ErrorKind::kInvalidArgument, fragments, call);
  };
  const auto none = static_cast<ops::TqStream>(4);
  refuse({"tq_stream_pack", "kind", "4"}, [&] { ops::tq_stream_pack(none, {1}); });
  refuse({"tq_stream_unpack", "kind", "4"}, [&] { ops::tq_stream_unpack(none, {1}, 2); });
  refuse({"tq_stream_unpack", "dim", "-1"},
         [] { ops::tq_stream_unpack(ops::TqStream::k2, {1}, -1); });
}

TEST(TqRowSizes, AreThoseOfTheFormatsAndOfNothingElse) {
  EXPECT_EQ(ops::tq_row_bytes({.bits = 3}, 96), 36);
  EXPECT_EQ(ops::tq_row_bytes({.bits = 5, .packing = ops::TqPacking::kBytes}, 96), 96);
  EXPECT_EQ(ops::tq_norm_count(8), 1);
  EXPECT_EQ(ops::tq_norm_count(504), 1);
  EXPECT_EQ(ops::tq_norm_count(512), 2);
  const auto refuse = [](const std::vector<std::string>& fragments, const ops::TqFormat& format,
                         int64_t dim) {
    testing::expect_error(ErrorKind::kInvalidArgument, fragments,
                          [&] { ops::tq_row_bytes(format, dim); });
  };
  for (const int bits : {-4, 0, 1, 7, 9}) {
    refuse({"tq_row_bytes", "bits", std::to_string(bits)}, {.bits = bits}, 64);
  }
  refuse({"tq_row_bytes", "packing", "2"}, {.packing = static_cast<ops::TqPacking>(2)}, 64);
  for (const int64_t dim : {-8, 0, 12, 520}) {
    refuse({"tq_row_bytes", "dim", std::to_string(dim)}, {}, dim);
    testing::expect_error(ErrorKind::kInvalidArgument,
                          {"tq_norm_count", "dim", std::to_string(dim)},
                          [&] { ops::tq_norm_count(dim); });
  }
}

}  // namespace
}  // namespace mlxn
