// SPDX-License-Identifier: Apache-2.0
#include "models/gemma/decoder.h"

#include <cmath>
#include <utility>

#include "mlxn/ops/elementwise.h"
#include "mlxn/ops/embed.h"
#include "ops/fused.h"

namespace mlxn::models {
namespace {

// A divisor this large stops a pair from turning at any position.
constexpr float kNoRotation = 1e29f;

// Inverse frequencies without the pairs at the end that do not turn; empty if none does.
Buffer inverse_frequencies(const Device& device, const RopeConfig& rope, int64_t head_dim) {
  std::vector<float> divisors = rope_divisors(rope, head_dim);
  if (divisors.empty()) divisors.assign(static_cast<size_t>(head_dim / 2), 1.0f);
  while (!divisors.empty() && divisors.back() >= kNoRotation) divisors.pop_back();
  if (divisors.empty()) return {};
  const auto pairs = static_cast<int64_t>(divisors.size());
  const auto inverse = ops::rope_frequencies(rope.theta, 2 * pairs, head_dim, divisors);
  return device.upload(inverse.data(), f32, {pairs});
}

float round_to(DType dtype, float value) {
  if (dtype == DType::kF16) return to_float(to_f16(value));
  if (dtype == DType::kBF16) return to_float(to_bf16(value));
  return value;
}

// [count, rows of the trace's middle extent ..] -> entry `index`.
Buffer trace_entry(const Buffer& trace, size_t index) {
  const Buffer entry = trace.rows(static_cast<int64_t>(index), 1);
  return entry.reshape(Shape(trace.shape().begin() + 1, trace.shape().end()));
}

}  // namespace

// One run through the layers: `rows` tokens of the span are still on their way.
struct Decoder::Pass {
  TokenSpan span;
  Buffer ids;             // i32 [span.count]
  Buffer x;               // [rows, H], the residual stream
  int64_t first_row = 0;  // tokens of the span that were dropped
  Want want = Want::kLast;
  Trace trace;

  int64_t rows() const { return span.count; }
};

Decoder::Decoder(const Device& device, ModelConfig config, GemmaWeights weights, const Plan& plan)
    : config_(std::move(config)),
      weights_(std::move(weights)),
      first_reader_layer_(plan.first_reader_layer),
      scratch_(device, plan.scratch, config_.num_layers()) {
  for (size_t i = 0; i < config_.layers.size(); ++i) {
    shapes_.push_back(attention_shape(config_.layers[i]));
    shapes_.back().inv_freq = inverse_frequencies(device, config_.rope(config_.layers[i].type),
                                                  config_.layers[i].head_dim);
    caches_.push_back(plan.caches[i] ? KvCache(device, *plan.caches[i]) : KvCache());
    if (caches_[i].valid()) cache_bytes_ += static_cast<uint64_t>(caches_[i].bytes());
  }
  const float root = std::sqrt(static_cast<float>(config_.per_layer_input_size));
  per_layer_embedding_scale_ = round_to(config_.float_dtype, root);
}

AttentionShape Decoder::attention_shape(const LayerConfig& layer) const {
  return {.num_heads = config_.num_heads,
          .num_kv_heads = layer.num_kv_heads,
          .head_dim = layer.head_dim,
          .softmax_scale = static_cast<float>(config_.softmax_scale),
          .logits_soft_cap = static_cast<float>(config_.attn_logits_soft_cap),
          .eps = static_cast<float>(config_.rms_norm_eps),
          .norm_weight_offset = config_.norm_weight_offset,
          .norm_v = config_.family == ModelFamily::kGemma4,
          .inv_freq = {}};
}

const KvCache& Decoder::cache_of(size_t layer) const {
  const int64_t owner = config_.layers[layer].kv_shared_from;
  return caches_[owner >= 0 ? static_cast<size_t>(owner) : layer];
}

void Decoder::prefill(Stream& stream, int64_t sequence, int64_t start, int64_t count, Want want,
                      const Buffer& all_logits, const Trace& trace) {
  Pass pass;
  pass.span = {.decode = false,
               .sequence = sequence,
               .count = count,
               .start = Lengths(start),
               .kv_len = Lengths(start + count),
               .positions = scratch_.positions(count)};
  pass.ids = scratch_.ids(count);
  pass.want = want;
  pass.trace = trace;
  embed(stream, pass);
  pass.x = scratch_.x(count);
  run_layers(stream, pass);
  if (want == Want::kLast) head(stream, scratch_.logits(1));
  if (want == Want::kAll) head(stream, all_logits);
}

void Decoder::decode(Stream& stream, int64_t batch) {
  const StepState& step = scratch_.step();
  Pass pass;
  pass.span = {.decode = true,
               .sequence = 0,
               .count = batch,
               .start = Lengths(step.positions.rows(0, batch)),
               .kv_len = Lengths(step.kv_len.rows(0, batch)),
               .positions = step.positions.rows(0, batch)};
  pass.ids = step.tokens.rows(0, batch);
  pass.want = Want::kAll;
  embed(stream, pass);
  pass.x = scratch_.x(batch);
  run_layers(stream, pass);
  head(stream, scratch_.logits(batch));
}

// x = embedding * scale, and the per-layer inputs that follow from ids and x.
void Decoder::embed(Stream& stream, const Pass& pass) {
  const int64_t rows = pass.rows();
  const Buffer x = scratch_.x(rows);
  ops::embed(stream, {.table = weights_.embed_tokens,
                      .ids = pass.ids,
                      .out = x,
                      .scale = config_.embedding_scale});
  if (config_.per_layer_input_size == 0) return;
  const Buffer inputs = scratch_.per_layer_inputs(rows);
  const Buffer context = scratch_.per_layer_context(rows);
  ops::embed(stream, {.table = weights_.embed_tokens_per_layer,
                      .ids = pass.ids,
                      .out = inputs,
                      .scale = per_layer_embedding_scale_});
  ops::matmul(stream, {.x = x, .weight = weights_.per_layer_model_projection, .out = context});
  // The paper norms context / sqrt(H); eps * H with the undivided context is the same number.
  const Shape per_layer = {rows * config_.num_layers(), config_.per_layer_input_size};
  ops::rms_norm_add(stream, {.residual = inputs.reshape(per_layer),
                             .x = context.reshape(per_layer),
                             .weight = weights_.per_layer_projection_norm,
                             .out = inputs.reshape(per_layer),
                             .eps = static_cast<float>(config_.rms_norm_eps *
                                                       static_cast<double>(config_.hidden_size)),
                             .scale = std::sqrt(0.5f)});
}

ops::RmsNormArgs Decoder::norm_of(const Pass& pass, const Buffer& weight, const Buffer& out) const {
  return {.x = pass.x,
          .weight = weight,
          .out = out,
          .eps = static_cast<float>(config_.rms_norm_eps),
          .weight_offset = config_.norm_weight_offset};
}

// x = (x + norm(branch)) * scale
ops::RmsNormAddArgs Decoder::join(const Pass& pass, const Buffer& weight, float scale) const {
  return {.residual = pass.x,
          .x = scratch_.branch(pass.rows()),
          .weight = weight,
          .out = pass.x,
          .eps = static_cast<float>(config_.rms_norm_eps),
          .weight_offset = config_.norm_weight_offset,
          .scale = scale};
}

// norm(x) for layer `index`, or for the head.
ops::RmsNormArgs Decoder::input_norm(const Pass& pass, size_t index) const {
  const bool is_head = index == weights_.layers.size();
  return norm_of(pass, is_head ? weights_.norm : weights_.layers[index].input_norm,
                 scratch_.normed(pass.rows()));
}

void Decoder::run_layers(Stream& stream, Pass& pass) {
  const Buffer& hidden = pass.trace.hidden;
  if (hidden) ops::cast(stream, {.x = pass.x, .out = trace_entry(hidden, 0)});
  ops::rms_norm(stream, input_norm(pass, 0));
  for (size_t i = 0; i < config_.layers.size(); ++i) {
    if (pass.want == Want::kNothing && static_cast<int64_t>(i) >= first_reader_layer_) return;
    layer(stream, pass, i);
    // What ops stage for a long prompt is freed layer by layer; a decode step is captured whole.
    if (!pass.span.decode) stream.commit();
    if (hidden) ops::cast(stream, {.x = pass.x, .out = trace_entry(hidden, i + 1)});
  }
}

// From scratch().normed, which input_norm() has filled, to that of the next layer.
void Decoder::layer(Stream& stream, Pass& pass, size_t index) {
  const GemmaLayerWeights& w = weights_.layers[index];
  const AttentionShape& shape = shapes_[index];
  Buffer h = scratch_.normed(pass.rows());
  // Once the last cache is written, only rows whose logits are wanted have work left.
  const bool drops_rows =
      static_cast<int64_t>(index) + 1 >= first_reader_layer_ && pass.want != Want::kAll;
  const bool owns_cache = config_.layers[index].kv_shared_from < 0;
  if (owns_cache) {
    append(stream, w.attention, shape, pass.span, h, scratch_.attention(pass.rows(), shape),
           caches_[index], !drops_rows);
  }
  if (drops_rows) {
    if (pass.want == Want::kNothing) return;
    const int64_t dropped = pass.rows() - 1;
    pass.first_row += dropped;
    pass.span = last_tokens(pass.span, 1);
    pass.x = pass.x.rows(dropped, 1);
    h = h.rows(dropped, 1);
  }
  const AttentionScratch attention = scratch_.attention(pass.rows(), shape);
  if (drops_rows || !owns_cache) {
    project_queries(stream, w.attention, shape, pass.span, h, attention);
  }
  attend(stream, w.attention, shape, pass.span, attention, cache_of(index),
         scratch_.branch(pass.rows()));
  feed_forward(stream, pass, index);
  if (config_.per_layer_input_size > 0) per_layer_input(stream, pass, index);
}

// x = x + norm(branch of attention)
// x = (x + norm(mlp(norm(x)) [+ experts])) [* layer_scalar]
void Decoder::feed_forward(Stream& stream, const Pass& pass, size_t index) {
  const GemmaLayerWeights& w = weights_.layers[index];
  const int64_t rows = pass.rows();
  const bool has_experts = config_.moe.num_experts > 0;
  const Buffer h = scratch_.normed(rows);
  const Buffer branch = scratch_.branch(rows);
  ops::ResidualNormsArgs before{.join = join(pass, w.post_attention_norm),
                                .normed = {norm_of(pass, w.pre_feedforward_norm, h)}};
  MoeScratch moe;
  if (has_experts) {
    moe = scratch_.moe(rows);
    if (pass.trace.router_ids) moe.ids = trace_entry(pass.trace.router_ids, index);
    if (pass.trace.router_weights) moe.weights = trace_entry(pass.trace.router_weights, index);
    before.normed.push_back(norm_of(pass, w.moe.router_scale, moe.router_input));
    before.normed.back().weight_offset = 0.0f;
    before.normed.push_back(norm_of(pass, w.pre_feedforward_norm_2, moe.expert_input));
  }
  ops::residual_norms(stream, before);

  if (has_experts) route(stream, w.moe, moe);
  mlp(stream, w.mlp, h, scratch_.mlp(rows, config_.layers[index].intermediate_size), branch);

  ops::ResidualNormsArgs behind{.join = join(pass, w.post_feedforward_norm), .normed = {}};
  if (has_experts) {
    run_experts(stream, w.moe, moe);
    const Buffer mixed = scratch_.branch2(rows);
    behind.combine = {.y = moe.down, .weights = moe.weights, .out = mixed};
    behind.x_norm = norm_of(pass, w.post_feedforward_norm_1, branch);
    behind.x_norm.x = branch;
    behind.experts_norm = join(pass, w.post_feedforward_norm_2);
    behind.experts_norm.residual = behind.experts_norm.out = branch;
    behind.experts_norm.x = mixed;
  }
  if (config_.per_layer_input_size == 0) {
    behind.join.scale = w.layer_scalar;
    behind.normed.push_back(input_norm(pass, index + 1));
  }
  ops::residual_norms(stream, behind);
}

// x = (x + norm(projection(gelu(gate(x)) * input of this layer))) * layer_scalar
void Decoder::per_layer_input(Stream& stream, const Pass& pass, size_t index) {
  const GemmaLayerWeights& w = weights_.layers[index];
  const int64_t rows = pass.rows();
  const int64_t size = config_.per_layer_input_size;
  const Buffer gate = scratch_.per_layer_gate(rows);
  const Buffer input = scratch_.per_layer_input(rows);
  const Buffer branch = scratch_.branch(rows);
  // Row t * L + index of the inputs seen as [T * L, P] belongs to token t.
  const int64_t table_rows = (pass.first_row + rows) * config_.num_layers();
  const Weight table{
      .format = Format::kF32,
      .shape = {table_rows, size},
      .data = scratch_.per_layer_inputs(pass.first_row + rows).reshape({table_rows, size})};
  ops::embed(stream,
             {.table = table,
              .ids = scratch_.per_layer_index(static_cast<int64_t>(index), pass.first_row, rows),
              .out = input});
  ops::matmul(stream, {.x = pass.x, .weight = w.per_layer_input_gate, .out = gate});
  ops::glu(stream,
           {.gate = gate, .up = input, .out = gate, .activation = ops::Activation::kGeluTanh});
  ops::matmul(stream, {.x = gate, .weight = w.per_layer_projection, .out = branch});
  ops::residual_norms(stream, {.join = join(pass, w.post_per_layer_input_norm, w.layer_scalar),
                               .normed = {input_norm(pass, index + 1)}});
}

// From scratch().normed, which input_norm() has filled.
void Decoder::head(Stream& stream, const Buffer& logits) {
  const Buffer h = scratch_.normed(logits.dim(0));
  ops::matmul(stream, {.x = h, .weight = weights_.lm_head, .out = logits});
  if (config_.final_logits_soft_cap > 0.0) {
    ops::softcap(
        stream,
        {.x = logits, .out = logits, .cap = static_cast<float>(config_.final_logits_soft_cap)});
  }
}

}  // namespace mlxn::models
