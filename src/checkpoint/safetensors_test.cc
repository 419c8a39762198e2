// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <map>

#include "checkpoint/test_util.h"
#include "mlxn/dtype.h"

namespace mlxn::checkpoint {
namespace {

const std::string kWhere = "file.safetensors";

std::vector<SafetensorsTensor> parse(std::string_view image) {
  const auto bytes = exact(image);
  return parse_safetensors(bytes, kWhere);
}

std::map<std::string, SafetensorsTensor> by_name(const SafetensorsFile& file) {
  std::map<std::string, SafetensorsTensor> out;
  for (const auto& tensor : file.tensors) out[tensor.name] = tensor;
  return out;
}

template <typename T>
T element(const SafetensorsFile& file, const SafetensorsTensor& tensor, size_t index) {
  T value;
  std::memcpy(&value, file.bytes_of(tensor).data() + index * sizeof(T), sizeof(T));
  return value;
}

TEST(Safetensors, ReadsEveryDtypeWrittenByTorch) {
  const auto file = SafetensorsFile::open(testdata("torch.safetensors"));
  const auto t = by_name(file);
  ASSERT_EQ(t.size(), 13u);
  const std::map<std::string, SafetensorsType> types = {
      {"f32", SafetensorsType::kF32},   {"f16", SafetensorsType::kF16},
      {"bf16", SafetensorsType::kBF16}, {"u8", SafetensorsType::kU8},
      {"i8", SafetensorsType::kI8},     {"i16", SafetensorsType::kI16},
      {"i32", SafetensorsType::kI32},   {"i64", SafetensorsType::kI64},
      {"f64", SafetensorsType::kF64},   {"bool", SafetensorsType::kBool},
      {"f8", SafetensorsType::kF8E4M3}, {"scalar", SafetensorsType::kF32},
      {"empty", SafetensorsType::kF32}};
  for (const auto& [name, type] : types) EXPECT_EQ(t.at(name).type, type) << name;
  EXPECT_EQ(t.at("f32").shape, (Shape{2, 2}));
  EXPECT_EQ(t.at("scalar").shape, Shape{});
  EXPECT_EQ(t.at("empty").shape, (Shape{0, 4}));
  EXPECT_EQ(element<float>(file, t.at("f32"), 3), 4.25f);
  EXPECT_EQ(element<float>(file, t.at("scalar"), 0), 2.5f);
  EXPECT_EQ(to_float(element<BF16>(file, t.at("bf16"), 2)), 3.0f);
  EXPECT_EQ(to_float(element<F16>(file, t.at("f16"), 1)), -0.5f);
  EXPECT_EQ(element<int64_t>(file, t.at("i64"), 0), int64_t{1} << 40);
  EXPECT_EQ(element<double>(file, t.at("f64"), 0), 0.1);
  EXPECT_EQ(element<int8_t>(file, t.at("i8"), 0), -1);
}

TEST(Safetensors, ReadsFileWrittenByMlx) {
  const auto file = SafetensorsFile::open(testdata("mlx.safetensors"));
  const auto t = by_name(file);
  ASSERT_EQ(t.size(), 4u);
  EXPECT_EQ(element<uint8_t>(file, t.at("a"), 2), 3);
  EXPECT_EQ(element<float>(file, t.at("b"), 1), -2.0f);
  EXPECT_EQ(element<uint32_t>(file, t.at("c"), 0), 1u << 31);
  EXPECT_EQ(to_float(element<BF16>(file, t.at("d"), 1)), 2.0f);
}

TEST(Safetensors, AcceptsLegalOddities) {
  EXPECT_TRUE(parse(safetensors_image("{}", 0)).empty());
  EXPECT_TRUE(parse(safetensors_image("{}      ", 0)).empty());
  EXPECT_TRUE(parse(safetensors_image(R"({"__metadata__":{"format":"pt"}})", 0)).empty());
  EXPECT_TRUE(parse(safetensors_image(R"({"__metadata__":null})", 0)).empty());
  const auto tensors =
      parse(safetensors_image(R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[1,4]},)"
                              R"("a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]},)"
                              R"("z":{"dtype":"F32","shape":[0],"data_offsets":[1,1]}})",
                              4));
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[1].type, SafetensorsType::kUnknown);
  EXPECT_EQ(tensors[1].type_name, "F4");
  EXPECT_EQ(parse(safetensors_image(R"({"\u0061b":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})",
                                    1))[0]
                .name,
            "ab");
}

TEST(Safetensors, RejectsEveryTruncation) {
  for (const char* name : {"torch.safetensors", "mlx.safetensors"}) {
    const std::string image = read_file(testdata(name));
    EXPECT_NO_THROW(parse(image));
    for (size_t length = 0; length < image.size(); ++length) {
      expect_error([&] { parse(std::string_view(image).substr(0, length)); },
                   ErrorKind::kSafetensors, kWhere);
    }
  }
}

TEST(Safetensors, MissingFileIsAnIoError) {
  expect_error([] { SafetensorsFile::open("/nowhere/x.safetensors"); }, ErrorKind::kIo,
               "/nowhere/x.safetensors");
}

}  // namespace
}  // namespace mlxn::checkpoint
