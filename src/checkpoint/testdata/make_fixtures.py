#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the fixtures of src/checkpoint with the reference writers: safetensors, mlx, gguf (PyPI).

Run in a directory of your choice:  python make_fixtures.py OUT
Tensor values follow values() below; the tests compute them again.
"""
import json
import pathlib
import sys

import gguf
import mlx.core as mx
import numpy as np
import torch
from safetensors.torch import save_file

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")

HIDDEN, VOCAB, HEADS, KV_HEADS, INTER = 64, 32, 2, 1, 64
HEAD_DIM, FULL_HEAD_DIM, EXPERTS, EXPERT_INTER = 8, 16, 2, 32


def values(name, shape):
    """Multiples of 1/32 in [-1, 1): exact in f16 and bf16. Element i: ((37 i + sum of name) % 64) / 32 - 1."""
    seed = sum(name.encode())
    count = int(np.prod(shape))
    return (((np.arange(count) * 37 + seed) % 64) / 32 - 1).astype(np.float32).reshape(shape)


def gemma4_shapes():
    """Canonical name -> shape; layer 0 sliding, layer 1 full with K = V."""
    shapes = {"embed_tokens.weight": [VOCAB, HIDDEN], "norm.weight": [HIDDEN]}
    for i, dim in enumerate([HEAD_DIM, FULL_HEAD_DIM]):
        layer = {
            "input_layernorm.weight": [HIDDEN], "post_attention_layernorm.weight": [HIDDEN],
            "pre_feedforward_layernorm.weight": [HIDDEN],
            "post_feedforward_layernorm.weight": [HIDDEN],
            "post_feedforward_layernorm_1.weight": [HIDDEN],
            "pre_feedforward_layernorm_2.weight": [HIDDEN],
            "post_feedforward_layernorm_2.weight": [HIDDEN],
            "self_attn.q_proj.weight": [HEADS * dim, HIDDEN],
            "self_attn.k_proj.weight": [KV_HEADS * dim, HIDDEN],
            "self_attn.o_proj.weight": [HIDDEN, HEADS * dim],
            "self_attn.q_norm.weight": [dim], "self_attn.k_norm.weight": [dim],
            "mlp.gate_proj.weight": [INTER, HIDDEN], "mlp.up_proj.weight": [INTER, HIDDEN],
            "mlp.down_proj.weight": [HIDDEN, INTER], "layer_scalar": [1],
            "router.proj.weight": [EXPERTS, HIDDEN], "router.scale": [HIDDEN],
            "router.per_expert_scale": [EXPERTS],
            "experts.gate_up_proj": [EXPERTS, 2 * EXPERT_INTER, HIDDEN],
            "experts.down_proj": [EXPERTS, HIDDEN, EXPERT_INTER],
        }
        if i == 0:
            layer["self_attn.v_proj.weight"] = [KV_HEADS * dim, HIDDEN]
        shapes.update({f"layers.{i}.{k}": v for k, v in layer.items()})
    return shapes


def gemma4_text_config():
    return {
        "model_type": "gemma4_text", "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": INTER, "moe_intermediate_size": EXPERT_INTER,
        "enable_moe_block": True, "num_experts": EXPERTS, "top_k_experts": 1,
        "num_hidden_layers": 2, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "num_global_key_value_heads": KV_HEADS, "attention_k_eq_v": True, "head_dim": HEAD_DIM,
        "global_head_dim": FULL_HEAD_DIM, "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "proportional", "rope_theta": 1000000.0,
                               "partial_rotary_factor": 0.25}},
        "num_kv_shared_layers": 0, "use_double_wide_mlp": False,
        "hidden_size_per_layer_input": 0, "final_logit_softcapping": 30.0,
        "tie_word_embeddings": True, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}


def write_containers():
    """One file per safetensors writer: every dtype, rank 0, no elements, odd starts."""
    save_file({
        "f32": torch.tensor([[1.5, -2.0], [3.0, 4.25]]), "f16": torch.tensor([1.0, -0.5]).half(),
        "bf16": torch.tensor([1.0, -0.5, 3.0]).bfloat16(), "u8": torch.tensor([1, 2, 255]).byte(),
        "i8": torch.tensor([-1], dtype=torch.int8), "i16": torch.tensor([-2], dtype=torch.int16),
        "i32": torch.tensor([7, -7], dtype=torch.int32), "i64": torch.tensor([1 << 40]),
        "f64": torch.tensor([0.1], dtype=torch.float64), "bool": torch.tensor([True, False]),
        "f8": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn),
        "scalar": torch.tensor(2.5), "empty": torch.zeros([0, 4]),
    }, str(OUT / "torch.safetensors"), metadata={"format": "pt"})
    mx.save_safetensors(str(OUT / "mlx.safetensors"), {
        "a": mx.array([1, 2, 3], dtype=mx.uint8), "b": mx.array([[1.5, -2.0]], dtype=mx.float32),
        "c": mx.array([1 << 31, 5], dtype=mx.uint32), "d": mx.array([0.5, 2.0], dtype=mx.bfloat16),
    }, {"format": "mlx"})


def write_raw(directory):
    """Raw transformers naming, bf16, two shards and an index."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {"model." + k: torch.tensor(values(k, s)).bfloat16()
               for k, s in gemma4_shapes().items()}
    shards, weight_map = [{}, {}], {}
    for i, (name, tensor) in enumerate(tensors.items()):
        shard = int(i >= len(tensors) // 2)
        shards[shard][name] = tensor
        weight_map[name] = f"model-0000{shard + 1}-of-00002.safetensors"
    for i, shard in enumerate(shards):
        save_file(shard, str(directory / f"model-0000{i + 1}-of-00002.safetensors"),
                  metadata={"format": "pt"})
    (directory / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1))
    (directory / "config.json").write_text(json.dumps(gemma4_text_config(), indent=1))
    (directory / "generation_config.json").write_text(json.dumps(
        {"do_sample": True, "temperature": 1.0, "top_k": 64, "top_p": 0.95,
         "eos_token_id": [1, 6, 5], "suppress_tokens": [9, 8]}))


def write_mlx(directory):
    """What mlx-lm makes of it: wrapper, renamed experts, affine 4-bit group 32, router at 8 bits."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {}
    overrides = {}

    def put(path, array, bits=4):
        codes, scales, biases = mx.quantize(mx.array(array).astype(mx.bfloat16), 32, bits)
        tensors.update({path + ".weight": codes, path + ".scales": scales,
                        path + ".biases": biases})

    for name, shape in gemma4_shapes().items():
        path = "language_model.model." + name.removesuffix(".weight")
        array = values(name, shape)
        if name.endswith("router.proj.weight"):
            put(path, array, 8)
            overrides[path] = {"group_size": 32, "bits": 8}
        elif name.endswith("experts.gate_up_proj"):
            base = path.removesuffix("gate_up_proj") + "switch_glu."
            put(base + "gate_proj", array[:, :EXPERT_INTER])
            put(base + "up_proj", array[:, EXPERT_INTER:])
        elif name.endswith("experts.down_proj"):
            put(path.replace("experts.", "experts.switch_glu."), array)
        elif name == "layers.0.mlp.down_proj.weight":
            overrides[path] = False
            tensors[path + ".weight"] = mx.array(array).astype(mx.bfloat16)
        elif len(shape) == 2 and shape[-1] % 32 == 0:
            put(path, array)
        else:
            tensors["language_model.model." + name] = mx.array(array).astype(mx.bfloat16)
    mx.save_safetensors(str(directory / "model.safetensors"), tensors, {"format": "mlx"})
    quantization = {"group_size": 32, "bits": 4, "mode": "affine", **overrides}
    (directory / "config.json").write_text(json.dumps(
        {"model_type": "gemma4", "vocab_size": VOCAB, "eos_token_id": [1, 6],
         "text_config": gemma4_text_config(), "quantization": quantization,
         "quantization_config": quantization}, indent=1))


GGUF_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "pre_feedforward_layernorm.weight": "ffn_norm.weight",
    "post_feedforward_layernorm.weight": "post_ffw_norm.weight",
    "post_feedforward_layernorm_1.weight": "post_ffw_norm_1.weight",
    "pre_feedforward_layernorm_2.weight": "pre_ffw_norm_2.weight",
    "post_feedforward_layernorm_2.weight": "post_ffw_norm_2.weight",
    "self_attn.q_proj.weight": "attn_q.weight", "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight", "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight", "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight",
    "layer_scalar": "layer_output_scale.weight", "router.proj.weight": "ffn_gate_inp.weight",
    "router.scale": "ffn_gate_inp.scale", "router.per_expert_scale": "ffn_down_exps.scale",
    "experts.gate_up_proj": "ffn_gate_up_exps.weight",
    "experts.down_proj": "ffn_down_exps.weight",
}


def add_tokens(writer):
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>"] + [f"t{i}" for i in range(4, VOCAB)]
    tokens[6] = "<turn|>"
    types = [3, 3, 3, 2, 1, 1, 3] + [1] * (VOCAB - 7)
    writer.add_tokenizer_model("gemma4")
    writer.add_token_list(tokens)
    writer.add_token_scores([float(-i) for i in range(VOCAB)])
    writer.add_token_types(types)
    writer.add_token_merges(["t 4", "t 5"])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_chat_template([{"name": "default", "template": "{{ bos_token }}"},
                              {"name": "tool_use", "template": "{{ tools }}"}])


def write_gemma4_gguf(path):
    writer = gguf.GGUFWriter(str(path), "gemma4")
    writer.add_name("tiny gemma 4")
    writer.add_block_count(2)
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length([INTER, INTER])
    writer.add_head_count(HEADS)
    writer.add_head_count_kv([KV_HEADS, KV_HEADS])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(4)
    writer.add_array("gemma4.attention.sliding_window_pattern", [True, False])
    writer.add_uint32("gemma4.attention.shared_kv_layers", 0)
    writer.add_key_length(FULL_HEAD_DIM)
    writer.add_value_length(FULL_HEAD_DIM)
    writer.add_uint32("gemma4.attention.key_length_swa", HEAD_DIM)
    writer.add_uint32("gemma4.attention.value_length_swa", HEAD_DIM)
    writer.add_rope_dimension_count(FULL_HEAD_DIM)
    writer.add_uint32("gemma4.rope.dimension_count_swa", HEAD_DIM)
    writer.add_rope_freq_base(1e6)
    writer.add_float32("gemma4.rope.freq_base_swa", 1e4)
    writer.add_uint32("gemma4.embedding_length_per_layer_input", 0)
    writer.add_float32("gemma4.final_logit_softcapping", 30.0)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(1)
    writer.add_expert_feed_forward_length(EXPERT_INTER)
    writer.add_float32("general.sampling.temp", 1.0)
    writer.add_int32("general.sampling.top_k", 64)
    writer.add_float32("general.sampling.top_p", 0.95)
    writer.add_array("tokenizer.ggml.suppress_tokens", [8, 9])
    add_tokens(writer)
    quant = {"mlp.gate_proj.weight": gguf.GGMLQuantizationType.Q4_0,
             "mlp.up_proj.weight": gguf.GGMLQuantizationType.Q8_0,
             "mlp.down_proj.weight": gguf.GGMLQuantizationType.Q5_0,
             "self_attn.q_proj.weight": gguf.GGMLQuantizationType.BF16,
             "experts.gate_up_proj": gguf.GGMLQuantizationType.Q8_0,
             "experts.down_proj": gguf.GGMLQuantizationType.Q4_0}
    # 2 of 8 pairs rotate.
    writer.add_tensor("rope_freqs.weight", np.array([1] * 2 + [1e30] * 6, dtype=np.float32))
    for name, shape in gemma4_shapes().items():
        array = values(name, shape)
        if not name.startswith("layers."):
            target = {"embed_tokens.weight": "token_embd.weight",
                      "norm.weight": "output_norm.weight"}[name]
            if len(shape) == 2:
                array = array.astype(np.float16)
            writer.add_tensor(target, array)
            continue
        _, index, rest = name.split(".", 2)
        target = f"blk.{index}.{GGUF_NAMES[rest]}"
        kind = quant.get(rest)
        if kind is None:
            writer.add_tensor(target, array)
        else:
            writer.add_tensor(target, gguf.quants.quantize(array, kind), raw_dtype=kind)
    finish(writer)


def write_gemma3_gguf(path, split):
    """Six layers with nothing but embedding and norms; four tensors per part if split."""
    writer = gguf.GGUFWriter(str(path), "gemma3", split_max_tensors=4 if split else 0)
    writer.add_block_count(6)
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INTER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(4)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_freq_base(1e6)
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(8.0)
    add_tokens(writer)
    writer.add_tensor("token_embd.weight", values("embed_tokens.weight", [VOCAB, HIDDEN]))
    writer.add_tensor("output_norm.weight", 1 + values("norm.weight", [HIDDEN]))
    for i in range(6):
        name = f"layers.{i}.input_layernorm.weight"
        writer.add_tensor(f"blk.{i}.attn_norm.weight", 1 + values(name, [HIDDEN]))
    finish(writer)


def write_types_gguf(path):
    """Every metadata type; tensors of types that need rows of 256."""
    writer = gguf.GGUFWriter(str(path), "none")
    writer.add_uint8("t.u8", 200)
    writer.add_int8("t.i8", -5)
    writer.add_uint16("t.u16", 60000)
    writer.add_int16("t.i16", -300)
    writer.add_uint32("t.u32", 4000000000)
    writer.add_int32("t.i32", -70000)
    writer.add_float32("t.f32", 1.5)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "h\u00e9llo")
    writer.add_uint64("t.u64", 1 << 63)
    writer.add_int64("t.i64", -(1 << 40))
    writer.add_float64("t.f64", 0.1)
    writer.add_array("t.ints", [1, -2, 3])
    writer.add_array("t.floats", [0.5, 2.0])
    writer.add_array("t.bools", [True, False])
    writer.add_array("t.strings", ["a", "", "ccc"])
    kinds = gguf.GGMLQuantizationType
    for name, kind, size in [("q4_k", kinds.Q4_K, 144), ("q6_k", kinds.Q6_K, 210),
                             ("q5_k", kinds.Q5_K, 176)]:
        raw = (np.arange(2 * size) % 251).astype(np.uint8).reshape(2, size)
        writer.add_tensor(name, raw, raw_dtype=kind)
    writer.add_tensor("i32", np.array([1, 2, 3], dtype=np.int32))
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


OUT.mkdir(parents=True, exist_ok=True)
write_containers()
write_raw(OUT / "gemma4_raw")
write_mlx(OUT / "gemma4_mlx")
write_gemma4_gguf(OUT / "gemma4.gguf")
write_gemma3_gguf(OUT / "gemma3.gguf", False)
write_gemma3_gguf(OUT / "gemma3_split.gguf", True)
write_types_gguf(OUT / "types.gguf")
for file in OUT.rglob("*.safetensors"):
    file.chmod(0o644)
