// SPDX-License-Identifier: Apache-2.0
// Tokenizer::apply_chat_template.
#include <string>

#include "base/no_memory.h"
#include "mlxn/error.h"
#include "mlxn/tokenizer.h"
#include "tokenizer/impl.h"
#include "tokenizer/jinja_interpreter.h"

namespace mlxn {
namespace {

using tokenizer::jinja::Heap;
using tokenizer::jinja::Value;

Value messages_value(Heap& heap, std::span<const ChatMessage> messages) {
  std::vector<Value> list;
  for (const ChatMessage& message : messages) {
    Value dict = heap.dict();
    heap.set(*dict.dict, heap.string("role"), heap.string(message.role));
    heap.set(*dict.dict, heap.string("content"), heap.string(message.content));
    list.push_back(dict);
  }
  return heap.list(std::move(list));
}

Value variable_value(Heap& heap, const std::string& name, const std::string& json) {
  try {
    return tokenizer::jinja::from_json(heap, json, name);
  } catch (const Error& error) {
    throw Error(
        ErrorKind::kInvalidArgument,
        ErrorDetail{"apply_chat_template", "variables[" + name + "]", error.what(), "JSON"});
  }
}

tokenizer::jinja::Budget budget_for(std::span<const ChatMessage> messages,
                                    const ChatOptions& options) {
  size_t bytes = 0;
  for (const ChatMessage& message : messages) bytes += message.role.size() + message.content.size();
  for (const auto& [name, json] : options.variables) bytes += json.size();
  return tokenizer::jinja::Budget::for_input(messages.size(), bytes);
}

// "tool_use" if there are tools and such a template, else "default", else the only one.
const std::string& choose_template(const Tokenizer::Impl& impl, bool has_tools) {
  const auto& templates = impl.chat_templates;
  if (templates.empty()) {
    throw Error(ErrorKind::kTemplate, ErrorDetail{"apply_chat_template", "chat template", "none",
                                                  "a tokenizer with a chat template"});
  }
  const auto tool_use = templates.find("tool_use");
  if (has_tools && tool_use != templates.end()) return tool_use->second;
  const auto usual = templates.find("default");
  return usual != templates.end() ? usual->second : templates.begin()->second;
}

}  // namespace

std::string Tokenizer::apply_chat_template(std::span<const ChatMessage> messages,
                                           const ChatOptions& options) const try {
  Heap heap(budget_for(messages, options));
  tokenizer::jinja::Interpreter interpreter(heap, options.now);
  for (const auto& [name, text] : impl_->special_variables) {
    interpreter.define(name, heap.string(text));
  }
  interpreter.define("messages", messages_value(heap, messages));
  interpreter.define("tools", tokenizer::jinja::none());
  interpreter.define("documents", tokenizer::jinja::none());
  interpreter.define("add_generation_prompt",
                     tokenizer::jinja::make_bool(options.add_generation_prompt));
  bool has_tools = false;
  for (const auto& [name, json] : options.variables) {
    const Value value = variable_value(heap, name, json);
    interpreter.define(name, value);
    if (name == "tools") has_tools = tokenizer::jinja::truthy(value);
  }
  const auto parsed = tokenizer::jinja::parse(choose_template(*impl_, has_tools));
  return interpreter.run(parsed);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
