// SPDX-License-Identifier: Apache-2.0
// What the attention kernels share: which keys a sequence holds and where (attn_keys.h), rows in
// the registers of several lanes, and queries and outputs of a type that the launch names.
#pragma once
#include "kernels/common/gpu_attn_args.h"
#include "kernels/common/gpu_rows.h"

GPU_LIBRARY_BEGIN

// Where the running maximum of a softmax starts: finite, so that exp(floor - floor) is 1 and
// exp(-inf - floor) is 0.
#define ATTN_FLOOR -1.7014117e38f

// Positions [first, end) are held. Position a lies in slot (a + shift) mod capacity; only the slots
// below num_valid hold keys.
struct HeldKeys {
  uint first, end;
  uint num_valid;
  uint shift;
};

// Values of a device buffer have not been checked, so they are clamped to the cache.
GPU_FN HeldKeys held_keys(int kv_len, int ring_start, bool ring, uint capacity) {
  const uint len = kv_len < 0 ? 0 : uint(kv_len);
  HeldKeys keys;
  keys.num_valid = min(len, capacity);
  keys.end = ring ? len : keys.num_valid;
  keys.first = keys.end - keys.num_valid;
  keys.shift = !ring && ring_start >= 0 && uint(ring_start) < capacity ? uint(ring_start) : 0;
  return keys;
}

// Visible positions [first, end) of a decode's query, and how many of them make a part.
// attn_decode/gpu_parts.h counts the parts.
struct VisibleKeys {
  uint first, end;
  uint keys_each;
};

GPU_FN uint ceil_div(uint a, uint b) { return a / b + (a % b != 0 ? 1 : 0); }

// No window, no chunk and no wish for a number of parts are 0.
GPU_FN VisibleKeys visible_keys(THREAD const HeldKeys& held, uint window_size, uint chunk_size,
                                uint n_split, CONSTANT GpuParts& parts) {
  VisibleKeys keys;
  keys.end = held.end;
  keys.first = held.first;
  if (window_size > 0) keys.first = max(keys.first, keys.end - min(window_size, keys.end));
  if (chunk_size > 0 && keys.end > 0) {
    keys.first = max(keys.first, (keys.end - 1) / chunk_size * chunk_size);
  }
  const uint visible = keys.end - keys.first;
  if (n_split > 0) {
    keys.keys_each = max(1u, ceil_div(visible, n_split));
  } else {
    const uint steps = ceil_div(ceil_div(visible, parts.most_parts), parts.least_keys);
    keys.keys_each = max(1u, steps) * parts.least_keys;
  }
  keys.keys_each = min(keys.keys_each, parts.most_keys);
  return keys;
}
// Parts that hold keys.
GPU_FN uint part_count(THREAD const VisibleKeys& keys, uint splits) {
  return min(ceil_div(keys.end - keys.first, keys.keys_each), splits);
}

// The maximum and the sum of a head out of those of its parts. Every lane gets them.
GPU_FN float2 join_states(DEVICE const float2* states, uint live, uint lane) {
  float most = ATTN_FLOOR, total = 0.0f;
  for (uint s = lane; s < live; s += SIMD_WIDTH) most = max(most, states[s].x);
  most = simd_max(most);
  for (uint s = lane; s < live; s += SIMD_WIDTH) {
    total = fma(exp(states[s].x - most), states[s].y, total);
  }
  return make_float2(most, simd_sum(total));
}

// An element of the sum of parts `first`, first + step, ... Eight are asked for before the first is
// used. values: the element in part 0; stride: from part to part.
GPU_FN float add_parts(DEVICE const float* values, uint stride, DEVICE const float2* states,
                       float most, uint first, uint step, uint live) {
  float element = 0.0f;
  for (uint s = first; s < live; s += 8 * step) {
    float part[8], state[8];
    UNROLL for (int i = 0; i < 8; i++) {
      const uint at = s + i * step;
      part[i] = at < live ? values[ulong(at) * stride] : 0.0f;
      state[i] = at < live ? states[at].x : -INFINITY;
    }
    UNROLL for (int i = 0; i < 8; i++) element = fma(exp(state[i] - most), part[i], element);
  }
  return element;
}

// The page and the slot in it of slot `slot` of sequence b; of a cache without pages the sequence
// itself.
struct CacheSlot {
  uint block;
  uint slot;
  bool held;
};

GPU_FN CacheSlot find_slot(DEVICE const int* block_table, CONSTANT GpuPages& pages, uint b,
                           uint slot, bool held) {
  CacheSlot found;
  found.block = b;
  found.slot = slot;
  found.held = held;
  if (pages.size > 0 && held) {
    found.block = uint(block_table[ulong(b) * pages.per_sequence + (slot >> pages.shift)]);
    found.slot = slot & (pages.size - 1);
    found.held = found.block < pages.count;  // a negative entry is a large one here
  }
  return found;
}

// Where a token at `position` is written, which came from a device buffer and has not been checked.
GPU_FN CacheSlot find_place(DEVICE const int* block_table, CONSTANT GpuPages& pages, uint b,
                            long position, bool ring, uint capacity) {
  const uint slot = ring ? uint(position) % capacity : uint(position);
  return find_slot(block_table, pages, b, slot, position >= 0 && slot < capacity);
}

// A row is spread over kLanes lanes: a lane holds elements 8 (run kLanes + lane) .. + 7, run 0
// and 1.
enum { kRowElements = 16 };

template <int kLanes, typename T>
GPU_FN void load_elements(DEVICE const T* row, uint dim, uint lane, bool vectors, THREAD float* v) {
  UNROLL for (int run = 0; run < 2; run++) {
    const uint at = 8 * (run * kLanes + lane);
    if (at < dim) {
      load_row<8>(row + at, 8, vectors, v + 8 * run);
    } else {
      UNROLL for (int j = 0; j < 8; j++) v[8 * run + j] = 0.0f;
    }
  }
}

// The same for a query row that starts at element `at` of q; `type` is a GpuQueryType.
template <int kLanes>
GPU_FN void load_query(DEVICE const uchar* q, ulong at, uint type, uint dim, uint lane,
                       bool vectors, THREAD float* v) {
  if (type == kGpuQueryF32) {
    load_elements<kLanes>((DEVICE const float*)q + at, dim, lane, vectors, v);
  } else if (type == kGpuQueryF16) {
    load_elements<kLanes>((DEVICE const half*)q + at, dim, lane, vectors, v);
  } else {
    load_elements<kLanes>((DEVICE const bfloat*)q + at, dim, lane, vectors, v);
  }
}
GPU_FN void store_output(DEVICE uchar* out, ulong at, uint type, float v) {
  if (type == kGpuQueryF32) {
    ((DEVICE float*)out)[at] = v;
  } else if (type == kGpuQueryF16) {
    ((DEVICE half*)out)[at] = half(v);
  } else {
    ((DEVICE bfloat*)out)[at] = bfloat(v);
  }
}

// Elements at .. at + 7 of an output row of `dim` that starts at element `row`; +0 if the row saw
// nothing, whose zeros a rotation may have given a sign.
GPU_FN void store_outputs(DEVICE uchar* out, ulong row, uint type, uint dim, uint at, bool vectors,
                          bool seen, THREAD float* v) {
  if (at >= dim) return;
  UNROLL for (int j = 0; j < 8; j++) v[j] = seen ? v[j] : 0.0f;
  if (type == kGpuQueryF32) {
    store_row<8>((DEVICE float*)out + row + at, 8, vectors, v);
  } else if (type == kGpuQueryF16) {
    store_row<8>((DEVICE half*)out + row + at, 8, vectors, v);
  } else {
    store_row<8>((DEVICE bfloat*)out + row + at, 8, vectors, v);
  }
}

// The score of a key: the lanes' parts of a dot product joined, scaled and capped.
template <int kLanes>
GPU_FN float key_score(THREAD const float* query, THREAD const float* key, float scale, float cap) {
  float dot = 0.0f;
  UNROLL for (int j = 0; j < kRowElements; j++) dot = fma(query[j], key[j], dot);
  UNROLL for (int o = kLanes / 2; o > 0; o /= 2) dot = dot + simd_shuffle_xor(dot, o);
  const float z = scale * dot;
  return cap > 0.0f ? cap * tanh(z / cap) : z;
}

// A running softmax over values.
struct RowSums {
  float largest;
  float total;
  float values[kRowElements];
};

GPU_FN void clear(THREAD RowSums& sums) {
  sums.largest = ATTN_FLOOR;
  sums.total = 0.0f;
  UNROLL for (int j = 0; j < kRowElements; j++) sums.values[j] = 0.0f;
}
GPU_FN void fold(THREAD RowSums& sums, float z, THREAD const float* value) {
  const float next = max(sums.largest, z);
  const float keep = exp(sums.largest - next), weight = exp(z - next);
  sums.largest = next;
  sums.total = fma(sums.total, keep, weight);
  UNROLL for (int j = 0; j < kRowElements; j++) {
    sums.values[j] = fma(weight, value[j], sums.values[j] * keep);
  }
}
// A logit without a value joins a finished row's maximum and sum. Returns the factor for its
// values.
GPU_FN float join_sink(float sink, THREAD float* largest, THREAD float* total) {
  const float most = max(*largest, sink);
  const float keep = exp(*largest - most);
  *total = fma(*total, keep, exp(sink - most));
  *largest = most;
  return keep;
}
// Log of the sum of exponentials of a finished row.
GPU_FN float log_sum_exp(float largest, float total) {
  return total == 0.0f ? -INFINITY : largest + log(total);
}
// Joins the sets of kLanes lanes of a simdgroup; every set then holds the whole.
template <int kLanes>
GPU_FN void join_sets(THREAD RowSums& sums) {
  float most = sums.largest;
  UNROLL for (int o = kLanes; o < 32; o *= 2) most = max(most, simd_shuffle_xor(most, o));
  const float keep = exp(sums.largest - most);
  sums.largest = most;
  sums.total = sums.total * keep;
  UNROLL for (int o = kLanes; o < 32; o *= 2) {
    sums.total = sums.total + simd_shuffle_xor(sums.total, o);
  }
  UNROLL for (int j = 0; j < kRowElements; j++) {
    float element = sums.values[j] * keep;
    UNROLL for (int o = kLanes; o < 32; o *= 2) element = element + simd_shuffle_xor(element, o);
    sums.values[j] = element;
  }
}

GPU_LIBRARY_END
