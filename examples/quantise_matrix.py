# SPDX-License-Identifier: Apache-2.0
"""A matrix in four formats, two of GGUF and two of MLX, and what a product loses: python quantise_matrix.py [FOLDER]

Needs: pip install gguf 'mlx[cpu]'"""
import pathlib
import sys

import gguf
import matplotlib.pyplot as plt
import mlx.core as mx
import mlxn
import numpy as np
from mlxn import ops

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(3)
w = (rng.standard_normal((512, 2048)) * np.exp(0.5 * rng.standard_normal((512, 1)))).astype(np.float32)
x = rng.standard_normal((4, 2048)).astype(np.float32)
exact = x.astype(np.float64) @ w.T.astype(np.float64)


def ggml(name):
    blocks = gguf.quantize(w, gguf.GGMLQuantizationType[name])
    return mlxn.Weight.gguf(blocks, name.lower(), w.shape, prepare=True)


codes, scales, biases = mx.quantize(mx.array(w), bits=4, group_size=64)
fp_codes, fp_scales = mx.quantize(mx.array(w), mode="mxfp4")[:2]
weights = {"GGUF Q8_0": ggml("Q8_0"), "GGUF Q4_0": ggml("Q4_0"), "MLX affine, 4 bits": mlxn.Weight.affine(codes, scales, biases),
           "MLX mxfp4": mlxn.Weight.mlx("mxfp4", fp_codes, fp_scales)}

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for name, weight in weights.items():
    error = ops.dequantize(weight).numpy() - w
    product = ops.matmul(x, weight).numpy() - exact
    bits, loss = 8 * weight.nbytes / w.size, np.sqrt((product**2).sum() / (exact**2).sum())
    print(f"{name}: {bits:.2f} bits a weight, product off by {100 * loss:.2f} %")
    left.hist(error.ravel() / w.std(), bins=200, range=(-0.3, 0.3), histtype="step", density=True, label=name)
    right.plot(bits, 100 * loss, "o", markersize=9, label=name)
left.set(xlabel="error of a weight / standard deviation", ylabel="density", title="Errors of the weights", yscale="log")
right.set(xlabel="bits a weight", ylabel="error of x W^T, %", title="Errors of a product", ylim=(0, None))
right.grid(alpha=0.3)
right.legend()
figure.savefig(folder / "quantise_matrix.png", dpi=110)
