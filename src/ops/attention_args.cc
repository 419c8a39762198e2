// SPDX-License-Identifier: Apache-2.0
#include "ops/attention_args.h"

#include <cmath>

#include "backends/backend.h"
#include "base/checked.h"

namespace mlxn::ops {

void check_attention_buffers(const char* op, const Device& device, const Buffer& q, const Buffer& k,
                             const Buffer& v, const Buffer& out, size_t q_rank) {
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
  check_rank("k", k, 4);
  check_rank("v", v, 4);
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

std::optional<int64_t> host_value(const Lengths& lengths, int64_t b) {
  if (lengths.device.valid() || lengths.host.empty()) return std::nullopt;
  return lengths.host.size() == 1 ? lengths.host[0] : lengths.host[static_cast<size_t>(b)];
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
