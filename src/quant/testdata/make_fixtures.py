# SPDX-License-Identifier: Apache-2.0
"""Writes blocks.bin and affine.bin: what other implementations make of the same bytes.

Decoded values of GGUF blocks come from the `gguf` package, encoded Q4_0 and Q8_0 too. Encoded Q4_K
and Q6_K come from ggml itself: pass a libggml-base.so built without FMA, such as the one inside the
PyPI wheel of pywhispercpp. MLX affine comes from the `mlx` package on the CPU.

    pip install gguf mlx && pip download --no-deps pywhispercpp && unzip pywhispercpp*.whl -d wheel
    python make_fixtures.py --ggml wheel/libggml-base.so

A file is a run of records: u32 length of the name, name, u64 length of the bytes, bytes; all
little-endian.
"""

import argparse
import ctypes
import pathlib
import struct

import gguf
import mlx.core as mx
import numpy as np

BLOCKS = {"q4_0": (32, 18), "q8_0": (32, 34), "q4_k": (256, 144), "q6_k": (256, 210)}
# Byte offsets of the f16 factors inside a block.
FACTORS = {"q4_0": [0], "q8_0": [0], "q4_k": [0, 2], "q6_k": [208]}
# 0, -0, the subnormals' ends, the normals' ends, ones, infinities, NaN; both signs.
F16_EXTREMES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x7BFF, 0xFBFF,
                0x3C00, 0xBC00, 0x7C00, 0xFC00, 0x7E00]
DTYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
WIDTHS = (2, 3, 4, 5, 6, 8)
GROUPS = (32, 64, 128)


class Records:
    def __init__(self):
        self.out = bytearray()

    def add(self, name, array):
        data = np.ascontiguousarray(array).tobytes()
        self.out += struct.pack("<I", len(name)) + name.encode()
        self.out += struct.pack("<Q", len(data)) + data


def raw(array):
    """The bytes of an mx array as stored."""
    if array.dtype == mx.bfloat16:
        return np.array(array.view(mx.uint16))
    return np.array(array)


def encoder_inputs(rng):
    """[rows, 256] f32: one kind of difficulty per row."""
    n = 256
    ramp = np.arange(n)
    spike = np.zeros(n)
    spike[77] = -3.5
    late_spike = np.zeros(n)
    late_spike[255] = 2.0
    outlier = rng.standard_normal(n)
    outlier[130] = 1e4
    rows = [
        np.zeros(n), spike, late_spike, np.full(n, 0.75), np.full(n, -0.75), np.full(n, 1e-6),
        np.full(n, 65504.0), np.full(n, -65504.0), rng.choice([-65504.0, 65504.0], n),
        -np.abs(rng.standard_normal(n)), np.abs(rng.standard_normal(n)),
        -5.0 - rng.random(n), 5.0 + rng.random(n), np.where(ramp % 2, 1.0, -1.0),
        (ramp % 16) - 8.0, (ramp % 17) / 2 - 4.0, (ramp % 255) - 127.0, (ramp % 32) / 2.0 + 0.25,
        -((ramp % 16) + 0.5), rng.standard_normal(n) * 1e-6, rng.standard_normal(n) * 1e-3,
        rng.standard_normal(n) * 3e3, outlier, np.exp(rng.standard_normal(n) * 3),
        rng.uniform(-1, 1, n), rng.standard_normal(n), rng.standard_normal(n) * 0.02,
        rng.standard_normal(n) * (ramp // 32), rng.standard_normal(n) * (ramp // 16 % 2),
        rng.standard_cauchy(n),
        rng.standard_normal(n).astype(np.float16), rng.integers(-8, 9, n) / 8.0,
        # Halfway between two codes of Q8_0, whose scale is 1 here.
        np.where(ramp % 32, (ramp % 96) - 48.5, 127.0),
    ]
    # Seeds whose blocks get other bytes if the last of Q4_K's trials is left out.
    rows += [np.random.default_rng(seed).standard_normal(n) for seed in (110, 162, 230)]
    return np.array(rows, dtype=np.float32)


def write_decoded_blocks(records, rng):
    for name, (elements, size) in BLOCKS.items():
        kind = gguf.GGMLQuantizationType[name.upper()]
        count = 40 if elements == 32 else 24
        blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for j, offset in enumerate(FACTORS[name]):
            factors = rng.uniform(-2, 2, count).astype(np.float16)
            factors.view(np.uint16)[: len(F16_EXTREMES)] = np.roll(F16_EXTREMES, 4 * j)
            blocks[:, offset : offset + 2] = factors.view(np.uint8).reshape(count, 2)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(blocks, kind)
        records.add(f"decode/{name}/blocks", blocks)
        records.add(f"decode/{name}/values", values.astype(np.float32))


def write_encoded_blocks(records, inputs, ggml):
    records.add("encode/input", inputs)
    for name in ("q4_0", "q8_0"):
        kind = gguf.GGMLQuantizationType[name.upper()]
        records.add(f"encode/{name}", gguf.quants.quantize(inputs, kind))
    for name in ("q4_k", "q6_k"):
        elements, size = BLOCKS[name]
        encode = getattr(ggml, f"quantize_row_{name[:2]}_K_ref")
        encode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        encode.restype = None
        out = np.zeros(inputs.size // elements * size, dtype=np.uint8)
        encode(inputs.ctypes.data, out.ctypes.data, inputs.size)
        records.add(f"encode/{name}", out)


def write_decoded_affine(records, rng):
    extremes = np.array([0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 65504.0, -65504.0, 1.0, -1.0, 0.0123])
    for bits in WIDTHS:
        for group in GROUPS:
            for dtype_name, dtype in DTYPES.items():
                codes = mx.array(rng.integers(0, 2**32, (2, 128 * bits // 32), dtype=np.uint32))
                shape = (2, 128 // group)
                normal = rng.standard_normal(shape)
                scales = np.where(rng.random(shape) < 0.5, rng.choice(extremes, shape), normal)
                biases = np.where(rng.random(shape) < 0.3, rng.choice(extremes, shape), normal * 7)
                scales = mx.array(scales.astype(np.float32)).astype(dtype)
                biases = mx.array(biases.astype(np.float32)).astype(dtype)
                values = mx.dequantize(codes, scales.astype(mx.float32), biases.astype(mx.float32),
                                       group_size=group, bits=bits)
                prefix = f"decode/{bits}/{group}/{dtype_name}"
                records.add(f"{prefix}/codes", np.array(codes))
                records.add(f"{prefix}/scales", raw(scales))
                records.add(f"{prefix}/biases", raw(biases))
                records.add(f"{prefix}/values", np.array(values))


def write_encoded_affine(records, inputs):
    records.add("encode/input", inputs)
    for bits in WIDTHS:
        for group in GROUPS:
            for dtype_name, dtype in DTYPES.items():
                if dtype_name != "f32" and (bits, group) not in ((4, 64), (8, 32)):
                    continue
                codes, scales, biases = mx.quantize(mx.array(inputs).astype(dtype),
                                                    group_size=group, bits=bits)
                prefix = f"encode/{bits}/{group}/{dtype_name}"
                records.add(f"{prefix}/codes", np.array(codes))
                records.add(f"{prefix}/scales", raw(scales))
                records.add(f"{prefix}/biases", raw(biases))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ggml", required=True, help="a libggml-base.so built without FMA")
    arguments = parser.parse_args()
    mx.set_default_device(mx.cpu)
    here = pathlib.Path(__file__).parent
    rng = np.random.default_rng(20260101)
    inputs = encoder_inputs(rng)

    blocks = Records()
    write_decoded_blocks(blocks, rng)
    write_encoded_blocks(blocks, inputs, ctypes.CDLL(arguments.ggml))
    (here / "blocks.bin").write_bytes(blocks.out)

    affine = Records()
    write_decoded_affine(affine, rng)
    write_encoded_affine(affine, inputs[:24])
    (here / "affine.bin").write_bytes(affine.out)


if __name__ == "__main__":
    main()
