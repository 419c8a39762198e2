// SPDX-License-Identifier: Apache-2.0
// The container of safetensors.
#include "bad_file.h"
#include "checkpoint/test_configs.h"
#include "checkpoint/test_util.h"

namespace mlxn::bad_files {
namespace {

using namespace checkpoint;
using enum ErrorKind;

std::string one(const std::string& fields, size_t data = 4) {
  return safetensors_image("{\"t\":{" + fields + "}}", data);
}

// Two tensors of two bytes each.
std::string two(const std::string& a, const std::string& b, size_t data) {
  return safetensors_image(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)" + a +
                               R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + b + "}}",
                           data);
}

BadFile file(const char* rule, const char* text, std::string image) {
  return {std::string("safetensors: ") + rule,
          kSafetensors,
          text,
          {{"config.json", kGemma3}, {"model.safetensors", std::move(image)}}};
}

}  // namespace

BadFiles safetensors_containers() {
  const std::string t = R"("dtype":"U8")", s = R"("shape":[4])", o = R"("data_offsets":[0,4])";
  const auto sized = [&](const std::string& shape, const std::string& offsets) {
    return one(t + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets);
  };
  return {
      file("empty file", "model.safetensors: file size: found 0 bytes, required at least 8 bytes",
           ""),
      file("seven bytes", "model.safetensors: file size: found 7 bytes, required at least 8 bytes",
           std::string(7, '\1')),
      file("no header",
           "model.safetensors: header length: found 0, required 1 to 100000000 bytes and at most "
           "the 0 that follow",
           raw<uint64_t>(0)),
      file("header over 100 MB",
           "model.safetensors: header length: found 100000001, required 1 to 100000000 bytes and "
           "at most the 2 that follow",
           raw<uint64_t>(100'000'001) + "{}"),
      file("header past the end",
           "model.safetensors: header length: found 3, required 1 to 100000000 bytes and at most "
           "the 2 that follow",
           raw<uint64_t>(3) + "{}"),
      file("header length near 2^64",
           "model.safetensors: header length: found 18446744073709551615, required 1 to 100000000 "
           "bytes and at most the 2 that follow",
           raw<uint64_t>(~0ull) + "{}"),
      file("first byte",
           "model.safetensors: header: found \" \", required a JSON object that starts with '{'",
           safetensors_image(" {}", 0)),
      file("not an object",
           "model.safetensors: header: found \"[\", required a JSON object that starts with '{'",
           safetensors_image("[]", 0)),
      file("bad json",
           "model.safetensors: header: found The JSON document has an improper structure: missing "
           "or superfluous commas, braces, missing keys, etc., required valid JSON",
           safetensors_image("{\"a\":}", 0)),
      file("unterminated",
           "model.safetensors: header: found A string is opened, but never closed., required valid "
           "JSON",
           safetensors_image("{\"a", 0)),
      file("text after the object",
           "model.safetensors: header: found The JSON document has an improper structure: missing "
           "or superfluous commas, braces, missing keys, etc., required valid JSON",
           safetensors_image("{}x", 0)),
      file("bad utf-8",
           "model.safetensors: header: found The input is not valid UTF-8, required valid JSON",
           safetensors_image("{\"\xff\":1}", 0)),
      file("deep nesting",
           "model.safetensors: header: found The JSON document was too deep (too many nested "
           "objects and arrays), required valid JSON",
           safetensors_image("{\"a\":" + std::string(5000, '[') + std::string(5000, ']') + "}", 0)),
      file("entry is a number",
           "model.safetensors: \"t\": found 1, required an object with dtype, shape and "
           "data_offsets",
           safetensors_image("{\"t\":1}", 0)),
      file("duplicate name",
           "model.safetensors: \"t\": found the name twice, required unique names",
           safetensors_image(R"({"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                             R"("\u0074":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                             4)),
      file("empty name",
           "model.safetensors: tensor name: found an empty name, required a non-empty name",
           safetensors_image(R"({"":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4)),
      file("no dtype", "model.safetensors: \"t\".dtype: found nothing, required a dtype name",
           one(s + "," + o)),
      file("no shape",
           "model.safetensors: \"t\".shape: found nothing, required an array of extents",
           one(t + "," + o)),
      file("no offsets",
           "model.safetensors: \"t\".data_offsets: found nothing, required two offsets",
           one(t + "," + s)),
      file("extra field",
           "model.safetensors: \"t\": found field \"x\", required only dtype, shape and "
           "data_offsets",
           one(t + "," + s + "," + o + ",\"x\":1")),
      file("duplicate field",
           "model.safetensors: \"t\".dtype: found the field twice, required unique fields",
           one(t + "," + t + "," + s + "," + o)),
      file("dtype a number", "model.safetensors: \"t\".dtype: found 3, required a dtype name",
           one("\"dtype\":3," + s + "," + o)),
      file("shape a number",
           "model.safetensors: \"t\".shape: found 4, required an array of integers",
           sized("4", "[0,4]")),
      file("float extent",
           "model.safetensors: \"t\".shape: found 4.0, required an integer from 0 to 2^63-1",
           sized("[4.0]", "[0,4]")),
      file("exponent extent",
           "model.safetensors: \"t\".shape: found 4.0, required an integer from 0 to 2^63-1",
           sized("[4e0]", "[0,4]")),
      file("negative extent",
           "model.safetensors: \"t\".shape: found -4, required an integer from 0 to 2^63-1",
           sized("[-4]", "[0,4]")),
      file("extent over 2^63",
           "model.safetensors: \"t\".shape: found 9223372036854775808, required an integer from 0 "
           "to 2^63-1",
           sized("[9223372036854775808]", "[0,4]")),
      file("extent over 2^64",
           "model.safetensors: header: found Problem while parsing a number, required valid JSON",
           sized("[99999999999999999999999]", "[0,4]")),
      file("product overflow",
           "model.safetensors: \"t\".shape: found [4294967296, 4294967296], required fewer than "
           "2^63 elements",
           sized("[4294967296,4294967296]", "[0,4]")),
      file("rank 9",
           "model.safetensors: \"t\".shape: found more than 8 extents, required rank 8 at most",
           sized("[1,1,1,1,1,1,1,1,4]", "[0,4]")),
      file("one offset",
           "model.safetensors: \"t\".data_offsets: found 1 values, required an array of two "
           "integers",
           sized("[4]", "[4]")),
      file("three offsets",
           "model.safetensors: \"t\".data_offsets: found more than two values, required an array "
           "of two integers",
           sized("[4]", "[0,4,4]")),
      file("string offset",
           "model.safetensors: \"t\".data_offsets: found \"4\", required an integer from 0 to "
           "2^63-1",
           sized("[4]", "[0,\"4\"]")),
      file("negative offset",
           "model.safetensors: \"t\".data_offsets: found -4, required an integer from 0 to 2^63-1",
           sized("[4]", "[-4,0]")),
      file("end before begin",
           "model.safetensors: \"t\".data_offsets: found [4, 0], required begin <= end <= 4",
           sized("[4]", "[4,0]")),
      file("past the end",
           "model.safetensors: \"t\".data_offsets: found [0, 5], required begin <= end <= 4",
           sized("[5]", "[0,5]")),
      file("size disagrees",
           "model.safetensors: \"t\".data_offsets: found 4 bytes, required 3 elements of U8, 3 "
           "bytes",
           sized("[3]", "[0,4]")),
      file("byte size overflow",
           "model.safetensors: \"t\".data_offsets: found 4 bytes, required 4611686018427387904 "
           "elements of F64, over 2^63 bytes",
           one(R"("dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,4])")),
      file("metadata not an object",
           "model.safetensors: __metadata__: found 1, required an object of strings",
           safetensors_image(R"({"__metadata__":1})", 0)),
      file("metadata value", "model.safetensors: __metadata__.\"a\": found 1, required a string",
           safetensors_image(R"({"__metadata__":{"a":1}})", 0)),
      file("metadata key twice",
           "model.safetensors: __metadata__.\"a\": found the key twice, required unique keys",
           safetensors_image(R"({"__metadata__":{"a":"1","a":"2"}})", 0)),
      file("does not start at 0",
           "model.safetensors: \"a\".data_offsets: found 1, required 0, where the tensor before "
           "ends",
           two("[1,3]", "[3,5]", 5)),
      file("gap",
           "model.safetensors: \"b\".data_offsets: found 3, required 2, where the tensor before "
           "ends",
           two("[0,2]", "[3,5]", 5)),
      file("overlap",
           "model.safetensors: \"b\".data_offsets: found 1, required 2, where the tensor before "
           "ends",
           two("[0,2]", "[1,3]", 3)),
      file("same bytes twice",
           "model.safetensors: \"b\".data_offsets: found 0, required 2, where the tensor before "
           "ends",
           two("[0,2]", "[0,2]", 2)),
      file("bytes after the last",
           "model.safetensors: data section: found 5 bytes, required 4 bytes, as the tensors say",
           two("[0,2]", "[2,4]", 5)),
      file("data without tensors",
           "model.safetensors: data section: found 1 bytes, required 0 bytes, as the tensors say",
           safetensors_image("{}", 1)),
      file("a list of entries",
           "model.safetensors: \"t\": found an array, required an object with dtype, shape and "
           "data_offsets",
           safetensors_image(R"({"t":[]})", 0)),
      file("dtype empty", "model.safetensors: \"t\".dtype: found \"\", required a dtype name",
           one("\"dtype\":\"\"," + s + "," + o)),
      file("dtype null", "model.safetensors: \"t\".dtype: found null, required a dtype name",
           one("\"dtype\":null," + s + "," + o)),
      file("shape of strings",
           "model.safetensors: \"t\".shape: found \"4\", required an integer from 0 to 2^63-1",
           sized(R"(["4"])", "[0,4]")),
      file("nested shape",
           "model.safetensors: \"t\".shape: found an array, required an integer from 0 to 2^63-1",
           sized("[[4]]", "[0,4]")),
      file("offsets an object",
           "model.safetensors: \"t\".data_offsets: found an object, required an array of two "
           "integers",
           sized("[4]", "{}")),
      file("offset over 2^63",
           "model.safetensors: \"t\".data_offsets: found 9223372036854775808, required an integer "
           "from 0 to 2^63-1",
           sized("[4]", "[0,9223372036854775808]")),
      file("float offset",
           "model.safetensors: \"t\".data_offsets: found 4.5, required an integer from 0 to 2^63-1",
           sized("[4]", "[0,4.5]")),
      file("no offsets at all",
           "model.safetensors: \"t\".data_offsets: found 0 values, required an array of two "
           "integers",
           sized("[4]", "[]")),
      file("extent not a number",
           "model.safetensors: header: found The JSON document has an improper structure: missing "
           "or superfluous commas, braces, missing keys, etc., required valid JSON",
           sized("[NaN]", "[0,4]")),
      file("empty tensor with bytes",
           "model.safetensors: \"t\".data_offsets: found 4 bytes, required 0 elements of U8, 0 "
           "bytes",
           sized("[0]", "[0,4]")),
      file("header of spaces",
           "model.safetensors: header: found \" \", required a JSON object that starts with '{'",
           safetensors_image("    ", 0)),
      file("header ends in a null byte",
           "model.safetensors: header: found The JSON document has an improper structure: missing "
           "or superfluous commas, braces, missing keys, etc., required valid JSON",
           safetensors_image(std::string("{}\0", 3), 0)),
      file("metadata key of an array",
           "model.safetensors: __metadata__.\"a\": found an array, required a string",
           safetensors_image(R"({"__metadata__":{"a":[]}})", 0)),
  };
}

}  // namespace mlxn::bad_files
