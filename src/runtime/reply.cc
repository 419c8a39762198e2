// SPDX-License-Identifier: Apache-2.0
#include "runtime/reply.h"

namespace mlxn::runtime {

Reply::Reply(const Tokenizer& tokenizer, const GenerateOptions& options,
             const std::unordered_set<int32_t>& stop_ids)
    : options_(options),
      stop_ids_(stop_ids),
      decoder_(tokenizer, options.skip_special),
      matcher_(options.stop) {}

// Everything still held, when no token follows. The decoder's rest may complete a stop string.
std::string Reply::drain() {
  std::string text = matcher_.push(decoder_.flush());
  if (matcher_.matched()) {
    finish_ = FinishReason::kStop;
    return text;
  }
  return text + matcher_.flush();
}

std::string Reply::push(int32_t id, bool has_room) {
  ++token_count_;
  if (stop_ids_.contains(id)) return end(FinishReason::kEos);
  std::string text = matcher_.push(decoder_.push(id));
  if (matcher_.matched()) {
    finish_ = FinishReason::kStop;
  } else if (token_count_ >= options_.max_tokens) {
    text += end(FinishReason::kLength);
  } else if (!has_room) {
    text += end(FinishReason::kContextFull);
  }
  return text;
}

std::string Reply::end(FinishReason reason) {
  finish_ = reason;
  return drain();
}

}  // namespace mlxn::runtime
