// SPDX-License-Identifier: Apache-2.0
// Every rule of the loaders, broken once: the kind of the error and its whole text, which names
// file, field, value found and value required.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "bad_files/bad_file.h"
#include "checkpoint/gguf_parse.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/test_util.h"
#include "mlxn/mlxn.h"

namespace mlxn {
namespace {

using bad_files::BadFile;
using bad_files::BadFiles;
using bad_files::Step;

struct Table {
  const char* name;
  BadFiles (*cases)();
};
constexpr Table kTables[] = {
    {"gguf container", bad_files::gguf_containers},
    {"gguf split", bad_files::gguf_splits},
    {"gguf metadata", bad_files::gguf_configs},
    {"gguf tensors", bad_files::gguf_tensors},
    {"gguf vocabulary", bad_files::gguf_vocabularies},
    {"safetensors container", bad_files::safetensors_containers},
    {"shards", bad_files::shard_indexes},
    {"config.json", bad_files::config_jsons},
    {"quantization", bad_files::quantization_sections},
    {"mlx weights", bad_files::mlx_weights},
    {"tokenizer.json", bad_files::tokenizer_jsons},
};

// The message with paths relative to `directory`.
std::string relative(std::string text, const std::string& directory) {
  for (size_t at; (at = text.find(directory)) != std::string::npos;) {
    const bool inside = text.compare(at + directory.size(), 1, "/") == 0;
    text.replace(at, directory.size() + (inside ? 1 : 0), inside ? "" : ".");
  }
  return text;
}

// Opens, reads the tokenizer and loads the model as far as `last`.
void load(const std::string& path, Step last, Step& reached) {
  static const Device device = Device::open("cpu", {.num_threads = 2});
  reached = Step::kOpen;
  const Checkpoint checkpoint = Checkpoint::open(path);
  if (last == Step::kOpen) return;
  reached = last;
  if (last == Step::kTokenizer) {
    load_tokenizer(checkpoint);
  } else {
    Model::load(device, checkpoint, {.max_context = 64});
  }
}

// Once more from memory of exactly their size, so that a sanitizer sees the first byte beyond.
void parse_alone(const std::string& name, const std::string& bytes) {
  const auto image = checkpoint::exact(bytes);
  try {
    if (name.ends_with(".gguf")) checkpoint::parse_gguf(image, name);
    if (name.ends_with(".safetensors")) checkpoint::parse_safetensors(image, name);
  } catch (const Error&) {
  }
}

void expect_refused(const BadFile& bad) {
  const checkpoint::TempDir directory;
  for (const auto& [name, bytes] : bad.files) {
    directory.write(name, bytes);
    parse_alone(name, bytes);
  }
  Step reached = Step::kOpen;
  try {
    load(directory.path(bad.opened), bad.step, reached);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    const ErrorDetail& detail = error.detail();
    EXPECT_EQ(relative(error.what(), directory.path()), bad.text);
    EXPECT_EQ(name(error.kind()), name(bad.kind)) << error.what();
    EXPECT_EQ(reached, bad.step) << error.what();
    EXPECT_NE(detail.where.find(directory.path()), std::string::npos) << "names no file";
    EXPECT_FALSE(detail.parameter.empty()) << "names no field";
    EXPECT_FALSE(detail.found.empty()) << "tells no value";
    // Of a file that cannot be opened the system's reason says what is required.
    EXPECT_TRUE(!detail.required.empty() || error.kind() == ErrorKind::kIo) << "requires nothing";
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    EXPECT_LT(std::string(error.what()).size(), 400u);
  }
}

class BadFilesTest : public testing::TestWithParam<Table> {};

TEST_P(BadFilesTest, AreRefused) {
  for (const BadFile& bad : GetParam().cases()) {
    SCOPED_TRACE(bad.rule);
    expect_refused(bad);
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, BadFilesTest, testing::ValuesIn(kTables), [](const auto& info) {
  std::string name;
  for (const char* c = info.param.name; *c != '\0'; ++c) {
    if (std::isalnum(static_cast<unsigned char>(*c))) name += *c;
  }
  return name;
});

TEST(BadFiles, AreMadeOfGoodOnes) {
  const checkpoint::TempDir directory;
  Step reached = Step::kOpen;
  EXPECT_NO_THROW(load(directory.write("m.gguf", bad_files::good_gguf()), Step::kModel, reached));
  EXPECT_NO_THROW(load(directory.write("v.gguf", bad_files::good_gguf_vocabulary()),
                       Step::kTokenizer, reached));
  for (const auto& [name, bytes] : bad_files::good_tokenizer_directory()) {
    directory.write("tokenizer/" + name, bytes);
  }
  EXPECT_NO_THROW(load(directory.path("tokenizer"), Step::kTokenizer, reached));
}

TEST(BadFiles, AreThreeHundredOrMore) {
  std::set<std::string> rules;
  std::set<std::pair<std::string, bad_files::Files>> contents;
  size_t count = 0;
  for (const Table& table : kTables) {
    const BadFiles cases = table.cases();
    EXPECT_FALSE(cases.empty()) << table.name;
    for (const BadFile& bad : cases) {
      ++count;
      EXPECT_TRUE(rules.insert(bad.rule).second) << bad.rule << " twice";
      EXPECT_TRUE(contents.emplace(bad.opened, bad.files).second)
          << bad.rule << " has the files of another";
    }
  }
  EXPECT_EQ(rules.size(), count);
  EXPECT_GE(count, 300u);
  RecordProperty("bad_files", static_cast<int>(count));
}

}  // namespace
}  // namespace mlxn
