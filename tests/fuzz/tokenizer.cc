// SPDX-License-Identifier: Apache-2.0
// tokenizer.json and, behind a zero byte, tokenizer_config.json; then some text there and back.
#include "mlxn/tokenizer.h"

#include <simdjson.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/harness.h"

namespace mlxn::fuzz {
namespace {

void use(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool special : {false, true}) {
    const std::vector<int32_t> ids =
        tokenizer.encode(text, {.add_special = special, .parse_special = special});
    for (const int32_t id : ids) {
      require(id >= 0 && id < tokenizer.vocab_size(), "ids inside the vocabulary");
    }
    const std::string decoded = tokenizer.decode(ids, special);
    require(simdjson::validate_utf8(decoded), "decoded text in UTF-8");
    StreamDecoder stream(tokenizer, special);
    std::string streamed;
    for (const int32_t id : ids) streamed += stream.push(id);
    require(streamed + stream.flush() == decoded, "streamed text as decoded");
  }
}

}  // namespace
}  // namespace mlxn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mlxn;
  const fuzz::Limits limits(size);
  const auto [json, config] = fuzz::split_input(data, size);
  fuzz::expect_typed({ErrorKind::kTokenizer}, [&, &json = json, &config = config] {
    const Tokenizer tokenizer = Tokenizer::from_json(json, config);
    fuzz::use(tokenizer, "<s>The  quick\n\tbrown \xf0\x9f\xa6\x8a\xff caf\xc3\xa9 ab ba aab</s>");
    // Its own bytes as text: the tokens that the file names are in there.
    fuzz::use(tokenizer, json.substr(json.size() / 2, 512));
    const std::vector<int32_t> strange = {-1, 0, tokenizer.vocab_size(), 1 << 30};
    tokenizer.decode(strange);
  });
  limits.check();
  return 0;
}
