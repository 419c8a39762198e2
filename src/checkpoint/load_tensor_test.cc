// SPDX-License-Identifier: Apache-2.0
// Every format that a tensor may have, and those that are only known by name.
#include "checkpoint/load_tensor.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "checkpoint/gguf.h"
#include "checkpoint/gguf_image.h"
#include "checkpoint/test_util.h"
#include "mlxn/device.h"
#include "quant/mlx_fp.h"
#include "quant/registry.h"

namespace mlxn::checkpoint {
namespace {

constexpr uint32_t kUnserved[] = {9, 15, 16, 17, 24, 26, 29, 34, 35, 40, 99};  // Q8_1, IQ2_XXS, ...

class LoadTensorTest : public testing::Test {
 protected:
  Weight from_gguf(const GgufImage& image, size_t data_bytes, const Shape& shape) {
    GgufImage named = image;
    named.text("general.architecture", "x");
    const auto file = GgufFile::open(dir_.write("a.gguf", named.build(data_bytes)));
    return load_weight(device_, TensorTable::from_gguf(*file), {"w", "w.weight"}, {}, shape);
  }

  const Device device_ = Device::open("cpu");
  const TempDir dir_;
};

TEST_F(LoadTensorTest, GgufSizesAreThoseOfTheRegistry) {
  for (const quant::FormatTraits& traits : quant::formats()) {
    if (traits.gguf_type < 0) continue;
    SCOPED_TRACE(traits.name);
    const GgufTypeInfo* info = gguf_type_info(static_cast<uint32_t>(traits.gguf_type));
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(info->block_elements, traits.block_elements);
    EXPECT_EQ(info->block_bytes, traits.block_bytes);
  }
}

TEST_F(LoadTensorTest, EveryGgufFormat) {
  int count = 0;
  for (const quant::FormatTraits& traits : quant::formats()) {
    if (traits.gguf_type < 0) continue;
    SCOPED_TRACE(traits.name);
    const auto bytes = static_cast<size_t>(quant::row_bytes(traits.format, 0, 512) * 3);
    const auto image =
        GgufImage().tensor("w.weight", {512, 3}, static_cast<uint32_t>(traits.gguf_type), 0);
    const Weight weight = from_gguf(image, bytes, {3, 512});
    EXPECT_EQ(weight.format, traits.format);
    EXPECT_EQ(stored_bytes(weight), bytes);
    EXPECT_NO_THROW(check_weight(weight, "w"));
    ++count;
  }
  EXPECT_EQ(count, 16);
  EXPECT_EQ(device_.allocated_bytes(), 0u);  // wrapped where the file has them
}

TEST_F(LoadTensorTest, OtherTypesFailWhenUsed) {
  for (const uint32_t type : kUnserved) {
    const std::string found = "tensor \"w.weight\": found " + gguf_type_name(type) +
                              ", required F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, "
                              "Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, BF16, MXFP4";
    const GgufTypeInfo* info = gguf_type_info(type);
    const int64_t bytes = info == nullptr ? 64 : 256 / info->block_elements * info->block_bytes;
    expect_error(
        [&] {
          from_gguf(GgufImage().tensor("w.weight", {256}, type, 0), static_cast<size_t>(bytes),
                    {1, 256});
        },
        ErrorKind::kUnsupportedDtype, found);
  }
}

// A directory with one module "m" of 4 rows of 64 in an fp mode; what a test spoils is a member.
struct FpModule {
  explicit FpModule(std::string mode_name)
      : mode(std::move(mode_name)),
        format(quant::format_of_mode(mode)),
        params(quant::fp_mode(format)) {
    codes_shape = {4, 64 * params.bits / 32};
    scales_shape = {4, 64 / params.group_size};
    scales.assign(static_cast<size_t>(scales_shape[0] * scales_shape[1]), '\x38');
  }

  Weight load(const Device& device, const Shape& shape = {4, 64}) const {
    const TempDir dir;
    std::string header = "{", data;
    const auto add = [&](const char* name, const std::string& dtype, const Shape& extents,
                         const std::string& bytes) {
      header += (data.empty() ? "" : ",") + std::string("\"m.") + name + "\":{\"dtype\":\"" +
                dtype + "\",\"shape\":" + to_string(extents) + ",\"data_offsets\":[" +
                std::to_string(data.size()) + "," + std::to_string(data.size() + bytes.size()) +
                "]}";
      data += bytes;
    };
    int64_t words = 1;
    for (const int64_t extent : codes_shape) words *= extent;
    add("weight", "U32", codes_shape, std::string(static_cast<size_t>(words) * 4, '\x21'));
    add("scales", scales_type, scales_shape, scales);
    if (has_biases) add("biases", "U8", scales_shape, scales);
    header += "}";
    dir.write("model.safetensors", raw<uint64_t>(header.size()) + header + data);
    std::vector<std::string> warnings;
    const TensorTable table = TensorTable::from_directory(dir.path(), warnings);
    const QuantConfig config = QuantConfig::read(
        Json::parse(R"({"quantization":{"mode":")" + mode + "\"}}", "config.json"));
    return load_weight(device, table, {"m", "m.weight"}, config, shape);
  }

  std::string mode;
  Format format;
  quant::FpMode params;
  Shape codes_shape, scales_shape;
  std::string scales_type = "U8";
  std::string scales;
  bool has_biases = false;
};

constexpr std::array<const char*, 3> kModes = {"mxfp4", "mxfp8", "nvfp4"};

TEST_F(LoadTensorTest, FpModes) {
  for (const char* mode : kModes) {
    SCOPED_TRACE(mode);
    const FpModule module(mode);
    const Weight weight = module.load(device_);
    EXPECT_EQ(weight.format, module.format);
    EXPECT_EQ(weight.bits, module.params.bits);
    EXPECT_EQ(weight.group_size, module.params.group_size);
    EXPECT_FALSE(weight.biases.valid());
    EXPECT_NO_THROW(check_weight(weight, "m"));
  }
}

TEST_F(LoadTensorTest, FpStacks) {
  for (const char* mode : kModes) {
    SCOPED_TRACE(mode);
    FpModule module(mode);
    module.codes_shape.insert(module.codes_shape.begin(), 2);
    module.scales_shape.insert(module.scales_shape.begin(), 2);
    module.scales += module.scales;
    const Weight weight = module.load(device_, {2, 4, 64});
    EXPECT_TRUE(weight.is_expert_stack());
    EXPECT_NO_THROW(check_weight(weight, "m"));
    module.scales.back() = '\xff';
    EXPECT_THROW(module.load(device_, {2, 4, 64}), Error);
  }
}

TEST_F(LoadTensorTest, FpPartsMustAgree) {
  const auto bad = ErrorKind::kSafetensors;
  for (const char* mode : kModes) {
    SCOPED_TRACE(mode);
    const auto with = [&](auto change) {
      return [&, change] {
        FpModule module(mode);
        change(module);
        module.load(device_);
      };
    };
    expect_error(with([](FpModule& m) { m.has_biases = true; }), bad,
                 std::string("tensor \"m.biases\": found the tensor, required none for ") + mode);
    expect_error(with([](FpModule& m) { m.scales_type = "I8"; }), ErrorKind::kUnsupportedDtype,
                 "tensor \"m.scales\": found I8, required U8");
    expect_error(with([](FpModule& m) { m.codes_shape[1] *= 2; }), ErrorKind::kQuantConfig,
                 "module \"m\"");
    expect_error(with([](FpModule& m) { m.codes_shape[0] = 3; }), bad, "\"m.weight\"");
    expect_error(with([](FpModule& m) {
                   m.scales_shape = {2, 2 * m.scales_shape[1]};
                 }),
                 ErrorKind::kQuantConfig, "module \"m\"");
    expect_error([&] { FpModule(mode).load(device_, {4, 32}); }, bad, "[4, 64], required [4, 32]");
  }
}

// Groups of 16 allow rows that are no whole number of 32.
TEST_F(LoadTensorTest, RowsAreMultiplesOf32) {
  FpModule module("nvfp4");
  module.codes_shape = {4, 6};
  module.scales_shape = {4, 3};
  module.scales.resize(12);
  expect_error(
      [&] {
        module.load(device_, {4, 48});
      },
      ErrorKind::kSafetensors, "rows of 48 elements, required a multiple of 32");
}

TEST_F(LoadTensorTest, ScalesThatAreNotNumbers) {
  const auto load = [&](const char* mode, char scale) {
    return [&, mode, scale] {
      FpModule module(mode);
      module.scales[module.scales.size() - 1] = scale;
      module.load(device_);
    };
  };
  for (const char* mode : {"mxfp4", "mxfp8"}) {
    expect_error(load(mode, '\xff'), ErrorKind::kSafetensors,
                 "tensor \"m.scales\": found 0xff (not a number) in element 7");
    EXPECT_NO_THROW(load(mode, '\xfe')());
    EXPECT_NO_THROW(load(mode, '\x7f')());
    EXPECT_NO_THROW(load(mode, '\0')());
  }
  for (const char scale : {'\x7f', '\xff'}) {
    expect_error(load("nvfp4", scale), ErrorKind::kSafetensors, "tensor \"m.scales\"");
  }
  EXPECT_NO_THROW(load("nvfp4", '\x7e')());
}

}  // namespace
}  // namespace mlxn::checkpoint
