// SPDX-License-Identifier: Apache-2.0
#include "mlxn/tokenizer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/no_memory.h"
#include "mlxn/error.h"
#include "tokenizer/impl.h"
#include "tokenizer/utf8.h"

namespace mlxn {
namespace {

// Special tokens that end a turn wherever they exist.
constexpr std::string_view kEndOfTurn[] = {"<|im_end|>",    "<|eot_id|>", "<|eom_id|>",
                                           "<end_of_turn>", "<turn|>",    "<|endoftext|>"};

void encode_pieces(const Tokenizer::Impl& impl, std::string_view text, std::vector<int32_t>& out) {
  if (!impl.pre_tokenizer) {
    impl.model->encode(text, out);
    return;
  }
  std::vector<std::string_view> pieces;
  impl.pre_tokenizer->split(text, pieces);
  for (const std::string_view piece : pieces) impl.model->encode(piece, out);
}

void encode_text(const Tokenizer::Impl& impl, std::string_view text, bool parse_special,
                 std::vector<int32_t>& out) {
  const std::string normalized =
      impl.normalizer ? impl.normalizer->apply(std::string(text)) : std::string(text);
  std::vector<tokenizer::Segment> segments;
  impl.normalized_matcher.split(normalized, parse_special, segments);
  for (const tokenizer::Segment& segment : segments) {
    if (segment.id >= 0) {
      out.push_back(segment.id);
    } else {
      encode_pieces(impl, segment.text, out);
    }
  }
}

void add_special_ids(const Tokenizer::Impl& impl, std::vector<int32_t>& ids) {
  const auto& prefix = impl.post_processor.prefix;
  const auto& suffix = impl.post_processor.suffix;
  const bool has_bos = impl.adds_bos && !ids.empty() && ids.front() == *impl.bos_id;
  ids.insert(ids.begin(), prefix.begin() + (has_bos ? 1 : 0), prefix.end());
  ids.insert(ids.end(), suffix.begin(), suffix.end());
}

}  // namespace

void Tokenizer::Impl::finish(bool force_bos, bool force_eos, std::vector<int32_t> further_stops) {
  const int32_t size = vocab_size();
  const auto check_id = [&](int32_t id, std::string_view what) {
    if (token(id).empty()) {
      tokenizer::fail("tokenizer", what, std::to_string(id), "the id of a token");
    }
  };
  special.resize(static_cast<size_t>(size));
  piece_ends.reserve(static_cast<size_t>(size));
  for (int32_t id = 0; id < size; ++id) {
    piece_bytes += decoder.decode(token(id));
    piece_ends.push_back(piece_bytes.size());
  }
  auto& prefix = post_processor.prefix;
  auto& suffix = post_processor.suffix;
  if (force_bos && bos_id && (prefix.empty() || prefix.front() != *bos_id)) {
    prefix.insert(prefix.begin(), *bos_id);
  }
  if (force_eos && eos_id && (suffix.empty() || suffix.back() != *eos_id)) {
    suffix.push_back(*eos_id);
  }
  for (const int32_t id : prefix) check_id(id, "post_processor");
  for (const int32_t id : suffix) check_id(id, "post_processor");
  adds_bos = bos_id && !prefix.empty() && prefix.front() == *bos_id;

  stop_ids = std::move(further_stops);
  if (eos_id) stop_ids.push_back(*eos_id);
  for (const std::string_view text : kEndOfTurn) {
    const auto id = token_id(text);
    if (id && is_special(*id)) stop_ids.push_back(*id);
  }
  std::sort(stop_ids.begin(), stop_ids.end());
  stop_ids.erase(std::unique(stop_ids.begin(), stop_ids.end()), stop_ids.end());
}

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const try {
  // Normalizers may triple the length, and offsets inside are 31 bits wide.
  constexpr size_t kMaxText = size_t{1} << 29;
  if (text.size() > kMaxText) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Tokenizer::encode", "text", std::to_string(text.size()) + " bytes",
                            "at most 2^29 bytes"});
  }
  std::vector<int32_t> ids;
  std::vector<tokenizer::Segment> segments;
  impl_->raw_matcher.split(text, options.parse_special, segments);
  for (const tokenizer::Segment& segment : segments) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
    } else {
      encode_text(*impl_, segment.text, options.parse_special, ids);
    }
  }
  if (options.add_special) add_special_ids(*impl_, ids);
  return ids;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const try {
  StreamDecoder decoder(*this, skip_special);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  text += decoder.flush();
  return text;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

int32_t Tokenizer::vocab_size() const { return impl_->vocab_size(); }

std::string_view Tokenizer::piece(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= impl_->piece_ends.size()) return {};
  const auto index = static_cast<size_t>(id);
  const uint64_t begin = index == 0 ? 0 : impl_->piece_ends[index - 1];
  return std::string_view(impl_->piece_bytes).substr(begin, impl_->piece_ends[index] - begin);
}

std::string_view Tokenizer::token(int32_t id) const { return impl_->token(id); }

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  return impl_->token_id(token);
}

bool Tokenizer::is_special(int32_t id) const { return impl_->is_special(id); }
std::optional<int32_t> Tokenizer::bos_id() const { return impl_->bos_id; }
std::optional<int32_t> Tokenizer::eos_id() const { return impl_->eos_id; }
const std::vector<int32_t>& Tokenizer::stop_ids() const { return impl_->stop_ids; }
bool Tokenizer::adds_bos() const { return impl_->adds_bos; }
bool Tokenizer::has_chat_template() const { return !impl_->chat_templates.empty(); }

}  // namespace mlxn
