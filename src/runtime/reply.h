// SPDX-License-Identifier: Apache-2.0
// One reply as it grows: its tokens, its text, and when it ends.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>

#include "mlxn/generator.h"
#include "runtime/stop_matcher.h"

namespace mlxn::runtime {

class Reply {
 public:
  // stop_ids must outlive the reply.
  Reply(const Tokenizer& tokenizer, const GenerateOptions& options,
        const std::unordered_set<int32_t>& stop_ids);

  // Takes a sampled token and returns the text that became certain. has_room: whether the caches
  // can take this token.
  std::string push(int32_t id, bool has_room);
  // Ends the reply from outside; returns the text that was held back.
  std::string end(FinishReason reason);

  bool finished() const { return finish_.has_value(); }
  FinishReason finish() const { return finish_.value_or(FinishReason::kCancelled); }
  int64_t token_count() const { return token_count_; }

 private:
  std::string drain();

  const GenerateOptions& options_;
  const std::unordered_set<int32_t>& stop_ids_;
  StreamDecoder decoder_;
  StopMatcher matcher_;
  std::optional<FinishReason> finish_;
  int64_t token_count_ = 0;
};

}  // namespace mlxn::runtime
