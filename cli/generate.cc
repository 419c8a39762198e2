// SPDX-License-Identifier: Apache-2.0
// mlxn generate: one prompt in, text out.
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "interrupt.h"
#include "machine.h"
#include "mlxn/stream.h"
#include "output.h"
#include "session.h"
#include "table.h"

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
  std::string text;
  char buffer[4096];
  while (const size_t count = std::fread(buffer, 1, sizeof(buffer), stdin)) {
    text.append(buffer, count);
  }
  if (std::ferror(stdin) && !interrupted()) {
    throw UsageError(std::string("--prompt -: stdin: ") + std::strerror(errno));
  }
  return text;
}

// Empty with --prompt-tokens.
std::string prompt_text(const GenerateFlags& flags) {
  if (!flags.prompt) return "";
  return *flags.prompt == "-" ? read_stdin() : *flags.prompt;
}

// Ids given on the command line, or the prompt inside the chat template, or the bare prompt.
std::vector<int32_t> prompt_ids(const GenerateFlags& flags, const std::string& text,
                                const Tokenizer& tokenizer) {
  if (!flags.prompt_tokens.empty()) return flags.prompt_tokens;
  if (flags.raw || !tokenizer.has_chat_template()) return tokenizer.encode(text);
  std::vector<ChatMessage> messages;
  if (!flags.system_prompt.empty()) messages.push_back({"system", flags.system_prompt});
  messages.push_back({"user", text});
  return tokenizer.encode(tokenizer.apply_chat_template(messages),
                          {.add_special = false, .parse_special = true});
}

void check_prompt_tokens(const GenerateFlags& flags, const ModelConfig& config) {
  for (int32_t id : flags.prompt_tokens) {
    if (id >= 0 && id < config.vocab_size) continue;
    throw UsageError(
        fmt::format("--prompt-tokens: found {}, required 0 .. {}", id, config.vocab_size - 1));
  }
}

void warn_of_idle_flags(const GenerateFlags& flags, const Terminal& terminal) {
  if (flags.logprobs > 0 && !flags.json) {
    terminal.info("warning: --logprobs has no effect without --json");
  }
  if (!flags.system_prompt.empty() && (flags.raw || !flags.prompt_tokens.empty())) {
    terminal.info(fmt::format("warning: --system-prompt has no effect with {}",
                              flags.raw ? "--raw" : "--prompt-tokens"));
  }
}

GenerateOptions generate_options(const GenerateFlags& flags, const ModelConfig& config) {
  GenerateOptions options;
  options.max_tokens = flags.max_tokens;
  options.sampling = flags.sampling.params(config.sampling);
  options.stop = flags.stop;
  options.ignore_eos = flags.ignore_eos;
  options.logprobs = flags.logprobs;
  options.cancelled = [] { return interrupted() || stdout_broken(); };
  return options;
}

// Null for what was not measured.
Json rate_json(double rate) { return rate > 0.0 ? Json(rate) : Json(nullptr); }

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
          {"prompt_tokens_per_second", rate_json(stats.prompt_rate())},
          {"generation_tokens_per_second", rate_json(stats.generation_rate())},
          {"load_seconds", load_seconds},
          {"peak_memory_bytes", peak_memory_bytes()}};
}

// Where the time went, by op and kernel.
std::string profile_table(const std::vector<ProfileEvent>& events) {
  std::vector<Row> rows;
  const auto us = [](int64_t ns) { return fmt::format("{:.1f}", static_cast<double>(ns) / 1e3); };
  for (const ProfileRow& row : summarise_profile(events)) {
    rows.push_back({{"op", row.name},
                    {"kernel", row.entry},
                    {"count", row.count},
                    {"total", fmt::format("{:.3f}", static_cast<double>(row.total_ns) / 1e6)},
                    {"mean", us(row.total_ns / static_cast<int64_t>(row.count))},
                    {"min", us(row.min_ns)},
                    {"max", us(row.max_ns)}});
  }
  return markdown({{"op", "op"},
                   {"kernel", "kernel"},
                   {"count", "count", true},
                   {"total", "total ms", true},
                   {"mean", "mean us", true},
                   {"min", "min us", true},
                   {"max", "max us", true}},
                  rows);
}

void write_text(const std::string& text) {
  write_stdout(text);
  flush_stdout();
}

int run(const GenerateFlags& flags) {
  const Terminal terminal = flags.common.terminal();
  warn_of_idle_flags(flags, terminal);
  std::optional<OutputFile> profile;
  if (!flags.profile.empty()) profile.emplace(flags.profile);
  if (profile && !profile->failure().empty()) {
    terminal.error("--profile: " + profile->failure());
    return kFailed;
  }
  const std::string text = prompt_text(flags);
  if (interrupted()) return interrupt_exit_code();
  Session session =
      load_session(terminal, flags.device, flags.model,
                   [&](const ModelConfig& config) { check_prompt_tokens(flags, config); });
  const std::vector<int32_t> prompt = prompt_ids(flags, text, session.tokenizer);
  if (prompt.empty()) throw UsageError("--prompt: the text is empty");
  const Model& model = session.generator.model();
  const GenerateOptions options = generate_options(flags, model.config());
  if (profile) model.set_profiling(true);

  std::vector<Json> tokens;
  const auto on_token = [&](const TokenEvent& event) {
    if (!flags.json) return write_text(event.text);
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
    write_text(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  } else {
    write_text("\n");
  }
  bool profile_lost = false;
  if (profile) {
    const std::vector<ProfileEvent> events = model.take_profile();
    profile_lost = !profile->write(chrome_trace_json(events));
    terminal.info(profile_table(events));
  }
  print_stats(terminal, stats);
  if (options.sampling.temperature > 0.0f) {
    terminal.info(fmt::format("Seed: {}", options.sampling.seed));
  }
  if (results[0].finish == FinishReason::kContextFull) {
    terminal.error(fmt::format("the KV cache is full at {} tokens; --max-kv-size makes it larger",
                               model.options().max_context));
  }
  if (profile_lost) {
    terminal.error("--profile: " + profile->failure());
    return kFailed;
  }
  return exit_code_of(results[0].finish);
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
  ids->expected(1)->take_all()->allow_extra_args(false)->delimiter(',')->excludes(prompt);
  ids->check(not_empty());
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
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->check(not_empty());
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
