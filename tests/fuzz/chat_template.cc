// SPDX-License-Identifier: Apache-2.0
// A chat template and, behind a zero byte, the JSON text of its variable "tools"; rendered for a
// short conversation.
#include <string>
#include <vector>

#include "mlxn/tokenizer.h"
#include "tests/fuzz/harness.h"

namespace mlxn::fuzz {
namespace {

constexpr const char* kTokenizer = R"({"model":{"type":"BPE","vocab":{"<bos>":0,"a":1},"merges":[]},
  "added_tokens":[{"id":0,"content":"<bos>","special":true}]})";

}  // namespace
}  // namespace mlxn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mlxn;
  const fuzz::Limits limits(size);
  constexpr size_t kMaxRendered = size_t{16} << 20;
  const auto [source, tools] = fuzz::split_input(data, size);
  const std::vector<ChatMessage> messages = {
      {"system", "Be brief."}, {"user", "Hi \xff <b>"}, {"assistant", "Yes?\n"}, {"user", "2 + 2"}};
  fuzz::expect_typed(
      {ErrorKind::kTemplate, ErrorKind::kInvalidArgument}, [&, &source = source, &tools = tools] {
        const Tokenizer tokenizer = Tokenizer::from_json(fuzz::kTokenizer, {}, source);
        ChatOptions options;
        options.now = 1'700'000'000;
        if (!tools.empty()) options.variables["tools"] = tools;
        const std::string text = tokenizer.apply_chat_template(messages, options);
        fuzz::require(text.size() <= kMaxRendered, "a text within its limit");
      });
  limits.check();
  return 0;
}
