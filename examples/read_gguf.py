# SPDX-License-Identifier: Apache-2.0
"""What a GGUF file holds, and one of its matrices: python read_gguf.py [FOLDER FOR THE PICTURE [FILE]]"""
import collections
import pathlib
import sys

import matplotlib.pyplot as plt
import mlxn
import numpy as np
from mlxn import ops

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
folder.mkdir(parents=True, exist_ok=True)
path = sys.argv[2] if len(sys.argv) > 2 else str(pathlib.Path(__file__).parent.parent / "demo/model-q4_0.gguf")
checkpoint = mlxn.Checkpoint.open(path)
config = checkpoint.config.as_dict()
print(f"{config['family']}, {config['num_layers']} layers, hidden size {config['hidden_size']}, vocabulary {config['vocab_size']}")
sizes = collections.Counter()
for tensor in checkpoint.tensors():
    sizes[tensor["format"]] += tensor["nbytes"]
for format, size in sizes.most_common():
    print(f"{format}: {size / 1e6:.2f} MB")

shape = [config["vocab_size"], config["hidden_size"]]
weight = checkpoint.weight(mlxn.device(), "embed_tokens", shape)
table = ops.dequantize(weight).numpy()
tokenizer = mlxn.load(path)[1]
words = [" fox", " dog", " river", " sea", " happy", " sad", " two", " three", " ran", " walked"]
ids = [tokenizer.encode(word, add_special_tokens=False)[0] for word in words]
rows = table[ids] / np.linalg.norm(table[ids], axis=1, keepdims=True)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
left.hist(table.ravel(), bins=201, range=(-4 * table.std(), 4 * table.std()), color="tab:blue")
left.set(xlabel="value", ylabel="count", title=f"embed_tokens, {weight.format}, {8 * weight.nbytes / table.size:.2f} bits a weight")
image = right.imshow(rows @ rows.T - np.eye(len(words)), cmap="RdBu_r", vmin=-0.5, vmax=0.5)
right.set_xticks(range(len(words)), words, rotation=60)
right.set_yticks(range(len(words)), words)
right.set_title("Cosine of words' rows (diagonal left out)")
figure.colorbar(image, ax=right)
figure.savefig(folder / "read_gguf.png", dpi=110)
