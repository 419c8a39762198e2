#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/seeds: small good inputs of every target, most cut from the fixtures of src/.

Standard library only. Run it from anywhere; the files it writes are committed.
"""
import json
import pathlib
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SEEDS = ROOT / "tests/fuzz/seeds"
HIDDEN, VOCAB, HEAD_DIM = 32, 8, 16

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
GGML_F32, GGML_Q8_0, GGML_Q4_0 = 0, 8, 2


def write(target, name, data):
    path = SEEDS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def gguf_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(kind, value):
    if kind == STRING:
        return gguf_string(value)
    return struct.pack({U32: "<I", F32: "<f", BOOL: "<?"}[kind], value)


def gguf_pair(key, kind, value):
    if isinstance(value, list):
        body = struct.pack("<IQ", kind, len(value)) + b"".join(gguf_value(kind, v) for v in value)
        return gguf_string(key) + struct.pack("<I", ARRAY) + body
    return gguf_string(key) + struct.pack("<I", kind) + gguf_value(kind, value)


def gguf_file(pairs, tensors):
    """tensors: (name, extents innermost first, type, bytes)."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    out += b"".join(gguf_pair(*pair) for pair in pairs)
    data = b""
    for name, extents, kind, size in tensors:
        out += gguf_string(name) + struct.pack("<I", len(extents))
        out += b"".join(struct.pack("<Q", e) for e in extents) + struct.pack("<IQ", kind, len(data))
        data += bytes(i % 61 for i in range(size)) + bytes(-size % 32)
    return out + bytes(-len(out) % 32) + data


def write_gguf():
    tokens = ["<unk>", "<bos>", "<eos>", "▁", "a", "b", "ab", "<0x0A>"]
    vocab = [("tokenizer.ggml.tokens", STRING, tokens),
             ("tokenizer.ggml.token_type", U32, [2, 3, 3, 1, 1, 1, 1, 6]),
             ("tokenizer.ggml.bos_token_id", U32, 1), ("tokenizer.ggml.eos_token_id", U32, 2)]
    by_rank = vocab + [("tokenizer.ggml.model", STRING, "gemma4"),
                       ("tokenizer.ggml.merges", STRING, ["a b"])]
    by_score = vocab + [("tokenizer.ggml.model", STRING, "llama"),
                        ("tokenizer.ggml.scores", F32, [0.0] * 4 + [-1.0, -2.0, -0.5, 0.0]),
                        ("tokenizer.ggml.add_space_prefix", BOOL, True),
                        ("tokenizer.chat_template", STRING, "{{ messages[0]['content'] }}")]

    def model(arch):
        return [("general.architecture", STRING, arch), ("general.alignment", U32, 32),
                (f"{arch}.block_count", U32, 2), (f"{arch}.embedding_length", U32, HIDDEN),
                (f"{arch}.context_length", U32, 64), (f"{arch}.feed_forward_length", U32, 64),
                (f"{arch}.attention.head_count", U32, 2),
                (f"{arch}.attention.head_count_kv", U32, [1, 1]),
                (f"{arch}.attention.key_length", U32, HEAD_DIM),
                (f"{arch}.attention.value_length", U32, HEAD_DIM),
                (f"{arch}.attention.layer_norm_rms_epsilon", F32, 1e-6),
                (f"{arch}.attention.sliding_window", U32, 4)]
    tables = [("token_embd.weight", [HIDDEN, VOCAB], GGML_Q8_0, HIDDEN * VOCAB // 32 * 34),
              ("output_norm.weight", [HIDDEN], GGML_F32, HIDDEN * 4),
              ("blk.0.attn_q.weight", [HIDDEN, 2], GGML_Q4_0, 2 * 18)]
    write("gguf", "gemma3_score.gguf", gguf_file(model("gemma3") + by_score, tables))
    gemma4 = [("gemma4.attention.sliding_window_pattern", BOOL, [True, False]),
              ("gemma4.embedding_length_per_layer_input", U32, 0),
              ("gemma4.expert_count", U32, 2), ("gemma4.expert_used_count", U32, 1),
              ("gemma4.expert_feed_forward_length", U32, 32), ("general.sampling.temp", F32, 1.0)]
    freqs = [("rope_freqs.weight", [HEAD_DIM // 2], GGML_F32, HEAD_DIM * 2)]
    write("gguf", "gemma4_rank.gguf", gguf_file(model("gemma4") + gemma4 + by_rank, tables + freqs))
    # One block of every block type, two of some.
    blocks = {2: 18, 3: 20, 6: 22, 7: 24, 8: 34, 20: 18, 39: 17}
    k_blocks = {10: 84, 11: 110, 12: 144, 13: 176, 14: 210, 23: 136}
    tensors = [(f"t{k}.weight", [32, 1], k, size) for k, size in blocks.items()]
    tensors += [(f"t{k}.weight", [256, 1], k, size) for k, size in k_blocks.items()]
    write("gguf", "every_block.gguf", gguf_file(model("gemma3"), tables[:1] + tensors))
    write("gguf", "version2.gguf", b"GGUF" + struct.pack("<IQQ", 2, 0, 1) +
          gguf_pair("general.architecture", STRING, "gemma3"))
    write("gguf", "empty.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 0))


def safetensors_file(tensors, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, dtype, shape, size in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += bytes(i % 61 for i in range(size))
    text = compact(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def write_safetensors():
    write("safetensors", "empty.safetensors", safetensors_file([]))
    write("safetensors", "floats.safetensors", safetensors_file(
        [("a.weight", "F32", [2, 4], 32), ("b", "BF16", [3], 6), ("c", "F16", [1, 1], 2),
         ("scalar", "F64", [], 8), ("none", "I64", [0, 5], 0)], {"format": "mlx"}))
    for name, words, scales, kind, size in [("affine4", 8, 2, "BF16", 2), ("mxfp4", 8, 2, "U8", 1),
                                            ("nvfp4", 8, 4, "U8", 1), ("mxfp8", 16, 2, "U8", 1)]:
        tensors = [("m.weight", "U32", [2, words], 2 * words * 4),
                   ("m.scales", kind, [2, scales], 2 * scales * size)]
        if kind == "BF16":
            tensors.append(("m.biases", kind, [2, scales], 2 * scales * size))
        write("safetensors", f"{name}.safetensors", safetensors_file(tensors))
    odd = [(f"t.{t}", t, [1], s) for t, s in
           [("BOOL", 1), ("U8", 1), ("I8", 1), ("F8_E4M3", 1), ("I16", 2), ("U64", 8), ("C64", 8), ("NEW", 3)]]
    write("safetensors", "types.safetensors", safetensors_file(odd))


def write_configs():
    sources = {"gemma3": "tests/goldens/gemma3", "gemma3_mlx8": "tests/goldens/gemma3_mlx8",
               "gemma4_dense": "tests/goldens/gemma4_dense", "gemma4_moe_mlx4": "tests/goldens/gemma4_moe_mlx4",
               "gemma4_wrapped": "src/checkpoint/testdata/gemma4_mlx", "gemma4_raw": "src/checkpoint/testdata/gemma4_raw"}
    generation = compact({"temperature": 1.0, "top_k": 64, "top_p": 0.95, "do_sample": True,
                          "eos_token_id": [1, 2], "suppress_tokens": [3]})
    for name, folder in sources.items():
        write("config", name, compact(json.loads((ROOT / folder / "config.json").read_text())) + "\0" + generation)
    base = {"model_type": "gemma3_text", "vocab_size": 32, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    for mode in ("mxfp4", "mxfp8", "nvfp4"):
        write("config", mode, compact({**base, "quantization": {"mode": mode, "lm_head": False,
                                                                "model.embed_tokens": {"bits": 8, "group_size": 64}}}))
    write("config", "foreign", compact({**base, "quantization_config": {"quant_method": "mxfp4"}}))


def write_tokenizers():
    variants = json.loads((ROOT / "src/tokenizer/testdata/variants.json").read_text())
    config = compact({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True,
                      "tokenizer_class": "GemmaTokenizer", "chat_template": "{{ messages }}"})
    for name in ("plain", "fuse_unk", "byte_fallback_partial", "merge_pairs_duplicates", "split_Isolated",
                 "split_inverted_MergedWithNext", "split_Contiguous", "pre_tokenizer_sequence",
                 "llama2_form", "strip_each_token"):
        write("tokenizer", name, compact(variants[name]["tokenizer"]) + "\0" + config)


def write_templates():
    cases = json.loads((ROOT / "src/tokenizer/testdata/template_cases.json").read_text())
    seen, total = set(), 0
    for index, case in enumerate(cases):
        if isinstance(case[1], int):  # the template of an earlier case
            continue
        source = case[1]
        if 120 <= len(source) < 2500 and source not in seen and total < 22_000:
            seen.add(source)
            total += len(source.encode())
            tools = '[{"name":"f","x":[1,2.5,null,true]}]' if index % 8 == 0 else ""
            write("chat_template", f"case_{index:03}", source + ("\0" + tools if tools else ""))


write_gguf()
write_safetensors()
write_configs()
write_tokenizers()
write_templates()
