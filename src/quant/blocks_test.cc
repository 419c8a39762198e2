// SPDX-License-Identifier: Apache-2.0
// The GGUF block formats against `gguf` and ggml, and by their own invariants.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "mlxn/error.h"
#include "quant/k_fit.h"
#include "quant/q4_k.h"
#include "quant/q6_k.h"
#include "quant/registry.h"
#include "quant/test_fixtures.h"

namespace mlxn::quant {
namespace {

// Equal bits, or both NaN.
bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (a != a && b != b);
}

class BlockFormat : public testing::TestWithParam<const char*> {
 protected:
  const FormatTraits& traits() const { return *find_format(GetParam()); }
  std::string prefix(const std::string& kind) const { return kind + "/" + GetParam(); }

  std::vector<std::byte> encode(const std::vector<float>& in) const {
    std::vector<std::byte> out(in.size() / traits().block_elements * traits().block_bytes);
    traits().encode_row(in.data(), static_cast<int64_t>(in.size()), out.data());
    return out;
  }
  std::vector<float> decode(const std::vector<std::byte>& blocks) const {
    std::vector<float> out(blocks.size() / traits().block_bytes * traits().block_elements);
    traits().decode_row(blocks.data(), static_cast<int64_t>(out.size()), out.data());
    return out;
  }
  std::vector<float> round_trip(const std::vector<float>& in) const { return decode(encode(in)); }
};

TEST_P(BlockFormat, DecodesToTheBitsOfGguf) {
  const Fixtures fixtures("blocks.bin");
  const auto expected = fixtures.get<float>(prefix("decode") + "/values");
  const auto values = decode(fixtures.get<std::byte>(prefix("decode") + "/blocks"));
  ASSERT_EQ(values.size(), expected.size());
  int finite = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_TRUE(same(values[i], expected[i]))
        << "element " << i << ": " << values[i] << ", not " << expected[i];
    finite += std::isfinite(values[i]);
  }
  EXPECT_GT(finite, static_cast<int>(values.size() / 2));
}

TEST_P(BlockFormat, EncodesToTheBytesOfTheReference) {
  const Fixtures fixtures("blocks.bin");
  const auto input = fixtures.get<float>("encode/input");
  const auto expected = fixtures.get<std::byte>(prefix("encode"));
  const auto blocks = encode(input);
  ASSERT_EQ(blocks.size(), expected.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    ASSERT_EQ(blocks[i], expected[i])
        << "block " << i / traits().block_bytes << " byte " << i % traits().block_bytes;
  }
}

TEST_P(BlockFormat, ZeroesStayZero) {
  const std::vector<std::byte> zero_blocks(static_cast<size_t>(traits().block_bytes) * 3);
  for (const float value : decode(zero_blocks)) EXPECT_EQ(value, 0.0f);
  for (const float value : round_trip(std::vector<float>(traits().block_elements))) {
    EXPECT_EQ(value, 0.0f);
  }
}

TEST_P(BlockFormat, RoundTripStaysWithinTheStep) {
  // Steps over the range of a block: q4_0 8, q8_0 127, q4_k 15 / 2, q6_k 32; one step of slack for
  // what rounding of the scales adds.
  const std::string name = GetParam();
  const float steps = name == "q4_0"   ? 8.0f
                      : name == "q8_0" ? 127.0f
                      : name == "q4_k" ? 7.5f
                                       : 32.0f;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> in(256 * 16);
  for (float& value : in) value = normal(random);
  const auto out = round_trip(in);
  for (size_t begin = 0; begin < in.size(); begin += traits().block_elements) {
    float largest = 0.0f;
    for (int j = 0; j < traits().block_elements; ++j) {
      largest = std::max(largest, std::fabs(in[begin + j]));
    }
    for (int j = 0; j < traits().block_elements; ++j) {
      ASSERT_NEAR(in[begin + j], out[begin + j], 1.01f * largest / steps) << begin + j;
    }
  }
}

TEST_P(BlockFormat, KeepsASpikeAndAConstant) {
  for (const float value : {1.0f, -1.0f, 0.75f, -3.5f, 1000.0f}) {
    std::vector<float> spike(traits().block_elements);
    spike[17] = value;
    const auto out = round_trip(spike);
    for (int i = 0; i < traits().block_elements; ++i) {
      ASSERT_NEAR(out[i], spike[i], 2e-3f * std::fabs(value)) << value << " at " << i;
    }
    for (const float got : round_trip(std::vector<float>(traits().block_elements, value))) {
      ASSERT_NEAR(got, value, 2e-2f * std::fabs(value));
    }
  }
}

TEST_P(BlockFormat, EncodesTinyAndHugeValuesWithoutUndefinedBehaviour) {
  // 1 / d overflows, or d overflows f16; codes must still be in range.
  for (const float value : {1e-40f, 1e-44f, 3e38f, std::numeric_limits<float>::denorm_min()}) {
    std::vector<float> in(traits().block_elements, value);
    in[3] = -value;
    in[5] = 0.0f;
    EXPECT_EQ(encode(in).size(), static_cast<size_t>(traits().block_bytes));
  }
}

TEST_P(BlockFormat, RefusesWhatIsNotFiniteAndPartialBlocks) {
  std::vector<float> in(static_cast<size_t>(traits().block_elements) * 2, 1.0f);
  std::vector<std::byte> out(static_cast<size_t>(traits().block_bytes) * 2);
  const auto refused = [&](int64_t k) {
    try {
      traits().encode_row(in.data(), k, out.data());
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kInvalidArgument;
    }
    return false;
  };
  EXPECT_TRUE(refused(0));
  EXPECT_TRUE(refused(traits().block_elements + 1));
  EXPECT_FALSE(refused(static_cast<int64_t>(in.size())));
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    in.back() = bad;
    EXPECT_TRUE(refused(static_cast<int64_t>(in.size())));
  }
}

TEST_P(BlockFormat, WritesWholeBlocksOnly) {
  const int size = traits().block_bytes;
  std::vector<std::byte> out(size + 2, std::byte{0xa5});
  const std::vector<float> in(traits().block_elements, 1.0f);
  traits().encode_row(in.data(), traits().block_elements, out.data() + 1);
  EXPECT_EQ(out.front(), std::byte{0xa5});
  EXPECT_EQ(out.back(), std::byte{0xa5});
  std::vector<float> values(traits().block_elements + 2, -7.0f);
  traits().decode_row(out.data() + 1, traits().block_elements, values.data() + 1);
  EXPECT_EQ(values.front(), -7.0f);
  EXPECT_EQ(values.back(), -7.0f);
}

INSTANTIATE_TEST_SUITE_P(Formats, BlockFormat, testing::Values("q4_0", "q8_0", "q4_k", "q6_k"),
                         [](const auto& info) { return std::string(info.param); });

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

TEST(Registry, RowBytes) {
  EXPECT_EQ(row_bytes(Format::kF32, 0, 7), 28);
  EXPECT_EQ(row_bytes(Format::kBF16, 0, 7), 14);
  EXPECT_EQ(row_bytes(Format::kAffine, 4, 64), 32);
  EXPECT_EQ(row_bytes(Format::kAffine, 3, 32), 12);
  EXPECT_EQ(row_bytes(Format::kQ4_0, 0, 64), 36);
  EXPECT_EQ(row_bytes(Format::kQ6_K, 0, 512), 420);
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
