# SPDX-License-Identifier: Apache-2.0
"""Writes a model in Gemma 3 form with random weights, to measure speed end to end.

  make_random_model.py --type q4_0 FILE.gguf        every matrix Q4_0, Q8_0 or Q4_K, norms f32
  make_random_model.py --type mlx4 DIR              MLX directory, affine 4 or 8 bits, group 64

26 layers of 1280, feed-forward 6912, 4 heads on 1 KV head of 256, window 512, 262144 tokens. The
bytes of the blocks are drawn, not quantised; their scales give every matrix rows of length about
one, so logits stay finite. The same seed gives the same file. Needs numpy, and gguf for GGUF.
"""
import argparse
import json
import math
import os
import struct

import numpy as np

HIDDEN, LAYERS, WIDTH, HEADS, KV_HEADS, HEAD_DIM, WINDOW, VOCAB = 1280, 26, 6912, 4, 1, 256, 512, 262144
CONTEXT = 32768
GROUP = 64
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
PIECES = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)] + ["\u2581"]
PIECES += [f"\u2581tok{i}" for i in range(len(PIECES), VOCAB)]

# (MLX path, GGUF name, rows, columns) of one layer's matrices, and (path, name, length) of its norms.
MATRICES = [
    ("self_attn.q_proj", "attn_q", HEADS * HEAD_DIM, HIDDEN),
    ("self_attn.k_proj", "attn_k", KV_HEADS * HEAD_DIM, HIDDEN),
    ("self_attn.v_proj", "attn_v", KV_HEADS * HEAD_DIM, HIDDEN),
    ("self_attn.o_proj", "attn_output", HIDDEN, HEADS * HEAD_DIM),
    ("mlp.gate_proj", "ffn_gate", WIDTH, HIDDEN),
    ("mlp.up_proj", "ffn_up", WIDTH, HIDDEN),
    ("mlp.down_proj", "ffn_down", HIDDEN, WIDTH)]
NORMS = [
    ("input_layernorm", "attn_norm", HIDDEN), ("post_attention_layernorm", "post_attention_norm", HIDDEN),
    ("pre_feedforward_layernorm", "ffn_norm", HIDDEN), ("post_feedforward_layernorm", "post_ffw_norm", HIDDEN),
    ("self_attn.q_norm", "attn_q_norm", HEAD_DIM), ("self_attn.k_norm", "attn_k_norm", HEAD_DIM)]


def matrices():
    yield "model.embed_tokens", "token_embd.weight", VOCAB, HIDDEN
    for n in range(LAYERS):
        for path, name, rows, columns in MATRICES:
            yield f"model.layers.{n}.{path}", f"blk.{n}.{name}.weight", rows, columns


def norms():
    yield "model.norm", "output_norm.weight", HIDDEN
    for n in range(LAYERS):
        for path, name, length in NORMS:
            yield f"model.layers.{n}.{path}", f"blk.{n}.{name}.weight", length


def random_bytes(rng, rows, columns):
    return np.frombuffer(rng.bytes(rows * columns), np.uint8).reshape(rows, columns)


def scales(rng, count, step):
    """Positive, from half to one and a half times `step`."""
    return ((0.5 + rng.random(count, np.float32)) * np.float32(step)).astype(np.float32)


# Blocks of GGUF types as [blocks, bytes]; `deviation` is what the weights should deviate from 0.
def blocks_q4_0(rng, count, deviation):
    out = random_bytes(rng, count, 18).copy()
    out[:, :2] = scales(rng, count, deviation / 4.6).astype(np.float16).view(np.uint8).reshape(count, 2)
    return out


def blocks_q8_0(rng, count, deviation):
    out = random_bytes(rng, count, 34).copy()
    out[:, :2] = scales(rng, count, deviation / 74).astype(np.float16).view(np.uint8).reshape(count, 2)
    return out


def blocks_q4_k(rng, count, deviation):
    """w = d * sc * q - dmin * m with 6-bit sc and m: dmin = 7.5 d centres the weights at 0."""
    out = random_bytes(rng, count, 144).copy()
    d = scales(rng, count, deviation / 230)
    out[:, 0:2] = d.astype(np.float16).view(np.uint8).reshape(count, 2)
    out[:, 2:4] = (7.5 * d).astype(np.float16).view(np.uint8).reshape(count, 2)
    return out


GGUF_TYPES = {"q4_0": (blocks_q4_0, 32), "q8_0": (blocks_q8_0, 32), "q4_k": (blocks_q4_k, 256)}
MLX_BITS = {"mlx4": 4, "mlx8": 8}


def write_gguf(path, kind, rng):
    import gguf
    make, block = GGUF_TYPES[kind]
    types = gguf.GGMLQuantizationType
    raw = {"q4_0": types.Q4_0, "q8_0": types.Q8_0, "q4_k": types.Q4_K}[kind]
    file_type = {"q4_0": gguf.LlamaFileType.MOSTLY_Q4_0, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
                 "q4_k": gguf.LlamaFileType.MOSTLY_Q4_K_S}[kind]
    w = gguf.GGUFWriter(path, "gemma3")
    w.add_name(f"random weights {kind}")
    w.add_file_type(file_type)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_block_count(LAYERS)
    w.add_context_length(CONTEXT)
    w.add_embedding_length(HIDDEN)
    w.add_feed_forward_length(WIDTH)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_key_length(HEAD_DIM)
    w.add_value_length(HEAD_DIM)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_sliding_window(WINDOW)
    w.add_rope_freq_base(1e6)
    w.add_tokenizer_model("llama")
    w.add_token_list(PIECES)
    w.add_token_scores(np.arange(0, -VOCAB, -1, dtype=np.float32).tolist())
    kinds = [gguf.TokenType.NORMAL] * VOCAB
    kinds[:4] = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.UNKNOWN]
    kinds[4:260] = [gguf.TokenType.BYTE] * 256
    w.add_token_types(kinds)
    w.add_pad_token_id(0)
    w.add_eos_token_id(1)
    w.add_bos_token_id(2)
    w.add_unk_token_id(3)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.add_add_space_prefix(False)

    for _, name, length in norms():
        w.add_tensor_info(name, (length,), np.dtype(np.float32), 4 * length)
    for _, name, rows, columns in matrices():
        row_bytes = columns // block * gguf.GGML_QUANT_SIZES[raw][1]
        w.add_tensor_info(name, (rows, row_bytes), np.dtype(np.uint8), rows * row_bytes, raw_dtype=raw)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    for _, _, length in norms():
        w.write_tensor_data(scales(rng, length, 1.0))
    for _, _, rows, columns in matrices():
        w.write_tensor_data(make(rng, rows * columns // block, 1 / math.sqrt(columns)))
    w.close()


def bfloat16(values):
    """f32 to the upper 16 bits, towards 0."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def affine(rng, rows, columns, bits):
    """Words, scales and biases of w = scale * code + bias."""
    words = random_bytes(rng, rows, columns * bits // 8).view(np.uint32)
    spread = (1 << bits) / math.sqrt(12)
    scale = scales(rng, rows * columns // GROUP, 1 / math.sqrt(columns) / spread).reshape(rows, -1)
    return words, bfloat16(scale), bfloat16(-scale * ((1 << bits) - 1) / 2)


def mlx_header(bits):
    """The tensor list of safetensors, in the order in which write_mlx writes the data."""
    header, offset = {"__metadata__": {"format": "mlx"}}, 0

    def add(name, dtype, shape, size):
        nonlocal offset
        end = offset + math.prod(shape) * size
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end

    for path, _, rows, columns in matrices():
        add(path + ".weight", "U32", [rows, columns * bits // 32], 4)
        add(path + ".scales", "BF16", [rows, columns // GROUP], 2)
        add(path + ".biases", "BF16", [rows, columns // GROUP], 2)
    for path, _, length in norms():
        add(path + ".weight", "BF16", [length], 2)
    return header


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


def tokenizer_json():
    added = [{"id": i, "content": piece, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i, piece in enumerate(SPECIAL)]
    bos = {"type": "TemplateProcessing",
           "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
           "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
           "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}}}
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
             "vocab": {piece: i for i, piece in enumerate(PIECES)}, "merges": []}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            "pre_tokenizer": None, "post_processor": bos,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": model}


def write_mlx(folder, kind, rng):
    bits = MLX_BITS[kind]
    os.makedirs(folder, exist_ok=True)
    text = json.dumps(mlx_header(bits), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, rows, columns in matrices():
            for part in affine(rng, rows, columns, bits):
                file.write(part.tobytes())
        for _, _, length in norms():  # Gemma 3 multiplies by 1 + w
            file.write(bfloat16(rng.random(length, np.float32) - 0.5).tobytes())
    block = {"group_size": GROUP, "bits": bits}
    write_json(folder, "config.json", {
        "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "vocab_size": VOCAB,
        "hidden_size": HIDDEN, "intermediate_size": WIDTH, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
        "query_pre_attn_scalar": HEAD_DIM, "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-6, "sliding_window": WINDOW,
        "sliding_window_pattern": 6, "rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": None,
        "attention_bias": False, "final_logit_softcapping": None, "attn_logit_softcapping": None,
        "tie_word_embeddings": True, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
        "dtype": "bfloat16", "quantization": block, "quantization_config": block})
    write_json(folder, "tokenizer.json", tokenizer_json())
    write_json(folder, "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "<eos>",
        "bos_token": "<bos>", "unk_token": "<unk>"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", required=True, choices=[*GGUF_TYPES, *MLX_BITS])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("path", help="the file, or the directory for MLX types")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    write = write_gguf if args.type in GGUF_TYPES else write_mlx
    write(args.path, args.type, rng)
    file = args.path if args.type in GGUF_TYPES else os.path.join(args.path, "model.safetensors")
    print(f"{file}: {os.path.getsize(file)} bytes")


if __name__ == "__main__":
    main()
