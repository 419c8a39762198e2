// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/decoder.h"

#include "tokenizer/byte_tokens.h"
#include "tokenizer/normalizer.h"

namespace mlxn::tokenizer {

void Decoder::add_replace(std::string_view from, std::string_view to) {
  steps_.push_back({Kind::kReplace, std::string(from), std::string(to)});
}

void Decoder::add_byte_fallback() { steps_.push_back({Kind::kByteFallback, {}, {}}); }

void Decoder::add_strip(std::string_view content, uint32_t start, uint32_t stop) {
  steps_.push_back({Kind::kStrip, std::string(content), {}, start, stop});
}

std::string Decoder::decode(std::string_view token) const {
  std::string text(token);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kReplace:
        text = replace_all(text, step.from, step.to);
        break;
      case Kind::kByteFallback:
        if (const auto byte = byte_of_token(text)) return {static_cast<char>(*byte)};
        break;
      case Kind::kStrip: {
        std::string_view view = text;
        for (uint32_t i = 0; i < step.start && view.starts_with(step.from); ++i) {
          view.remove_prefix(step.from.size());
        }
        for (uint32_t i = 0; i < step.stop && view.ends_with(step.from); ++i) {
          view.remove_suffix(step.from.size());
        }
        text = std::string(view);
        break;
      }
    }
  }
  return text;
}

namespace {

constexpr int64_t kMaxStrip = 1024;

// Collects the steps of nested sequences in order.
class Builder {
 public:
  void add(Json spec) {
    const std::string_view type = type_of(spec, "decoder");
    if (type == "Sequence") {
      const auto list = find(spec, "decoders");
      if (!list) fail("tokenizer", "decoder Sequence", "no decoders", "an array");
      for (const Json part : as_array(*list, "decoders")) add(part);
    } else if (type == "Replace") {
      require(!fused_ && !bytes_, "Replace after ByteFallback or Fuse");
      const auto content = find_string(spec, "content");
      if (!content) fail("tokenizer", "decoder Replace", "no content", "a string");
      decoder_.add_replace(string_pattern(spec, "decoder Replace"), *content);
    } else if (type == "ByteFallback") {
      require(!fused_, "ByteFallback after Fuse");
      decoder_.add_byte_fallback();
      bytes_ = true;
    } else if (type == "Fuse") {
      fused_ = true;
    } else if (type == "Strip") {
      add_strip(spec);
    } else {
      fail("tokenizer", "decoder", type, "Replace, ByteFallback, Fuse, Strip or Sequence");
    }
  }

  Decoder take() { return std::move(decoder_); }

 private:
  static void require(bool ok, std::string_view found) {
    if (!ok) fail("tokenizer", "decoder", found, "the order Replace, ByteFallback, Fuse, Strip");
  }

  static uint32_t count(Json spec, std::string_view key) {
    const auto value = find(spec, key);
    const int64_t number = value ? as_int(*value, key) : 0;
    if (number < 0 || number > kMaxStrip) {
      fail("tokenizer", "decoder Strip", std::to_string(number), "0 to 1024 characters");
    }
    return static_cast<uint32_t>(number);
  }

  void add_strip(Json spec) {
    const auto content = find_string(spec, "content");
    if (!content || content->empty()) {
      fail("tokenizer", "decoder Strip", "no content", "a character");
    }
    const uint32_t start = count(spec, "start");
    const uint32_t stop = count(spec, "stop");
    if (!fused_) {
      require(!bytes_, "Strip between ByteFallback and Fuse");
      decoder_.add_strip(*content, start, stop);
      return;
    }
    require(decoder_.strip_count == 0, "a second Strip after Fuse");
    if (stop != 0) fail("tokenizer", "decoder Strip after Fuse", "stop > 0", "stop 0");
    decoder_.strip_content = *content;
    decoder_.strip_count = start;
  }

  Decoder decoder_;
  bool bytes_ = false;
  bool fused_ = false;
};

}  // namespace

Decoder make_decoder(Json spec) {
  Builder builder;
  builder.add(spec);
  return builder.take();
}

}  // namespace mlxn::tokenizer
