// SPDX-License-Identifier: Apache-2.0
// Which keys a sequence holds, at which positions, and in which cache slots they lie.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace mlxn::kernels {

// Elements from one sequence, head or position to the next.
struct AttnStrides {
  int64_t batch;
  int64_t head;
  int64_t row;
};

// Keys that are handled together. Tiles begin at multiples of it, counted in positions.
inline constexpr int64_t kAttnKeyTile = 64;

// Where the running maximum of a softmax starts. It is finite, so that exp(-inf - floor) is 0 and
// exp(floor - floor) is 1.
inline constexpr float kAttnFloor = -1.7014117e38f;  // -FLT_MAX / 2

// Position a lies in slot (a + shift) mod capacity; only the slots below num_valid hold keys.
struct KeyMap {
  int64_t first;      // oldest position held
  int64_t end;        // one past the newest position
  int64_t num_valid;  // slots in use
  int64_t capacity;   // slots
  int64_t shift;

  int64_t slot(int64_t position) const { return (position + shift) % capacity; }
  int64_t next(int64_t slot) const { return slot + 1 == capacity ? 0 : slot + 1; }
};

// kv_len and ring_start as in AttnDecodeArgs. Values of a device buffer cannot be checked when the
// work is recorded, so they are clamped to the cache here.
inline KeyMap make_key_map(int64_t kv_len, int64_t ring_start, bool ring, int64_t capacity) {
  kv_len = std::max<int64_t>(kv_len, 0);
  if (ring) {
    const int64_t valid = std::min(kv_len, capacity);
    return {kv_len - valid, kv_len, valid, capacity, 0};
  }
  kv_len = std::min(kv_len, capacity);
  const bool usable = ring_start >= 0 && ring_start < capacity;
  return {0, kv_len, kv_len, capacity, usable ? ring_start : 0};
}

// A cache that is cut into pages: slot s of sequence b is row s mod page_size of page
// table[b * per_sequence + s / page_size].
struct KeyPages {
  const int32_t* table = nullptr;  // [batch, per_sequence]; null: one run of slots per sequence
  int64_t per_sequence = 0;
  int64_t page_size = 0;  // slots, a power of two
  int64_t count = 0;      // pages of the cache; entries outside 0 .. count - 1 hold no keys
};

// Where the rows of one KV head of one sequence lie, in elements of K or of V.
struct CacheRows {
  int64_t first;         // of slot 0, or of slot 0 of page 0
  int64_t row;           // from one slot to the next
  int64_t page;          // from one page to the next
  const int32_t* pages;  // of the sequence; null: none
  int64_t num_pages;
  int page_shift;  // log2 of the page size

  // Slots from this one on whose rows follow one another.
  int64_t left(int64_t slot) const {
    if (pages == nullptr) return std::numeric_limits<int64_t>::max();
    const int64_t page_size = int64_t{1} << page_shift;
    return page_size - (slot & (page_size - 1));
  }
  // -1 if the block table points outside the cache.
  int64_t at(int64_t slot) const {
    if (pages == nullptr) return first + slot * row;
    const int64_t index = pages[slot >> page_shift];
    if (index < 0 || index >= num_pages) return -1;
    return first + index * page + (slot & ((int64_t{1} << page_shift) - 1)) * row;
  }
};

// `batch` counts from one sequence to the next, or from one page to the next.
inline CacheRows cache_rows(const KeyPages& pages, int64_t b, int64_t kv_head, int64_t batch,
                            int64_t head, int64_t row) {
  if (pages.table == nullptr) return {b * batch + kv_head * head, row, 0, nullptr, 0, 0};
  return {kv_head * head, row,
          batch,          pages.table + b * pages.per_sequence,
          pages.count,    std::countr_zero(static_cast<uint64_t>(pages.page_size))};
}

// At least `count` floats at a 64-byte boundary that this thread may use until its next call.
inline float* attn_thread_scratch(size_t count) {
  constexpr size_t kLine = 16;  // floats
  thread_local std::vector<float> storage;
  if (storage.size() < count + kLine) storage.resize(count + kLine);
  const uintptr_t address = reinterpret_cast<uintptr_t>(storage.data());
  return reinterpret_cast<float*>((address + 63) & ~uintptr_t{63});
}

}  // namespace mlxn::kernels
