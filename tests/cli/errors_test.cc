// SPDX-License-Identifier: Apache-2.0
// What goes wrong is told in one line: the exit code, nothing on stdout, nothing left behind.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "command.h"

namespace mlxn::testing {
namespace {

namespace fs = std::filesystem;

const std::string kFloat = std::string(MLXN_SOURCE_DIR) + "/tests/goldens/gemma4_dense";

class Errors : public ::testing::Test {
 protected:
  Errors() {
    std::string pattern = (fs::temp_directory_path() / "mlxn_errors_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    dir_ = pattern;
  }
  ~Errors() override { fs::remove_all(dir_); }

  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }
  // Names and sizes of all files.
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(dir_)) {
      names.push_back(entry.path().string() +
                      (entry.is_regular_file() ? " " + std::to_string(entry.file_size()) : ""));
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  void expect(const ProcessResult& result, int code, const std::vector<std::string>& parts,
              const std::vector<std::string>& before) const {
    SCOPED_TRACE(result.err);
    EXPECT_EQ(result.exit_code, code);
    EXPECT_EQ(result.out, "");
    EXPECT_TRUE(result.err.starts_with("mlxn: "));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
    EXPECT_TRUE(result.err.ends_with('\n'));
    for (const std::string& part : parts) EXPECT_TRUE(contains(result.err, part)) << part;
    EXPECT_EQ(files(), before);
  }
  // mlxn with these arguments ends with `code` and one line that has all `parts`.
  void refused(int code, const std::vector<std::string>& arguments,
               const std::vector<std::string>& parts) const {
    const auto before = files();
    expect(mlxn(arguments), code, parts, before);
  }
  // Likewise, with a limit that bash sets first.
  void refused_under(const std::string& limit, int code, const std::vector<std::string>& arguments,
                     const std::vector<std::string>& parts) const {
    const auto before = files();
    std::vector<std::string> command = {"/bin/bash", "-c", limit + "; exec \"$0\" \"$@\"",
                                        MLXN_COMMAND};
    command.insert(command.end(), arguments.begin(), arguments.end());
    expect(run_process(command), code, parts, before);
  }
  // Likewise, as somebody whom permissions bind, which root is without two capabilities only.
  void refused_as_user(int code, const std::vector<std::string>& arguments,
                       const std::vector<std::string>& parts) const {
    const auto before = files();
    std::vector<std::string> command;
    if (::geteuid() == 0) {
      command = {"/usr/bin/setpriv", "--bounding-set=-dac_override,-dac_read_search"};
      // Some containers do not let root give up anything.
      if (run_process({command[0], command[1], "/bin/true"}).exit_code != 0) return;
    }
    command.push_back(MLXN_COMMAND);
    command.insert(command.end(), arguments.begin(), arguments.end());
    expect(run_process(command), code, parts, before);
  }
  // The first arguments of every command that reads a model.
  static std::vector<std::vector<std::string>> commands(const std::string& model) {
    return {{"generate", "-m", model, "-p", "x"},
            {"chat", "-m", model},
            {"bench", "-m", model},
            {"info", "-m", model},
            {"perplexity", "-m", model, "--file", MLXN_COMMAND}};
  }

  std::string dir_;
};

TEST_F(Errors, NoCommand) {
  refused(2, {}, {"subcommand", "mlxn --help"});
  refused(2, {"frobnicate"}, {"frobnicate: found no such command", "quantize"});
  refused(2, {"--frobnicate"}, {"--frobnicate"});
}

TEST_F(Errors, MissingModels) {
  for (const auto& command : commands("/nonexistent/model")) {
    refused(3, command, {"/nonexistent/model", "no such file or directory"});
  }
  refused(3, {"quantize", "/nonexistent/model", path("out")}, {"/nonexistent/model"});
  refused(3, {"generate", "-m", "no-such-org/model", "-p", "x"}, {"no-such-org", "cache"});
  refused(3, {"generate", "-m", "", "-p", "x"}, {"\"\": model: found no such file"});
}

TEST_F(Errors, DamagedModels) {
  const std::string gguf = write("m.gguf", "GGUF but not really");
  for (const auto& command : commands(gguf)) {
    refused(3, command, {gguf, "version: found ", "required 2 or 3"});
  }
  refused(3, {"quantize", gguf, path("out"), "--bits", "8"}, {gguf, "version"});
  fs::create_directory(path("mlx"));
  write("mlx/config.json", R"({"model_type":"gemma3_text","hidden_size":-64})");
  for (const auto& command : commands(path("mlx"))) {
    refused(3, command, {"mlx/config.json: hidden_size: found -64, required an integer from 1"});
  }
}

TEST_F(Errors, DamagedTokenizer) {
  fs::copy(kModel, path("m"), fs::copy_options::recursive);
  write("m/tokenizer.json", R"({"model":{"type":"Word\nPiece"}})");
  refused(3, {"generate", "-m", path("m"), "-p", "x"},
          {"m/tokenizer.json: model: found Word\\x0aPiece, required BPE"});
  fs::remove(path("m/tokenizer.json"));
  refused(3, {"chat", "-m", path("m")}, {"m/tokenizer.json: open"});
}

TEST_F(Errors, UnknownFlags) {
  for (auto command : commands(kModel)) {
    const std::string help = "mlxn " + command[0] + " --help";
    command.push_back("--frobnicate");
    refused(2, command, {"--frobnicate", help});
    command.back() = "stray\nargument";
    refused(2, command, {"stray\\x0aargument"});
  }
  refused(2, {"quantize", kFloat, path("out"), "--frobnicate"}, {"--frobnicate"});
  refused(2, {"doctor", "--frobnicate"}, {"--frobnicate"});
  refused(2, {"completion", "tcsh"}, {"tcsh"});
}

TEST_F(Errors, BadFlags) {
  const auto generate = [&](const std::vector<std::string>& more,
                            const std::vector<std::string>& parts) {
    std::vector<std::string> arguments = {"generate", "-m", kModel, "-p", "x"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    refused(2, arguments, parts);
  };
  generate({"--temp", "-1"}, {"--temp: found -1, required 0 .. 100"});
  generate({"--top-p", "2"}, {"--top-p", "2"});
  generate({"-n", "zz"}, {"--max-tokens", "zz", "1 to 16777216"});
  generate({"-n", "0"}, {"--max-tokens", "0"});
  generate({"-n"}, {"--max-tokens"});
  generate({"-t", "2000"}, {"--threads", "2000", "1024"});
  generate({"--kv-type", "f64"}, {"--kv-type", "f64", "f16", "tq8"});
  for (const char* type : {"bf16", "F32"}) {
    generate({"--dtype", type}, {"--dtype: ", std::string("found ") + type + ", required f32"});
  }
  for (auto command : commands(kModel)) {
    command.insert(command.end(), {"--dtype", "bf16"});
    refused(2, command, {"--dtype: found bf16, required f32"});
  }
  refused(2, {"kv-report", "-m", kModel, "--file", MLXN_COMMAND, "--dtype", "bf16"},
          {"--dtype: found bf16, required f32"});
  generate({"--kv-type", "tq4", "--kv-type-v", "f16"}, {"--kv-type-v", "f16", "tq4"});
  generate({"--kv-norm-correction"}, {"--kv-norm-correction", "f16", "tq2"});
#ifdef MLXN_HAS_CUDA
  generate({"--device", "cuda:99"}, {"Device::open: id: found cuda:99, required "});
  generate({"--device", "cuda:x"}, {"Device::open: id: found cuda:x, required "});
#else
  generate({"--device", "cuda:0"}, {"cuda:0", "no CUDA backend"});
#endif
  generate({"--device", "abacus"}, {"abacus", "cpu"});
  generate({"--gpu-trace", "a.gputrace"}, {"--gpu-trace: found device cpu, required metal"});
  refused(2, {"generate", "-m", kModel}, {"--prompt"});
  refused(2, {"generate", "-p", "x"}, {"--model"});
  refused(2, {"bench", "-m", kModel, "-b", "100000"}, {"--batch-size", "100000", "1024"});
}

TEST_F(Errors, ContextsBeyondTheModel) {
  for (auto command : commands(kModel)) {
    if (command[0] == "bench") command.insert(command.end(), {"-p", "8", "-n", "0"});
    if (command[0] == "info") command.push_back("--fit");
    command.insert(command.end(), {"-c", "4097"});
    refused(2, command, {"found 4097, required at most 4096"});
  }
  refused(2, {"generate", "-m", kModel, "-p", "x", "-c", "-1"}, {"--max-kv-size", "-1"});
  refused(2, {"generate", "-m", kModel, "-p", "x", "-c", "99999999999999999999"},
          {"--max-kv-size", "99999999999999999999"});
}

// A model that was trained for a context whose caches no machine holds.
TEST_F(Errors, ContextsBeyondTheMemory) {
  fs::copy(kModel, path("m"), fs::copy_options::recursive);
  std::ifstream source(kModel + "/config.json");
  json config = json::parse(source);
  json& text = config.contains("text_config") ? config["text_config"] : config;
  text["max_position_embeddings"] = 1 << 24;
  write("m/config.json", config.dump());
  refused(4, {"bench", "-m", path("m"), "-p", "8", "-n", "0", "-b", "1024", "-c", "16777216"},
          {"memory: found ", " bytes free of ", " bytes: weights ", " + repacked ", " + caches ",
           " + scratch ", " of weights in the file", "a shorter context"});
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kLimitsWork = false;
#else
constexpr bool kLimitsWork = true;
#endif

// Address space in KiB that the command needs to start at all; more with GPU kernels inside.
int own_kib() {
  const auto runs_in = [](int kib) {
    const std::string limit = "ulimit -v " + std::to_string(kib);
    const std::string run = limit + "; exec \"$0\" --version 2>/dev/null";
    return run_process({"/bin/bash", "-c", run, MLXN_COMMAND}).exit_code == 0;
  };
  int kib = 8000;
  while (kib < 400000 && !runs_in(kib)) kib += 2000;
  while (runs_in(kib - 100)) kib -= 100;
  return kib;
}

TEST_F(Errors, TooLittleMemory) {
  if (!kLimitsWork) GTEST_SKIP() << "sanitizers reserve more address space than any limit allows";
  const auto generate = [](const std::string& model) {
    return std::vector<std::string>{"generate", "-m", model, "-p", "x", "-t", "1"};
  };
  const int own = own_kib();
  const auto limit = [&](int kib) { return "ulimit -v " + std::to_string(own + kib); };
  // The model file alone has 10 MB.
  refused_under(limit(6000), 4, generate(kModel),
                {"model.safetensors: map: found Cannot allocate"});
  refused_under(limit(6000), 4, generate(kGguf), {"model-q4_0.gguf: map: found Cannot allocate"});
  refused_under(limit(6000), 4,
                {"quantize", kGguf, path("a.gguf"), "-f", "gguf", "--type", "q8_0", "--keep",
                 ".=copy", "-t", "1"},
                {"model-q4_0.gguf: map: found Cannot allocate"});
  // What fails further on, once the file and what is needed in front of it have room, depends on
  // the machine.
  for (const std::string& model : {kModel, kGguf}) {
    for (int kib = 11000; kib <= 27000; kib += 2000) {
      refused_under(limit(kib), 4, generate(model), {": found ", "required free memory"});
    }
  }
}

TEST_F(Errors, QuantizeFlags) {
  const auto quantize = [&](const std::string& out, const std::vector<std::string>& more,
                            const std::vector<std::string>& parts) {
    std::vector<std::string> arguments = {"quantize", kFloat, path(out)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    refused(2, arguments, parts);
  };
  quantize("out", {"--format", "onnx"}, {"--format", "onnx", "mlx,gguf"});
  quantize("out", {"--bits", "7"}, {"--bits", "7", "2,3,4,5,6,8"});
  quantize("out", {"--bits", "four"}, {"--bits", "four"});
  quantize("out", {"--group-size", "48"}, {"--group-size", "48"});
  quantize("out", {"--type", "q9"}, {"found type \"q9\", required one of: ", "mxfp4"});
  quantize("out.gguf", {"-f", "gguf", "--type", "q9"}, {"found type \"q9\"", "q4_k"});
  quantize("out.gguf", {"-f", "gguf"}, {"--type: required"});
  quantize("out", {"-f", "gguf", "--type", "q8_0"}, {"out", "ends in .gguf"});
  quantize("out", {"--keep", "(=8"}, {"found pattern \"(\"", "regular expression"});
  quantize("out", {"--keep", "[a=8"}, {"found pattern \"[a\"", "regular expression"});
  quantize("out", {"--keep", std::string(2000, 'x') + "=8"}, {"at most 1000 bytes"});
  quantize("out", {"--keep", "proj"}, {"--keep: found proj, required REGEX=TYPE"});
  quantize("out", {"--keep", "proj=q4_k"}, {"q4_k"});
  quantize("out", {"--recipe", "cuda"}, {"--recipe", "cuda"});
  refused(2, {"quantize", kFloat}, {"OUT"});
}

TEST_F(Errors, QuantizeDestinations) {
  write("taken.gguf", "somebody's file");
  refused(2, {"quantize", kFloat, path("taken.gguf"), "-f", "gguf", "--type", "q8_0"},
          {"taken.gguf: found a file or directory, required a name that nothing has"});
  fs::create_directory(path("taken"));
  refused(2, {"quantize", kFloat, path("taken")}, {"taken: found a file or directory"});
  refused(3, {"quantize", kFloat, path("none/out")}, {"none", "a directory that exists"});
  refused(3, {"quantize", kFloat, path("taken.gguf/out")}, {"taken.gguf", "directory"});
  refused(3, {"quantize", kFloat, "/proc/mlxn"}, {"/proc/", "create"});
  refused(3, {"quantize", kModel, path("out"), "--bits", "8"}, {"quantised already"});
  refused(1, {"quantize", kFloat, path("out"), "--report", path("none/r.md")}, {"none/r.md"});
  fs::create_directory(path("locked"));
  fs::permissions(path("locked"), fs::perms::owner_read | fs::perms::owner_exec);
  refused_as_user(3, {"quantize", kFloat, path("locked/out")}, {"locked/", "Permission denied"});
  fs::permissions(path("locked"), fs::perms::owner_all);
}

TEST_F(Errors, DiskThatIsFull) {
  refused_under("ulimit -f 64", 3,
                {"quantize", kFloat, path("a.gguf"), "-f", "gguf", "--type", "f32"},
                {"a.gguf", "File too large"});
}

TEST_F(Errors, PerplexityTexts) {
  const auto perplexity = [&](const std::string& file, const std::vector<std::string>& more,
                              const std::vector<std::string>& parts) {
    std::vector<std::string> arguments = {"perplexity", "-m", kModel, "--file", file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    refused(2, arguments, parts);
  };
  perplexity(path("none.txt"), {}, {"--file: ", "none.txt", "No such file"});
  perplexity(dir_, {}, {"--file: ", "Is a directory"});
  const std::string brief = write("brief.txt", "A short text.");
  perplexity(brief, {}, {"brief.txt: found ", " tokens, required at least 512, the --context"});
  perplexity(write("empty.txt", ""), {}, {"empty.txt: found ", "required at least 512"});
  perplexity(brief, {"-c", "8", "--stride", "8"}, {"--stride: found 8, required below 8"});
  perplexity(brief, {"-c", "7"}, {"--context", "7"});
  perplexity(brief, {"-c", "4097"}, {"--context: found 4097, required at most 4096"});
  refused(2, {"perplexity", "-m", kModel}, {"--file"});
  fs::permissions(brief, fs::perms::none);
  refused_as_user(2, {"perplexity", "-m", kModel, "--file", brief},
                  {"--file: ", "brief.txt: Permission denied"});
}

}  // namespace
}  // namespace mlxn::testing
