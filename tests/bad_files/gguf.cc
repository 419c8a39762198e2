// SPDX-License-Identifier: Apache-2.0
// The container of GGUF: header, metadata, tensor table, splits.
#include "bad_file.h"
#include "checkpoint/gguf_image.h"

namespace mlxn::bad_files {
namespace {

using namespace checkpoint;
using enum ErrorKind;

GgufImage g() { return {}; }

std::string header(uint64_t tensors, uint64_t keys) { return g().claim(tensors, keys).build(64); }

// What follows the counts of a file that claims one key.
std::string after_counts(const std::string& bytes) { return g().claim(0, 1).build() + bytes; }

std::string f32_tensor(const std::vector<uint64_t>& extents) {
  return g().tensor("t", extents, 0, 0).build(4096);
}

// A file of one tensor cut `bytes` behind the tensor's name.
std::string cut_tensor(size_t bytes) {
  const std::string name(60, 'n');
  const std::string image = g().tensor(name, {8}, 0, 0).build();
  return image.substr(0, 24 + 8 + name.size() + bytes);
}

BadFile gguf(const char* rule, const char* text, std::string image) {
  return {std::string("gguf: ") + rule,   kGguf,       text,
          {{"m.gguf", std::move(image)}}, Step::kOpen, "m.gguf"};
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

BadFile split(const char* rule, ErrorKind kind, const char* text, std::string first,
              std::string second) {
  BadFile bad = {std::string("gguf split: ") + rule,
                 kind,
                 text,
                 {{"m-00001-of-00002.gguf", std::move(first)}},
                 Step::kOpen,
                 "m-00001-of-00002.gguf"};
  if (!second.empty()) bad.files.emplace_back("m-00002-of-00002.gguf", std::move(second));
  return bad;
}

}  // namespace

BadFiles gguf_containers() {
  const std::string u32 = raw<uint32_t>(1);
  return {
      gguf("empty file", "m.gguf: magic: found \"\", required \"GGUF\"", ""),
      gguf("two bytes", "m.gguf: magic: found \"GG\", required \"GGUF\"", "GG"),
      gguf("magic", "m.gguf: magic: found \"GGML\", required \"GGUF\"", g().magic("GGML").build()),
      gguf("no version",
           "m.gguf: version: found the end of the file after 4 bytes, required 4 bytes at offset 4",
           "GGUF"),
      gguf("version 0", "m.gguf: version: found 0, required 2 or 3, little-endian",
           g().version(0).build()),
      gguf("version 1", "m.gguf: version: found 1, required 2 or 3, little-endian",
           g().version(1).build()),
      gguf("version 4", "m.gguf: version: found 4, required 2 or 3, little-endian",
           g().version(4).build()),
      gguf("big-endian",
           "m.gguf: version: found 50331648 (a big-endian file), required 2 or 3, little-endian",
           g().version(3u << 24).build()),
      gguf("no counts",
           "m.gguf: tensor count: found the end of the file after 8 bytes, required 8 bytes at "
           "offset 8",
           "GGUF" + raw<uint32_t>(3)),
      gguf("tensor count negative",
           "m.gguf: tensor count: found 18446744073709551615, required at most 1 in the rest of "
           "the file",
           header(~0ull, 0)),
      gguf("tensor count over the bytes left",
           "m.gguf: tensor count: found 3, required at most 1 in the rest of the file",
           header(3, 0)),
      gguf("metadata count negative",
           "m.gguf: metadata count: found 9223372036854775808, required at most 4 in the rest of "
           "the file",
           header(0, 1ull << 63)),
      gguf("metadata count over the bytes left",
           "m.gguf: metadata count: found 6, required at most 4 in the rest of the file",
           header(0, 6)),
      gguf("tensor count over the limit",
           "m.gguf: tensor count: found 100001, required at most 100000",
           header(100'001, 0) + std::string(33 * 100'001, '\0')),
      gguf("metadata count over the limit",
           "m.gguf: metadata count: found 100001, required at most 100000",
           header(0, 100'001) + std::string(14 * 100'001, '\0')),
      gguf("key past the end",
           "m.gguf: key of metadata 0: found a string of 100 bytes, required at most 20 bytes",
           after_counts(raw<uint64_t>(100) + std::string(20, 'k'))),
      gguf("key length near 2^64",
           "m.gguf: key of metadata 0: found a string of 18446744073709551615 bytes, required at "
           "most 20 bytes",
           after_counts(raw(~0ull) + std::string(20, 'k'))),
      gguf("empty key", "m.gguf: key of metadata 0: found an empty key, required a non-empty key",
           g().pair("", 4, u32).build(16)),
      gguf("key not utf-8", "m.gguf: key of metadata 0: found \"\\xff\\xfe\", required valid UTF-8",
           g().pair("\xff\xfe", 4, u32).build(16)),
      gguf("duplicate key", "m.gguf: metadata \"k\": found the key twice, required unique keys",
           g().u32("k", 1).u32("k", 2).build()),
      gguf("unknown value type", "m.gguf: metadata \"k\" type: found 13, required 0 to 12",
           g().pair("k", 13, u32).build()),
      gguf("value cut off",
           "m.gguf: metadata \"k\": found the end of the file after 41 bytes, required 8 bytes at "
           "offset 37",
           g().pair("k", 10, u32).build()),
      gguf("string past the end",
           "m.gguf: metadata \"k\": found a string of 9 bytes, required at most 3 bytes",
           g().pair("k", 8, raw<uint64_t>(9) + "abc").build()),
      gguf(
          "string over 1 MiB",
          "m.gguf: metadata \"k\": found a string of 1048577 bytes, required at most 1048576 bytes",
          g().pair("k", 8, raw<uint64_t>((1 << 20) + 1) + std::string((1 << 20) + 1, 'a')).build()),
      gguf("string not utf-8", "m.gguf: metadata \"k\": found \"a\\x80\", required valid UTF-8",
           g().text("k", "a\x80").build()),
      gguf("bool 2", "m.gguf: metadata \"k\": found bool byte 2, required 0 or 1",
           g().pair("k", 7, "\2").build()),
      gguf("bool in an array", "m.gguf: metadata \"k\": found bool byte 3, required 0 or 1",
           g().array("k", 7, 2, std::string("\1\3", 2)).build()),
      gguf("array of arrays",
           "m.gguf: metadata \"k\" element type: found an array of arrays, required an array of "
           "scalars or strings",
           g().array("k", 9, 1, std::string(32, '\0')).build()),
      gguf("array of unknown type",
           "m.gguf: metadata \"k\" element type: found 77, required 0 to 12",
           g().array("k", 77, 1, u32).build()),
      gguf("array over the bytes left",
           "m.gguf: metadata \"k\" length: found 3, required at most 2 in the rest of the file",
           g().array("k", 4, 3, u32 + u32).build()),
      gguf("array count 2^62",
           "m.gguf: metadata \"k\" length: found 4611686018427387904, required at most 0 in the "
           "rest of the file",
           g().array("k", 10, 1ull << 62, u32).build()),
      gguf("string array over the bytes left",
           "m.gguf: metadata \"k\" length: found 1099511627776, required at most 0 in the rest of "
           "the file",
           g().array("k", 8, 1ull << 40, u32).build()),
      gguf("string in an array",
           "m.gguf: metadata \"k\": found a string of 1000 bytes, required at most 1 bytes",
           g().array("k", 8, 1, raw<uint64_t>(1000) + "a").build()),
      gguf("array over 2^24",
           "m.gguf: metadata \"k\" length: found 16777217, required at most 16777216",
           g().array("k", 0, (1 << 24) + 1, std::string((1 << 24) + 1, 'a')).build()),
      gguf("alignment type", "m.gguf: general.alignment: found u64, required u32",
           g().pair("general.alignment", 10, raw<uint64_t>(32)).build()),
      gguf("alignment 0", "m.gguf: general.alignment: found 0, required a power of two up to 2^20",
           g().u32("general.alignment", 0).build()),
      gguf("alignment 48",
           "m.gguf: general.alignment: found 48, required a power of two up to 2^20",
           g().u32("general.alignment", 48).build()),
      gguf("alignment 2 MiB",
           "m.gguf: general.alignment: found 2097152, required a power of two up to 2^20",
           g().u32("general.alignment", 1 << 21).build()),
      gguf("alignment 2^31",
           "m.gguf: general.alignment: found 2147483648, required a power of two up to 2^20",
           g().u32("general.alignment", 1u << 31).build()),
      gguf("tensor name empty", "m.gguf: name of tensor 0: found 0 bytes, required 1 to 63 bytes",
           g().tensor("", {8}, 0, 0).build(32)),
      gguf("tensor name of 64 bytes",
           "m.gguf: name of tensor 0: found 64 bytes, required 1 to 63 bytes",
           g().tensor(std::string(64, 'n'), {8}, 0, 0).build(32)),
      gguf("tensor name not utf-8",
           "m.gguf: name of tensor 0: found \"\\xc0\", required valid UTF-8",
           g().tensor("\xc0", {8}, 0, 0).build(32)),
      gguf("duplicate tensor", "m.gguf: tensor \"t\": found the name twice, required unique names",
           g().tensor("t", {8}, 0, 0).tensor("t", {8}, 0, 32).build(64)),
      gguf("n_dims 0", "m.gguf: tensor \"t\" n_dims: found 0, required 1 to 4",
           g().tensor("t", {}, 0, 0).build(32)),
      gguf("n_dims 5", "m.gguf: tensor \"t\" n_dims: found 5, required 1 to 4",
           g().tensor("t", {1, 1, 1, 1, 8}, 0, 0).build(32)),
      gguf("extent 0", "m.gguf: tensor \"t\" extent 1: found 0, required 1 to 2^31",
           f32_tensor({4, 0})),
      gguf("extent negative",
           "m.gguf: tensor \"t\" extent 0: found 18446744073709551615, required 1 to 2^31",
           f32_tensor({~0ull})),
      gguf("extent over 2^31",
           "m.gguf: tensor \"t\" extent 0: found 2147483649, required 1 to 2^31",
           f32_tensor({(1ull << 31) + 1})),
      gguf("element overflow",
           "m.gguf: tensor \"t\": found [2, 2147483648, 2147483648], required fewer than 2^63 "
           "elements",
           f32_tensor({1ull << 31, 1ull << 31, 2})),
      gguf("byte overflow",
           "m.gguf: tensor \"t\": found [2147483648, 2147483648], required fewer than 2^63 bytes",
           f32_tensor({1ull << 31, 1ull << 31})),
      gguf(
          "row not whole blocks",
          "m.gguf: tensor \"t\" row length: found 48, required a multiple of 32, the block of Q4_0",
          g().tensor("t", {48}, 2, 0).build(64)),
      gguf("k-quant row",
           "m.gguf: tensor \"t\" row length: found 128, required a multiple of 256, the block of "
           "Q4_K",
           g().tensor("t", {128, 2}, 12, 0).build(512)),
      gguf("first offset",
           "m.gguf: tensor \"t\" offset: found 32, required 0, where the tensor before ends",
           g().tensor("t", {8}, 0, 32).build(64)),
      gguf("gap",
           "m.gguf: tensor \"b\" offset: found 64, required 32, where the tensor before ends",
           g().tensor("a", {8}, 0, 0).tensor("b", {8}, 0, 64).build(96)),
      gguf("overlap",
           "m.gguf: tensor \"b\" offset: found 32, required 64, where the tensor before ends",
           g().tensor("a", {16}, 0, 0).tensor("b", {8}, 0, 32).build(96)),
      gguf("misaligned offset",
           "m.gguf: tensor \"b\" offset: found 4, required 32, where the tensor before ends",
           g().tensor("a", {1}, 0, 0).tensor("b", {8}, 0, 4).build(96)),
      gguf("offset near 2^64",
           "m.gguf: tensor \"b\": found 0 bytes of data at offset 18446744073709551584, required "
           "32 bytes",
           g().tensor("a", {7}, 99, 0).tensor("b", {8}, 0, ~0ull & ~31ull).build(96)),
      gguf("behind an unknown type: misaligned",
           "m.gguf: tensor \"b\" offset: found 8, required a multiple of 32 above 0",
           g().tensor("a", {7}, 99, 0).tensor("b", {1}, 0, 8).build(96)),
      gguf("behind an unknown type: the same bytes",
           "m.gguf: tensor \"b\" offset: found 0, required a multiple of 32 above 0",
           g().tensor("a", {7}, 99, 0).tensor("b", {1}, 0, 0).build(96)),
      gguf("data past the end",
           "m.gguf: tensor \"t\": found 32 bytes of data at offset 0, required 36 bytes",
           g().tensor("t", {9}, 0, 0).build(32)),
      gguf("no data section",
           "m.gguf: data section: found the end of the file after 57 bytes, required data from "
           "offset 64",
           g().tensor("t", {8}, 0, 0).build().substr(0, 24 + 9 + 4 + 8 + 4 + 8)),
      gguf("key over 1 MiB",
           "m.gguf: key of metadata 0: found a string of 1048577 bytes, required at most 1048576 "
           "bytes",
           after_counts(raw<uint64_t>((1 << 20) + 1) + std::string((1 << 20) + 1, 'k'))),
      gguf("value type cut off",
           "m.gguf: metadata \"key\" type: found the end of the file after 38 bytes, required 4 "
           "bytes at offset 35",
           after_counts(gguf_string("key") + "abc")),
      gguf("value type 2^32 - 1", "m.gguf: metadata \"k\" type: found 4294967295, required 0 to 12",
           g().pair("k", ~0u, u32).build()),
      gguf("array type cut off",
           "m.gguf: metadata \"k\" element type: found the end of the file after 39 bytes, "
           "required 4 bytes at offset 37",
           g().pair("k", 9, "ab").build()),
      gguf("array length cut off",
           "m.gguf: metadata \"k\" length: found the end of the file after 44 bytes, required 8 "
           "bytes at offset 41",
           g().pair("k", 9, raw<uint32_t>(4) + "abc").build()),
      gguf("array of negative length",
           "m.gguf: metadata \"k\" length: found 18446744073709551615, required at most 1 in the "
           "rest of the file",
           g().array("k", 4, ~0ull, u32).build()),
      gguf("array length times size wraps",
           "m.gguf: metadata \"k\" length: found 2305843009213693953, required at most 1 in the "
           "rest of the file",
           g().array("k", 10, (1ull << 61) + 1, u32 + u32).build()),
      gguf("string in an array near 2^64",
           "m.gguf: metadata \"k\": found a string of 18446744073709551615 bytes, required at most "
           "0 bytes",
           g().array("k", 8, 1, raw(~0ull)).build()),
      gguf("alignment of a string", "m.gguf: general.alignment: found string, required u32",
           g().text("general.alignment", "32").build()),
      gguf("alignment twice",
           "m.gguf: metadata \"general.alignment\": found the key twice, required unique keys",
           g().u32("general.alignment", 32).u32("general.alignment", 64).build()),
      gguf("version 2^31",
           "m.gguf: version: found 2147483648 (a big-endian file), required 2 or 3, little-endian",
           g().version(1u << 31).build()),
      gguf("tensor name cut off",
           "m.gguf: name of tensor 0: found a string of 40 bytes, required at most 30 bytes",
           g().claim(1, 0).build() + raw<uint64_t>(40) + std::string(30, 'n')),
      gguf("n_dims cut off",
           "m.gguf: tensor \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\" "
           "n_dims: found the end of the file after 94 bytes, required 4 bytes at offset 92",
           cut_tensor(2)),
      gguf("n_dims 2^32 - 1", "m.gguf: tensor \"t\" n_dims: found 4294967295, required 1 to 4",
           g().claim(1, 0).build() + gguf_string("t") + raw(~0u) + std::string(64, '\0')),
      gguf("extent cut off",
           "m.gguf: tensor \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\" "
           "extent: found the end of the file after 99 bytes, required 8 bytes at offset 96",
           cut_tensor(4 + 3)),
      gguf("tensor type cut off",
           "m.gguf: tensor \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\" type: "
           "found the end of the file after 105 bytes, required 4 bytes at offset 104",
           cut_tensor(4 + 8 + 1)),
      gguf("offset cut off",
           "m.gguf: tensor \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\" "
           "offset: found the end of the file after 115 bytes, required 8 bytes at offset 108",
           cut_tensor(4 + 8 + 4 + 7)),
      gguf("third extent 0", "m.gguf: tensor \"t\" extent 2: found 0, required 1 to 2^31",
           f32_tensor({4, 1, 0})),
      gguf("elements wrap to a small number",
           "m.gguf: tensor \"t\": found [1, 4, 2147483648, 2147483648], required fewer than 2^63 "
           "elements",
           f32_tensor({1ull << 31, 1ull << 31, 4, 1})),
      gguf("data section beyond the file",
           "m.gguf: data section: found the end of the file after 160 bytes, required data from "
           "offset 1048576",
           g().u32("general.alignment", 1 << 20).tensor("t", {8}, 0, 0).build(64)),
      gguf("last tensor longer than the file by one byte",
           "m.gguf: tensor \"t\": found 31 bytes of data at offset 0, required 32 bytes",
           g().tensor("t", {8}, 0, 0).build(31)),
      gguf("an unknown type without data",
           "m.gguf: tensor \"t\": found 0 bytes of data at offset 0, required 1 bytes",
           g().tensor("t", {8}, 99, 0).build(0)),
      gguf("no architecture",
           "m.gguf: general.architecture: found nothing, required the name of an architecture",
           g().u32("k", 1).build()),
      gguf("architecture of a number",
           "m.gguf: general.architecture: found type u32, required a string",
           g().u32("general.architecture", 1).build()),
      gguf("empty architecture",
           "m.gguf: general.architecture: found nothing, required the name of an architecture",
           g().text("general.architecture", "").build()),
  };
}

BadFiles gguf_splits() {
  const std::string first = split_part(0, 2, 2, "a"), second = split_part(1, 2, 2, "b");
  BadFiles bad = {
      split("no second part", kIo, "m-00002-of-00002.gguf: open: found No such file or directory",
            first, ""),
      split("numbers twice", kGguf, "m-00002-of-00002.gguf: split.no: found 0, required 1", first,
            split_part(0, 2, 2, "b")),
      split("counts differ", kGguf, "m-00002-of-00002.gguf: split.count: found 3, required 2",
            first, split_part(1, 3, 2, "b")),
      split(
          "one name in two parts", kGguf,
          "m-00002-of-00002.gguf: tensor \"a\": found the name in two parts, required unique names",
          first, split_part(1, 2, 2, "a")),
      split("too few tensors", kGguf,
            "m-00001-of-00002.gguf: split.tensors.count: found 3, required 2, the tensors of all "
            "parts",
            split_part(0, 2, 3, "a"), second),
      split("negative number of tensors", kGguf,
            "m-00001-of-00002.gguf: split.tensors.count: found -1, required an integer from 0 to "
            "9223372036854775807",
            split_part(0, 2, -1, "a"), second),
      split("damaged second part", kGguf,
            "m-00002-of-00002.gguf: version: found the end of the file after 4 bytes, required 4 "
            "bytes at offset 4",
            first, "GGUF"),
      split("part number beyond the count", kGguf,
            "m-00001-of-00002.gguf: split.no: found 2, required an integer from 0 to 1",
            split_part(2, 2, 2, "a"), second),
      split("later part opened", kGguf,
            "m-00001-of-00002.gguf: split.no: found 1, required 0: name the first part of a model",
            split_part(1, 2, 2, "a"), second),
  };
  bad.push_back(
      {"gguf split: another file name",
       kGguf,
       "whole.gguf: split.count: found 2, required a file name that ends in -00001-of-00002.gguf",
       {{"whole.gguf", first}},
       Step::kOpen,
       "whole.gguf"});
  bad.push_back({"gguf split: two models in a directory",
                 kIo,
                 ".: model: found 2 .gguf models, required config.json with safetensors files, or "
                 "one .gguf model",
                 {{"a.gguf", first}, {"b.gguf", second}}});
  bad.push_back(
      {"gguf split: a count of text",
       kGguf,
       "m.gguf: split.count: found type string, required an integer from 0 to 99999",
       {{"m.gguf", g().text("general.architecture", "x").text("split.count", "2").build()}},
       Step::kOpen,
       "m.gguf"});
  return bad;
}

}  // namespace mlxn::bad_files
