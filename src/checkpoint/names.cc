// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/names.h"

#include <algorithm>
#include <array>

namespace mlxn::checkpoint {
namespace {

// Where the text decoder of a safetensors checkpoint may live: text-only files, raw multimodal
// files, files converted by MLX, bare decoders.
constexpr std::array<std::string_view, 5> kPrefixes = {
    "model.", "model.language_model.", "language_model.model.", "language_model.", ""};

constexpr std::array<std::string_view, 7> kIgnoredParts = {
    "vision_tower", "multi_modal_projector", "audio_tower", "embed_audio",
    "embed_vision", "vision_embedder",       "rotary_emb"};
constexpr std::array<std::string_view, 4> kIgnoredEnds = {".input_min", ".input_max", ".output_min",
                                                          ".output_max"};
constexpr std::array<std::string_view, 3> kModuleEnds = {".weight", ".scales", ".biases"};

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

// Splits "layers.12.self_attn.q_proj" after the number. `stem` is "layers." or "blk.".
struct LayerName {
  std::string_view index;  // "12"; empty: not a layer's tensor
  std::string_view rest;   // "self_attn.q_proj"
};
LayerName split_layer(std::string_view name, std::string_view stem) {
  if (!starts_with(name, stem)) return {{}, name};
  const size_t dot = name.find('.', stem.size());
  if (dot == std::string_view::npos || dot == stem.size()) return {{}, name};
  const std::string_view index = name.substr(stem.size(), dot - stem.size());
  const bool digits =
      std::all_of(index.begin(), index.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) return {{}, name};
  return {index, name.substr(dot + 1)};
}

const NameRow* find_row(ModelFamily family, const LayerName& name) {
  const NameScope scope = name.index.empty() ? NameScope::kModel : NameScope::kLayer;
  for (const NameRow& row : name_rows(family)) {
    if (row.scope == scope && row.canonical == name.rest) return &row;
  }
  return nullptr;
}

std::string in_layer(std::string_view stem, std::string_view index, std::string_view rest) {
  if (index.empty()) return std::string(rest);
  return std::string(stem) + std::string(index) + "." + std::string(rest);
}

}  // namespace

bool is_ignorable(std::string_view stored_name) {
  for (std::string_view part : kIgnoredParts) {
    if (stored_name.find(part) != std::string_view::npos) return true;
  }
  for (std::string_view end : kIgnoredEnds) {
    if (ends_with(stored_name, end)) return true;
  }
  return false;
}

NameMap::NameMap(ModelFamily family, bool is_gguf, std::function<bool(std::string_view)> exists)
    : family_(family), is_gguf_(is_gguf), exists_(std::move(exists)) {
  if (is_gguf_) return;
  prefix_ = kPrefixes[0];
  for (std::string_view prefix : kPrefixes) {
    if (exists_(std::string(prefix) + "embed_tokens.weight")) {
      prefix_ = prefix;
      return;
    }
  }
}

// Names without the endings that a module adds, most likely first.
std::vector<std::string> NameMap::stored_names(std::string_view canonical) const {
  const LayerName name = split_layer(canonical, "layers.");
  const NameRow* row = find_row(family_, name);
  if (row == nullptr) return {};
  if (is_gguf_) {
    if (row->gguf.empty()) return {};
    return {in_layer("blk.", name.index, row->gguf)};
  }
  std::vector<std::string> out = {prefix_ + std::string(canonical)};
  if (!row->converted.empty()) {
    out.push_back(prefix_ + in_layer("layers.", name.index, row->converted));
  }
  if (canonical == "lm_head") {  // the head sits beside the decoder, not inside
    for (const char* other : {"lm_head", "language_model.lm_head", "model.lm_head"}) {
      if (out[0] != other) out.push_back(other);
    }
  }
  return out;
}

std::vector<std::string> NameMap::candidates(std::string_view canonical) const {
  std::vector<std::string> out;
  const NameRow* row = find_row(family_, split_layer(canonical, "layers."));
  for (const std::string& stored : stored_names(canonical)) {
    if (!is_gguf_ && row->kind == NameKind::kMatrix) out.push_back(stored + ".weight");
    out.push_back(stored);
  }
  return out;
}

std::optional<std::string> NameMap::plain(std::string_view canonical) const {
  const NameRow* row = find_row(family_, split_layer(canonical, "layers."));
  if (row == nullptr || row->kind != NameKind::kPlain) return std::nullopt;
  for (const std::string& stored : stored_names(canonical)) {
    if (exists_(stored)) return stored;
  }
  return std::nullopt;
}

std::optional<NameMap::Module> NameMap::module(std::string_view canonical) const {
  const NameRow* row = find_row(family_, split_layer(canonical, "layers."));
  if (row == nullptr || row->kind != NameKind::kMatrix) return std::nullopt;
  for (const std::string& stored : stored_names(canonical)) {
    // Fused expert stacks of raw files have no ".weight".
    if (!is_gguf_ && exists_(stored + ".weight")) return Module{stored, stored + ".weight"};
    if (exists_(stored)) return Module{stored, stored};
  }
  return std::nullopt;
}

bool NameMap::is_known(std::string_view stored_name) const {
  if (is_gguf_) {
    const LayerName name = split_layer(stored_name, "blk.");
    const NameScope scope = name.index.empty() ? NameScope::kModel : NameScope::kLayer;
    for (const NameRow& row : name_rows(family_)) {
      if (row.scope == scope && row.gguf == name.rest) return true;
    }
    return false;
  }
  if (ends_with(stored_name, "lm_head.weight") || ends_with(stored_name, "lm_head.scales") ||
      ends_with(stored_name, "lm_head.biases")) {
    return true;
  }
  if (!starts_with(stored_name, prefix_)) return false;
  const LayerName name = split_layer(stored_name.substr(prefix_.size()), "layers.");
  const NameScope scope = name.index.empty() ? NameScope::kModel : NameScope::kLayer;
  for (const NameRow& row : name_rows(family_)) {
    if (row.scope != scope) continue;
    if (name.rest == row.canonical) return true;
    if (row.kind == NameKind::kPlain) continue;
    for (std::string_view end : kModuleEnds) {
      if (!ends_with(name.rest, end)) continue;
      const std::string_view stem = name.rest.substr(0, name.rest.size() - end.size());
      if (stem == row.canonical || (!row.converted.empty() && stem == row.converted)) return true;
    }
  }
  return false;
}

}  // namespace mlxn::checkpoint
