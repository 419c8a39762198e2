// SPDX-License-Identifier: Apache-2.0
// For tests: texts of config.json that are valid, and ways to change them.
#pragma once

#include <gtest/gtest.h>

#include <string>

namespace mlxn::checkpoint {

// Tiny Gemma 4 with per-layer inputs, shared KV and a double-wide MLP.
inline const std::string kE =
    R"({"model_type": "gemma4_text", "architectures": ["Gemma4ForCausalLM"],
 "vocab_size": 256, "hidden_size": 64,
 "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
 "global_head_dim": 32, "num_global_key_value_heads": null, "attention_k_eq_v": false, "attention_bias": false,
 "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "sliding_window": 4,
 "layer_types": ["sliding_attention", "sliding_attention", "full_attention",
                 "sliding_attention", "sliding_attention", "full_attention"],
 "rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                     "full_attention": {"rope_type": "proportional", "rope_theta": 1000000.0,
                                        "partial_rotary_factor": 0.25}},
 "num_kv_shared_layers": 3, "use_double_wide_mlp": true, "hidden_size_per_layer_input": 32,
 "vocab_size_per_layer_input": 256, "enable_moe_block": false, "final_logit_softcapping": 30.0,
 "tie_word_embeddings": true, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1})";

inline const std::string kMoe =
    R"({"model_type": "gemma4_text", "vocab_size": 256, "hidden_size": 64,
 "intermediate_size": 96, "moe_intermediate_size": 32, "enable_moe_block": true, "num_experts": 8, "top_k_experts": 3,
 "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "num_global_key_value_heads": 1,
 "attention_k_eq_v": true, "head_dim": 16, "global_head_dim": 32, "hidden_activation": "gelu_pytorch_tanh",
 "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "sliding_window": 4,
 "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
 "num_kv_shared_layers": 0, "use_double_wide_mlp": false, "hidden_size_per_layer_input": 0,
 "final_logit_softcapping": 30.0, "tie_word_embeddings": true, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1})";

inline const std::string kGemma3 =
    R"({"model_type": "gemma3_text", "vocab_size": 256, "hidden_size": 64,
 "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
 "query_pre_attn_scalar": 24, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
 "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window": 4, "sliding_window_pattern": 3,
 "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "eos_token_id": [1, 106], "dtype": "bfloat16"})";

// The text with `from`, which must be there, replaced.
inline std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

// Adds or replaces keys: the object's opening brace is followed by `fields`.
inline std::string adding(const std::string& text, const std::string& fields) {
  return "{" + fields + "," + text.substr(1);
}

}  // namespace mlxn::checkpoint
