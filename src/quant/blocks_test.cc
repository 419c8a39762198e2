// SPDX-License-Identifier: Apache-2.0
// What the GGUF block formats decode to, against `gguf` and by their layouts.
#include "quant/blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "mlxn/error.h"
#include "quant/k_fit.h"
#include "quant/registry.h"
#include "quant/test_fixtures.h"

namespace mlxn::quant {
namespace {

std::vector<std::string> block_formats() {
  std::vector<std::string> names;
  for (const FormatTraits& traits : formats()) {
    if (traits.block_elements > 1) names.emplace_back(traits.name);
  }
  return names;
}

class BlockFormat : public testing::TestWithParam<std::string> {
 protected:
  const FormatTraits& traits() const { return *find_format(GetParam()); }

  std::vector<float> decode(const std::vector<std::byte>& blocks) const {
    std::vector<float> out(blocks.size() / traits().block_bytes * traits().block_elements);
    traits().decode_row(blocks.data(), static_cast<int64_t>(out.size()), out.data());
    return out;
  }
};

TEST_P(BlockFormat, DecodesToTheBitsOfGguf) {
  const Fixtures fixtures("blocks.bin");
  const auto expected = fixtures.get<float>("decode/" + GetParam() + "/values");
  const auto values = decode(fixtures.get<std::byte>("decode/" + GetParam() + "/blocks"));
  ASSERT_EQ(values.size(), expected.size());
  int finite = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_TRUE(same(values[i], expected[i]))
        << "element " << i << ": " << values[i] << ", not " << expected[i];
    finite += std::isfinite(values[i]);
  }
  EXPECT_GT(finite, static_cast<int>(values.size() / 2));
}

TEST_P(BlockFormat, ZeroBytesAreZeroes) {
  // -0 where the code of zero bits is negative.
  const std::vector<std::byte> blocks(static_cast<size_t>(traits().block_bytes) * 3);
  for (const float value : decode(blocks)) EXPECT_EQ(value, 0.0f);
}

TEST_P(BlockFormat, EveryBlockOfARowIsItsOwn) {
  // Each block alone gives what it gives in the row.
  const auto blocks = Fixtures("blocks.bin").get<std::byte>("decode/" + GetParam() + "/blocks");
  const auto row = decode(blocks);
  const int size = traits().block_bytes, count = traits().block_elements;
  for (size_t b = 0; b < blocks.size() / size; ++b) {
    const auto first = blocks.begin() + static_cast<int64_t>(b) * size;
    const auto alone = decode({first, first + size});
    for (int i = 0; i < count; ++i) ASSERT_TRUE(same(alone[i], row[b * count + i])) << b;
  }
}

TEST_P(BlockFormat, DecodesWholeBlocksOnlyAtAnyAddress) {
  const auto blocks = Fixtures("blocks.bin").get<std::byte>("decode/" + GetParam() + "/blocks");
  const int size = traits().block_bytes, count = traits().block_elements;
  std::vector<std::byte> odd(size + 1);
  std::copy_n(blocks.end() - size, size, odd.begin() + 1);
  std::vector<float> values(count + 2, -7.0f);
  traits().decode_row(odd.data() + 1, count, values.data() + 1);
  EXPECT_EQ(values.front(), -7.0f);
  EXPECT_EQ(values.back(), -7.0f);
  const auto row = decode(blocks);
  for (int i = 0; i < count; ++i) ASSERT_TRUE(same(values[i + 1], row[row.size() - count + i]));
}

INSTANTIATE_TEST_SUITE_P(Formats, BlockFormat, testing::ValuesIn(block_formats()),
                         [](const auto& info) { return info.param; });

TEST(Q4K, EveryScaleAndMinimumPairRoundTrips) {
  // 64 x 64 pairs, in each of the 8 sub-blocks. The encoder's packing is the inverse of the decoder
  // if the scales that an encoded ramp of ranges gets decode to that ramp.
  for (int j = 0; j < 8; ++j) {
    for (int scale = 0; scale < 64; ++scale) {
      for (int min = 0; min < 64; ++min) {
        uint8_t packed[12] = {};
        if (j < 4) {
          packed[j] = static_cast<uint8_t>(scale);
          packed[j + 4] = static_cast<uint8_t>(min);
        } else {
          packed[j + 4] = static_cast<uint8_t>(scale % 16 + min % 16 * 16);
          packed[j - 4] = static_cast<uint8_t>(scale / 16 * 64);
          packed[j] = static_cast<uint8_t>(min / 16 * 64);
        }
        const ScaleMin got = k_scale_min(packed, j);
        ASSERT_EQ(got.scale, scale) << j;
        ASSERT_EQ(got.min, min) << j;
      }
    }
  }
}

TEST(Q4K, OneCodeIsOneElement) {
  BlockQ4_K block{};
  block.d = to_f16(1.0f);
  block.scales[0] = 1;
  block.qs[0] = 0x0f;
  float out[256];
  decode_row_q4_k(reinterpret_cast<const std::byte*>(&block), 256, out);
  EXPECT_EQ(out[0], 15.0f);
  for (int i = 1; i < 256; ++i) EXPECT_EQ(out[i], 0.0f) << i;
}

TEST(Q6K, BitsAreWhereTheLayoutSays) {
  // Every code 0 is -32; raising one nibble or bit pair moves exactly one element.
  for (int byte = 0; byte < 128; ++byte) {
    BlockQ6_K block{};
    block.d = to_f16(1.0f);
    for (auto& scale : block.scales) scale = 1;
    block.ql[byte] = 0x10;
    const int element = 128 * (byte / 64) + 64 + byte % 64;
    float out[256];
    decode_row_q6_k(reinterpret_cast<const std::byte*>(&block), 256, out);
    for (int i = 0; i < 256; ++i) ASSERT_EQ(out[i], i == element ? -31.0f : -32.0f) << byte;
  }
}

TEST(Q3K, EveryScaleHasItsPlaces) {
  for (int j = 0; j < 16; ++j) {
    for (int scale = 0; scale < 64; ++scale) {
      uint8_t packed[12] = {};
      packed[j % 8] = static_cast<uint8_t>(scale % 16 << (j < 8 ? 0 : 4));
      packed[8 + j % 4] = static_cast<uint8_t>(scale / 16 << (2 * (j / 4)));
      for (int other = 0; other < 16; ++other) {
        ASSERT_EQ(q3_k_scale(packed, other), other == j ? scale : 0) << j << " " << other;
      }
    }
  }
}

TEST(Q3K, TheThirdBitIsWhereTheLayoutSays) {
  // Scales are 1; code 0 is -4.
  for (int i = 0; i < 256; ++i) {
    BlockQ3_K block{};
    block.d = to_f16(1.0f);
    std::fill_n(block.scales, 8, uint8_t{0x11});
    std::fill_n(block.scales + 8, 4, uint8_t{0xaa});
    block.hmask[i % 32] = static_cast<uint8_t>(1 << (i / 32));
    float out[256];
    decode_row_q3_k(reinterpret_cast<const std::byte*>(&block), 256, out);
    for (int j = 0; j < 256; ++j) ASSERT_EQ(out[j], j == i ? 0.0f : -4.0f) << i << " " << j;
  }
}

TEST(Q5K, TheFifthBitIsWhereTheLayoutSays) {
  for (int i = 0; i < 256; ++i) {
    BlockQ5_K block{};
    block.d = to_f16(1.0f);
    std::fill_n(block.scales, 4, uint8_t{1});
    std::fill_n(block.scales + 8, 4, uint8_t{1});
    block.qh[i % 32] = static_cast<uint8_t>(1 << (i / 32));
    float out[256];
    decode_row_q5_k(reinterpret_cast<const std::byte*>(&block), 256, out);
    for (int j = 0; j < 256; ++j) ASSERT_EQ(out[j], j == i ? 16.0f : 0.0f) << i << " " << j;
  }
}

TEST(MXFP4, EveryScaleIsAPowerOfTwo) {
  for (int e = 0; e < 256; ++e) {
    BlockMXFP4 block{};
    block.e = static_cast<uint8_t>(e);
    block.qs[0] = 0x72;  // 1 and 6
    float out[32];
    decode_row_mxfp4(reinterpret_cast<const std::byte*>(&block), 32, out);
    EXPECT_EQ(out[0], static_cast<float>(std::ldexp(1.0, e - 127))) << e;
    EXPECT_EQ(out[16], static_cast<float>(std::ldexp(6.0, e - 127))) << e;
  }
}

TEST(Registry, FindsEveryFormatByNameAndGgufType) {
  for (const FormatTraits& traits : formats()) {
    EXPECT_EQ(find_format(traits.name), &traits);
    EXPECT_EQ(&traits_of(traits.format), &traits);
    EXPECT_EQ(name(traits.format), traits.name);
    if (traits.gguf_type >= 0) {
      EXPECT_EQ(find_gguf_type(traits.gguf_type), &traits);
    }
  }
  EXPECT_EQ(find_format("q9_9"), nullptr);
  EXPECT_EQ(find_gguf_type(4), nullptr);
  EXPECT_EQ(format_of_mode("affine"), Format::kAffine);
  EXPECT_EQ(format_of_mode("nvfp4"), Format::kMlxNvfp4);
  EXPECT_EQ(format_of_mode("q4_0"), Format::kF32);
  EXPECT_EQ(find_gguf_type(-1), nullptr);
}

TEST(Registry, FormatsThatAreOnlyReadHaveNoEncoder) {
  for (const FormatTraits& traits : formats()) {
    const bool array = has_scale_array(traits.format);
    const bool only_read =
        traits.name == "q3_k" || traits.name == "iq4_nl" || traits.name == "iq4_xs";
    EXPECT_EQ(traits.decode_row == nullptr, array) << traits.name;
    EXPECT_EQ(traits.encode_row == nullptr, array || only_read) << traits.name;
  }
}

TEST(Registry, RowBytes) {
  EXPECT_EQ(row_bytes(Format::kF32, 0, 7), 28);
  EXPECT_EQ(row_bytes(Format::kBF16, 0, 7), 14);
  EXPECT_EQ(row_bytes(Format::kAffine, 4, 64), 32);
  EXPECT_EQ(row_bytes(Format::kAffine, 3, 32), 12);
  EXPECT_EQ(row_bytes(Format::kQ4_0, 0, 64), 36);
  EXPECT_EQ(row_bytes(Format::kQ6_K, 0, 512), 420);
  EXPECT_EQ(row_bytes(Format::kMXFP4, 0, 64), 34);
  EXPECT_EQ(row_bytes(Format::kMlxMxfp8, 8, 64), 64);
  EXPECT_EQ(row_bytes(Format::kMlxNvfp4, 4, 64), 32);
  EXPECT_THROW(row_bytes(Format::kF32, 0, int64_t{1} << 62), Error);
  EXPECT_THROW(row_bytes(Format::kAffine, 8, int64_t{1} << 62), Error);
  EXPECT_THROW(row_bytes(Format::kF32, 0, -1), Error);
}

TEST(Dense, SixteenBitRowsWidenExactly) {
  for (const char* name : {"f32", "f16", "bf16"}) {
    const FormatTraits& traits = *find_format(name);
    const std::vector<float> in = {0.0f, -0.0f, 1.5f, -2.0f, 0.0078125f, INFINITY, NAN};
    std::vector<std::byte> row(in.size() * traits.block_bytes + 1);
    std::vector<float> out(in.size());
    traits.encode_row(in.data(), static_cast<int64_t>(in.size()), row.data() + 1);
    traits.decode_row(row.data() + 1, static_cast<int64_t>(in.size()), out.data());
    for (size_t i = 0; i < in.size(); ++i) EXPECT_TRUE(same(in[i], out[i])) << name << " " << i;
  }
}

}  // namespace
}  // namespace mlxn::quant
