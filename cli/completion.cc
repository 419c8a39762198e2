// SPDX-License-Identifier: Apache-2.0
#include "completion.h"

#include <fmt/format.h>

#include <vector>

namespace mlxn::cli {
namespace {

struct Command {
  std::string name;
  std::string description;
  std::vector<const CLI::Option*> options;
};

std::vector<Command> commands_of(const CLI::App& app) {
  std::vector<Command> commands;
  for (const CLI::App* sub : app.get_subcommands({})) {
    commands.push_back({sub->get_name(), sub->get_description(), sub->get_options()});
  }
  return commands;
}

std::string join_names(const std::vector<Command>& commands) {
  std::string text;
  for (const Command& command : commands) text += (text.empty() ? "" : " ") + command.name;
  return text;
}

std::string flags_of(const Command& command) {
  std::string text;
  for (const CLI::Option* option : command.options) {
    for (const std::string& name : option->get_lnames()) text += " --" + name;
    for (const std::string& name : option->get_snames()) text += " -" + name;
  }
  return text.empty() ? text : text.substr(1);
}

// Single quotes for sh, and brackets and colons that zsh's _arguments would read.
std::string quoted(const std::string& text) {
  std::string result;
  for (char c : text) {
    if (c == '\'') {
      result += "'\\''";
    } else if (c == '[' || c == ']' || c == ':') {
      result += std::string("\\") + c;
    } else {
      result += c;
    }
  }
  return result;
}

std::string bash(const std::vector<Command>& commands) {
  std::string cases;
  for (const Command& command : commands) {
    cases += fmt::format("    {}) words=\"{}\" ;;\n", command.name, flags_of(command));
  }
  return fmt::format(R"(_mlxn() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{} --help --version" -- "$current"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{}  esac
  if [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F _mlxn mlxn
)",
                     join_names(commands), cases);
}

std::string zsh(const std::vector<Command>& commands) {
  std::string names, cases;
  for (const Command& command : commands) {
    names += fmt::format("    '{}:{}'\n", command.name, quoted(command.description));
    cases += fmt::format("    {})\n      _arguments \\\n", command.name);
    for (const CLI::Option* option : command.options) {
      for (const std::string& name : option->get_lnames()) {
        cases += fmt::format("        '--{}[{}]{}' \\\n", name, quoted(option->get_description()),
                             option->get_type_size() > 0 ? ":value:_files" : "");
      }
    }
    cases += "        '*:file:_files' ;;\n";
  }
  return fmt::format(R"(#compdef mlxn
_mlxn() {{
  local -a commands
  commands=(
{}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  case "$words[2]" in
{}  esac
}}
compdef _mlxn mlxn
)",
                     names, cases);
}

std::string fish(const std::vector<Command>& commands) {
  std::string text;
  for (const Command& command : commands) {
    text += fmt::format("complete -c mlxn -n __fish_use_subcommand -a {} -d '{}'\n", command.name,
                        quoted(command.description));
    for (const CLI::Option* option : command.options) {
      std::string names;
      for (const std::string& name : option->get_lnames()) names += " -l " + name;
      for (const std::string& name : option->get_snames()) names += " -s " + name;
      text += fmt::format("complete -c mlxn -n '__fish_seen_subcommand_from {}'{}{} -d '{}'\n",
                          command.name, names, option->get_type_size() > 0 ? " -r" : "",
                          quoted(option->get_description()));
    }
  }
  return text;
}

}  // namespace

std::string completion_script(const CLI::App& app, const std::string& shell) {
  const std::vector<Command> commands = commands_of(app);
  if (shell == "bash") return bash(commands);
  if (shell == "zsh") return zsh(commands);
  return fish(commands);
}

}  // namespace mlxn::cli
