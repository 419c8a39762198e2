# SPDX-License-Identifier: Apache-2.0
"""Writes the two shipped files from a trained checkpoint, and reads them back.

  export.py --weights DIR [--out DIR]

  model-mlx-4bit/       MLX directory: affine 4 bits, group 64; routers 8 bits (the names mlx-lm uses for gemma4_text)
  model-q4_0.gguf       GGUF v3: Q4_0 matrices, all else F32
The tokenizer files already lie in model-mlx-4bit/ (train_tokenizer.py).
"""
import argparse
import json
import os

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from evaluate import load_weights
from model import CONFIG, FULL, SLIDING, quantised, shapes
from quantise import affine, pack_affine, pack_q4_0, q4_0, shipped_weights

HERE = os.path.dirname(os.path.abspath(__file__))
GROUP = 64
LICENSE = "apache-2.0"
GGUF_NAMES = {
    "input_layernorm.weight": "attn_norm.weight", "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight", "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight", "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight", "post_attention_layernorm.weight": "post_attention_norm.weight",
    "pre_feedforward_layernorm.weight": "ffn_norm.weight", "post_feedforward_layernorm.weight": "post_ffw_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight", "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight", "post_feedforward_layernorm_1.weight": "post_ffw_norm_1.weight",
    "pre_feedforward_layernorm_2.weight": "pre_ffw_norm_2.weight",
    "post_feedforward_layernorm_2.weight": "post_ffw_norm_2.weight", "router.proj.weight": "ffn_gate_inp.weight",
    "router.scale": "ffn_gate_inp.scale", "router.per_expert_scale": "ffn_down_exps.scale",
    "experts.gate_up_proj": "ffn_gate_up_exps.weight", "experts.down_proj": "ffn_down_exps.weight",
    "layer_scalar": "layer_output_scale.weight"}


def gguf_name(name):
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, n, rest = name.split(".", 3)
    return f"blk.{n}.{GGUF_NAMES[rest]}"


def mlx_tensors(name, w):
    """(path, tensor) pairs before quantisation, with mlx-lm's names."""
    if name.endswith("experts.gate_up_proj"):
        gate, up = w.chunk(2, dim=1)
        base = name.removesuffix("gate_up_proj") + "switch_glu."
        return [(base + "gate_proj.weight", gate), (base + "up_proj.weight", up)]
    if name.endswith("experts.down_proj"):
        return [(name.removesuffix("down_proj") + "switch_glu.down_proj.weight", w)]
    return [(name, w)]


def write_mlx(weights, folder):
    os.makedirs(folder, exist_ok=True)
    out, overrides = {}, {}
    for name, w in weights.items():
        w = w.bfloat16()
        router = name.endswith("router.proj.weight")
        for path, part in mlx_tensors(name, w):
            if not router and not quantised(name):
                out[path] = part.contiguous()
                continue
            bits = 8 if router else 4
            codes, scale, bias, _ = affine(part, bits, GROUP)
            path = path.removesuffix(".weight")
            lead = part.shape[:-1]
            out[path + ".weight"] = pack_affine(codes, bits).reshape(*lead, -1).contiguous().view(torch.uint32)
            out[path + ".scales"] = scale.reshape(*lead, -1)
            out[path + ".biases"] = bias.reshape(*lead, -1)
            if router:
                overrides[path] = {"group_size": GROUP, "bits": 8}
    save_file(out, os.path.join(folder, "model.safetensors"), metadata={"format": "mlx"})
    block = {"group_size": GROUP, "bits": 4, "mode": "affine", **overrides}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump({**CONFIG, "quantization": block, "quantization_config": block}, file, indent=1)
        file.write("\n")


def write_gguf(weights, path, folder):
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    with open(os.path.join(folder, "chat_template.jinja"), encoding="utf-8") as file:
        template = file.read()
    with open(os.path.join(folder, "generation_config.json"), encoding="utf-8") as file:
        generation = json.load(file)
    c = CONFIG
    w = gguf.GGUFWriter(path, "gemma4")
    w.add_name("mlxn demo")
    w.add_description("A small Gemma 4 mixture-of-experts model: short stories, simple chats, recall of numbers")
    w.add_license(LICENSE)
    w.add_size_label("18M")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_sampling_temp(generation["temperature"])
    w.add_sampling_top_k(generation["top_k"])
    w.add_sampling_top_p(generation["top_p"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_vocab_size(c["vocab_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv([c["num_key_value_heads"] if k == SLIDING else c["num_global_key_value_heads"] for k in c["layer_types"]])
    w.add_key_length(c["global_head_dim"])
    w.add_value_length(c["global_head_dim"])
    w.add_key_length_swa(c["head_dim"])
    w.add_value_length_swa(c["head_dim"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_sliding_window(c["sliding_window"])
    w.add_sliding_window_pattern([k == SLIDING for k in c["layer_types"]])
    w.add_shared_kv_layers(0)
    w.add_rope_dimension_count(c["global_head_dim"])
    w.add_rope_dimension_count_swa(c["head_dim"])
    w.add_rope_freq_base(c["rope_parameters"][FULL]["rope_theta"])
    w.add_rope_freq_base_swa(c["rope_parameters"][SLIDING]["rope_theta"])
    w.add_embedding_length_per_layer_input(0)
    w.add_final_logit_softcapping(c["final_logit_softcapping"])
    w.add_expert_count(c["num_experts"])
    w.add_expert_used_count(c["top_k_experts"])
    w.add_expert_feed_forward_length(c["moe_intermediate_size"])

    vocab = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    special = {t["content"] for t in tokenizer["added_tokens"] if t["special"]}
    kinds = []
    for piece, _ in vocab:
        kinds.append(gguf.TokenType.UNKNOWN if piece == "<unk>" else gguf.TokenType.CONTROL if piece in special
                     else gguf.TokenType.BYTE if len(piece) == 6 and piece.startswith("<0x") else gguf.TokenType.NORMAL)
    ids = dict(vocab)
    w.add_tokenizer_model("gemma4")
    w.add_token_list([piece for piece, _ in vocab])
    w.add_token_scores([-1000.0 if k != gguf.TokenType.NORMAL else 0.0 for k in kinds])
    w.add_token_types(kinds)
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    w.add_bos_token_id(ids["<bos>"])
    w.add_eos_token_id(ids["<eos>"])
    w.add_eot_token_id(ids["<turn|>"])
    w.add_unk_token_id(ids["<unk>"])
    w.add_pad_token_id(ids["<pad>"])
    w.add_mask_token_id(ids["<mask>"])
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.add_add_space_prefix(False)
    w.add_chat_template(template)

    rotated = int(c["rope_parameters"][FULL]["partial_rotary_factor"] * c["global_head_dim"] // 2)
    freqs = np.full(c["global_head_dim"] // 2, 1e30, np.float32)
    freqs[:rotated] = 1
    w.add_tensor("rope_freqs.weight", freqs)
    for name, value in weights.items():
        value = value.bfloat16()
        if quantised(name):
            codes, scale, _ = q4_0(value)
            blocks = pack_q4_0(codes, scale).reshape(*value.shape[:-1], value.shape[-1] // 32 * 18).numpy()
            w.add_tensor(gguf_name(name), blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
        else:
            w.add_tensor(gguf_name(name), value.float().numpy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def read_gguf(path):
    """Float32 weights of the GGUF file under transformers' names."""
    tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
    out = {}
    for name, shape in shapes().items():
        t = tensors[gguf_name(name)]
        out[name] = torch.from_numpy(np.array(gguf.dequantize(t.data, t.tensor_type), np.float32)).reshape(shape)
    return out


def unpack_mlx(tensors, path, bits):
    words = tensors[path + ".weight"].view(torch.uint8).to(torch.int32)
    codes = words if bits == 8 else torch.stack((words & 15, words >> 4), -1).flatten(-2)
    s, b = (tensors[path + end].float().repeat_interleave(GROUP, -1) for end in (".scales", ".biases"))
    return s * codes + b


def read_mlx(folder):
    """Float32 weights of the MLX directory under transformers' names."""
    t = load_file(os.path.join(folder, "model.safetensors"))
    out = {}
    for name in shapes():
        parts = []
        for path in {"gate_up_proj": ["gate_proj", "up_proj"], "down_proj": ["down_proj"]}.get(
                name.rsplit("experts.", 1)[-1] if "experts." in name else "", [None]):
            full = name if path is None else name.rsplit(".", 1)[0] + ".switch_glu." + path + ".weight"
            base = full.removesuffix(".weight")
            parts.append(unpack_mlx(t, base, 8 if base.endswith("router.proj") else 4) if base + ".scales" in t else t[full].float())
        out[name] = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", default=HERE)
    args = parser.parse_args()
    weights = load_weights(args.weights)
    weights = {name: weights[name] for name in shapes()}
    folder, path = os.path.join(args.out, "model-mlx-4bit"), os.path.join(args.out, "model-q4_0.gguf")
    write_mlx(weights, folder)
    write_gguf(weights, path, folder)
    for variant, read in (("mlx", read_mlx(folder)), ("q4_0", read_gguf(path))):
        want = shipped_weights(weights, variant, quantised)
        assert all(torch.equal(read[n], want[n]) for n in want), variant
    for file in (os.path.join(folder, "model.safetensors"), path):
        print(file, os.path.getsize(file), "bytes")


if __name__ == "__main__":
    main()
