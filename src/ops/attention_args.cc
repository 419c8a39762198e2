// SPDX-License-Identifier: Apache-2.0
#include "ops/attention_args.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/backend.h"
#include "base/checked.h"

namespace mlxn::ops {

void check_attention_buffers(const char* op, const Device& device, const Buffer& q, const Buffer& k,
                             const Buffer& v, const Buffer& out, size_t q_rank, size_t kv_rank) {
  const auto floats = {f32, f16, bf16};
  const auto check_rank = [op](const char* parameter, const Buffer& buffer, size_t rank) {
    if (buffer.rank() != rank) {
      fail(op, parameter, "shape " + to_string(buffer.shape()), std::to_string(rank) + " extents");
    }
  };
  check_buffer(op, "q", q, device, floats);
  check_buffer(op, "k", k, device, floats);
  check_buffer(op, "v", v, device, floats);
  check_output(op, "out", out, device, floats);
  check_rank("q", q, q_rank);
  check_rank("k", k, kv_rank);
  check_rank("v", v, kv_rank);
  check_rank("out", out, q_rank);
  if (v.dtype() != k.dtype()) {
    fail(op, "v", std::string(name(v.dtype())), std::string(name(k.dtype())) + ", the dtype of k");
  }
  if (out.dtype() != q.dtype()) {
    fail(op, "out", std::string(name(out.dtype())),
         std::string(name(q.dtype())) + ", the dtype of q");
  }
  check_overlap(op, "out", out, "q", q);
  check_overlap(op, "out", out, "k", k);
  check_overlap(op, "out", out, "v", v);
}

void check_head_values(const char* op, const char* parameter, const Device& device,
                       const Buffer& values, int64_t num_heads) {
  if (!values) return;
  check_buffer(op, parameter, values, device, {f32});
  check_shape(op, parameter, values, {num_heads});
}

void check_lse(const char* op, const Device& device, const Buffer& lse, const Shape& shape) {
  if (!lse) return;
  check_output(op, "lse", lse, device, {f32});
  check_shape(op, "lse", lse, shape);
}

void check_disjoint(const char* op,
                    std::initializer_list<std::pair<const char*, const Buffer*>> outputs,
                    std::initializer_list<std::pair<const char*, const Buffer*>> inputs) {
  for (auto output = outputs.begin(); output != outputs.end(); ++output) {
    if (!*output->second) continue;
    for (const auto& [name, input] : inputs) {
      check_overlap(op, output->first, *output->second, name, *input);
    }
    for (auto other = outputs.begin(); other != output; ++other) {
      check_overlap(op, output->first, *output->second, other->first, *other->second);
    }
  }
}

kernels::KeyPages check_block_table(const char* op, const Device& device, const Buffer& block_table,
                                    const char* cache_name, const Buffer& cache, int64_t batch) {
  constexpr int64_t kMinPage = 16, kMaxPage = 256;
  const int64_t page_size = cache.dim(2);
  if (page_size < kMinPage || page_size > kMaxPage || (page_size & (page_size - 1)) != 0) {
    fail(op, cache_name, "pages of " + std::to_string(page_size) + " slots",
         "a power of two from 16 to 256");
  }
  check_buffer(op, "block_table", block_table, device, {i32});
  if (block_table.rank() != 2) {
    fail(op, "block_table", "shape " + to_string(block_table.shape()), "2 extents");
  }
  const int64_t per_sequence = block_table.dim(1);
  check_shape(op, "block_table", block_table, {batch, per_sequence});
  check_range(op, "block_table: pages per sequence", per_sequence, 1,
              std::numeric_limits<int32_t>::max() / page_size);
  check_range(op, cache_name, cache.dim(0), 1, std::numeric_limits<int32_t>::max());
  return {address_of(block_table), per_sequence, page_size, cache.dim(0)};
}

void check_head_dim(const char* op, const char* parameter, int64_t dim) {
  if (dim % 8 != 0 || dim < 8 || dim > kMaxHeadDim) {
    fail(op, parameter, "head dim " + std::to_string(dim),
         "a multiple of 8 from 8 to " + std::to_string(kMaxHeadDim));
  }
}

void check_head_counts(const char* op, int64_t batch, int64_t num_heads, int64_t num_kv_heads) {
  const auto rows = base::checked_mul(batch, num_heads);
  if (!rows || *rows > kMaxHeadRows) {
    fail(op, "q", std::to_string(batch) + " sequences of " + std::to_string(num_heads) + " heads",
         "at most " + std::to_string(kMaxHeadRows) + " heads in all");
  }
  if (num_heads % num_kv_heads != 0) {
    fail(op, "q", std::to_string(num_heads) + " heads",
         "a multiple of the " + std::to_string(num_kv_heads) + " heads of k");
  }
}

void check_score_rule(const char* op, float softmax_scale, float logits_soft_cap) {
  check_finite(op, "softmax_scale", softmax_scale);
  check_eps(op, "logits_soft_cap", logits_soft_cap);
}

void check_decode_mask(const char* op, MaskKind mask, int64_t window_size,
                       const Lengths& ring_start) {
  switch (mask) {
    case MaskKind::kNone:
    case MaskKind::kCausal:
      if (window_size != 0) {
        fail(op, "window_size", std::to_string(window_size), "0 unless mask is kWindow or kChunk");
      }
      return;
    case MaskKind::kChunk:
      if (!ring_start.empty()) {
        fail(op, "mask", "kChunk with ring_start", "positions that count from 0");
      }
      return check_min(op, "window_size", window_size, 1);
    case MaskKind::kWindow:
      return check_min(op, "window_size", window_size, 1);
  }
  fail(op, "mask", std::to_string(static_cast<int>(mask)), "kNone, kCausal, kWindow or kChunk");
}

void check_chunk(const char* op, const CacheReach& cache, std::optional<int64_t> kv_len,
                 std::optional<int64_t> q_len, const Lengths& q_offset, int64_t b) {
  if (!kv_len || !q_len || q_offset.device.valid()) return;
  const int64_t offset = host_value(q_offset, b).value_or(*kv_len - *q_len);
  if (offset > 0 && offset + *q_len > *kv_len) {
    fail(op, "q_offset",
         std::to_string(offset) + " with " + std::to_string(*q_len) + " queries and kv_len " +
             std::to_string(*kv_len),
         "q_offset + queries at most kv_len");
  }
  if (!cache.ring || *kv_len <= cache.capacity || *q_len == 0) return;
  int64_t oldest = 0;
  // A window of all positions blocks nothing, and a huge one behind a first query before position 0
  // has no end in 64 bits.
  if (cache.window_size > 0 && cache.window_size <= *kv_len) {
    oldest = std::max<int64_t>(0, offset - cache.window_size + 1);
  }
  if (cache.chunk_size > 0 && offset > 0) {
    oldest = std::max(oldest, offset / cache.chunk_size * cache.chunk_size);
  }
  if (*kv_len - oldest > cache.capacity) {
    fail(op, "k: capacity", std::to_string(cache.capacity) + " slots of a ring",
         "at least " + std::to_string(*kv_len - oldest) + ", from the oldest key that the first " +
             "query sees to the newest");
  }
}

void check_lengths(const char* op, const char* parameter, const Device& device,
                   const Lengths& lengths, int64_t batch, int64_t min, int64_t max) {
  if (lengths.device.valid()) {
    check_buffer(op, parameter, lengths.device, device, {i32});
    check_shape(op, parameter, lengths.device, {batch});
    return;
  }
  const auto count = static_cast<int64_t>(lengths.host.size());
  if (count != 1 && count != batch) {
    fail(op, parameter, std::to_string(count) + " values",
         batch == 1 ? "1" : "1 or " + std::to_string(batch));
  }
  for (int64_t value : lengths.host) check_range(op, parameter, value, min, max);
}

int64_t check_starts(const char* op, const char* parameter, const Device& device,
                     const Lengths& starts, int64_t total) {
  if (starts.device.valid()) {
    check_buffer(op, parameter, starts.device, device, {i32});
    if (starts.device.rank() != 1 || starts.device.dim(0) < 2) {
      fail(op, parameter, "shape " + to_string(starts.device.shape()), "[sequences + 1]");
    }
    return starts.device.dim(0) - 1;
  }
  const auto count = static_cast<int64_t>(starts.host.size());
  if (count < 2) fail(op, parameter, std::to_string(count) + " values", "at least 2");
  int64_t least = 0;
  for (int64_t start : starts.host) {
    check_range(op, parameter, start, least, total);
    least = start;
  }
  if (starts.host.front() != 0) {
    fail(op, parameter, std::to_string(starts.host.front()), "0 as the first value");
  }
  return count - 1;
}

std::optional<int64_t> host_value(const Lengths& lengths, int64_t b) {
  if (lengths.device.valid() || lengths.host.empty()) return std::nullopt;
  return lengths.host.size() == 1 ? lengths.host[0] : lengths.host[static_cast<size_t>(b)];
}

int64_t token_count(const char* op, const char* name, const Buffer& src, int64_t src_offset,
                    int64_t n) {
  check_range(op, "src_offset", src_offset, 0, src.dim(1));
  check_min(op, "n", n, -1);
  const int64_t left = src.dim(1) - src_offset;
  if (n > left) {
    fail(op, "n", std::to_string(n) + " from src_offset " + std::to_string(src_offset),
         "at most the " + std::to_string(left) + " tokens that " + name + " has there");
  }
  return n == -1 ? left : n;
}

bool is_empty(const Buffer& buffer) {
  return buffer.valid() &&
         std::find(buffer.shape().begin(), buffer.shape().end(), 0) != buffer.shape().end();
}

Buffer resolve_lengths(Stream& stream, const Lengths& lengths, int64_t batch) {
  if (lengths.device.valid()) return lengths.device;
  const Buffer bytes = stream.impl().scratch(static_cast<size_t>(batch) * sizeof(int32_t));
  const Buffer values = bytes.view_as(i32, {batch});
  std::vector<int32_t> host(static_cast<size_t>(batch));
  for (int64_t b = 0; b < batch; ++b) {
    host[static_cast<size_t>(b)] = static_cast<int32_t>(*host_value(lengths, b));
  }
  stream.device().upload(values, host.data());  // no work uses fresh scratch yet
  return values;
}

}  // namespace mlxn::ops
