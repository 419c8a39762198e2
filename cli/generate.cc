// SPDX-License-Identifier: Apache-2.0
// mlxn generate: one prompt in, text out.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "interrupt.h"
#include "machine.h"
#include "mlxn/stream.h"
#include "session.h"

namespace mlxn::cli {
namespace {

using Json = nlohmann::ordered_json;

struct GenerateFlags {
  CommonFlags common;
  DeviceFlags device;
  ModelFlags model;
  SamplingFlags sampling;
  std::optional<std::string> prompt;
  std::vector<int32_t> prompt_tokens;
  std::string system_prompt;
  bool raw = false;
  std::vector<std::string> stop;
  int64_t max_tokens = 256;
  bool ignore_eos = false;
  bool json = false;
  int logprobs = 0;
  std::string profile;
};

std::string read_stdin() {
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

// Ids given on the command line, or the prompt inside the chat template, or the bare prompt.
std::vector<int32_t> prompt_ids(const GenerateFlags& flags, const Tokenizer& tokenizer) {
  if (!flags.prompt_tokens.empty()) return flags.prompt_tokens;
  const std::string text = *flags.prompt == "-" ? read_stdin() : *flags.prompt;
  if (flags.raw || !tokenizer.has_chat_template()) return tokenizer.encode(text);
  std::vector<ChatMessage> messages;
  if (!flags.system_prompt.empty()) messages.push_back({"system", flags.system_prompt});
  messages.push_back({"user", text});
  return tokenizer.encode(tokenizer.apply_chat_template(messages),
                          {.add_special = false, .parse_special = true});
}

GenerateOptions generate_options(const GenerateFlags& flags, const ModelConfig& config) {
  GenerateOptions options;
  options.max_tokens = flags.max_tokens;
  options.sampling = flags.sampling.params(config.sampling);
  options.stop = flags.stop;
  options.ignore_eos = flags.ignore_eos;
  options.logprobs = flags.logprobs;
  options.cancelled = [] { return interrupted(); };
  return options;
}

// Text as it comes. A reader that has gone away ends the run quietly.
class TextOutput {
 public:
  void write(const std::string& text) {
    if (text.empty()) return;
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout)) {
      broken_ = true;
    }
  }
  bool broken() const { return broken_; }

 private:
  bool broken_ = false;
};

Json token_json(const TokenEvent& event) {
  Json token{{"id", event.id}, {"text", event.text}, {"logprob", event.logprob}};
  token["top_logprobs"] = Json::array();
  for (const TokenLogprob& top : event.top_logprobs) {
    token["top_logprobs"].push_back({{"id", top.id}, {"logprob", top.logprob}});
  }
  return token;
}

Json result_json(const std::vector<int32_t>& prompt, const GenerateResult& result,
                 const std::vector<Json>& tokens, const GenerateStats& stats, uint64_t seed,
                 double load_seconds) {
  return {{"prompt_tokens", prompt},
          {"text", result.text},
          {"tokens", tokens},
          {"finish_reason", std::string(name(result.finish))},
          {"seed", seed},
          {"prompt_token_count", stats.prompt_tokens},
          {"generation_token_count", stats.generated_tokens},
          {"prompt_tokens_per_second", stats.prompt_rate()},
          {"generation_tokens_per_second", stats.generation_rate()},
          {"load_seconds", load_seconds},
          {"peak_memory_bytes", peak_memory_bytes()}};
}

void write_profile(const std::string& path, Session& session) {
  std::ofstream file(path, std::ios::binary);
  file << chrome_trace_json(session.generator.model().take_profile());
  if (!file.flush()) throw Error(ErrorKind::kIo, ErrorDetail{path, "write", "a failure", ""});
}

int run(const GenerateFlags& flags) {
  const Terminal terminal = flags.common.terminal();
  Session session = load_session(terminal, flags.device, flags.model);
  const std::vector<int32_t> prompt = prompt_ids(flags, session.tokenizer);
  const Model& model = session.generator.model();
  GenerateOptions options = generate_options(flags, model.config());
  if (!flags.profile.empty()) model.set_profiling(true);

  TextOutput output;
  options.cancelled = [&output] { return interrupted() || output.broken(); };
  std::vector<Json> tokens;
  const auto on_token = [&](const TokenEvent& event) {
    if (!flags.json) return output.write(event.text);
    if (event.id >= 0) {
      tokens.push_back(token_json(event));
    } else if (!tokens.empty()) {
      tokens.back()["text"] = tokens.back()["text"].get<std::string>() + event.text;
    }
  };
  const std::vector<GenerateResult> results = session.generator.run({prompt}, options, on_token);
  const GenerateStats& stats = session.generator.stats();
  if (flags.json) {
    const Json json =
        result_json(prompt, results[0], tokens, stats, options.sampling.seed, session.load_seconds);
    output.write(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  } else {
    output.write("\n");
  }
  if (!flags.profile.empty()) write_profile(flags.profile, session);
  print_stats(terminal, stats);
  if (options.sampling.temperature > 0.0f) {
    terminal.info(fmt::format("Seed: {}", options.sampling.seed));
  }
  if (results[0].finish == FinishReason::kContextFull) {
    terminal.error(fmt::format("the KV cache is full at {} tokens; --max-kv-size makes it larger",
                               model.options().max_context));
  }
  return output.broken() ? kFailed : exit_code_of(results[0].finish);
}

}  // namespace

Command add_generate(CLI::App& app) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command = app.add_subcommand("generate", "Write text from a prompt");
  flags->model.add_to(*command);
  auto* prompt = with_environment(
      command->add_option("-p,--prompt", flags->prompt, "The prompt; - reads stdin"), "PROMPT");
  auto* ids = with_environment(command->add_option("--prompt-tokens", flags->prompt_tokens,
                                                   "Token ids instead of text: 2,105,..."),
                               "PROMPT_TOKENS");
  ids->delimiter(',')->excludes(prompt);
  with_environment(command->add_option("--system-prompt,--sys", flags->system_prompt,
                                       "System message for the chat template"),
                   "SYSTEM_PROMPT");
  with_environment(command->add_flag("--raw,--ignore-chat-template", flags->raw,
                                     "Use the prompt as it is, without the chat template"),
                   "RAW");
  with_environment(command->add_option("-n,--max-tokens,--n-predict", flags->max_tokens,
                                       "Tokens to write at most"),
                   "MAX_TOKENS")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  with_environment(command->add_option("--stop", flags->stop,
                                       "Text that ends the reply; may be given several times"),
                   "STOP")
      ->take_all();
  flags->sampling.add_to(*command);
  with_environment(command->add_flag("--ignore-eos", flags->ignore_eos,
                                     "Go on behind the end-of-sequence token"),
                   "IGNORE_EOS");
  with_environment(command->add_flag("--json", flags->json, "Print one JSON object"), "JSON");
  with_environment(command->add_option("--logprobs", flags->logprobs,
                                       "Alternatives to report per token (with --json)"),
                   "LOGPROBS")
      ->check(CLI::Range(0, 1000));
  with_environment(command->add_option("--profile", flags->profile,
                                       "Write a Chrome trace of every kernel to this file"),
                   "PROFILE");
  flags->device.add_to(*command);
  flags->common.add_to(*command);
  command->callback([flags] {
    if (!flags->prompt && flags->prompt_tokens.empty()) {
      throw CLI::RequiredError("--prompt or --prompt-tokens");
    }
  });
  return {command, [flags] { return run(*flags); }};
}

}  // namespace mlxn::cli
