// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "base/no_memory.h"
#include "mlxn/tokenizer.h"
#include "tokenizer/impl.h"
#include "tokenizer/utf8.h"

namespace mlxn {

StreamDecoder::StreamDecoder(Tokenizer tokenizer, bool skip_special)
    : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}

std::string StreamDecoder::push(int32_t id) try {
  const tokenizer::Decoder& decoder = tokenizer_.impl().decoder;
  if (tokenizer_.token(id).empty() || (skip_special_ && tokenizer_.is_special(id))) return {};
  if (!at_start_) held_ += decoder.separator;
  at_start_ = false;
  held_ += tokenizer_.piece(id);
  while (!strip_done_) {
    if (stripped_ == decoder.strip_count) {
      strip_done_ = true;
    } else if (held_.starts_with(decoder.strip_content)) {
      held_.erase(0, decoder.strip_content.size());
      ++stripped_;
    } else if (decoder.strip_content.starts_with(held_)) {
      return {};  // perhaps the start of something to strip
    } else {
      strip_done_ = true;
    }
  }
  std::string text;
  held_.erase(0, tokenizer::append_lossy(text, held_, true));
  return text;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

std::string StreamDecoder::flush() try {
  std::string text;
  tokenizer::append_lossy(text, held_, false);
  held_.clear();
  at_start_ = true;
  stripped_ = 0;
  strip_done_ = false;
  return text;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
