// SPDX-License-Identifier: Apache-2.0
// mlxn chat: a conversation in the terminal. The caches keep it, so a turn costs only its new
// tokens.
#include <unistd.h>

#include <iostream>
#include <memory>

#include "commands.h"
#include "exit_codes.h"
#include "interrupt.h"
#include "output.h"
#include "session.h"

namespace mlxn::cli {
namespace {

constexpr const char* kCommands =
    "/reset forgets the conversation, /exit ends it, /help shows the commands";
constexpr const char* kFull = "the KV cache is full: /reset starts afresh";

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
    terminal_.info(terminal_.dim(kCommands));
    for (std::string line; !stdout_broken() && read_line(line);) {
      if (line == "/exit" || line == "/quit") break;
      if (line == "/reset") {
        forget();
      } else if (line.starts_with('/')) {
        show_commands(line);
      } else if (!line.empty()) {
        answer(line);
      }
    }
    return interrupted() ? interrupt_exit_code() : kOk;
  }

 private:
  void forget() {
    messages_.clear();
    if (!flags_.system_prompt.empty()) messages_.push_back({"system", flags_.system_prompt});
    session_.generator.reset();
  }

  void show_commands(const std::string& line) const {
    if (line != "/help") terminal_.error("unknown command " + line);
    terminal_.info(kCommands);
  }

  bool read_line(std::string& line) {
    if (::isatty(STDIN_FILENO) && !terminal_.quiet()) {
      write_stderr(terminal_.bold("> "));
    }
    return !interrupted() && static_cast<bool>(std::getline(std::cin, line));
  }

  void answer(const std::string& line) {
    messages_.push_back({"user", line});
    try {
      reply();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kContextFull) throw;
      // The message did not fit, so it was not said.
      messages_.pop_back();
      terminal_.error(error.what());
      terminal_.error(kFull);
    }
  }

  void reply() {
    const auto prompt = session_.tokenizer.encode(session_.tokenizer.apply_chat_template(messages_),
                                                  {.add_special = false, .parse_special = true});
    GenerateOptions options;
    options.max_tokens = flags_.max_tokens;
    options.sampling = sampling_;
    options.reuse_cache = true;
    options.logprobs = -1;
    options.cancelled = [] { return interrupted() || stdout_broken(); };
    const auto results = session_.generator.run({prompt}, options, [](const TokenEvent& event) {
      write_stdout(event.text);
      flush_stdout();
    });
    write_stdout("\n");
    flush_stdout();
    messages_.push_back({"assistant", results[0].text});
    print_stats(terminal_, session_.generator.stats());
    if (results[0].finish == FinishReason::kContextFull) terminal_.error(kFull);
    // Ctrl-C cuts off an answer; at the prompt it ends the chat.
    if (results[0].finish == FinishReason::kCancelled) clear_interrupt();
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
