// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/vocab.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace mlxn::tokenizer {
namespace {

uint64_t process_seed() {
  static const uint64_t seed = [] {
    std::random_device device;
    return uint64_t{device()} << 32 | device();
  }();
  return seed;
}

uint64_t mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

Vocab::Vocab() : slots_(64, -1), seed_(process_seed()) {}

size_t Vocab::hash(std::string_view text) const {
  uint64_t state = seed_ ^ text.size();
  for (size_t pos = 0; pos < text.size(); pos += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + pos, std::min<size_t>(8, text.size() - pos));
    state = mix(state ^ word, 0x9e3779b97f4a7c15u) + seed_;
  }
  return static_cast<size_t>(mix(state, 0xd6e8feb86659fd93u ^ seed_));
}

void Vocab::grow() {
  std::vector<int32_t> old(slots_.size() * 2, -1);
  old.swap(slots_);
  for (const int32_t id : old) {
    if (id < 0) continue;
    size_t slot = hash(text(id)) & (slots_.size() - 1);
    while (slots_[slot] >= 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = id;
  }
}

bool Vocab::add(std::string_view text, int32_t id) {
  if (contains(id)) return false;
  if (static_cast<size_t>(id) >= entries_.size()) entries_.resize(static_cast<size_t>(id) + 1);
  entries_[static_cast<size_t>(id)] = {bytes_.size(), static_cast<int32_t>(text.size())};
  bytes_.append(text);
  ++count_;
  max_length_ = std::max(max_length_, text.size());
  if (2 * (used_slots_ + 1) > slots_.size()) grow();
  size_t slot = hash(text) & (slots_.size() - 1);
  while (slots_[slot] >= 0) {
    if (this->text(slots_[slot]) == text) return true;
    slot = (slot + 1) & (slots_.size() - 1);
  }
  slots_[slot] = id;
  ++used_slots_;
  return true;
}

bool Vocab::contains(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < entries_.size() &&
         entries_[static_cast<size_t>(id)].length >= 0;
}

std::string_view Vocab::text(int32_t id) const {
  if (!contains(id)) return {};
  const Entry& entry = entries_[static_cast<size_t>(id)];
  return std::string_view(bytes_).substr(entry.offset, static_cast<size_t>(entry.length));
}

std::optional<int32_t> Vocab::find(std::string_view text) const {
  if (text.size() > max_length_) return std::nullopt;
  size_t slot = hash(text) & (slots_.size() - 1);
  while (slots_[slot] >= 0) {
    if (this->text(slots_[slot]) == text) return slots_[slot];
    slot = (slot + 1) & (slots_.size() - 1);
  }
  return std::nullopt;
}

}  // namespace mlxn::tokenizer
