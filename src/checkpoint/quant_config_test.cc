// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/quant_config.h"

#include <gtest/gtest.h>

#include "checkpoint/test_util.h"

namespace mlxn::checkpoint {
namespace {

QuantConfig read(const std::string& text) {
  return QuantConfig::read(Json::parse(text, "config.json"));
}

TEST(Json, RefusesWhatItCannotTrust) {
  const auto kind = ErrorKind::kConfig;
  const auto parse = [](const std::string& text) {
    return [text] { Json::parse(text, "config.json"); };
  };
  expect_error(parse(""), kind, "config.json");
  expect_error(parse("{"), kind, "JSON");
  expect_error(parse("{\"a\":\"\xff\"}"), kind, "JSON");
  expect_error(parse("{} {}"), kind, "JSON");
  expect_error(parse(R"({"a":{"b":1,"b":2}})"), kind, "a.b");
  expect_error(parse(R"({"a":[{"b":1,"\u0062":2}]})"), kind, "a.b");
  expect_error(parse(std::string(40, '[') + std::string(40, ']')), kind, "JSON");
}

TEST(Json, EntriesAreCountedBeforeTheyAreMade) {
  std::string list = "[1";
  std::string object = "{\"0\":1";
  for (size_t i = 1; i < Json::kMaxEntries; ++i) {
    list += ",1";
    object += ",\"" + std::to_string(i) + "\":1";
  }
  const auto items = [&](const std::string& more) { Json::parse(list + more, "f.json").items(); };
  const auto members = [&](const std::string& more) {
    Json::parse(object + more, "f.json").members();
  };
  EXPECT_NO_THROW(items("]"));
  EXPECT_NO_THROW(members("}"));
  expect_error([&] { items(",1]"); }, ErrorKind::kConfig, "at most 100000 entries");
  expect_error([&] { members(",\"x\":1}"); }, ErrorKind::kConfig, "at most 100000 entries");
}

TEST(Json, AccessorsNameTheKey) {
  const Json json = Json::parse(R"({"a":{"b":[1,"x",2.5,null,true]}})", "config.json");
  const auto items = json["a"]["b"].items();
  EXPECT_EQ(items[0].integer(0, 9), 1);
  EXPECT_EQ(items[2].number(), 2.5);
  EXPECT_EQ(items[0].number(), 1.0);
  EXPECT_FALSE(items[3].integer(0, 9).has_value());
  EXPECT_EQ(items[4].boolean(), true);
  EXPECT_FALSE(json["a"]["missing"]["deeper"].present());
  const auto kind = ErrorKind::kConfig;
  expect_error([&] { items[1].integer(0, 9); }, kind, "a.b[1]: found \"x\"");
  expect_error([&] { items[0].integer(2, 9); }, kind, "a.b[0]: found 1");
  expect_error([&] { items[2].integer(0, 9); }, kind, "a.b[2]");
  expect_error([&] { items[1].number(); }, kind, "a.b[1]");
  expect_error([&] { items[0].boolean(); }, kind, "a.b[0]");
  expect_error([&] { items[0].text(); }, kind, "a.b[0]");
  expect_error([&] { items[0]["x"]; }, kind, "a.b[0]");
  expect_error([&] { json["a"].items(); }, kind, "a: found an object");
}

TEST(QuantConfig, DefaultsPerMode) {
  EXPECT_FALSE(read("{}").present());
  EXPECT_FALSE(read(R"({"quantization":null})").present());
  EXPECT_EQ(read(R"({"quantization":{}})").file_level().group_size, 64);
  EXPECT_EQ(read(R"({"quantization":{}})").file_level().bits, 4);
  EXPECT_EQ(read(R"({"quantization":{"mode":"mxfp4"}})").file_level().group_size, 32);
  EXPECT_EQ(read(R"({"quantization":{"mode":"nvfp4"}})").file_level().group_size, 16);
  EXPECT_EQ(read(R"({"quantization":{"mode":"mxfp8"}})").file_level().bits, 8);
}

TEST(QuantConfig, PlaceOfTheSection) {
  EXPECT_EQ(
      read(R"({"quantization":{"bits":8},"quantization_config":{"bits":4}})").file_level().bits, 8);
  EXPECT_EQ(read(R"({"quantization_config":{"bits":6}})").file_level().bits, 6);
  EXPECT_EQ(read(R"({"text_config":{"quantization":{"bits":5}}})").file_level().bits, 5);
  EXPECT_EQ(read(R"({"quantization":{"bits":3},"text_config":{"quantization":{"bits":5}}})")
                .file_level()
                .bits,
            3);
}

TEST(QuantConfig, OverridesFirstHitWins) {
  const QuantConfig c = read(R"({"quantization":{"group_size":64,"bits":4,"mode":"mxfp4",
      "language_model.model.a":{"group_size":32,"bits":8},"b.weight":{"bits":6},
      "c":false,"d":true,"quant_method":"x","e":{"group_size":32},"f":{"mode":"mxfp8"},
      "g":{"mode":"nvfp4","bits":4}}})");
  EXPECT_EQ(c.find("language_model.model.a")->bits, 8);
  EXPECT_EQ(c.find("language_model.model.a")->mode, "affine");  // not the file-level mode
  EXPECT_EQ(c.find("model.a")->bits, 8);
  EXPECT_EQ(c.find("b")->bits, 6);
  EXPECT_EQ(c.find("language_model.b")->bits, 6);
  EXPECT_FALSE(c.find("c").has_value());
  EXPECT_EQ(c.find("d")->mode, "mxfp4");
  EXPECT_EQ(c.find("e")->group_size, 64);
  EXPECT_EQ(c.find("f")->bits, 8);
  EXPECT_EQ(c.find("f")->group_size, 32);
  EXPECT_EQ(c.find("g")->group_size, 16);
  EXPECT_EQ(c.find("other")->bits, 4);
}

TEST(QuantConfig, OverrideInheritsTheGroupSize) {
  const QuantConfig c = read(R"({"quantization":{"group_size":128,"bits":4,"a":{"bits":8}}})");
  EXPECT_EQ(c.find("a")->group_size, 128);
}

TEST(QuantConfig, MalformedSections) {
  const auto kind = ErrorKind::kQuantConfig;
  for (const char* section : {"3", "\"x\"", "[]", R"({"bits":"4"})", R"({"bits":4.5})",
                              R"({"group_size":[]})", R"({"mode":1})", R"({"a":{"bits":true}})"}) {
    SCOPED_TRACE(section);
    expect_error([&] { read(std::string(R"({"quantization":)") + section + "}"); }, kind,
                 "quantization");
  }
}

TEST(QuantConfig, RefusesSchemesOfOtherTools) {
  const std::string foreign =
      R"("quantization_config":{"quant_method":"awq","bits":4,"group_size":128})";
  for (const std::string& text : {"{" + foreign + "}", R"({"text_config":{)" + foreign + "}}"}) {
    expect_error([&] { read(text); }, ErrorKind::kQuantConfig, "quant_method: found \"awq\"");
  }
  EXPECT_EQ(
      read("{" + foreign + R"(,"quantization":{"bits":8,"quant_method":"x"}})").file_level().bits,
      8);
}

TEST(QuantConfig, DescribesItself) {
  EXPECT_EQ(read(R"({"quantization":{"mode":"nvfp4","a":false,"b":{"bits":4,"mode":"nvfp4"}}})")
                .describe(),
            "nvfp4 4-bit, group 16");
  EXPECT_EQ(
      read(R"({"quantization":{"mode":"mxfp4","a":{"bits":8},"b":{"mode":"mxfp8"}}})").describe(),
      "mxfp4 4-bit, group 32; some modules affine 8-bit, group 64; mxfp8 8-bit, group 32");
  EXPECT_EQ(read(R"({"quantization":{"mode":"\n"}})").describe(), "\"\\x0a\" 4-bit, group 64");
  std::string many;
  for (int bits = 10; bits < 20; ++bits) {
    many += ",\"m" + std::to_string(bits) + "\":{\"bits\":" + std::to_string(bits) + "}";
  }
  EXPECT_EQ(read(R"({"quantization":{"bits":4)" + many + "}}").describe(),
            "affine 4-bit, group 64; modules of many other formats");
}

TEST(QuantConfig, TakesMxfp4OfOtherTools) {
  const QuantConfig c = read(R"({"quantization_config":{"quant_method":"mxfp4","bits":3,
      "modules_to_not_convert":["a"]}})");
  EXPECT_TRUE(c.present());
  EXPECT_EQ(c.file_level().mode, "mxfp4");
  EXPECT_EQ(c.file_level().bits, 4);
  EXPECT_EQ(c.file_level().group_size, 32);
  EXPECT_NO_THROW(c.check(*c.find("x"), "x"));
}

TEST(QuantConfig, ChecksRangesWhenUsed) {
  const QuantConfig c = read(R"({"quantization":{"bits":4}})");
  const auto check = [&](std::string mode, int64_t bits, int64_t group) {
    return [&c, mode, bits, group] { c.check({mode, bits, group}, "m"); };
  };
  for (int64_t bits : {2, 3, 4, 5, 6, 8}) {
    for (int64_t group : {32, 64, 128}) EXPECT_NO_THROW(check("affine", bits, group)());
  }
  for (int64_t bits : {-4, 0, 1, 7, 9, 16, 260}) {
    expect_error(check("affine", bits, 64), ErrorKind::kQuantConfig, "bits of \"m\"");
  }
  for (int64_t group : {-64, 0, 1, 16, 48, 256}) {
    expect_error(check("affine", 4, group), ErrorKind::kQuantConfig, "group_size of \"m\"");
  }
  EXPECT_NO_THROW(check("mxfp4", 4, 32)());
  EXPECT_NO_THROW(check("mxfp8", 8, 32)());
  EXPECT_NO_THROW(check("nvfp4", 4, 16)());
  expect_error(check("mxfp4", 8, 32), ErrorKind::kQuantConfig, "bits");
  expect_error(check("nvfp4", 4, 32), ErrorKind::kQuantConfig, "group_size");
  expect_error(check("mxfp8", 8, 64), ErrorKind::kQuantConfig, "group_size");
  expect_error(check("ternary", 2, 32), ErrorKind::kUnsupportedDtype,
               "found \"ternary\", required affine, mxfp4, mxfp8 or nvfp4");
}

}  // namespace
}  // namespace mlxn::checkpoint
