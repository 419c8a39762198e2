# SPDX-License-Identifier: Apache-2.0
"""The tiny models: each differs from its neighbours in a branch of the decoder."""
SLIDING, FULL = "sliding_attention", "full_attention"
ROPE = {SLIDING: {"rope_type": "default", "rope_theta": 10000.0},
        FULL: {"rope_type": "proportional", "rope_theta": 1000000.0, "partial_rotary_factor": 0.25}}

# Per-layer inputs, shared KV, double-wide MLP, two head dims, softcap.
GEMMA4_E = {
    "model_type": "gemma4_text", "architectures": ["Gemma4ForCausalLM"], "vocab_size": 256, "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "global_head_dim": 32, "num_global_key_value_heads": None, "attention_k_eq_v": False, "attention_bias": False,
    "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "sliding_window": 4,
    "layer_types": [SLIDING, SLIDING, FULL, SLIDING, SLIDING, FULL], "rope_parameters": ROPE, "num_kv_shared_layers": 3,
    "use_double_wide_mlp": True, "hidden_size_per_layer_input": 32, "vocab_size_per_layer_input": 256,
    "enable_moe_block": False, "final_logit_softcapping": 30.0, "tie_word_embeddings": True, "pad_token_id": 0,
    "bos_token_id": 2, "eos_token_id": 1, "dtype": "bfloat16"}

# K=V full layers with their own KV head count.
GEMMA4_DENSE = GEMMA4_E | {
    "num_key_value_heads": 4, "num_global_key_value_heads": 1, "attention_k_eq_v": True, "num_kv_shared_layers": 0,
    "use_double_wide_mlp": False, "hidden_size_per_layer_input": 0, "num_hidden_layers": 3,
    "layer_types": [SLIDING, SLIDING, FULL]}

# No softcap, a list that ends in a sliding layer (which becomes full), and sqrt(hidden_size) inexact in bf16.
GEMMA4_DENSE_NULL = GEMMA4_DENSE | {
    "final_logit_softcapping": None, "hidden_size": 96, "num_hidden_layers": 4,
    "layer_types": [SLIDING, FULL, SLIDING, SLIDING]}

GEMMA4_MOE = GEMMA4_DENSE | {
    "num_key_value_heads": 2, "moe_intermediate_size": 32, "enable_moe_block": True, "num_experts": 8,
    "top_k_experts": 3, "num_hidden_layers": 4, "layer_types": [SLIDING, FULL, SLIDING, FULL]}

GEMMA4_MOE_PLE = GEMMA4_MOE | {
    "num_kv_shared_layers": 2, "hidden_size_per_layer_input": 32, "attention_k_eq_v": False,
    "num_global_key_value_heads": None, "use_double_wide_mlp": True}

# Zero-centred norms, softmax scale unrelated to the head dim, linear RoPE scaling of the full layers only.
GEMMA3 = {
    "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "vocab_size": 256, "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
    "query_pre_attn_scalar": 24, "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6, "sliding_window": 4, "sliding_window_pattern": 3, "rope_theta": 1000000.0,
    "rope_local_base_freq": 10000.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "attention_bias": False,
    "final_logit_softcapping": None, "attn_logit_softcapping": None, "tie_word_embeddings": True, "pad_token_id": 0,
    "bos_token_id": 2, "eos_token_id": 1, "dtype": "bfloat16"}

# GGUF stores no attention scale: it is 1 / sqrt(head_dim); the layer pattern is fixed at six.
GEMMA3_GGUF = GEMMA3 | {"query_pre_attn_scalar": 32, "sliding_window_pattern": 6}

CONFIGS = {
    "gemma4_e": {"config": GEMMA4_E},
    "gemma4_dense": {"config": GEMMA4_DENSE | {"dtype": "float32"}, "as_saved": True},
    "gemma4_dense_null": {"config": GEMMA4_DENSE_NULL},
    "gemma4_moe": {"config": GEMMA4_MOE, "as_saved": True,
                   "also": {"top1": {"top_k_experts": 1}, "top8": {"top_k_experts": 8}}},
    "gemma4_moe_ple": {"config": GEMMA4_MOE_PLE},
    "gemma3": {"config": GEMMA3},
    "gemma4_e_mlx4": {"config": GEMMA4_E, "writer": "mlx", "options": {"bits": 4, "group_size": 32}},
    "gemma4_moe_mlx4": {"config": GEMMA4_MOE | {"dtype": "float32"}, "writer": "mlx",
                        "options": {"bits": 4, "group_size": 32, "wrapper": True}},
    "gemma3_mlx8": {"config": GEMMA3 | {"dtype": "float16"}, "writer": "mlx", "options": {"bits": 8, "group_size": 64}},
    "gemma4_e_q4_0": {"config": GEMMA4_E, "writer": "gguf", "options": {"matrix_type": "Q4_0"}},
    "gemma4_moe_q8_0": {"config": GEMMA4_MOE, "writer": "gguf", "options": {"matrix_type": "Q8_0"}},
    "gemma3_q8_0": {"config": GEMMA3_GGUF, "writer": "gguf", "options": {"matrix_type": "Q8_0"}},
}
