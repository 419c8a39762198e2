// SPDX-License-Identifier: Apache-2.0
// mlxn quantize: files, reports, messages and what is left behind.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "command.h"

namespace mlxn::testing {
namespace {

namespace fs = std::filesystem;

const std::string kFloat = std::string(MLXN_SOURCE_DIR) + "/tests/goldens/gemma4_moe";

class Quantize : public ::testing::Test {
 protected:
  Quantize() {
    std::string pattern = (fs::temp_directory_path() / "mlxn_quantize_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    dir_ = pattern;
  }
  ~Quantize() override { fs::remove_all(dir_); }

  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_), {}));
  }
  ProcessResult quantize(const std::string& out, const std::vector<std::string>& more,
                         const std::string& in = kFloat) const {
    std::vector<std::string> arguments = {"quantize", in, path(out)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return mlxn(arguments);
  }
  void refused(int code, const std::string& out, const std::vector<std::string>& more,
               const std::string& part, const std::string& in = kFloat) const {
    const size_t before = entries();
    const ProcessResult result = quantize(out, more, in);
    EXPECT_EQ(result.exit_code, code) << part << "\n" << result.err;
    EXPECT_TRUE(contains(result.err, part)) << part << "\n" << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(entries(), before) << part;
  }

  std::string dir_;
};

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

json info(const std::string& path) {
  const ProcessResult result = mlxn({"info", "-m", path, "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return json::parse(result.out);
}

TEST_F(Quantize, WritesWhatInfoReads) {
  const ProcessResult mlx = quantize("mlx", {"--bits", "8", "--group-size", "32"});
  EXPECT_EQ(mlx.exit_code, 0) << mlx.err;
  EXPECT_EQ(mlx.out, "");
  EXPECT_TRUE(contains(mlx.err, "bits per weight")) << mlx.err;
  EXPECT_EQ(info(path("mlx"))["quantization"],
            "affine 8-bit, group 32; some modules affine 8-bit, group 64");  // routers
  EXPECT_EQ(quantize("a.gguf", {"--format", "gguf", "--type", "q8_0"}).exit_code, 0);
  EXPECT_EQ(info(path("a.gguf"))["quantization"], "q8_0");
  EXPECT_EQ(quantize("q.gguf", {"-f", "gguf", "--type", "f16", "-q"}).err, "");
}

TEST_F(Quantize, Reports) {
  const ProcessResult shown =
      quantize("a.gguf", {"-f", "gguf", "--type", "q4_0", "--report", "-", "-q"});
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_TRUE(contains(shown.out, "| relative RMS error |")) << shown.out;
  EXPECT_TRUE(contains(shown.out, "blk.1.ffn_down_exps.weight")) << shown.out;
  EXPECT_EQ(quantize("b", {"--bits", "6", "--report", path("r.csv")}).exit_code, 0);
  const std::string table = text_of(path("r.csv"));
  EXPECT_EQ(table.substr(0, table.find('\n')),
            "name,shape,type,bytes,bits_per_weight,relative_rms_error,max_abs_error");
  EXPECT_TRUE(contains(table, "\"affine 6-bit, group 64\"")) << table;
  EXPECT_EQ(quantize("c", {"--report", path("r.md")}).exit_code, 0);
  EXPECT_EQ(text_of(path("r.md"))[0], '|');
  refused(1, "d", {"--report", "/nonexistent/r.md"}, "/nonexistent/r.md: No such file");
  const ProcessResult full = quantize("e", {"--report", "/dev/full"});
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_TRUE(contains(full.err, "/dev/full: No space left")) << full.err;
}

TEST_F(Quantize, KeepRules) {
  ASSERT_EQ(quantize("a", {"--keep", "o_proj=float", "--keep", "proj=8", "--keep", "o_proj=2",
                           "--report", path("r.csv")})
                .exit_code,
            0);
  const std::string table = text_of(path("r.csv"));
  EXPECT_TRUE(contains(table, "layers.0.self_attn.o_proj.weight,\"[64, 64]\",bf16")) << table;
  EXPECT_TRUE(contains(table, "layers.0.self_attn.q_proj,\"[64, 64]\",\"affine 8-bit")) << table;
  EXPECT_TRUE(contains(table, "embed_tokens,\"[256, 64]\",\"affine 4-bit")) << table;
  refused(2, "b", {"--keep", "proj"}, "--keep: found proj, required REGEX=TYPE");
  refused(2, "b", {"--keep", "=8"}, "--keep");
  refused(2, "b", {"--keep", "(=8"}, "regular expression");
  refused(2, "b", {"--keep", "proj=9"}, "found 9");
}

TEST_F(Quantize, FlagsThatDoNotFit) {
  refused(2, "a.gguf", {"-f", "gguf"}, "--type: required for --format gguf, one of: f32");
  refused(2, "a.gguf", {"-f", "gguf", "--type", "q9"}, "q9");
  refused(2, "a.gguf", {"-f", "gguf", "--type", "q8_0", "--bits", "4"}, "--bits");
  refused(2, "a.gguf", {"-f", "gguf", "--type", "q8_0", "-g", "32"}, "--group-size");
  refused(2, "a", {"-f", "gguf", "--type", "q8_0"}, ".gguf");
  refused(2, "a", {"--type", "f16", "--bits", "4"}, "--bits");
  refused(2, "a", {"--bits", "7"}, "--bits");
  refused(2, "a", {"-g", "48"}, "--group-size");
  refused(2, "a", {"--recipe", "cuda"}, "--recipe");
  refused(2, "a", {"stray"}, "stray");
  EXPECT_EQ(mlxn({"quantize", kFloat}).exit_code, 2);
}

TEST_F(Quantize, SourcesThatAreNotFloat) {
  refused(3, "a", {"--bits", "8"}, "quantised already", kModel);
  refused(3, "a.gguf", {"-f", "gguf", "--type", "q8_0"}, "\"token_embd.weight\": found Q4_0",
          kGguf);
  refused(3, "a", {}, "nonexistent", "/nonexistent");
  const ProcessResult copied =
      quantize("a.gguf", {"-f", "gguf", "--type", "q8_0", "--keep", ".=copy"}, kGguf);
  EXPECT_EQ(copied.exit_code, 0) << copied.err;
  const auto text = [](const std::string& model) {
    return mlxn({"generate", "-m", model, "-p", "Hello.", "-n", "8", "--temp", "0"}).out;
  };
  EXPECT_EQ(text(path("a.gguf")), text(kGguf));
}

TEST_F(Quantize, DestinationsThatAreInTheWay) {
  ASSERT_EQ(quantize("a", {"-q"}).exit_code, 0);
  const std::string config = text_of(path("a/config.json"));
  refused(2, "a", {"--bits", "8"}, "required a name that nothing has");
  EXPECT_EQ(text_of(path("a/config.json")), config);
  EXPECT_EQ(quantize("a", {"--bits", "8", "--force"}).exit_code, 0);
  EXPECT_NE(text_of(path("a/config.json")), config);
  fs::create_directory(path("b"));
  refused(2, "b", {"--force"}, "nothing but files");
  refused(2, "a", {"--force", "--type", "float"}, "the source itself", path("a"));
  refused(2, "a/b", {"--type", "float"}, "inside the source", path("a"));
  refused(3, "c/d", {}, "directory of the destination");
}

// A limit on the size of files stands for a full disk.
TEST_F(Quantize, DiskThatIsFull) {
  const ProcessResult result =
      run_process({"/bin/bash", "-c", "ulimit -f 64; exec \"$0\" \"$@\"", MLXN_COMMAND, "quantize",
                   kFloat, path("a.gguf"), "-f", "gguf", "--type", "f32"});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_TRUE(contains(result.err, "File too large")) << result.err;
  EXPECT_EQ(entries(), 0u);
}

// A sparse model of 2 GB gives the signal time to arrive.
TEST_F(Quantize, InterruptLeavesNothing) {
  fs::create_directory(path("in"));
  json config = json::parse(text_of(kFloat + "/config.json"));
  const int64_t vocab = 1 << 23;
  config["vocab_size"] = vocab;
  std::ofstream(path("in/config.json")) << config;
  const std::string model = text_of(kFloat + "/model.safetensors");
  uint64_t length = 0;
  std::copy_n(model.data(), 8, reinterpret_cast<char*>(&length));
  json header = json::parse(model.substr(8, length));
  const uint64_t old_data = model.size() - 8 - length;
  json& embedding = header["model.embed_tokens.weight"];
  const uint64_t begin = embedding["data_offsets"][0], end = embedding["data_offsets"][1];
  const uint64_t bytes = (end - begin) / 256 * vocab;
  // The hole that the table leaves is filled by a tensor that nobody reads.
  header["vision_tower.rest"] = {
      {"dtype", "U8"}, {"shape", {end - begin}}, {"data_offsets", {begin, end}}};
  embedding["shape"] = {vocab, 64};
  embedding["data_offsets"] = {old_data, old_data + bytes};
  const std::string text = header.dump();
  const uint64_t new_length = text.size();
  std::ofstream file(path("in/model.safetensors"), std::ios::binary);
  file.write(reinterpret_cast<const char*>(&new_length), 8);
  file << text << model.substr(8 + length);
  file.close();
  fs::resize_file(path("in/model.safetensors"), 8 + new_length + old_data + bytes);

  const ProcessResult result = run_process(
      {"/bin/bash", "-c",
       "\"$0\" \"$@\" & child=$!; while [ -z \"$(ls -A " + dir_ +
           " | grep partial)\" ]; do kill -0 $child || break; done; kill -INT $child; wait $child",
       MLXN_COMMAND, "quantize", path("in"), path("out"), "--bits", "2", "-t", "1"});
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_EQ(entries(), 1u);
}

}  // namespace
}  // namespace mlxn::testing
