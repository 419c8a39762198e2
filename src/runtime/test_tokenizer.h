// SPDX-License-Identifier: Apache-2.0
// A tokenizer for random models of 256 tokens.
#pragma once

#include <string>

#include "mlxn/tokenizer.h"

namespace mlxn::runtime {

// 256 tokens: two letters each, but ids 0 to 2 are special and 3, 4 are the two bytes of "é".
inline Tokenizer test_tokenizer() {
  std::string vocab = R"({"<pad>":0,"<eos>":1,"<bos>":2,"<0xC3>":3,"<0xA9>":4)";
  for (int i = 5; i < 256; ++i) {
    const char text[3] = {static_cast<char>('a' + i / 26), static_cast<char>('a' + i % 26), 0};
    vocab += ",\"" + std::string(text) + "\":" + std::to_string(i);
  }
  vocab += "}";
  std::string added;
  for (int id = 0; id < 3; ++id) {
    const char* const names[] = {"<pad>", "<eos>", "<bos>"};
    added += std::string(id > 0 ? "," : "") + "{\"id\":" + std::to_string(id) + ",\"content\":\"" +
             names[id] +
             R"(","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,)" +
             R"("special":true})";
  }
  return Tokenizer::from_json(
      R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[)" + added + R"(],
        "normalizer":null,"pre_tokenizer":null,"post_processor":null,
        "decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"}]},
        "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
        "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":true,"ignore_merges":false,
        "vocab":)" +
      vocab + R"(,"merges":[]}})");
}

}  // namespace mlxn::runtime
