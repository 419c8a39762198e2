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

struct BadFile {
  const char* rule;
  std::string image;
  std::string mentions;
};

std::string entry(const std::string& fields) { return "{\"t\":{" + fields + "}}"; }

std::vector<BadFile> bad_files() {
  const auto one = [](const std::string& fields, size_t data = 4) {
    return safetensors_image(entry(fields), data);
  };
  const std::string t = R"("dtype":"U8")", s = R"("shape":[4])", o = R"("data_offsets":[0,4])";
  const auto sized = [&](const std::string& shape, const std::string& offsets) {
    return one(t + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets);
  };
  const auto two = [](const std::string& a, const std::string& b, size_t data) {
    return safetensors_image(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)" + a +
                                 R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + b + "}}",
                             data);
  };
  return {
      {"empty file", "", "file size"},
      {"seven bytes", std::string(7, '\1'), "file size"},
      {"no header", raw<uint64_t>(0), "header length"},
      {"header over 100 MB", raw<uint64_t>(100'000'001) + "{}", "header length"},
      {"header past the end", raw<uint64_t>(3) + "{}", "header length"},
      {"header length near 2^64", raw<uint64_t>(~0ull) + "{}", "header length"},
      {"first byte", safetensors_image(" {}", 0), "starts with '{'"},
      {"not an object", safetensors_image("[]", 0), "starts with '{'"},
      {"bad json", safetensors_image("{\"a\":}", 0), "header"},
      {"unterminated", safetensors_image("{\"a", 0), "header"},
      {"text after the object", safetensors_image("{}x", 0), "header"},
      {"bad utf-8", safetensors_image("{\"\xff\":1}", 0), "header"},
      {"deep nesting",
       safetensors_image("{\"a\":" + std::string(5000, '[') + std::string(5000, ']') + "}", 0),
       "header"},
      {"entry is a number", safetensors_image("{\"t\":1}", 0), "\"t\""},
      {"duplicate name",
       safetensors_image(R"({"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                         R"("\u0074":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                         4),
       "twice"},
      {"empty name",
       safetensors_image(R"({"":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4),
       "empty name"},
      {"no dtype", one(s + "," + o), "\"t\".dtype"},
      {"no shape", one(t + "," + o), "\"t\".shape"},
      {"no offsets", one(t + "," + s), "\"t\".data_offsets"},
      {"extra field", one(t + "," + s + "," + o + ",\"x\":1"), "\"x\""},
      {"duplicate field", one(t + "," + t + "," + s + "," + o), "twice"},
      {"dtype a number", one("\"dtype\":3," + s + "," + o), "\"t\".dtype"},
      {"shape a number", sized("4", "[0,4]"), "\"t\".shape"},
      {"float extent", sized("[4.0]", "[0,4]"), "\"t\".shape"},
      {"exponent extent", sized("[4e0]", "[0,4]"), "\"t\".shape"},
      {"negative extent", sized("[-4]", "[0,4]"), "\"t\".shape"},
      {"extent over 2^63", sized("[9223372036854775808]", "[0,4]"), "\"t\".shape"},
      {"extent over 2^64", sized("[99999999999999999999999]", "[0,4]"), "header"},
      {"product overflow", sized("[4294967296,4294967296]", "[0,4]"), "\"t\".shape"},
      {"rank 9", sized("[1,1,1,1,1,1,1,1,4]", "[0,4]"), "rank 8"},
      {"one offset", sized("[4]", "[4]"), "\"t\".data_offsets"},
      {"three offsets", sized("[4]", "[0,4,4]"), "\"t\".data_offsets"},
      {"string offset", sized("[4]", "[0,\"4\"]"), "\"t\".data_offsets"},
      {"negative offset", sized("[4]", "[-4,0]"), "\"t\".data_offsets"},
      {"end before begin", sized("[4]", "[4,0]"), "\"t\".data_offsets"},
      {"past the end", sized("[5]", "[0,5]"), "\"t\".data_offsets"},
      {"size disagrees", sized("[3]", "[0,4]"), "3 elements of U8"},
      {"byte size overflow",
       one(R"("dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,4])"), "over 2^63"},
      {"metadata not an object", safetensors_image(R"({"__metadata__":1})", 0), "__metadata__"},
      {"metadata value", safetensors_image(R"({"__metadata__":{"a":1}})", 0), "__metadata__"},
      {"metadata key twice", safetensors_image(R"({"__metadata__":{"a":"1","a":"2"}})", 0),
       "twice"},
      {"does not start at 0", two("[1,3]", "[3,5]", 5), "\"a\".data_offsets"},
      {"gap", two("[0,2]", "[3,5]", 5), "\"b\".data_offsets"},
      {"overlap", two("[0,2]", "[1,3]", 3), "\"b\".data_offsets"},
      {"same bytes twice", two("[0,2]", "[0,2]", 2), "\"b\".data_offsets"},
      {"bytes after the last", two("[0,2]", "[2,4]", 5), "data section"},
      {"data without tensors", safetensors_image("{}", 1), "data section"},
  };
}

TEST(Safetensors, RejectsEveryBrokenRule) {
  for (const BadFile& bad : bad_files()) {
    SCOPED_TRACE(bad.rule);
    expect_error([&] { parse(bad.image); }, ErrorKind::kSafetensors, bad.mentions);
  }
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
