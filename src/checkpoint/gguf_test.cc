// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/gguf.h"

#include <gtest/gtest.h>

#include <map>

#include "checkpoint/gguf_image.h"
#include "checkpoint/gguf_parse.h"
#include "checkpoint/test_util.h"

namespace mlxn::checkpoint {
namespace {

const std::string kWhere = "file.gguf";

size_t parse(std::string_view image) {
  const auto bytes = exact(image);
  return parse_gguf(bytes, kWhere).tensors.size();
}

TEST(Gguf, ReadsEveryValueType) {
  const auto file = GgufFile::open(testdata("types.gguf"));
  constexpr int64_t kMin = INT64_MIN, kMax = INT64_MAX;
  EXPECT_EQ(file->architecture(), "none");
  EXPECT_EQ(file->integer("t.u8", kMin, kMax), 200);
  EXPECT_EQ(file->integer("t.i8", kMin, kMax), -5);
  EXPECT_EQ(file->integer("t.u16", kMin, kMax), 60000);
  EXPECT_EQ(file->integer("t.i16", kMin, kMax), -300);
  EXPECT_EQ(file->integer("t.u32", kMin, kMax), 4000000000);
  EXPECT_EQ(file->integer("t.i32", kMin, kMax), -70000);
  EXPECT_EQ(file->integer("t.i64", kMin, kMax), -(int64_t{1} << 40));
  EXPECT_EQ(file->number("t.f32"), 1.5);
  EXPECT_EQ(file->number("t.f64"), 0.1);
  EXPECT_EQ(file->boolean("t.bool"), true);
  EXPECT_EQ(file->text("t.string"), "h\xc3\xa9llo");
  EXPECT_EQ(file->integers("t.ints", kMin, kMax), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(file->floats("t.floats"), (std::vector<float>{0.5f, 2.0f}));
  EXPECT_EQ(file->booleans("t.bools"), (std::vector<bool>{true, false}));
  EXPECT_EQ(file->texts("t.strings"), (std::vector<std::string_view>{"a", "", "ccc"}));
  EXPECT_FALSE(file->integer("missing", kMin, kMax).has_value());
  EXPECT_FALSE(file->texts("missing").has_value());
}

TEST(Gguf, AccessorsCheckTypeAndRange) {
  const auto file = GgufFile::open(testdata("types.gguf"));
  const auto gguf = ErrorKind::kGguf;
  expect_error([&] { file->integer("t.u64", 0, INT64_MAX); }, gguf, "t.u64");
  expect_error([&] { file->integer("t.u8", 0, 199); }, gguf, "t.u8: found 200");
  expect_error([&] { file->integer("t.f32", 0, 9); }, gguf, "t.f32");
  expect_error([&] { file->integer("t.bool", 0, 9); }, gguf, "t.bool");
  expect_error([&] { file->integer("t.string", 0, 9); }, gguf, "t.string");
  expect_error([&] { file->number("t.string"); }, gguf, "t.string");
  expect_error([&] { file->boolean("t.u8"); }, gguf, "t.u8");
  expect_error([&] { file->text("t.strings"); }, gguf, "t.strings");
  expect_error([&] { file->texts("t.ints"); }, gguf, "t.ints");
  expect_error([&] { file->texts("t.string"); }, gguf, "t.string");
  expect_error([&] { file->floats("t.ints"); }, gguf, "t.ints");
  expect_error([&] { file->booleans("t.ints"); }, gguf, "t.ints");
  expect_error([&] { file->integers("t.floats", 0, 9); }, gguf, "t.floats");
  expect_error([&] { file->integers("t.ints", 0, 9); }, gguf, "t.ints[1]");
}

TEST(Gguf, ReadsTensorTable) {
  const auto file = GgufFile::open(testdata("types.gguf"));
  const auto& part = file->parts()[0];
  std::map<std::string, GgufTensor> tensors;
  for (const auto& tensor : part.header.tensors) tensors[tensor.name] = tensor;
  ASSERT_EQ(tensors.size(), 4u);
  EXPECT_EQ(tensors["q4_k"].shape, (Shape{2, 256}));
  EXPECT_EQ(tensors["q4_k"].end - tensors["q4_k"].begin, 288u);
  EXPECT_EQ(tensors["q6_k"].end - tensors["q6_k"].begin, 420u);
  EXPECT_EQ(tensors["i32"].shape, Shape{3});
  EXPECT_EQ(gguf_type_name(tensors["q5_k"].type), "Q5_K");
  const auto bytes = part.file->bytes();
  for (uint64_t i = 0; i < 420; ++i) {
    ASSERT_EQ(static_cast<uint64_t>(bytes[tensors["q6_k"].begin + i]), i % 251);
  }
}

TEST(Gguf, VersionTwoAndBigAlignment) {
  const auto bytes = exact(GgufImage()
                               .version(2)
                               .text("general.architecture", "x")
                               .u32("general.alignment", 1024)
                               .tensor("a", {3}, 0, 0)
                               .tensor("b", {4, 2}, 1, 1024)
                               .build(1024 + 16, 1024));
  const GgufHeader header = parse_gguf(bytes, kWhere);
  EXPECT_EQ(header.version, 2u);
  EXPECT_EQ(header.tensors[0].begin, 1024u);
  EXPECT_EQ(header.tensors[1].begin, 2048u);
  EXPECT_EQ(header.tensors[1].shape, (Shape{2, 4}));
}

TEST(Gguf, UnknownTensorTypeDoesNotStopTheOpen) {
  for (uint32_t type : {4u, 31u, 99u, 0xffffffffu}) {
    const auto bytes =
        exact(GgufImage().tensor("odd", {7}, type, 0).tensor("next", {2}, 0, 96).build(96 + 8));
    const GgufHeader header = parse_gguf(bytes, kWhere);
    EXPECT_EQ(header.tensors[0].end - header.tensors[0].begin, 96u);
    EXPECT_EQ(header.tensors[1].begin, header.tensors[0].end);
    EXPECT_EQ(gguf_type_name(type), "type " + std::to_string(type));
  }
  EXPECT_EQ(parse(GgufImage().tensor("last", {7}, 99, 0).build(1)), 1u);
}

TEST(Gguf, RejectsEveryTruncation) {
  const std::string image = read_file(testdata("types.gguf"));
  EXPECT_NO_THROW(parse(image));
  const auto bytes = exact(image);
  const auto header = parse_gguf(bytes, kWhere);
  const uint64_t needed = header.tensors.back().end;  // padding after the last tensor may be cut
  for (size_t length = 0; length < needed; ++length) {
    expect_error([&] { parse(std::string_view(image).substr(0, length)); }, ErrorKind::kGguf,
                 kWhere);
  }
}

TEST(Gguf, ArchitectureIsRequired) {
  const TempDir dir;
  const auto path = dir.write("a.gguf", GgufImage().u32("k", 1).build());
  expect_error([&] { GgufFile::open(path); }, ErrorKind::kGguf, "general.architecture");
  const auto typed = dir.write("b.gguf", GgufImage().u32("general.architecture", 1).build());
  expect_error([&] { GgufFile::open(typed); }, ErrorKind::kGguf, "general.architecture");
}

TEST(Gguf, JoinsPartsOfASplitModel) {
  const auto file = GgufFile::open(testdata("gemma3_split-00001-of-00002.gguf"));
  ASSERT_EQ(file->parts().size(), 2u);
  EXPECT_EQ(file->parts()[0].header.tensors.size() + file->parts()[1].header.tensors.size(), 8u);
  EXPECT_EQ(file->architecture(), "gemma3");
  expect_error([] { GgufFile::open(testdata("gemma3_split-00002-of-00002.gguf")); },
               ErrorKind::kGguf, "split.no");
}

std::string split_part(uint16_t number, uint16_t count, int32_t tensors, const char* tensor) {
  GgufImage image;
  if (number == 0) image.text("general.architecture", "x");
  return image.pair("split.no", 2, raw(number))
      .pair("split.count", 2, raw(count))
      .pair("split.tensors.count", 5, raw(tensors))
      .tensor(tensor, {8}, 0, 0)
      .build(32);
}

TEST(Gguf, RejectsBrokenSplits) {
  const TempDir dir;
  const auto open = [&](const std::string& name) {
    return [&, name] { GgufFile::open(dir.path(name)); };
  };
  const auto gguf = ErrorKind::kGguf;
  dir.write("whole.gguf", split_part(0, 2, 2, "a"));
  expect_error(open("whole.gguf"), gguf, "split.count");
  dir.write("m-00001-of-00002.gguf", split_part(0, 2, 2, "a"));
  expect_error(open("m-00001-of-00002.gguf"), ErrorKind::kIo, "m-00002-of-00002.gguf");
  dir.write("m-00002-of-00002.gguf", split_part(0, 2, 2, "b"));
  expect_error(open("m-00001-of-00002.gguf"), gguf, "split.no");
  dir.write("m-00002-of-00002.gguf", split_part(1, 3, 2, "b"));
  expect_error(open("m-00001-of-00002.gguf"), gguf, "split.count");
  dir.write("m-00002-of-00002.gguf", split_part(1, 2, 2, "a"));
  expect_error(open("m-00001-of-00002.gguf"), gguf, "two parts");
  dir.write("m-00002-of-00002.gguf", split_part(1, 2, 2, "b"));
  EXPECT_EQ(GgufFile::open(dir.path("m-00001-of-00002.gguf"))->parts().size(), 2u);
  dir.write("m-00001-of-00002.gguf", split_part(0, 2, 3, "a"));
  expect_error(open("m-00001-of-00002.gguf"), gguf, "split.tensors.count");
}

}  // namespace
}  // namespace mlxn::checkpoint
