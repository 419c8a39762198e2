# SPDX-License-Identifier: Apache-2.0
"""Attention with head size 512 next to PyTorch, time against context: python attention_512.py [FOLDER FOR THE PICTURE]"""
import pathlib
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
from mlxn import ops

try:
    import torch
except ImportError:
    torch = None
    print("skipped: PyTorch is not installed, mlxn is compared with NumPy alone")

DIM, HEADS, KV_HEADS = 512, 8, 2
folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(2)


def exact(q, k, v):
    k, v = (np.repeat(x.astype(np.float64), HEADS // KV_HEADS, axis=1) for x in (k, v))
    z = np.einsum("bhld,bhsd->bhls", q.astype(np.float64), k) / DIM**0.5
    z[..., np.triu(np.ones(z.shape[-2:], bool), 1)] = -np.inf
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True) @ v


def with_torch(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(*map(torch.from_numpy, (q, k, v)), is_causal=True,
                                                            enable_gqa=True).numpy()


def milliseconds(run, *args):
    run(*args)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run(*args)
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[2]


runs = {"mlxn": ops.attention, "NumPy, float64": exact} | ({"PyTorch": with_torch} if torch else {})
lengths = [64, 128, 256, 512]
figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
for name, run in runs.items():
    times = []
    for length in lengths:
        q, k, v = (rng.standard_normal((1, h, length, DIM)).astype(np.float32) for h in (HEADS, KV_HEADS, KV_HEADS))
        want = exact(q, k, v)
        error = np.abs(np.asarray(run(q, k, v)) - want).max() / np.abs(want).max()
        times.append(milliseconds(run, q, k, v))
        print(f"{name}, {length} tokens: {times[-1]:.2f} ms, largest error {error:.1e}")
        assert error < 1e-5
    axes.loglog(lengths, times, "o-", label=name)
axes.set(xlabel="tokens", ylabel="milliseconds", title=f"Causal attention, {HEADS} heads of {DIM} on {KV_HEADS}, f32")
axes.set_xticks(lengths, lengths)
axes.set_xticks([], minor=True)
axes.grid(alpha=0.3, which="both")
axes.legend()
figure.savefig(folder / "attention_512.png", dpi=110)
