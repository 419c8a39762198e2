# SPDX-License-Identifier: Apache-2.0
"""Writes mlx_cpu.safetensors: a matrix of tests/goldens/gemma4_dense as mlx.core.quantize has it on a CPU.

    python src/convert/testdata/make_fixtures.py        # needs mlx
"""
import pathlib

import mlx.core as mx

HERE = pathlib.Path(__file__).resolve().parent
MODULE = "model.layers.0.mlp.down_proj"

mx.set_default_device(mx.cpu)
weight = mx.load(str(HERE.parents[2] / "tests/goldens/gemma4_dense/model.safetensors"))[MODULE + ".weight"]
arrays = {}
for bits in (3, 4):
    parts = mx.quantize(weight, group_size=32, bits=bits)
    arrays |= {f"{bits}.{end}": part for end, part in zip(("weight", "scales", "biases"), parts)}
mx.save_safetensors(str(HERE / "mlx_cpu.safetensors"), arrays, metadata={"format": "mlx"})
