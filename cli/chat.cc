// SPDX-License-Identifier: Apache-2.0
// mlxn chat: a conversation in the terminal. The caches keep it, so a turn costs only its new
// tokens.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>

#include "commands.h"
#include "exit_codes.h"
#include "interrupt.h"
#include "session.h"

namespace mlxn::cli {
namespace {

struct ChatFlags {
  CommonFlags common;
  DeviceFlags device;
  ModelFlags model;
  SamplingFlags sampling;
  std::string system_prompt;
  int64_t max_tokens = 512;
};

class Chat {
 public:
  Chat(const ChatFlags& flags, const Terminal& terminal)
      : flags_(flags),
        terminal_(terminal),
        session_(load_session(terminal, flags.device, flags.model)),
        sampling_(flags.sampling.params(session_.generator.model().config().sampling)) {
    if (!session_.tokenizer.has_chat_template()) {
      throw Error(ErrorKind::kTemplate,
                  ErrorDetail{flags.model.model, "chat template", "none",
                              "one; use `mlxn generate --raw` with a base model"});
    }
    forget();
  }

  int loop() {
    terminal_.info(terminal_.dim("/reset forgets the conversation, /exit ends it"));
    int code = kOk;
    for (std::string line; code == kOk && read_line(line);) {
      if (line == "/exit" || line == "/quit") break;
      if (line == "/reset") {
        forget();
      } else if (!line.empty()) {
        code = answer(line);
      }
    }
    return interrupted() ? kInterrupted : code;
  }

 private:
  void forget() {
    messages_.clear();
    if (!flags_.system_prompt.empty()) messages_.push_back({"system", flags_.system_prompt});
    session_.generator.reset();
  }

  bool read_line(std::string& line) {
    if (::isatty(STDIN_FILENO) && !terminal_.quiet()) {
      fmt::print(stderr, "{}", terminal_.bold("> "));
      std::fflush(stderr);
    }
    return !interrupted() && static_cast<bool>(std::getline(std::cin, line));
  }

  int answer(const std::string& line) {
    messages_.push_back({"user", line});
    const auto prompt = session_.tokenizer.encode(session_.tokenizer.apply_chat_template(messages_),
                                                  {.add_special = false, .parse_special = true});
    GenerateOptions options;
    options.max_tokens = flags_.max_tokens;
    options.sampling = sampling_;
    options.reuse_cache = true;
    options.logprobs = -1;
    options.cancelled = [] { return interrupted(); };
    const auto results = session_.generator.run({prompt}, options, [](const TokenEvent& event) {
      std::fwrite(event.text.data(), 1, event.text.size(), stdout);
      std::fflush(stdout);
    });
    fmt::print("\n");
    std::fflush(stdout);
    messages_.push_back({"assistant", results[0].text});
    print_stats(terminal_, session_.generator.stats());
    if (results[0].finish == FinishReason::kContextFull) {
      terminal_.error("the KV cache is full: /reset starts afresh");
    }
    // Ctrl-C cuts off an answer; at the prompt it ends the chat.
    if (results[0].finish == FinishReason::kCancelled) clear_interrupt();
    return kOk;
  }

  const ChatFlags& flags_;
  const Terminal& terminal_;
  Session session_;
  ops::SamplingParams sampling_;
  std::vector<ChatMessage> messages_;
};

int run(const ChatFlags& flags) {
  const Terminal terminal = flags.common.terminal();
  return Chat(flags, terminal).loop();
}

}  // namespace

Command add_chat(CLI::App& app) {
  auto flags = std::make_shared<ChatFlags>();
  CLI::App* command = app.add_subcommand("chat", "Talk to a model in the terminal");
  flags->model.add_to(*command);
  with_environment(command->add_option("--system-prompt,--sys", flags->system_prompt,
                                       "System message of the conversation"),
                   "SYSTEM_PROMPT");
  with_environment(command->add_option("-n,--max-tokens,--n-predict", flags->max_tokens,
                                       "Tokens of one answer at most"),
                   "MAX_TOKENS")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  flags->sampling.add_to(*command);
  flags->device.add_to(*command);
  flags->common.add_to(*command);
  return {command, [flags] { return run(*flags); }};
}

}  // namespace mlxn::cli
