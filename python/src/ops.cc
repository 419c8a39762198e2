// SPDX-License-Identifier: Apache-2.0
// Every op of include/mlxn/ops with its fields. python/tests/test_coverage.py compares with the
// headers.
#include "fields.h"

namespace mlxn::python {

template <>
const EnumNames kEnumNames<ops::Activation> = {"activation",
                                               {"gelu_tanh", "gelu_erf", "silu", "sigmoid"}};
template <>
const EnumNames kEnumNames<ops::RopePairing> = {"pairing",
                                                {"split_head", "split_rotary", "interleaved"}};
template <>
const EnumNames kEnumNames<ops::RouteMode> = {"mode", {"softmax_top_k", "top_k_softmax"}};
template <>
const EnumNames kEnumNames<ops::FwhtMode> = {"mode", {"plain", "forward", "inverse"}};
template <>
const EnumNames kEnumNames<ops::MaskKind> = {"mask", {"none", "causal", "window", "chunk"}};
template <>
const EnumNames kEnumNames<ops::SeqLayout> = {"layout", {"head_major", "seq_major"}};
template <>
const EnumNames kEnumNames<ops::CacheLayout> = {"layout", {"head_major", "token_major"}};

namespace {

void bind_norms(nb::module_& m) {
  bind_op<5>(m, "rms_norm", ops::rms_norm, "x weight out eps weight_offset");
  bind_op<7>(m, "add_rms_norm", ops::add_rms_norm, "residual x weight sum out eps weight_offset");
  bind_op<7>(m, "rms_norm_add", ops::rms_norm_add, "residual x weight out eps weight_offset scale");
  bind_op<6>(m, "rms_norm_mul", ops::rms_norm_mul, "x weight factor out eps weight_offset");
  bind_op<5>(m, "rope", ops::rope, "x positions inv_freq out pairing");
  bind_op<8>(m, "head_norm_rope", ops::head_norm_rope,
             "x weight positions inv_freq out pairing eps weight_offset");
}

void bind_elementwise(nb::module_& m) {
  bind_op<3>(m, "add", ops::add, "a b out");
  bind_op<3>(m, "mul", ops::mul, "a b out");
  bind_op<3>(m, "scale", ops::scale, "x out factor");
  bind_op<3>(m, "softcap", ops::softcap, "x out cap");
  bind_op<4>(m, "glu", ops::glu, "gate up out activation");
  bind_op<2>(m, "cast", ops::cast, "x out");
  bind_op<2>(m, "softmax", ops::softmax, "x out");
  bind_op<4>(m, "axpy", ops::axpy, "x y out a");
}

void bind_weights(nb::module_& m) {
  bind_op<2>(m, "dequantize", ops::dequantize, "weight out");
  bind_op<4>(m, "embed", ops::embed, "table ids out scale");
  bind_op<4>(m, "matmul", ops::matmul, "x weight out residual");
  bind_op<5>(m, "expert_matmul", ops::expert_matmul, "x weight ids out per_slot_input");
  bind_op<6>(m, "moe_route", ops::moe_route, "logits expert_scale ids weights mode renormalize");
  bind_op<6>(m, "moe_combine", ops::moe_combine, "y weights shared shared_gate residual out");
}

void bind_sampling(nb::module_& m) {
  bind_op<3>(m, "argmax", ops::argmax, "x indices values");
  bind_op<3>(m, "top_k", ops::top_k, "x indices values");
  bind_op<9>(m, "sample", ops::sample,
             "logits params history history_len suppress positions sequence_ids tokens logprobs");
}

void bind_attention(nb::module_& m) {
  bind_op<16>(m, "attn_decode", ops::attn_decode,
              "q k v out kv_len ring_start ring softmax_scale logits_soft_cap mask window_size "
              "n_split sinks alibi_slopes lse block_table");
  bind_op<25>(m, "attn_prefill", ops::attn_prefill,
              "q k v out q_layout kv_layout kv_len q_offset ring_start ring softmax_scale "
              "logits_soft_cap causal window_size window_ahead chunk_size prefix_len mask "
              "mask_tiles q_starts k_starts sinks alibi_slopes lse block_table");
  bind_op<4>(m, "attn_merge", ops::attn_merge, "parts lse out out_lse");
  bind_op<10>(m, "kv_append", ops::kv_append,
              "k k_cache v v_cache src_offset n pos ring layout block_table");
  bind_op<4>(m, "attn_mask_build", ops::attn_mask_build, "out q_offset causal window_size");
  bind_op<2>(m, "attn_mask_classify", ops::attn_mask_classify, "mask tiles");
}

void bind_turboquant(nb::module_& m) {
  bind_op<5>(m, "fwht", ops::fwht, "x out mode signs blocks");
  bind_op<8>(m, "tq_encode", ops::tq_encode,
             "src to src_offset n pos ring norm_correction block_table");
  bind_op<4>(m, "tq_decode", ops::tq_decode, "from out first_slot rotate_back");
  bind_op<17>(m, "attn_decode_tq", ops::attn_decode_tq,
              "q k v out kv_len ring_start ring softmax_scale logits_soft_cap mask window_size "
              "n_split rotated sinks alibi_slopes lse block_table");
  bind_op<21>(
      m, "attn_prefill_tq", ops::attn_prefill_tq,
      "q k v out q_layout kv_len q_offset ring_start ring softmax_scale logits_soft_cap causal "
      "window_size rotated window_ahead chunk_size prefix_len sinks alibi_slopes lse block_table");
}

}  // namespace

void bind_ops(nb::module_& m) {
  nb::module_ raw = m.def_submodule("_ops", "Ops with explicit outputs, recorded on a stream.");
  raw.attr("FIELDS") = nb::dict();
  nb::class_<ops::SamplingParams>(m, "SamplingParams", "How a token is drawn from logits.")
      .def(nb::init<>())
      .def_rw("temperature", &ops::SamplingParams::temperature)
      .def_rw("top_k", &ops::SamplingParams::top_k)
      .def_rw("top_p", &ops::SamplingParams::top_p)
      .def_rw("min_p", &ops::SamplingParams::min_p)
      .def_rw("repetition_penalty", &ops::SamplingParams::repetition_penalty)
      .def_rw("presence_penalty", &ops::SamplingParams::presence_penalty)
      .def_rw("frequency_penalty", &ops::SamplingParams::frequency_penalty)
      .def_rw("penalty_window", &ops::SamplingParams::penalty_window)
      .def_rw("seed", &ops::SamplingParams::seed);
  bind_norms(raw);
  bind_elementwise(raw);
  bind_weights(raw);
  bind_sampling(raw);
  bind_attention(raw);
  bind_turboquant(raw);
}

}  // namespace mlxn::python
