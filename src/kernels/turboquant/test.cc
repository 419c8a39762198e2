// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "kernels/common/tq_oracle_kit.h"

namespace mlxn {
namespace {

using kernels::TqCache;
using testing::bytes_of;
using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;

constexpr int kWidths[] = {2, 3, 4, 5, 6, 8};

double norm_of(const std::vector<double>& x) {
  double sum = 0.0;
  for (const double v : x) sum += v * v;
  return std::sqrt(sum);
}

std::vector<double> widened(const float* x, int64_t count) { return {x, x + count}; }

class TqTest : public ::testing::TestWithParam<std::string> {
 protected:
  Device device_ = test_device(GetParam());
  Stream stream_{device_};

  ops::TqRows make_cache(const ops::TqFormat& format, const Shape& bhc, int64_t dim) {
    ops::TqRows rows{
        .codes = device_.alloc(u8, {bhc[0], bhc[1], bhc[2], ops::tq_row_bytes(format, dim)}),
        .norms = device_.alloc(f32, {bhc[0], bhc[1], bhc[2], ops::tq_norm_count(dim)}),
        .format = format};
    std::memset(rows.codes.data(), 0xff, rows.codes.byte_len());
    std::memset(rows.norms.data(), 0xff, rows.norms.byte_len());
    return rows;
  }

  void encode(const ops::TqEncodeArgs& args) {
    ops::tq_encode(stream_, args);
    stream_.commit().wait();
  }

  Buffer decode(const ops::TqRows& rows, int64_t dim, bool rotate_back, int64_t first = 0,
                int64_t n = 0) {
    if (n == 0) n = rows.codes.dim(2);
    const GuardedBuffer out(device_, f32, {rows.codes.dim(0), rows.codes.dim(1), n, dim});
    ops::tq_decode(
        stream_,
        {.from = rows, .out = out.view(), .first_slot = first, .rotate_back = rotate_back});
    stream_.commit().wait();
    out.check();
    return out.view();
  }
};

INSTANTIATE_TEST_SUITE_P(Entries, TqTest,
                         ::testing::ValuesIn(testing::runnable(kernels::tq_encode_entries())));

TEST_P(TqTest, FwhtMatchesTheDefinition) {  // R1, R2, R3
  Random random(1);
  const auto dims = testing::unless_short<int64_t>(
      {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192}, {1, 4, 32, 256, 2048});
  for (int64_t dim : dims) {
    for (int64_t rows : testing::unless_short<int64_t>({1, 4, 33}, {1, 4})) {
      const Buffer x = testing::random_buffer(device_, f32, {rows, dim}, random);
      const GuardedBuffer out(device_, f32, {rows, dim});
      ops::fwht(stream_, {.x = x, .out = out.view()});
      ops::fwht(stream_, {.x = out.view(), .out = out.view()});
      const GuardedBuffer once(device_, f32, {rows, dim});
      ops::fwht(stream_, {.x = x, .out = once.view()});
      stream_.commit().wait();
      out.check();
      for (int64_t r = 0; r < rows; ++r) {
        const auto in = widened(x.span<float>().data() + r * dim, dim);
        const auto expected = kernels::fwht_reference(in);
        const double norm = norm_of(in);
        const auto found = widened(once.view().span<float>().data() + r * dim, dim);
        EXPECT_NEAR(norm_of(found) / norm, 1.0, 1e-6) << dim;
        for (int64_t j = 0; j < dim; ++j) {
          const auto i = static_cast<size_t>(r * dim + j);
          ASSERT_NEAR(once.view().span<float>()[i], expected[static_cast<size_t>(j)], 1e-6 * norm);
          ASSERT_NEAR(out.view().span<float>()[i], in[static_cast<size_t>(j)], 2e-6 * norm);
        }
      }
    }
  }
}

// Unit vectors become the columns of H / sqrt(D), ones the first unit vector.
TEST_P(TqTest, FwhtOfUnitVectorsAndOnes) {  // R1
  for (int64_t dim : testing::unless_short<int64_t>({1, 2, 4, 32, 256, 2048}, {1, 4, 32, 256})) {
    const double each = 1.0 / std::sqrt(static_cast<double>(dim));
    const std::vector<int64_t> units = {0, dim / 3, dim / 2, dim - 1};
    const auto rows = static_cast<int64_t>(units.size());
    const Buffer x = device_.alloc(f32, {rows + 1, dim});
    for (int64_t r = 0; r < rows; ++r) {
      x.span<float>()[static_cast<size_t>(r * dim + units[static_cast<size_t>(r)])] = 1.0f;
    }
    std::fill_n(x.span<float>().data() + rows * dim, dim, 1.0f);
    const GuardedBuffer out(device_, f32, {rows + 1, dim});
    ops::fwht(stream_, {.x = x, .out = out.view()});
    stream_.commit().wait();
    out.check();
    const float* found = out.view().span<float>().data();
    for (int64_t r = 0; r < rows; ++r) {
      const auto unit = static_cast<uint64_t>(units[static_cast<size_t>(r)]);
      for (int64_t j = 0; j < dim; ++j) {
        const bool negative = std::popcount(static_cast<uint64_t>(j) & unit) % 2 != 0;
        ASSERT_NEAR(found[r * dim + j], negative ? -each : each, 1e-6) << dim << " " << unit;
      }
    }
    ASSERT_NEAR(found[rows * dim], 1.0 / each, 1e-6 / each) << dim;
    for (int64_t j = 1; j < dim; ++j) ASSERT_EQ(found[rows * dim + j], 0.0f) << dim;
  }
}

TEST(TqReference, FollowsTheDefinition) {
  Random random(3);
  std::vector<double> x(64 + 16);
  for (double& v : x) v = random.normal();
  const auto found = kernels::fwht_reference(x);
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t begin = i < 64 ? 0 : 64, size = i < 64 ? 64 : 16;
    double sum = 0.0;
    for (size_t j = 0; j < size; ++j) {
      sum += (std::popcount((i - begin) & j) % 2 ? -1.0 : 1.0) * x[begin + j];
    }
    EXPECT_NEAR(found[i], sum / std::sqrt(static_cast<double>(size)), 1e-12);
  }
}

TEST_P(TqTest, SignsAndBlocks) {
  Random random(2);
  const quant::TqTable t = quant::make_tq_table({});
  for (int64_t dim : {8, 16, 24, 64, 72, 80, 96, 128, 192, 200, 256, 320, 504, 512}) {
    const Buffer x = testing::random_buffer(device_, f32, {2, dim}, random);
    const GuardedBuffer y(device_, f32, {2, dim}), back(device_, f32, {2, dim});
    ops::fwht(
        stream_,
        {.x = x, .out = y.view(), .mode = ops::FwhtMode::kForward, .signs = {}, .blocks = true});
    ops::fwht(stream_, {.x = y.view(),
                        .out = back.view(),
                        .mode = ops::FwhtMode::kInverse,
                        .signs = {},
                        .blocks = true});
    stream_.commit().wait();
    y.check();
    const auto in = widened(x.span<float>().data() + dim, dim);
    const auto expected = kernels::rotate_reference(t, in);
    for (size_t j = 0; j < in.size(); ++j) {
      ASSERT_NEAR(y.view().span<float>()[in.size() + j], expected[j], 1e-6 * norm_of(in)) << dim;
      ASSERT_NEAR(back.view().span<float>()[in.size() + j], in[j], 2e-6 * norm_of(in)) << dim;
    }
  }
}

TEST_P(TqTest, EncodeAndDecodeMatchTheOracle) {  // Q3, Q8, Q11
  Random random(3);
  const auto dims = testing::unless_short<int64_t>(
      {8, 24, 64, 80, 96, 104, 128, 192, 256, 320, 504, 512}, {24, 80, 256, 512});
  for (int64_t dim : dims) {
    for (int bits : kWidths) {
      for (ops::TqPacking packing : {ops::TqPacking::kDense, ops::TqPacking::kBytes}) {
        if (packing == ops::TqPacking::kBytes && (bits < 5 || bits == 8)) continue;
        const ops::TqFormat format{.bits = bits, .packing = packing};
        const int64_t heads = 2, capacity = 8;
        const auto cache = make_cache(format, {1, heads, capacity}, dim);
        const Buffer src = testing::random_buffer(device_, f32, {1, 3, heads, dim}, random);
        encode({.src = src, .to = cache, .pos = 10, .ring = true});  // slots 2, 3, 4
        const TqCache c = kernels::tq_cache(cache, dim);
        for (int64_t h = 0; h < heads; ++h) {
          for (int64_t slot = 0; slot < capacity; ++slot) {
            const int64_t row = h * capacity + slot, t = slot - 2;
            if (t >= 0 && t < 3) {
              testing::expect_coded_row(c, row, src.span<float>().data() + (t * heads + h) * dim);
              continue;
            }
            for (int64_t i = 0; i < c.row_bytes; ++i)
              ASSERT_EQ(c.codes[row * c.row_bytes + i], 0xff);
            ASSERT_TRUE(std::isnan(c.norms[row * c.norm_count]));
          }
        }
        for (bool rotate_back : {false, true}) {
          const Buffer out = decode(cache, dim, rotate_back, 2, 3);
          for (int64_t i = 0; i < heads * 3; ++i) {
            const auto expected =
                kernels::tq_decode_reference(c, i / 3 * capacity + 2 + i % 3, rotate_back);
            const double norm = norm_of(expected);
            for (int64_t j = 0; j < dim; ++j) {
              const double e = expected[static_cast<size_t>(j)];
              const double tolerance = rotate_back ? 2e-6 * norm : 2.0 * 0x1p-23 * std::abs(e);
              ASSERT_NEAR(out.span<float>()[static_cast<size_t>(i * dim + j)], e, tolerance)
                  << dim << " " << bits;
            }
          }
        }
      }
    }
  }
}

TEST_P(TqTest, TiesTakeTheLowerLevelAndEndsSaturate) {  // Q4
  // y is chosen, x = R^-1 y.
  const auto index_of = [&](const ops::TqFormat& format, const std::vector<double>& y) {
    const auto dim = static_cast<int64_t>(y.size());
    const auto cache = make_cache(format, {1, 1, 1}, dim);
    const TqCache c = kernels::tq_cache(cache, dim);
    const auto x = kernels::rotate_back_reference(c.table, y);
    const std::vector<float> row(x.begin(), x.end());
    encode({.src = testing::make_buffer(device_, f32, {1, 1, 1, dim}, row), .to = cache, .pos = 0});
    std::vector<uint32_t> found;  // ascending
    for (int64_t j = 0; j < dim; ++j) {
      const uint32_t code = kernels::tq_code_reference(c, 0, j);
      uint32_t index = 0;
      while (c.table.code_of(index) != code) ++index;
      found.push_back(index);
    }
    return found;
  };
  for (int bits : kWidths) {
    const uint32_t middle = 1u << (bits - 1), last = 2 * middle - 1;
    // One element dominates: z = +-sqrt 128, beyond both ends; the others are next to 0.
    for (double end : {1e4, -1e4}) {
      std::vector<double> y(128, 1.0);
      y[1] = -1.0;
      y[0] = end;
      const auto found = index_of({.bits = bits}, y);
      EXPECT_EQ(found[0], end > 0 ? last : 0u) << bits;
      EXPECT_EQ(found[1], middle - 1) << bits;
      EXPECT_EQ(found[2], middle) << bits;
    }
    // y = +-1 in 64 elements has a norm of 8, so that z = +-1 without rounding, and levels ..,
    // -0.5, 0.5, 1.5, .. have boundaries there.
    ops::TqFormat foreign{.bits = bits};
    for (uint32_t i = 0; i <= last; ++i) {
      foreign.codebook.push_back(static_cast<float>(i) - static_cast<float>(middle) + 0.5f);
    }
    std::vector<double> y(64);
    for (size_t j = 0; j < 64; ++j) y[j] = j * j % 7 < 3 ? 1.0 : -1.0;
    const auto found = index_of(foreign, y);
    for (size_t j = 0; j < 64; ++j) {
      ASSERT_EQ(found[j], y[j] > 0 ? middle : middle - 2) << bits << " bits, element " << j;
    }
  }
  // A zero row lies on the middle boundary everywhere: the lower level, 2^(b-1) - 1.
  for (int bits : kWidths) {
    const auto zeros = make_cache({.bits = bits}, {1, 1, 1}, 64);
    encode({.src = device_.alloc(f32, {1, 1, 1, 64}), .to = zeros, .pos = 0});
    const TqCache z = kernels::tq_cache(zeros, 64);
    EXPECT_EQ(z.norms[0], 0.0f);
    for (int64_t j = 0; j < 64; ++j) {
      ASSERT_EQ(kernels::tq_code_reference(z, 0, j), z.table.code_of((1u << (bits - 1)) - 1));
    }
    for (float v : testing::to_floats(decode(zeros, 64, true))) ASSERT_EQ(v, 0.0f);
  }
}

TEST_P(TqTest, ExtremeRowsStayAlone) {  // Q5
  Random random(5);
  for (int64_t dim : {128, 512}) {
    std::vector<float> rows = random.normals(5 * dim);
    for (int64_t j = 0; j < dim; ++j) {
      rows[static_cast<size_t>(dim + j)] *= 1e-13f;
      rows[static_cast<size_t>(2 * dim + j)] *= 1e30f;
      rows[static_cast<size_t>(3 * dim + j)] = NAN;
    }
    const Buffer src = testing::make_buffer(device_, f32, {1, 5, 1, dim}, rows);
    const auto cache = make_cache({}, {1, 1, 5}, dim);
    encode({.src = src, .to = cache, .pos = 0});
    const TqCache c = kernels::tq_cache(cache, dim);
    for (int64_t row : {0, 2, 4}) testing::expect_coded_row(c, row, rows.data() + row * dim);
    const Buffer out = decode(cache, dim, true);
    for (int64_t i = 0; i < 5 * dim; ++i) {
      const float v = out.span<float>()[static_cast<size_t>(i)];
      if (i / dim == 3) continue;
      ASSERT_TRUE(std::isfinite(v));
      if (i / dim == 1) {
        ASSERT_LE(std::abs(v), 1e-10f);
      }
    }
    EXPECT_TRUE(std::isnan(c.norms[3 * c.norm_count]));
  }
}

double nmse(const Buffer& src, const Buffer& out) {
  const auto exact = src.span<float>(), coded = out.span<float>();
  double error = 0.0, power = 0.0;
  for (size_t i = 0; i < exact.size(); ++i) {
    error += std::pow(double{exact[i]} - coded[i], 2);
    power += double{exact[i]} * exact[i];
  }
  return error / power;
}

// What a codebook makes of a coordinate z of a random point on the sphere of radius sqrt(n) in n
// dimensions: the mean of (z - level)^2, z with a density proportional to (1 - z^2 / n)^((n - 3) /
// 2).
double sphere_error(int bits, int64_t n) {
  auto levels = ops::tq_codebook(bits);
  std::sort(levels.begin(), levels.end());
  const auto dims = static_cast<double>(n);
  constexpr int kSteps = 400000;
  const double end = std::sqrt(dims), step = 2.0 * end / kSteps;
  double error = 0.0, mass = 0.0;
  size_t level = 0;
  for (int i = 0; i < kSteps; ++i) {
    const double z = -end + (i + 0.5) * step;
    const double density = std::pow(1.0 - z * z / dims, (dims - 3.0) / 2.0);
    while (level + 1 < levels.size() && 2.0 * z > double{levels[level]} + levels[level + 1])
      ++level;
    error += density * (z - levels[level]) * (z - levels[level]);
    mass += density;
  }
  return error / mass;
}

TEST_P(TqTest, ErrorIsThatOfTheSphere) {  // Q6
  Random random(6);
  // Every entry gives what the best one gives but for a code here and there.
  const bool best = GetParam() == testing::runnable(kernels::tq_encode_entries())[0];
  // Published values by width, at D 64, 128, 256, 512, to their digits; 0: none.
  const std::vector<std::pair<int, std::vector<double>>> published = {
      {2, {0.1142, 0.1162, 0.1166, 0.1168}},     {3, {0.03345, 0.03400, 0.03436, 0.03429}},
      {4, {0.00920, 0.00934, 0.00940, 0.00939}}, {5, {0, 0, 0.0498 * 0.0498, 0}},
      {6, {0, 0, 0.0253 * 0.0253, 0}},           {8, {0, 0, 0.00637 * 0.00637, 0}}};
  const int64_t dims[] = {64, 128, 256, 512};
  for (size_t i = 0; i < 4; ++i) {
    // More rows where they are short: what lies beyond the last of 256 levels is rare.
    const int64_t rows = (is_short() ? 200
                          : best     ? 10000
                                     : 1000) *
                         std::max<int64_t>(1, 256 / dims[i]);
    const double tolerance = is_short() ? 0.05 : best ? 0.01 : 0.03;
    const Buffer src = testing::random_buffer(device_, f32, {1, rows, 1, dims[i]}, random);
    for (const auto& [bits, values] : published) {
      const auto cache = make_cache({.bits = bits}, {1, 1, rows}, dims[i]);
      encode({.src = src, .to = cache, .pos = 0});
      const double found = nmse(src, decode(cache, dims[i], true));
      // At 512 every half has a norm of its own.
      const double expected = sphere_error(bits, std::min<int64_t>(dims[i], 256));
      const std::string what = std::to_string(bits) + " bits, D " + std::to_string(dims[i]);
      RecordProperty(what, std::to_string(1e6 * found) + "e-6");
      EXPECT_NEAR(found / expected, 1.0, tolerance) << what << ": " << found;
      if (values[i] > 0) {
        EXPECT_NEAR(found / values[i], 1.0, tolerance) << what << ": " << found;
      }
    }
  }
}

TEST_P(TqTest, AwkwardVectorsAreCodedWell) {  // Q7
  for (int64_t dim : {64, 128, 256, 512}) {
    std::vector<float> rows(static_cast<size_t>(4 * dim), 0.0f);
    for (int64_t j = 0; j < dim; ++j) {
      rows[static_cast<size_t>(j)] = 3.0f;
      rows[static_cast<size_t>(dim + j)] = j % 2 ? -1.0f : 1.0f;
      rows[static_cast<size_t>(3 * dim + j)] = j == 7 ? 200.0f : 0.3f;
    }
    rows[static_cast<size_t>(2 * dim + 5)] = 1.0f;
    for (int64_t r = 0; r < 4; ++r) {
      const Buffer src = testing::make_buffer(
          device_, f32, {1, 1, 1, dim}, std::span(rows).subspan(static_cast<size_t>(r * dim)));
      const auto cache = make_cache({}, {1, 1, 1}, dim);
      encode({.src = src, .to = cache, .pos = 0});
      EXPECT_LT(nmse(src, decode(cache, dim, true)), 0.015) << dim << " row " << r;
    }
  }
}

TEST_P(TqTest, TwoNormsAndScaleFactor) {  // Q9, Q10
  Random random(9);
  const int64_t dim = 512;
  const quant::TqTable t = quant::make_tq_table({});
  std::vector<double> y(512);
  for (double& value : y) value = random.normal();
  Buffer src;
  const auto cache = make_cache({}, {1, 1, 1}, dim);
  const TqCache c = kernels::tq_cache(cache, dim);
  // Of each half of the rotated row, whose second one is `ratio` times as long.
  const auto nmse_of_halves = [&](double ratio) {
    std::vector<double> z = y;
    for (size_t e = 256; e < 512; ++e) z[e] *= ratio;
    const auto x = kernels::rotate_back_reference(t, z);
    src =
        testing::make_buffer(device_, f32, {1, 1, 1, dim}, std::vector<float>(x.begin(), x.end()));
    encode({.src = src, .to = cache, .pos = 0});
    const Buffer out = decode(cache, dim, false);
    std::array<double, 2> errors = {};
    for (size_t b = 0; b < 2; ++b) {
      double error = 0.0, power = 0.0;
      for (size_t e = 256 * b; e < 256 * (b + 1); ++e) {
        error += std::pow(z[e] - out.span<float>()[e], 2);
        power += z[e] * z[e];
      }
      const double norm = std::sqrt(power / 256) * c.table.scale_factor;
      EXPECT_NEAR(c.norms[b] / norm, 1.0, 2e-6) << b << " of " << ratio;
      errors[b] = error / power;
    }
    return errors;
  };
  const auto alone = nmse_of_halves(1.0), beside = nmse_of_halves(100.0);
  for (size_t b = 0; b < 2; ++b) {
    EXPECT_LT(alone[b], 0.02) << b;
    EXPECT_NEAR(beside[b] / alone[b], 1.0, 0.01) << b;
  }
  const Buffer out = decode(cache, dim, false);
  auto zero = make_cache({.scale_factor = 0.0f}, {1, 1, 1}, dim);
  encode({.src = src, .to = zero, .pos = 0});
  EXPECT_EQ(bytes_of(zero.codes), bytes_of(cache.codes));
  auto scaled = cache;
  scaled.norms = testing::make_buffer(device_, f32, {1, 1, 1, 2},
                                      std::vector<float>{16 * c.norms[0], 16 * c.norms[1]});
  scaled.format.scale_factor = 16.0f;
  EXPECT_EQ(bytes_of(decode(scaled, dim, false)), bytes_of(out));
}

TEST_P(TqTest, ManyTokensEqualSingleOnes) {  // Q16
  Random random(16);
  const Buffer src = testing::random_buffer(device_, f32, {2, 40, 3, 80}, random);
  const auto all = make_cache({.bits = 3}, {2, 3, 16}, 80),
             one = make_cache({.bits = 3}, {2, 3, 16}, 80);
  encode({.src = src, .to = all, .pos = {5, 9}, .ring = true});
  for (int64_t t = 0; t < 40; ++t) {
    encode({.src = src, .to = one, .src_offset = t, .n = 1, .pos = {5 + t, 9 + t}, .ring = true});
  }
  EXPECT_EQ(bytes_of(all.codes), bytes_of(one.codes));
  EXPECT_EQ(bytes_of(all.norms), bytes_of(one.norms));
  for (int threads : {1, 3}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    const auto copy = [&](const Buffer& b) {
      return device.upload(b.data(), b.dtype(), b.shape());
    };
    const ops::TqRows again{copy(one.codes), copy(one.norms), one.format};
    std::memset(again.codes.data(), 0, again.codes.byte_len());
    ops::tq_encode(stream, {.src = copy(src), .to = again, .pos = {5, 9}, .ring = true});
    stream.commit().wait();
    EXPECT_EQ(bytes_of(again.codes), bytes_of(all.codes));
  }
}

TEST_P(TqTest, ForeignCodebooksAndSigns) {  // Q18
  Random random(18);
  for (int bits : {4, 6, 8}) {
    ops::TqFormat format{.bits = bits, .packing = ops::TqPacking::kBytes};
    for (int i = 0; i < 1 << bits; ++i) {
      format.codebook.push_back(std::sinh(6.0f * (static_cast<float>(i) + 0.4f) / (1 << bits) - 3) /
                                3);
    }
    for (int i = 0; i < 16; ++i)
      format.signs.push_back(static_cast<uint8_t>(random.integer(0, 255)));
    const auto cache = make_cache(format, {1, 1, 4}, 128);
    const Buffer src = testing::random_buffer(device_, f32, {1, 4, 1, 128}, random);
    encode({.src = src, .to = cache, .pos = 0});
    const TqCache c = kernels::tq_cache(cache, 128);
    EXPECT_FALSE(c.table.has_half);
    const Buffer out = decode(cache, 128, false);
    for (int64_t r = 0; r < 4; ++r) {
      testing::expect_coded_row(c, r, src.span<float>().data() + r * 128);
      const auto expected = kernels::tq_decode_reference(c, r, false);
      for (size_t j = 0; j < 128; ++j) {
        ASSERT_NEAR(out.span<float>()[static_cast<size_t>(r) * 128 + j], expected[j],
                    2.0 * 0x1p-23 * std::abs(expected[j]));
      }
    }
  }
}

TEST_P(TqTest, NormCorrectionRemovesTheBias) {  // Q20
  Random random(20);
  const int64_t rows = is_short() ? 60 : 3000;
  const Buffer src = testing::random_buffer(device_, f32, {1, rows, 1, 256}, random);
  for (int bits : kWidths) {
    for (bool correction : {false, true}) {
      const auto cache = make_cache({.bits = bits}, {1, 1, rows}, 256);
      encode({.src = src, .to = cache, .pos = 0, .norm_correction = correction});
      testing::expect_coded_row(kernels::tq_cache(cache, 256), 1, src.span<float>().data() + 256,
                                correction);
      const Buffer out = decode(cache, 256, true);
      double with_code = 0.0, with_itself = 0.0;
      for (size_t i = 0; i < src.span<float>().size(); ++i) {
        const double x = src.span<float>()[i];
        with_code += x * out.span<float>()[i];
        with_itself += x * x;
      }
      const double found = with_code / with_itself;
      if (correction) {
        EXPECT_NEAR(found, 1.0, 1e-3) << bits;
      } else if (bits >= 3 && !is_short()) {
        const double error[] = {0, 0, 0, 0.0345478, 0.0095010, 0.0025047, 6.4424e-4, 0, 4.1185e-5};
        EXPECT_NEAR(found, 1.0 - error[bits], 2e-3) << bits;
      }
    }
  }
}

TEST_P(TqTest, DevicePositionsStayInside) {
  const Buffer src = device_.alloc(f32, {1, 2, 1, 64});
  const auto cache = make_cache({}, {1, 1, 4}, 64);
  const auto before = bytes_of(cache.codes);
  for (int32_t pos : {-3, 4, 1000}) {
    encode({.src = src, .to = cache, .pos = testing::make_i32(device_, {pos})});
    EXPECT_EQ(bytes_of(cache.codes), before);
  }
}

TEST_P(TqTest, DirectCapturedAndReplayedAgree) {
  Random random(22);
  for (const int64_t dim : {80, 512}) {
    const Buffer src = testing::random_buffer(device_, f32, {1, 5, 2, dim}, random);
    const Buffer rotated = device_.alloc(f32, {1, 5, 2, dim});
    for (const int bits : kWidths) {
      const auto cache = make_cache({.bits = bits}, {1, 2, 5}, dim);
      const Buffer out = device_.alloc(f32, {1, 2, 5, dim});
      testing::expect_repeatable(device_,
                                 [&](Stream& stream) {
                                   ops::fwht(stream, {.x = src,
                                                      .out = rotated,
                                                      .mode = ops::FwhtMode::kForward,
                                                      .signs = {},
                                                      .blocks = true});
                                   ops::tq_encode(stream, {.src = src, .to = cache, .pos = 0});
                                   ops::tq_decode(stream,
                                                  {.from = cache, .out = out, .rotate_back = true});
                                 },
                                 {rotated, cache.codes, cache.norms, out});
    }
  }
}

TEST(TqErrors, EachRuleNamesItsParameter) {  // Q17, R4
  const Device device = test_device();
  Stream stream(device);
  const auto alloc = [&](const Shape& shape, DType dtype = f32) {
    return device.alloc(dtype, shape);
  };
  const ops::TqEncodeArgs good{
      .src = alloc({1, 2, 1, 64}), .to = {alloc({1, 1, 4, 32}, u8), alloc({1, 1, 4, 1})}, .pos = 0};
  const auto expect = [&](std::vector<std::string> fragments, const auto& change) {
    ops::TqEncodeArgs args = good;
    change(args);
    fragments.push_back("tq_encode");
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::tq_encode(stream, args); });
  };
  using Args = ops::TqEncodeArgs;
  expect({"to.format.bits", "7"}, [](Args& a) { a.to.format.bits = 7; });
  expect({"to.format.codebook", "15", "16"}, [](Args& a) { a.to.format.codebook.resize(15); });
  expect({"to.format.codebook", "ascending"}, [](Args& a) { a.to.format.codebook.resize(16); });
  expect({"to.format.scale_factor", "-1"}, [](Args& a) { a.to.format.scale_factor = -1.0f; });
  expect({"to.format.signs", "7", "8"}, [](Args& a) { a.to.format.signs.resize(7); });
  expect({"to.codes", "[1, 1, 4, 24]"}, [](Args& a) { a.to.format.bits = 3; });
  expect({"to.norms", "[1, 1, 4, 1]"}, [&](Args& a) { a.to.norms = alloc({1, 1, 3, 1}); });
  expect({"head dim 520"}, [&](Args& a) { a.src = alloc({1, 2, 1, 520}); });
  expect({"pos", "3"}, [](Args& a) { a.pos = 3; });
  expect({"n", "3"}, [](Args& a) { a.n = 3; });
  expect({"src", "u8"}, [&](Args& a) { a.src = alloc({1, 2, 1, 64}, u8); });
  expect({"to.codes", "pages of 4 slots"}, [&](Args& a) { a.block_table = alloc({1, 1}, i32); });
  expect({"to.codes", "empty"}, [](Args& a) { a.to.codes = {}; });
  const auto decode = [&](const std::vector<std::string>& fragments,
                          const ops::TqDecodeArgs& args) {
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::tq_decode(stream, args); });
  };
  decode({"tq_decode", "first_slot", "3"},
         {.from = good.to, .out = alloc({1, 1, 2, 64}), .first_slot = 3});
  decode({"tq_decode", "out: slots", "5"}, {.from = good.to, .out = alloc({1, 1, 5, 64})});
  const auto rotate = [&](const std::vector<std::string>& fragments, const ops::FwhtArgs& args) {
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::fwht(stream, args); });
  };
  const Buffer hundred = alloc({1, 100}), wide = alloc({1, 1024});
  rotate({"fwht", "100", "power of two"}, {.x = hundred, .out = hundred});
  rotate({"fwht", "1024", "512"}, {.x = wide, .out = wide, .mode = ops::FwhtMode::kForward});
  rotate({"fwht", "signs"}, {.x = wide, .out = wide, .signs = {1}});
  rotate({"fwht", "out", "empty"}, {.x = wide, .out = {}});
  const Buffer less(wide.allocation(), 0, 4 * 1023, f32, {1, 1024});
  rotate({"fwht", "x", "4092 bytes"}, {.x = less, .out = wide});
  rotate({"fwht", "out", "4092 bytes"}, {.x = wide, .out = less});
  const Buffer no_rows(wide.allocation(), 0, 0, f32, {0, 64});
  ops::fwht(stream, {.x = no_rows, .out = no_rows});
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::TqEncodeArgs none = good;
  none.n = 0;
  ops::tq_encode(stream, none);
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::tq_encode(stream, good);
  stream.commit().wait();
}

}  // namespace
}  // namespace mlxn
