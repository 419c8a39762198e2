// SPDX-License-Identifier: Apache-2.0
#include "command.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

namespace mlxn::testing {
namespace {

TEST(Command, VersionAndHelp) {
  const ProcessResult version = mlxn({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_TRUE(version.out.starts_with("mlxn 0.")) << version.out;
  const ProcessResult help = mlxn({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* word : {"generate", "chat", "bench", "perplexity", "kv-report", "quantize",
                           "info", "doctor", "completion", "130"}) {
    EXPECT_TRUE(contains(help.out, word)) << word;
  }
}

TEST(Command, UsageErrorsExitWith2) {
  EXPECT_EQ(mlxn({}).exit_code, 2);
  EXPECT_EQ(mlxn({"frobnicate"}).exit_code, 2);
  EXPECT_EQ(mlxn({"generate", "--model", kModel}).exit_code, 2);  // no prompt
  EXPECT_EQ(mlxn({"generate", "--prompt", "x"}).exit_code, 2);    // no model
  EXPECT_EQ(generate({"--prompt", "x", "--temp", "-1"}).exit_code, 2);
  EXPECT_EQ(generate({"--prompt", "x", "--top-p", "2"}).exit_code, 2);
  EXPECT_EQ(generate({"--prompt", "x", "--kv-type", "f64"}).exit_code, 2);
  EXPECT_EQ(generate({"--prompt", "x", "--prompt-tokens", "2,3"}).exit_code, 2);
  EXPECT_EQ(generate({"--prompt", "x", "--device", "cuda:0"}).exit_code, 2);
  EXPECT_EQ(mlxn({"bench"}).exit_code, 2);
}

TEST(Command, BadModelsExitWith3AndNameTheFile) {
  const ProcessResult missing = mlxn({"generate", "-m", "/nonexistent/model", "-p", "x"});
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_TRUE(contains(missing.err, "/nonexistent/model")) << missing.err;
  const std::string broken = ::testing::TempDir() + "mlxn_cli_broken.gguf";
  std::ofstream(broken) << "GGUF but not really";
  const ProcessResult damaged = mlxn({"info", "-m", broken});
  EXPECT_EQ(damaged.exit_code, 3);
  EXPECT_TRUE(contains(damaged.err, broken)) << damaged.err;
  std::remove(broken.c_str());
}

TEST(Generate, TextOnStdoutFiguresOnStderr) {
  const ProcessResult result = generate({"--prompt", "Tell me a story.", "--max-tokens", "24"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_GT(result.out.size(), 10u);
  for (const char* figure : {"Prompt:", "Generation:", "Peak memory:", "tokens/s", "Loading"}) {
    EXPECT_TRUE(contains(result.err, figure)) << figure;
    EXPECT_FALSE(contains(result.out, figure)) << figure;
  }
  const ProcessResult quiet =
      generate({"--prompt", "Tell me a story.", "--max-tokens", "24", "--quiet"});
  EXPECT_EQ(quiet.out, result.out);
  EXPECT_EQ(quiet.err, "");
}

TEST(Generate, JsonHoldsTokensAndLogprobs) {
  const json found = generate_json({"-p", "Tell me a story.", "-n", "12", "--logprobs", "3"});
  EXPECT_GT(found["prompt_tokens"].size(), 3u);
  EXPECT_EQ(found["prompt_token_count"], found["prompt_tokens"].size());
  ASSERT_GE(found["tokens"].size(), 1u);
  std::string text;
  for (const json& token : found["tokens"]) {
    text += token["text"].get<std::string>();
    ASSERT_EQ(token["top_logprobs"].size(), 3u);
    // Greedy: the token is the likeliest.
    EXPECT_EQ(token["id"], token["top_logprobs"][0]["id"]);
    EXPECT_EQ(token["logprob"], token["top_logprobs"][0]["logprob"]);
    EXPECT_LE(token["logprob"].get<double>(), 0.0);
  }
  EXPECT_EQ(text, found["text"]);
  for (const char* key :
       {"finish_reason", "seed", "generation_token_count", "load_seconds",
        "prompt_tokens_per_second", "generation_tokens_per_second", "peak_memory_bytes"}) {
    EXPECT_TRUE(found.contains(key)) << key;
  }
}

TEST(Generate, PromptFromStdinAndFromIds) {
  const json text = generate_json({"-p", "Once upon a time", "-n", "8", "--raw"});
  const json piped =
      generate_json({"-p", "-", "-n", "8", "--raw"}, {.stdin_text = "Once upon a time"});
  EXPECT_EQ(text["tokens"], piped["tokens"]);
  std::string ids;
  for (const json& id : text["prompt_tokens"]) ids += (ids.empty() ? "" : ",") + id.dump();
  const json from_ids = generate_json({"--prompt-tokens", ids, "-n", "8"});
  EXPECT_EQ(from_ids["prompt_tokens"], text["prompt_tokens"]);
  EXPECT_EQ(from_ids["text"], text["text"]);
}

TEST(Generate, TemplateUnlessRaw) {
  const json chat = generate_json({"-p", "Hello", "-n", "1"});
  const json raw = generate_json({"-p", "Hello", "-n", "1", "--raw"});
  const json system = generate_json({"-p", "Hello", "-n", "1", "--system-prompt", "Be kind."});
  EXPECT_GT(chat["prompt_tokens"].size(), raw["prompt_tokens"].size());
  EXPECT_GT(system["prompt_tokens"].size(), chat["prompt_tokens"].size());
}

TEST(Generate, SameBitsForAnyThreadCount) {
  const std::vector<std::string> flags = {"-p", "Tell me a story about a dog.", "-n", "32"};
  std::vector<std::string> one = flags, three = flags;
  one.insert(one.end(), {"-t", "1"});
  three.insert(three.end(), {"-t", "3"});
  EXPECT_EQ(generate_json(one)["tokens"], generate_json(three)["tokens"]);
}

TEST(Generate, SeedDecidesTheDraw) {
  const auto draw = [](const char* seed) {
    const ProcessResult result = mlxn({"generate", "-m", kModel, "-p", "Tell me a story.", "-n",
                                       "24", "--temp", "1", "--seed", seed, "--quiet"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  };
  EXPECT_EQ(draw("7"), draw("7"));
  EXPECT_NE(draw("7"), draw("8"));
}

TEST(Generate, StopStringEndsTheText) {
  const std::string whole =
      generate_json({"-p", "Tell me a story about a fox.", "-n", "40"})["text"];
  const size_t space = whole.find(' ', 8);
  ASSERT_NE(space, std::string::npos) << whole;
  const std::string stop = whole.substr(space, 4);
  const json cut =
      generate_json({"-p", "Tell me a story about a fox.", "-n", "40", "--stop", stop});
  EXPECT_EQ(cut["text"], whole.substr(0, whole.find(stop)));
  EXPECT_EQ(cut["finish_reason"], "stop");
}

TEST(Generate, ContextFullExitsWith5) {
  const ProcessResult result = generate(
      {"-p", "Tell me a story.", "--max-kv-size", "64", "--ignore-eos", "--max-tokens", "200"});
  EXPECT_EQ(result.exit_code, 5) << result.err;
  EXPECT_TRUE(contains(result.err, "64")) << result.err;
}

TEST(Generate, VariablesStandForFlags) {
  const ProcessResult result = mlxn(
      {"generate", "-p", "Hello", "--quiet"},
      {.environment = {"MLXN_MODEL=" + kModel, "MLXN_TEMP=0", "MLXN_MAX_TOKENS=5", "MLXN_JSON=1"}});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_LE(json::parse(result.out)["tokens"].size(), 5u);
}

TEST(Generate, InterruptPrintsTheFiguresSoFar) {
  const ProcessResult result = generate(
      {"-p", "Tell me a story.", "--ignore-eos", "--max-tokens", "3900"}, {.interrupt_after = " "});
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_TRUE(contains(result.err, "Generation:")) << result.err;
}

TEST(Generate, ProfileIsChromeTraceJson) {
  const std::string path = ::testing::TempDir() + "mlxn_cli_profile.json";
  const ProcessResult result = generate({"-p", "Hello", "-n", "4", "--profile", path});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(contains(result.err, "| total ms")) << result.err;
  EXPECT_TRUE(contains(result.err, "| matmul ")) << result.err;
  std::ifstream file(path);
  const json trace = json::parse(file);
  size_t matmuls = 0;
  for (const json& event : trace["traceEvents"]) matmuls += event["name"] == "matmul";
  EXPECT_GT(matmuls, 10u);
  std::remove(path.c_str());
}

TEST(Generate, GgufFileSpeaks) {
  const ProcessResult result = mlxn(
      {"generate", "-m", kGguf, "-p", "Tell me a story.", "-n", "16", "--temp", "0", "--strict"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_GT(result.out.size(), 10u);
}

TEST(Generate, HuggingFaceIdFromTheCache) {
  namespace fs = std::filesystem;
  const fs::path cache = fs::path(::testing::TempDir()) / "mlxn_cli_hub";
  const fs::path repo = cache / "models--mlxn--demo";
  fs::create_directories(repo / "snapshots");
  fs::create_directories(repo / "refs");
  fs::create_directory_symlink(kModel, repo / "snapshots" / "abc123");
  std::ofstream(repo / "refs" / "main") << "abc123";
  const ProcessResult result = mlxn({"generate", "-m", "mlxn/demo", "-p", "Hi", "-n", "2", "-q"},
                                    {.environment = {"HF_HUB_CACHE=" + cache.string()}});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  fs::remove_all(cache);
}

TEST(Chat, AnswersInTurnsAndRemembers) {
  const ProcessResult result =
      mlxn({"chat", "-m", kModel, "--temp", "0", "-n", "24"},
           {.stdin_text = "Hello.\nTell me a story.\n/reset\nHello.\n/exit\nnever\n"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  size_t answers = 0;
  for (size_t at = 0; (at = result.err.find("Generation:", at)) != std::string::npos; ++at) {
    ++answers;
  }
  EXPECT_EQ(answers, 3u);
  EXPECT_GT(result.out.size(), 20u);
}

TEST(Bench, PrintsTheTableInEveryFormat) {
  const std::vector<std::string> base = {"bench", "-m", kModel, "-p", "16",
                                         "-n",    "4",  "-r",   "2",  "-q"};
  const auto with_output = [&](const char* format) {
    auto arguments = base;
    arguments.insert(arguments.end(), {"-o", format});
    const ProcessResult result = mlxn(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  };
  const std::string table = with_output("md");
  for (const char* word : {"| model", "pp16", "tg4", "±", "% of bandwidth", "peak memory"}) {
    EXPECT_TRUE(contains(table, word)) << word << "\n" << table;
  }
  const json rows = json::parse(with_output("json"));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0]["n_prompt"], 16);
  EXPECT_EQ(rows[1]["n_gen"], 4);
  for (const json& row : rows) {
    EXPECT_GT(row["avg_ts"].get<double>(), 0.0);
    EXPECT_GE(row["stddev_ts"].get<double>(), 0.0);
  }
  EXPECT_TRUE(with_output("csv").starts_with("model,"));
}

TEST(Bench, RandomWeightsNeedNoFile) {
  const ProcessResult result =
      mlxn({"bench", "--random-weights", "--config", kModel + "/config.json", "--bits", "4", "-p",
            "8", "-n", "2", "-r", "1", "-b", "2", "-o", "json", "-q"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(json::parse(result.out)[1]["batch_size"], 2);
}

TEST(Info, ShowsTheModelAndWhatFits) {
  const ProcessResult text = mlxn({"info", "-m", kModel, "--fit", "--tensors"});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  for (const char* word : {"gemma4", "hidden_size", "context", "caches", "embed_tokens"}) {
    EXPECT_TRUE(contains(text.out, word)) << word;
  }
  EXPECT_FALSE(contains(text.out, "file_type"));  // a key of GGUF files
  const ProcessResult result = mlxn({"info", "-m", kGguf, "--fit", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json info = json::parse(result.out);
  EXPECT_EQ(info["format"], "gguf");
  EXPECT_EQ(info["file_type"], "Q4_0");
  uint64_t last = 0;
  for (const json& row : info["fit"]) {
    EXPECT_EQ(row["total"].get<uint64_t>(),
              row["weights"].get<uint64_t>() + row["repacked"].get<uint64_t>() +
                  row["caches"].get<uint64_t>() + row["scratch"].get<uint64_t>());
    EXPECT_GE(row["caches"].get<uint64_t>(), last);
    last = row["caches"];
  }
}

// The row of a markdown table that names `word`.
std::string row_with(const std::string& text, const std::string& word) {
  const size_t at = text.find(word);
  if (at == std::string::npos) return "";
  const size_t begin = text.rfind('\n', at) + 1;
  return text.substr(begin, text.find('\n', at) - begin);
}

TEST(Info, TensorsHaveAStorageTypeAndAFormat) {
  const std::string text = mlxn({"info", "-m", kModel, "--tensors"}).out;
  const std::string codes = row_with(text, "embed_tokens.weight");
  EXPECT_TRUE(contains(codes, "U32")) << codes;
  EXPECT_TRUE(contains(codes, "affine 4-bit g64")) << codes;
  EXPECT_TRUE(contains(row_with(text, "embed_tokens.scales"), "| scales ")) << text;
  const json info = json::parse(mlxn({"info", "-m", kGguf, "--tensors", "--json"}).out);
  std::map<std::string, std::string> formats;
  for (const json& tensor : info["tensor_list"]) formats[tensor["dtype"]] = tensor["format"];
  EXPECT_EQ(formats["Q4_0"], "q4_0");
  EXPECT_EQ(formats["F32"], "f32");
}

TEST(Doctor, TellsMemoryAndDriverOfEachDevice) {
  const std::string text = mlxn({"doctor"}).out;
  const json report = json::parse(mlxn({"doctor", "--json"}).out);
  EXPECT_TRUE(contains(text, "| free memory")) << text;
  EXPECT_TRUE(contains(text, "| driver")) << text;
  for (const json& device : report["devices"]) {
    const uint64_t total = device["memory_total_bytes"], free = device["memory_free_bytes"];
    EXPECT_LE(free, total) << device;
    if (device["available"].get<bool>()) {
      EXPECT_GT(total, 0u) << device;
    }
    const std::string id = device["device"];
    EXPECT_EQ(contains(device["driver"], "CUDA"), id.starts_with("cuda:")) << device;
  }
  EXPECT_GT(report["devices"][0]["memory_free_bytes"].get<uint64_t>(), uint64_t{1} << 24);
  EXPECT_TRUE(contains(row_with(text, "| cpu "), " of ")) << text;
}

TEST(Doctor, NamesTheKernelOfEveryOp) {
  const ProcessResult text = mlxn({"doctor"});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  const json report = json::parse(mlxn({"doctor", "--json"}).out);
#ifndef MLXN_HAS_CUDA
  EXPECT_TRUE(contains(text.out, "this build has no CUDA backend")) << text.out;
#endif
  for (const json& device : report["devices"]) {  // usable, or why not, in one line of the text
    const std::string reason = device["reason"];
    EXPECT_EQ(device["available"].get<bool>(), reason.empty()) << device;
    EXPECT_TRUE(contains(text.out, reason)) << reason;
  }
  std::vector<std::string> ops;
  for (const json& row : report["kernels"]) {
    ops.push_back(row["op"]);
    EXPECT_NE(row["runs"], "none") << row["op"];
  }
  for (const char* op : {"matmul", "expert_matmul", "attn_decode", "attn_prefill", "kv_append",
                         "rms_norm", "rope", "embed", "sample"}) {
    EXPECT_NE(std::find(ops.begin(), ops.end(), op), ops.end()) << op;
  }
}

TEST(Completion, ScriptsParse) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const ProcessResult script = mlxn({"completion", shell});
    ASSERT_EQ(script.exit_code, 0) << script.err;
    EXPECT_TRUE(contains(script.out, "max-tokens")) << shell;
  }
  const ProcessResult check =
      run_process({"/bin/bash", "-n"}, {.stdin_text = mlxn({"completion", "bash"}).out});
  EXPECT_EQ(check.exit_code, 0) << check.err;
  EXPECT_EQ(mlxn({"completion", "tcsh"}).exit_code, 2);
}

}  // namespace
}  // namespace mlxn::testing
