# SPDX-License-Identifier: Apache-2.0
"""Text from the shipped model, and how sure it was of each token: python generate_text.py [FOLDER FOR THE PICTURE]"""
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
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

figure, axes = plt.subplots(figsize=(11, 6), layout="constrained")
axes.axis("off")
x = y = 0
for piece in pieces:
    for part in piece.text.splitlines(keepends=True):
        if x + len(part) > 92 and x > 0:
            x, y = 0, y + 1
        axes.text(x / 95, 1 - y / 16, part.rstrip("\n"), family="monospace", fontsize=10, va="top",
                  backgroundcolor=plt.colormaps["RdYlGn"](0.15 + 0.7 * np.exp(piece.logprob)))
        x, y = (0, y + 1) if part.endswith("\n") else (x + len(part), y)
axes.set_title("Green: the model was sure of the token. Red: it could have gone on differently.")
figure.savefig(folder / "generate_text.png", dpi=110)
assert end.generation_tokens > 20
