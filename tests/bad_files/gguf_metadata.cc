// SPDX-License-Identifier: Apache-2.0
// GGUF metadata that describes no model of the Gemma family.
#include "checkpoint/gguf_metadata.h"

#include <cmath>

#include "bad_file.h"

namespace mlxn::bad_files {
namespace {

using namespace checkpoint;
using enum ErrorKind;

BadFile metadata(const char* rule, ErrorKind kind, const char* text, const Metadata& metadata) {
  return {std::string("gguf metadata: ") + rule, kind,        text,
          {{"m.gguf", metadata.build()}},        Step::kOpen, "m.gguf"};
}

}  // namespace

BadFiles gguf_configs() {
  const std::string sliding("\1\0", 2);
  return {
      metadata("another architecture", kConfig,
               "m.gguf: general.architecture: found \"llama\", required gemma3 or gemma4 (text "
               "decoders)",
               Metadata("llama")),
      metadata("no block_count", kConfig,
               "m.gguf: gemma4.block_count: found nothing, required an integer from 1 to 1024",
               gemma4().erase("block_count")),
      metadata("block_count 0", kGguf,
               "m.gguf: gemma4.block_count: found 0, required an integer from 1 to 1024",
               gemma4().u32("block_count", 0)),
      metadata("block_count over the limit", kGguf,
               "m.gguf: gemma4.block_count: found 4000000000, required an integer from 1 to 1024",
               gemma4().u32("block_count", 4000000000u)),
      metadata("block_count of text", kGguf,
               "m.gguf: gemma4.block_count: found type string, required an integer from 1 to 1024",
               gemma4().text("block_count", "four")),
      metadata(
          "no embedding_length", kConfig,
          "m.gguf: gemma4.embedding_length: found nothing, required an integer from 1 to 1048576",
          gemma4().erase("embedding_length")),
      metadata("embedding_length 0", kGguf,
               "m.gguf: gemma4.embedding_length: found 0, required an integer from 1 to 1048576",
               gemma4().u32("embedding_length", 0)),
      metadata(
          "no context_length", kConfig,
          "m.gguf: gemma4.context_length: found nothing, required an integer from 1 to 2147483648",
          gemma4().erase("context_length")),
      metadata("no feed_forward_length", kConfig,
               "m.gguf: gemma4.feed_forward_length: found nothing, required an integer from 1 to "
               "1048576",
               gemma4().erase("feed_forward_length")),
      metadata("feed_forward_length for two of four layers", kConfig,
               "m.gguf: gemma4.feed_forward_length: found 2 values, required 4, one per layer",
               gemma4().u32s("feed_forward_length", {96, 96})),
      metadata(
          "feed_forward_length 0 of a layer", kGguf,
          "m.gguf: gemma4.feed_forward_length[3]: found 0, required an integer from 1 to 1048576",
          gemma4().u32s("feed_forward_length", {96, 96, 96, 0})),
      metadata(
          "no head_count", kConfig,
          "m.gguf: gemma4.attention.head_count: found nothing, required an integer from 1 to 4096",
          gemma4().erase("attention.head_count")),
      metadata(
          "head counts differ", kConfig,
          "m.gguf: gemma4.attention.head_count: found 4 and 8, required the same in every layer",
          gemma4().u32s("attention.head_count", {4, 4, 4, 8})),
      metadata("head_count_kv for three of four layers", kConfig,
               "m.gguf: gemma4.attention.head_count_kv: found 3 values, required 4, one per layer",
               gemma4().u32s("attention.head_count_kv", {4, 4, 4})),
      metadata("head_count_kv does not divide the heads", kConfig,
               "m.gguf: num_key_value_heads of layer 3: found 3, required a divisor of "
               "num_attention_heads 4",
               gemma4().u32s("attention.head_count_kv", {4, 4, 4, 3})),
      metadata("key_length over the limit", kGguf,
               "m.gguf: gemma4.attention.key_length: found 1024, required an integer from 1 to 512",
               gemma4().u32("attention.key_length", 1024)),
      metadata("key_length_swa no multiple of 8", kConfig,
               "m.gguf: head_dim of layer 0: found 12, required a multiple of 8",
               gemma4().u32("attention.key_length_swa", 12)),
      metadata("value_length differs", kConfig,
               "m.gguf: gemma4.attention.value_length: found 8, required 16, the key length",
               gemma4().u32("attention.value_length", 8)),
      metadata("dimension_count differs", kConfig,
               "m.gguf: gemma4.rope.dimension_count: found 8, required 16, the key length",
               gemma4().u32("rope.dimension_count", 8)),
      metadata("dimension_count_swa differs", kConfig,
               "m.gguf: gemma4.rope.dimension_count_swa: found 16, required 8, the key length",
               gemma4().u32("rope.dimension_count_swa", 16)),
      metadata("no sliding_window", kConfig,
               "m.gguf: sliding_window: found 0, required 1 to 2147483648",
               gemma4().erase("attention.sliding_window")),
      metadata("no sliding_window_pattern", kConfig,
               "m.gguf: gemma4.attention.sliding_window_pattern: found nothing, required one bool "
               "per layer",
               gemma4().erase("attention.sliding_window_pattern")),
      metadata("sliding_window_pattern of a number", kGguf,
               "m.gguf: gemma4.attention.sliding_window_pattern: found type u32, required an array "
               "of bools",
               gemma4().u32("attention.sliding_window_pattern", 6)),
      metadata("sliding_window_pattern for two of four layers", kConfig,
               "m.gguf: gemma4.attention.sliding_window_pattern: found 2 values, required 4, one "
               "per layer",
               gemma4().array("attention.sliding_window_pattern", 7, 2, sliding)),
      metadata("all layers share", kConfig,
               "m.gguf: num_kv_shared_layers: found 4, required 0 to 3",
               gemma4().u32("attention.shared_kv_layers", 4)),
      metadata("sharing leaves no layer of a kind", kConfig,
               "m.gguf: num_kv_shared_layers: found 3, required a value that leaves a "
               "full_attention layer in front of layer 1",
               gemma4().u32("attention.shared_kv_layers", 3)),
      metadata("no rope_freqs", kConfig,
               "m.gguf: rope_freqs.weight: found nothing, required 8 divisors",
               gemma4().without_rope_freqs()),
      metadata("rope_freqs too short", kGguf,
               "m.gguf: tensor \"rope_freqs.weight\": found shape [4], required 8 elements",
               gemma4().rope_freqs(4, 1.0f)),
      metadata("rope_freqs 0", kConfig, "m.gguf: rope_freqs: found 0, required values over 0",
               gemma4().rope_freqs(8, 0.0f)),
      metadata("rope_freqs not a number", kConfig,
               "m.gguf: rope_freqs: found nan, required values over 0",
               gemma4().rope_freqs(8, NAN)),
      metadata("freq_base 0", kConfig,
               "m.gguf: rope_parameters.full_attention.rope_theta: found 0, required over 0, in "
               "the range of f32",
               gemma4().f32("rope.freq_base", 0.0f)),
      metadata("freq_base infinite", kGguf,
               "m.gguf: gemma4.rope.freq_base: found inf, required a finite number",
               gemma4().f32("rope.freq_base", INFINITY)),
      metadata("rope scaling yarn", kConfig,
               "m.gguf: gemma4.rope.scaling.type: found \"yarn\", required \"none\" or \"linear\"",
               gemma4().text("rope.scaling.type", "yarn")),
      metadata("epsilon negative", kConfig,
               "m.gguf: rms_norm_eps: found -1, required over 0, in the range of f32",
               gemma4().f32("attention.layer_norm_rms_epsilon", -1.0f)),
      metadata("soft cap negative", kConfig,
               "m.gguf: final_logit_softcapping: found -1, required 0 or more, in the range of f32",
               gemma4().f32("final_logit_softcapping", -1.0f)),
      metadata("no expert_used_count", kConfig,
               "m.gguf: gemma4.expert_used_count: found nothing, required an integer from 1 to 8",
               gemma4().u32("expert_count", 8)),
      metadata("expert_used_count over the experts", kGguf,
               "m.gguf: gemma4.expert_used_count: found 9, required an integer from 1 to 8",
               gemma4().u32("expert_count", 8).u32("expert_used_count", 9)),
      metadata("no expert_feed_forward_length", kConfig,
               "m.gguf: gemma4.expert_feed_forward_length: found nothing, required an integer from "
               "1 to 1048576",
               gemma4().u32("expert_count", 8).u32("expert_used_count", 2)),
      metadata("eos beyond the vocabulary", kConfig,
               "m.gguf: eos_token_id: found 100, required 0 to 99",
               gemma4().u32("tokenizer.ggml.eos_token_id", 100)),
      metadata("eos of text", kGguf,
               "m.gguf: tokenizer.ggml.eos_token_id: found type string, required an integer from 0 "
               "to 16777216",
               gemma4().text("tokenizer.ggml.eos_token_id", "1")),
      metadata("top_p 2", kConfig, "m.gguf: top_p: found 2, required over 0, at most 1",
               gemma4().f32("general.sampling.top_p", 2.0f)),
      metadata("no vocab_size", kConfig,
               "m.gguf: gemma4.vocab_size: found nothing, required a size, a token list or "
               "token_embd.weight",
               gemma4().erase("vocab_size")),
      metadata("gemma3 head_count_kv does not divide the heads", kConfig,
               "m.gguf: num_key_value_heads of layer 0: found 3, required a divisor of "
               "num_attention_heads 4",
               gemma3().u32("attention.head_count_kv", 3)),
      metadata("gemma3 rope factor 0", kConfig,
               "m.gguf: rope_parameters.full_attention.factor: found 0, required over 0, in the "
               "range of f32",
               gemma3().text("rope.scaling.type", "linear").f32("rope.scaling.factor", 0.0f)),
      metadata(
          "epsilon not a number", kGguf,
          "m.gguf: gemma4.attention.layer_norm_rms_epsilon: found nan, required a finite number",
          gemma4().f32("attention.layer_norm_rms_epsilon", NAN)),
      metadata("epsilon 0", kConfig,
               "m.gguf: rms_norm_eps: found 0, required over 0, in the range of f32",
               gemma4().f32("attention.layer_norm_rms_epsilon", 0.0f)),
      metadata("soft cap infinite", kGguf,
               "m.gguf: gemma4.final_logit_softcapping: found inf, required a finite number",
               gemma4().f32("final_logit_softcapping", INFINITY)),
      metadata("soft cap of text", kGguf,
               "m.gguf: gemma4.final_logit_softcapping: found type string, required a number",
               gemma4().text("final_logit_softcapping", "30")),
      metadata("head_count 0", kGguf,
               "m.gguf: gemma4.attention.head_count: found 0, required an integer from 1 to 4096",
               gemma4().u32("attention.head_count", 0)),
      metadata("head_count of an array of floats", kGguf,
               "m.gguf: gemma4.attention.head_count: found an array of 4 f32, required an array of "
               "integers",
               gemma4().array("attention.head_count", 6, 4, std::string(16, '\0'))),
      metadata(
          "embedding_length of a float", kGguf,
          "m.gguf: gemma4.embedding_length: found type f32, required an integer from 1 to 1048576",
          gemma4().f32("embedding_length", 64.0f)),
      metadata("context_length 0", kGguf,
               "m.gguf: gemma4.context_length: found 0, required an integer from 1 to 2147483648",
               gemma4().u32("context_length", 0)),
      metadata("sliding_window over 2^31", kGguf,
               "m.gguf: gemma4.attention.sliding_window: found 2147483648, required an integer "
               "from 0 to 2147483647",
               gemma4().u32("attention.sliding_window", 1u << 31)),
      metadata("expert_count over the limit", kGguf,
               "m.gguf: gemma4.expert_count: found 1073741824, required an integer from 0 to 1024",
               gemma4().u32("expert_count", 1u << 30)),
      metadata("expert_used_count 0", kGguf,
               "m.gguf: gemma4.expert_used_count: found 0, required an integer from 1 to 8",
               gemma4().u32("expert_count", 8).u32("expert_used_count", 0)),
      metadata("key_length 0", kGguf,
               "m.gguf: gemma4.attention.key_length: found 0, required an integer from 1 to 512",
               gemma4().u32("attention.key_length", 0)),
      metadata(
          "block_count of an array", kGguf,
          "m.gguf: gemma4.block_count: found an array of 1 u32, required an integer from 1 to 1024",
          gemma4().array("block_count", 4, 1, raw(4))),
      metadata("scaling factor not a number", kGguf,
               "m.gguf: gemma3.rope.scaling.factor: found nan, required a finite number",
               gemma3().text("rope.scaling.type", "linear").f32("rope.scaling.factor", NAN)),
      metadata("suppress_tokens negative", kGguf,
               "m.gguf: tokenizer.ggml.suppress_tokens[0]: found -1, required an integer from 0 to "
               "16777216",
               gemma4().array("tokenizer.ggml.suppress_tokens", 5, 1, raw(-1))),
      metadata("suppress_tokens beyond the vocabulary", kConfig,
               "m.gguf: suppress_tokens: found 100, required 0 to 99",
               gemma4().array("tokenizer.ggml.suppress_tokens", 5, 1, raw(100))),
      metadata("temperature negative", kConfig,
               "m.gguf: temperature: found -1, required 0 or more, in the range of f32",
               gemma4().f32("general.sampling.temp", -1.0f)),
  };
}

}  // namespace mlxn::bad_files
