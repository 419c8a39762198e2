# SPDX-License-Identifier: Apache-2.0
"""Quantised forms of a tiny model: an MLX directory as mlx-lm writes it, and GGUF as llama.cpp's converter does.

Both return the weights as a reader of the file sees them, by transformers name, in float32.
"""
import json

import gguf
import mlx.core as mx
import numpy as np
import torch

DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
MATRICES = ("_proj.weight", "embed_tokens.weight", "embed_tokens_per_layer.weight", "per_layer_model_projection.weight",
            "per_layer_projection.weight", "per_layer_input_gate.weight", "router.proj.weight", "experts.gate_up_proj",
            "experts.down_proj")


def is_matrix(name):
    return name.endswith(MATRICES)


def mlx_names(name, value):
    """The tensor under the names mlx-lm gives it; fused experts are split."""
    if name.endswith("experts.gate_up_proj"):
        base = name.removesuffix("gate_up_proj") + "switch_glu."
        half = value.shape[1] // 2
        return {base + "gate_proj.weight": value[:, :half], base + "up_proj.weight": value[:, half:]}
    if name.endswith("experts.down_proj"):
        return {name.removesuffix("down_proj") + "switch_glu.down_proj.weight": value}
    return {name: value}


def write_mlx(folder, config, tensors, bits, group_size, wrapper=False):
    dtype = DTYPES[config["dtype"]]
    arrays, seen, overrides = {}, {}, {}
    for name, tensor in tensors.items():
        parts = []
        for stored, value in mlx_names(name, tensor).items():
            stored = ("language_model." if wrapper else "") + stored
            array = mx.array(value.contiguous().numpy()).astype(dtype)
            if not is_matrix(stored) or array.shape[-1] % group_size:
                arrays[stored] = array
                parts.append(np.array(array.astype(mx.float32)))
                continue
            path = stored.removesuffix(".weight")
            b, g = bits, group_size
            if path.endswith("router.proj"):
                b, g = 8, 64
                overrides[path] = {"group_size": g, "bits": b}
            codes, scales, biases = mx.quantize(array, group_size=g, bits=b)
            arrays |= {path + ".weight": codes, path + ".scales": scales, path + ".biases": biases}
            wide = mx.dequantize(codes, scales.astype(mx.float32), biases.astype(mx.float32), group_size=g, bits=b)
            parts.append(np.array(wide))
        seen[name] = torch.from_numpy(np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0])
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, metadata={"format": "mlx"})
    quantization = {"group_size": group_size, "bits": bits} | overrides
    stored = dict(config)
    if wrapper:
        stored = {"model_type": "gemma4", "architectures": ["Gemma4ForConditionalGeneration"],
                  "vocab_size": config["vocab_size"], "eos_token_id": [1, 106], "dtype": config["dtype"],
                  "text_config": config}
    stored |= {"quantization": quantization, "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(stored, indent=1) + "\n")
    return seen


GLOBAL_NAMES = {"embed_tokens": "token_embd", "norm": "output_norm", "embed_tokens_per_layer": "per_layer_token_embd",
                "per_layer_model_projection": "per_layer_model_proj", "per_layer_projection_norm": "per_layer_proj_norm"}
LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
    "post_feedforward_layernorm_1": "post_ffw_norm_1", "pre_feedforward_layernorm_2": "pre_ffw_norm_2",
    "post_feedforward_layernorm_2": "post_ffw_norm_2", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "router.proj": "ffn_gate_inp", "per_layer_input_gate": "inp_gate",
    "per_layer_projection": "proj", "post_per_layer_input_norm": "post_norm"}
LAYER_EXACT = {"router.scale": "ffn_gate_inp.scale", "router.per_expert_scale": "ffn_down_exps.scale",
               "experts.gate_up_proj": "ffn_gate_up_exps.weight", "experts.down_proj": "ffn_down_exps.weight",
               "layer_scalar": "layer_output_scale.weight"}


def gguf_name(name):
    name = name.removeprefix("model.")
    if not name.startswith("layers."):
        return GLOBAL_NAMES[name.removesuffix(".weight")] + ".weight"
    _, index, rest = name.split(".", 2)
    if rest in LAYER_EXACT:
        return f"blk.{index}.{LAYER_EXACT[rest]}"
    return f"blk.{index}.{LAYER_NAMES[rest.removesuffix('.weight')]}.weight"


def add_metadata(w, arch, c):
    layers = c["num_hidden_layers"]
    u32 = lambda key, value: w.add_uint32(f"{arch}.{key}", value)
    u32("block_count", layers)
    u32("context_length", c["max_position_embeddings"])
    u32("embedding_length", c["hidden_size"])
    u32("attention.head_count", c["num_attention_heads"])
    u32("attention.sliding_window", c["sliding_window"])
    w.add_float32(f"{arch}.attention.layer_norm_rms_epsilon", c["rms_norm_eps"])
    if arch == "gemma3":
        u32("feed_forward_length", c["intermediate_size"])
        u32("attention.head_count_kv", c["num_key_value_heads"])
        u32("attention.key_length", c["head_dim"])
        u32("attention.value_length", c["head_dim"])
        w.add_float32("gemma3.rope.freq_base", c["rope_theta"])
        w.add_string("gemma3.rope.scaling.type", "linear")
        w.add_float32("gemma3.rope.scaling.factor", c["rope_scaling"]["factor"])
        return
    sliding = [kind == "sliding_attention" for kind in c["layer_types"]]
    first_shared = layers - c["num_kv_shared_layers"]
    widths = [c["intermediate_size"] * (2 if c["use_double_wide_mlp"] and i >= first_shared else 1)
              for i in range(layers)]
    w.add_array("gemma4.attention.sliding_window_pattern", sliding)
    w.add_array("gemma4.feed_forward_length", widths)
    full_heads = c["num_global_key_value_heads"] or c["num_key_value_heads"]
    w.add_array("gemma4.attention.head_count_kv", [c["num_key_value_heads"] if s else full_heads for s in sliding])
    u32("attention.shared_kv_layers", c["num_kv_shared_layers"])
    for key, value in (("", c["global_head_dim"]), ("_swa", c["head_dim"])):
        u32(f"attention.key_length{key}", value)
        u32(f"attention.value_length{key}", value)
        u32(f"rope.dimension_count{key}", value)
    rope = c["rope_parameters"]
    w.add_float32("gemma4.rope.freq_base", rope["full_attention"]["rope_theta"])
    w.add_float32("gemma4.rope.freq_base_swa", rope["sliding_attention"]["rope_theta"])
    u32("embedding_length_per_layer_input", c["hidden_size_per_layer_input"])
    w.add_float32("gemma4.final_logit_softcapping", c["final_logit_softcapping"])
    if c["enable_moe_block"]:
        u32("expert_count", c["num_experts"])
        u32("expert_used_count", c["top_k_experts"])
        u32("expert_feed_forward_length", c["moe_intermediate_size"])


def write_gguf(folder, config, tensors, matrix_type):
    arch = config["model_type"].removesuffix("_text")
    w = gguf.GGUFWriter(str(folder / "model.gguf"), arch)
    add_metadata(w, arch, config)
    w.add_uint32("tokenizer.ggml.bos_token_id", config["bos_token_id"])
    w.add_uint32("tokenizer.ggml.eos_token_id", config["eos_token_id"])
    kind = gguf.GGMLQuantizationType[matrix_type]
    seen = {}
    for name, tensor in tensors.items():
        value = tensor.float().contiguous().numpy()
        stored = value
        if arch == "gemma3" and "norm" in name:
            stored = value + np.float32(1.0)
        # llama.cpp keeps the router in float32.
        if is_matrix(name) and not name.endswith("router.proj.weight"):
            blocks = gguf.quants.quantize(stored, kind)
            w.add_tensor(gguf_name(name), blocks, raw_dtype=kind)
            stored = gguf.quants.dequantize(blocks, kind)
        else:
            w.add_tensor(gguf_name(name), stored)
        if arch == "gemma3" and "norm" in name:
            stored = stored - np.float32(1.0)
        seen[name] = torch.from_numpy(stored.reshape(value.shape).copy())
    if arch == "gemma4":
        width, rotated = config["global_head_dim"] // 2, config["global_head_dim"] // 8
        w.add_tensor("rope_freqs.weight", np.array([1.0] * rotated + [1e30] * (width - rotated), dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return seen
