# SPDX-License-Identifier: Apache-2.0
"""Rotate and compress a KV cache, and see what attention loses: python compress_kv_cache.py [FOLDER FOR THE PICTURE]"""
import pathlib
import sys

import matplotlib.pyplot as plt
import mlxn
import numpy as np
from mlxn import ops

DIM, TOKENS, HEADS = 256, 1024, 8
folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(1)

# Keys as models have them: a few channels are much larger than the others. Rotation spreads them out.
k = rng.standard_normal((1, TOKENS, 2, DIM)).astype(np.float32)
k[..., rng.choice(DIM, 6, replace=False)] *= 12
v = rng.standard_normal((1, TOKENS, 2, DIM)).astype(np.float32)
q = (rng.standard_normal((1, HEADS, DIM)) + 2 * np.repeat(k[:, 500], 4, axis=1)).astype(np.float32)
scale = 0.1 / DIM**0.5
exact = ops.attn_decode(q, k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3), softmax_scale=scale).numpy()


def nmse(got, want):
    return float(((got - want) ** 2).sum() / (want**2).sum())


def plain_codes(x, bits):
    """The same number of bits without a rotation: equal steps over each row."""
    step = np.abs(x).max(-1, keepdims=True) * 2 / (2**bits - 1)
    return np.round(x / step) * step


widths = [2, 3, 4, 5, 6, 8]
rotated, plain, attention = [], [], []
for bits in widths:
    rows = [ops.tq_encode(x, bits=bits) for x in (k, v)]
    back = ops.tq_decode(rows[0], DIM).numpy().transpose(0, 2, 1, 3)
    rotated.append(nmse(back, k))
    plain.append(nmse(plain_codes(k, bits), k))
    attention.append(nmse(ops.attn_decode_tq(q, *rows, kv_len=TOKENS, softmax_scale=scale).numpy(), exact))
    size = sum(r.codes.nbytes + r.norms.nbytes for r in rows)
    print(f"{bits} bits: {size / (k.nbytes + v.nbytes) * 32:.2f} bits an element, keys {rotated[-1]:.2e}, attention {attention[-1]:.2e}")

figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
for values, label in ((plain, "keys, equal steps, not rotated"), (rotated, "keys, TurboQuant"),
                      (attention, "attention over the codes")):
    axes.semilogy(widths, values, "o-", label=label)
axes.set(xlabel="bits of a code", ylabel="squared error / squared values",
         title=f"A KV cache of {TOKENS} tokens, head size {DIM}")
axes.grid(alpha=0.3)
axes.legend()
figure.savefig(folder / "compress_kv_cache.png", dpi=110)
assert all(r < p for r, p in zip(rotated, plain))
