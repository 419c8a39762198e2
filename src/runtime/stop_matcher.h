// SPDX-License-Identifier: Apache-2.0
// Holds text back while it may still turn out to be the beginning of a stop string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mlxn::runtime {

class StopMatcher {
 public:
  // Empty stop strings are ignored.
  explicit StopMatcher(std::vector<std::string> stops);

  // Adds text and returns what is certain not to belong to a stop string. After a match everything
  // in front of it has been returned, and nothing comes any more.
  std::string push(std::string_view text);
  // What was held back, when no more text will come.
  std::string flush();
  bool matched() const { return matched_; }

 private:
  size_t held_back() const;

  std::vector<std::string> stops_;
  std::string pending_;
  bool matched_ = false;
};

}  // namespace mlxn::runtime
