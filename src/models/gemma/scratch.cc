// SPDX-License-Identifier: Apache-2.0
#include "models/gemma/scratch.h"

#include "base/checked.h"

namespace mlxn::models {
namespace {

// Buffers of the plan in one place, so that counting and allocating cannot disagree.
// visit(buffer number, dtype, shape)
template <typename Visit>
void for_each_buffer(const ScratchPlan& p, Visit visit) {
  const int64_t t = p.rows;
  for (int i = 0; i < 4; ++i) visit(f32, Shape{t, p.hidden});  // x, normed, branch, branch2
  visit(f32, Shape{p.logit_rows, p.vocab});
  visit(f32, Shape{t * p.q});
  visit(f32, Shape{t * p.kv});
  visit(f32, Shape{t * p.kv});
  visit(f32, Shape{t * p.q});
  visit(f32, Shape{t * p.mlp});
  visit(f32, Shape{t * p.mlp});
  visit(i32, Shape{t});
  visit(i32, Shape{t});
  for (int i = 0; i < 3; ++i) visit(i32, Shape{p.batch});
  if (p.experts > 0) {
    for (int i = 0; i < 2; ++i) visit(f32, Shape{t, p.hidden});
    visit(f32, Shape{t, p.experts});
    visit(u32, Shape{t, p.top_k});
    visit(f32, Shape{t, p.top_k});
    visit(f32, Shape{t, p.top_k, 2 * p.expert_width});
    visit(f32, Shape{t, p.top_k, p.expert_width});
    visit(f32, Shape{t, p.top_k, p.hidden});
  }
  if (p.per_layer_input > 0) {
    visit(f32, Shape{t, p.per_layer_inputs});
    visit(f32, Shape{t, p.per_layer_inputs});
    visit(f32, Shape{t, p.per_layer_input});
    visit(f32, Shape{t, p.per_layer_input});
    visit(i32, Shape{p.per_layer_inputs / p.per_layer_input, t});
  }
}

uint64_t checked_bytes(const Shape& shape, DType dtype) {
  const auto count = base::checked_product(shape);
  const auto bytes =
      count ? base::checked_mul(*count, static_cast<int64_t>(size_of(dtype))) : std::nullopt;
  if (!bytes) {
    throw Error(ErrorKind::kConfig,
                ErrorDetail{"model memory", "shape", to_string(shape), "a byte length below 2^63"});
  }
  return static_cast<uint64_t>(*bytes);
}

uint64_t checked_sum(uint64_t a, uint64_t b) {
  const auto sum = base::checked_add(a, b);
  if (!sum) {
    throw Error(ErrorKind::kConfig,
                ErrorDetail{"model memory", "total", "more than 2^64", "below 2^64 bytes"});
  }
  return *sum;
}

}  // namespace

uint64_t scratch_bytes(const Plan& plan) {
  uint64_t total = 0;
  for_each_buffer(plan.scratch, [&](DType dtype, const Shape& shape) {
    total = checked_sum(total, checked_bytes(shape, dtype));
  });
  return total;
}

uint64_t cache_bytes(const Plan& plan) {
  uint64_t total = 0;
  for (const auto& cache : plan.caches) {
    if (cache) total = checked_sum(total, static_cast<uint64_t>(KvCache::cache_bytes(*cache)));
  }
  return total;
}

Scratch::Scratch(const Device& device, const ScratchPlan& plan, int64_t num_layers) : plan_(plan) {
  // In the order of for_each_buffer.
  Buffer* const all[] = {&x_,          &normed_, &branch_,    &branch2_,       &logits_,
                         &q_,          &k_,      &v_,         &attention_out_, &gate_,
                         &up_,         &ids_,    &positions_, &step_.tokens,   &step_.positions,
                         &step_.kv_len};
  Buffer* const moe[] = {&router_input_,   &expert_input_,   &router_logits_, &expert_ids_,
                         &expert_weights_, &expert_gate_up_, &expert_hidden_, &expert_down_};
  Buffer* const per_layer[] = {&per_layer_inputs_, &per_layer_context_, &per_layer_gate_,
                               &per_layer_input_, &per_layer_index_};
  std::vector<Buffer*> buffers(std::begin(all), std::end(all));
  if (plan.experts > 0) buffers.insert(buffers.end(), std::begin(moe), std::end(moe));
  if (plan.per_layer_input > 0) {
    buffers.insert(buffers.end(), std::begin(per_layer), std::end(per_layer));
  }
  size_t next = 0;
  for_each_buffer(plan, [&](DType dtype, const Shape& shape) {
    *buffers.at(next++) = alloc(device, dtype, shape);
  });
  if (plan.per_layer_input > 0) fill_index(device, num_layers);
}

Buffer Scratch::alloc(const Device& device, DType dtype, const Shape& shape) {
  Buffer buffer = device.alloc(dtype, shape);
  bytes_ += buffer.byte_len();
  return buffer;
}

void Scratch::fill_index(const Device& device, int64_t num_layers) {
  std::vector<int32_t> index(static_cast<size_t>(per_layer_index_.element_count()));
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    for (int64_t row = 0; row < plan_.rows; ++row) {
      index[static_cast<size_t>(layer * plan_.rows + row)] =
          static_cast<int32_t>(row * num_layers + layer);
    }
  }
  device.upload(per_layer_index_, index.data());
}

Buffer Scratch::per_layer_index(int64_t layer, int64_t first_row, int64_t rows) const {
  const int64_t first = layer * plan_.rows + first_row;
  return per_layer_index_.slice(static_cast<size_t>(first) * sizeof(int32_t), rows);
}

AttentionScratch Scratch::attention(int64_t rows, const AttentionShape& shape) const {
  const Shape q = {rows, shape.num_heads, shape.head_dim};
  const Shape kv = {rows, shape.num_kv_heads, shape.head_dim};
  const int64_t q_count = rows * shape.num_heads * shape.head_dim;
  const int64_t kv_count = rows * shape.num_kv_heads * shape.head_dim;
  return {q_.slice(0, q_count).reshape(q), k_.slice(0, kv_count).reshape(kv),
          v_.slice(0, kv_count).reshape(kv), attention_out_.slice(0, q_count).reshape(q)};
}

MlpScratch Scratch::mlp(int64_t rows, int64_t width) const {
  const Shape shape = {rows, width};
  return {gate_.slice(0, rows * width).reshape(shape), up_.slice(0, rows * width).reshape(shape)};
}

MoeScratch Scratch::moe(int64_t rows) const {
  return {router_input_.rows(0, rows),   expert_input_.rows(0, rows),
          router_logits_.rows(0, rows),  expert_ids_.rows(0, rows),
          expert_weights_.rows(0, rows), expert_gate_up_.rows(0, rows),
          expert_hidden_.rows(0, rows),  expert_down_.rows(0, rows)};
}

}  // namespace mlxn::models
