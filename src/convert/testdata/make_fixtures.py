# SPDX-License-Identifier: Apache-2.0
"""Writes mlx_cpu.safetensors: matrices of tests/goldens as mlx.core.quantize (0.32.4) has them on a CPU.

    python src/convert/testdata/make_fixtures.py        # needs mlx
"""
import pathlib

import mlx.core as mx

HERE = pathlib.Path(__file__).resolve().parent
GOLDENS = HERE.parents[2] / "tests/goldens"
FP_MODES = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}


def weight(model, module):
    return mx.load(str(GOLDENS / model / "model.safetensors"))[f"model.layers.0.mlp.{module}.weight"]


mx.set_default_device(mx.cpu)
arrays = {}
for bits in (3, 4):
    parts = mx.quantize(weight("gemma4_dense", "down_proj"), group_size=32, bits=bits)
    arrays |= {f"{bits}.{end}": part for end, part in zip(("weight", "scales", "biases"), parts)}
for mode, (group_size, bits) in FP_MODES.items():
    parts = mx.quantize(weight("gemma3", "up_proj"), group_size=group_size, bits=bits, mode=mode)
    arrays |= {f"{mode}.{end}": part for end, part in zip(("weight", "scales"), parts)}
mx.save_safetensors(str(HERE / "mlx_cpu.safetensors"), arrays, metadata={"format": "mlx"})
