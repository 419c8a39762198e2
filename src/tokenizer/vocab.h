// SPDX-License-Identifier: Apache-2.0
// Token texts by id and ids by text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mlxn::tokenizer {

// 2^24 tokens is more than any published vocabulary by a factor of 60.
inline constexpr int64_t kMaxVocab = int64_t{1} << 24;
inline constexpr size_t kMaxTokenLength = size_t{1} << 20;  // bytes

// Ids must be below this in a vocabulary of `count` tokens: memory is spent on every id up to the
// largest, so holes are limited.
constexpr int64_t id_limit(size_t count) {
  const int64_t limit =
      2 * static_cast<int64_t>(count < size_t{1} << 24 ? count : size_t{1} << 24) + 65536;
  return limit < kMaxVocab ? limit : kMaxVocab;
}

class Vocab {
 public:
  Vocab();

  // Adds a token. False, and nothing changes, if the id is taken. If the text is taken the id gets
  // it too, but find() keeps returning the first. 0 <= id < kMaxVocab.
  bool add(std::string_view text, int32_t id);

  int32_t size() const { return static_cast<int32_t>(entries_.size()); }  // largest id + 1
  size_t count() const { return count_; }                                 // tokens
  bool contains(int32_t id) const;
  std::string_view text(int32_t id) const;  // "" if there is none
  std::optional<int32_t> find(std::string_view text) const;
  size_t max_length() const { return max_length_; }  // bytes of the longest token

 private:
  struct Entry {
    uint64_t offset = 0;  // into bytes_
    int32_t length = -1;  // -1: no token with this id
  };
  size_t hash(std::string_view text) const;
  void grow();

  std::string bytes_;
  std::vector<Entry> entries_;
  std::vector<int32_t> slots_;  // open addressing, power of two, -1 empty
  size_t count_ = 0;
  size_t used_slots_ = 0;
  size_t max_length_ = 0;
  uint64_t seed_;  // random, so that no file can be built to make every text collide
};

}  // namespace mlxn::tokenizer
