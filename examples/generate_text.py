# SPDX-License-Identifier: Apache-2.0
"""Text from the shipped model, and how sure it was of each token: python generate_text.py [FOLDER FOR THE PICTURE]"""
import pathlib
import sys

import matplotlib.pyplot as plt
import mlxn
import numpy as np

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
folder.mkdir(parents=True, exist_ok=True)
model, tokenizer = mlxn.load(pathlib.Path(__file__).parent.parent / "demo/model-mlx-4bit")
prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Tell me a story about a fox."}])

pieces = []
for piece in mlxn.stream_generate(model, tokenizer, prompt, max_tokens=200, temp=0.7, top_p=0.95, seed=21, logprobs=1):
    print(piece.text, end="", flush=True)
    pieces.append(piece)
*pieces, end = pieces
print(f"\n{end.finish_reason} after {end.generation_tokens} tokens, {end.generation_tps:.0f} tokens/s")

# Each piece at its column and line, 100 characters a line.
placed, x, y = [], 0, 0
for piece in pieces:
    for part in piece.text.splitlines(keepends=True):
        if x + len(part) > 100:
            x, y = 0, y + 1
        placed.append((x, y, part.rstrip("\n"), piece.logprob))
        x, y = (0, y + 1) if part.endswith("\n") else (x + len(part), y)
pitch = 0.602 * 10 / 72  # inches a character of 10 points
figure = plt.figure(figsize=(104 * pitch, (y + 4) * 0.24))
axes = figure.add_axes((0, 0, 1, 1), xlim=(-2, 102), ylim=(y + 1.5, -2.5))
axes.axis("off")
axes.text(0, -1.4, "Green: the model was sure of the token. Red: it could have gone on differently.", fontsize=10, va="center")
for x, y, text, logprob in placed:
    axes.barh(y, len(text), 0.95, left=x, color=plt.colormaps["RdYlGn"](0.2 + 0.6 * np.exp(logprob)), edgecolor="white")
    axes.text(x, y, text, family="monospace", fontsize=10, va="center", parse_math=False)
figure.savefig(folder / "generate_text.png", dpi=110)
assert end.generation_tokens > 20
