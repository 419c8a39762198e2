# SPDX-License-Identifier: Apache-2.0
"""Perplexity and recall of the demo model in every format that `mlxn quantize` writes, as a markdown table.

  formats.py --mlxn build/release/mlxn --work DIR [--float DIR] [--megabytes 1] [--items 6]

The float weights are not shipped. Without --float (a directory with their safetensors, config.json and tokenizer) the
shipped 4-bit MLX weights are widened to f32 and converted from there: such a row shows what its format costs on top
of the 4 bits the model was trained for, not what it costs the original. The text is written by generate_data.py with
a seed of its own; recall takes the items of recall.json, read greedily. DIR gets the files. Needs numpy.
"""
import argparse
import json
import os
import shutil
import struct
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
MLX = os.path.join(HERE, "model-mlx-4bit")
TEXT_SEED = 424242
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
FORMATS = [(f"MLX affine {bits}-bit", f"mlx-{bits}", ["--format", "mlx", "--bits", str(bits), "--group-size", "64"])
           for bits in (8, 6, 5, 4, 3, 2)]
FORMATS += [(kind.upper(), f"{kind}.gguf", ["--format", "gguf", "--type", kind])
            for kind in ("q8_0", "q6_k", "q5_k", "q5_0", "q4_k", "q4_0")]


def read_safetensors(path):
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), file.read()
    header.pop("__metadata__", None)
    kinds = {"BF16": "<u2", "U32": "<u4", "F32": "<f4", "F16": "<f2"}
    out = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        out[name] = values
    return out


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values, "<f4").tobytes())


def widen(folder):
    """The shipped MLX weights as an f32 checkpoint: w = scale * code + bias for each group."""
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(MLX):
        if name not in ("config.json", "model.safetensors"):
            shutil.copy(os.path.join(MLX, name), folder)
    with open(os.path.join(MLX, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    quantised = config.pop("quantization")
    config.pop("quantization_config", None)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump({**config, "dtype": "float32"}, file, indent=1)
    tensors, out = read_safetensors(os.path.join(MLX, "model.safetensors")), {}
    for name, values in tensors.items():
        base = name.removesuffix(".weight")
        if name.endswith((".scales", ".biases")):
            continue
        if base + ".scales" not in tensors:
            out[name] = values.astype(np.float32)
            continue
        spec = quantised.get(base, quantised)
        bits, group = spec["bits"], spec["group_size"]
        codes = (values[..., None] >> np.arange(0, 32, bits, dtype=np.uint32)) & np.uint32((1 << bits) - 1)
        codes = codes.reshape(*values.shape[:-1], -1).astype(np.float32)
        scale, bias = (np.repeat(tensors[base + end].astype(np.float32), group, -1) for end in (".scales", ".biases"))
        out[name] = scale * codes + bias
    write_safetensors(os.path.join(folder, "model.safetensors"), out)


def call(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)[:200]}: exit code {done.returncode}")
    return done.stdout


def recall(args, model, items):
    """Share of items whose reply has the right four digits."""
    right = 0
    for item in items:
        packed = item["prompt"]
        ids = [64 * ALPHABET.index(packed[i]) + ALPHABET.index(packed[i + 1]) for i in range(0, len(packed), 2)]
        text = call([args.mlxn, "generate", "-m", model, "--prompt-tokens", ",".join(map(str, ids)), "-n", "24",
                     "--temp", "0", "-q"])
        right += "".join(c for c in text if c.isdigit()) == item["digits"]
    return right / len(items)


def size_of(path):
    return os.path.getsize(os.path.join(path, "model.safetensors") if os.path.isdir(path) else path)


def row(args, label, model, text, items):
    found = json.loads(call([args.mlxn, "perplexity", "-m", model, "-f", text, "--json", "-q"]))
    print(f"| {label} | {size_of(model) / 1e6:.1f} MB | {found['perplexity']:.4f} ± {found['stderr']:.4f} | "
          f"{100 * recall(args, model, items):.0f} % |", flush=True)
    return found["tokens"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlxn", default="build/release/mlxn")
    parser.add_argument("--work", required=True)
    parser.add_argument("--float", dest="source")
    parser.add_argument("--megabytes", type=int, default=1)
    parser.add_argument("--items", type=int, default=6)
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    source = args.source or os.path.join(args.work, "float")
    if not args.source:
        widen(source)
    text = os.path.join(args.work, "text.txt")
    call([sys.executable, os.path.join(HERE, "generate_data.py"), "text", "--out", text, "--megabytes",
          str(args.megabytes), "--seed", str(TEXT_SEED)])
    with open(os.path.join(HERE, "recall.json"), encoding="utf-8") as file:
        items = json.load(file)["items"][:args.items]
    print("| weights | size | perplexity | recall 3500 |\n| --- | ---: | ---: | ---: |")
    tokens = row(args, "float" if args.source else "`model-mlx-4bit` widened to f32", source, text, items)
    row(args, "`model-mlx-4bit`, as shipped", MLX, text, items)
    row(args, "`model-q4_0.gguf`, as shipped", os.path.join(HERE, "model-q4_0.gguf"), text, items)
    for label, name, flags in FORMATS:
        path = os.path.join(args.work, name)
        call([args.mlxn, "quantize", source, path, *flags, "-q"])
        row(args, label, path, text, items)
    print(f"\n{tokens} tokens scored, windows of 512; {len(items)} recall items.")


if __name__ == "__main__":
    main()
