// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <string>
#include <utility>

namespace mlxn::tokenizer {
namespace {

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior behavior_from(std::string_view name) {
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  fail("tokenizer", "pre_tokenizer Split behavior", name,
       "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

struct Span {
  size_t begin;
  size_t end;
  bool is_delimiter;
};

// Cuts at a fixed string.
class Split : public PreTokenizer {
 public:
  Split(std::string_view pattern, Behavior behavior, bool invert)
      : pattern_(pattern), behavior_(behavior), invert_(invert) {}

  void split(std::string_view text, std::vector<std::string_view>& out) const override {
    for (const Span& span : merge(find_spans(text))) {
      if (span.is_delimiter && behavior_ == Behavior::kRemoved) continue;
      if (span.begin < span.end) out.push_back(text.substr(span.begin, span.end - span.begin));
    }
  }

 private:
  std::vector<Span> find_spans(std::string_view text) const {
    std::vector<Span> spans;
    size_t pos = 0;
    while (pos < text.size()) {
      const size_t hit = std::min(text.find(pattern_, pos), text.size());
      if (pos < hit) spans.push_back({pos, hit, invert_});
      if (hit == text.size()) break;
      pos = hit + pattern_.size();
      spans.push_back({hit, pos, !invert_});
    }
    return spans;
  }

  std::vector<Span> merge(std::vector<Span> spans) const {
    if (behavior_ == Behavior::kMergedWithNext) {
      std::reverse(spans.begin(), spans.end());
    } else if (behavior_ != Behavior::kMergedWithPrevious && behavior_ != Behavior::kContiguous) {
      return spans;
    }
    std::vector<Span> merged;
    bool after_delimiter = false;
    for (const Span& span : spans) {
      const bool join = behavior_ == Behavior::kContiguous
                            ? !merged.empty() && merged.back().is_delimiter == span.is_delimiter
                            : !merged.empty() && span.is_delimiter && !after_delimiter;
      if (join) {
        merged.back().begin = std::min(merged.back().begin, span.begin);
        merged.back().end = std::max(merged.back().end, span.end);
      } else {
        merged.push_back(span);
      }
      after_delimiter = span.is_delimiter;
    }
    if (behavior_ == Behavior::kMergedWithNext) std::reverse(merged.begin(), merged.end());
    return merged;
  }

  std::string pattern_;
  Behavior behavior_;
  bool invert_;
};

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> parts) : parts_(std::move(parts)) {}

  void split(std::string_view text, std::vector<std::string_view>& out) const override {
    std::vector<std::string_view> pieces = {text};
    for (const auto& part : parts_) {
      std::vector<std::string_view> next;
      for (const std::string_view piece : pieces) part->split(piece, next);
      pieces = std::move(next);
    }
    out.insert(out.end(), pieces.begin(), pieces.end());
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(Json spec) {
  const std::string_view type = type_of(spec, "pre_tokenizer");
  if (type == "Split") {
    const auto behavior = find_string(spec, "behavior");
    if (!behavior) fail("tokenizer", "pre_tokenizer Split", "no behavior", "a behavior");
    return std::make_unique<Split>(string_pattern(spec, "pre_tokenizer Split"),
                                   behavior_from(*behavior), find_bool(spec, "invert", false));
  }
  if (type == "Sequence") {
    std::vector<std::unique_ptr<PreTokenizer>> parts;
    const auto list = find(spec, "pretokenizers");
    if (!list) fail("tokenizer", "pre_tokenizer Sequence", "no pretokenizers", "an array");
    for (const Json part : as_array(*list, "pretokenizers")) {
      parts.push_back(make_pre_tokenizer(part));
    }
    return std::make_unique<Sequence>(std::move(parts));
  }
  fail("tokenizer", "pre_tokenizer", type, "Split or Sequence");
}

}  // namespace mlxn::tokenizer
