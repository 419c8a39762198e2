# SPDX-License-Identifier: Apache-2.0
"""Writes blocks.bin, affine.bin and mlx_fp.bin: what other implementations make of the same bytes.

Decoded values of GGUF blocks come from the `gguf` package. Encoded blocks come from ggml itself:
pass a libggml-base.so built without FMA, whose contraction changes bits of the K formats, such as
the one inside the PyPI wheel of pywhispercpp. The MLX formats come from the `mlx` package on the
CPU.

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

# Elements and bytes of a block, byte offsets of its f16 factors.
BLOCKS = {
    "q4_0": (32, 18, [0]), "q8_0": (32, 34, [0]), "q4_k": (256, 144, [0, 2]),
    "q6_k": (256, 210, [208]), "q4_1": (32, 20, [0, 2]), "q5_0": (32, 22, [0]),
    "q5_1": (32, 24, [0, 2]), "q2_k": (256, 84, [80, 82]), "q3_k": (256, 110, [108]),
    "q5_k": (256, 176, [0, 2]), "iq4_nl": (32, 18, [0]), "iq4_xs": (256, 136, [0]),
    "mxfp4": (32, 17, []),
}
ENCODED = ("q4_0", "q8_0", "q4_k", "q6_k", "q4_1", "q5_0", "q5_1", "q2_k", "q5_k", "mxfp4")
E8M0_EXTREMES = [0, 1, 2, 126, 127, 128, 253, 254, 255]
# 0, the subnormals' ends, the normals' ends, 1, NaN; both signs.
E4M3_EXTREMES = [s | v for s in (0, 0x80) for v in (0, 1, 7, 8, 0x38, 0x7E, 0x7F)]
# Codes and scales of a mode of MLX: bits, group size, bytes that the scales are drawn from first.
FP_MODES = {"mxfp4": (4, 32, E8M0_EXTREMES), "mxfp8": (8, 32, E8M0_EXTREMES),
            "nvfp4": (4, 16, E4M3_EXTREMES)}
# 0, -0, the subnormals' ends, the normals' ends, ones, infinities, NaN; both signs.
F16_EXTREMES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x7BFF, 0xFBFF,
                0x3C00, 0xBC00, 0x7C00, 0xFC00, 0x7E00]
DTYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
SHARED_ROWS = 24  # of the encoders' inputs in blocks.bin, for the MLX formats too
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


def every_six_bit_value(rng, count, scales):
    """[count, scales]: the values 0..63 in a random order, over and over."""
    values = np.resize(np.arange(64), count * scales)
    return rng.permutation(values).reshape(count, scales).astype(np.uint8)


def pack_scales_and_minimums(s, m):
    """The 12 bytes of Q4_K and Q5_K."""
    low = s[:, :4] | (s[:, 4:] >> 4 << 6), m[:, :4] | (m[:, 4:] >> 4 << 6)
    return np.concatenate([*low, (s[:, 4:] & 15) | (m[:, 4:] & 15) << 4], axis=1)


def pack_q3_k_scales(s):
    high = sum((s[:, 4 * t : 4 * t + 4] >> 4) << 2 * t for t in range(4))
    return np.concatenate([(s[:, :8] & 15) | (s[:, 8:] & 15) << 4, high], axis=1)


def pack_iq4_xs_scales(s):
    """Two bytes of high bits, four of low nibbles."""
    high = [sum((s[:, 4 * h + t] >> 4) << 2 * t for t in range(4)) for h in range(2)]
    low = (s[:, 0::2] & 15) | (s[:, 1::2] & 15) << 4
    return np.concatenate([np.stack(high, axis=1), low], axis=1)


def fill_scales(name, blocks, rng):
    """Every value of the scales inside a block occurs."""
    count = len(blocks)
    if name in ("q4_k", "q5_k"):
        blocks[:, 4:16] = pack_scales_and_minimums(every_six_bit_value(rng, count, 8),
                                                   every_six_bit_value(rng, count, 8))
    elif name == "q3_k":
        blocks[:, 96:108] = pack_q3_k_scales(every_six_bit_value(rng, count, 16))
    elif name == "iq4_xs":
        blocks[:, 2:8] = pack_iq4_xs_scales(every_six_bit_value(rng, count, 8))
    elif name == "q2_k":
        blocks[:, :16] = rng.permutation(256).reshape(16, 16)
    elif name == "mxfp4":
        blocks[: len(E8M0_EXTREMES), 0] = E8M0_EXTREMES


def write_decoded_blocks(records, rng):
    for name, (elements, size, offsets) in BLOCKS.items():
        kind = gguf.GGMLQuantizationType[name.upper()]
        count = 40 if elements == 32 else 16
        blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
        fill_scales(name, blocks, rng)
        for j, offset in enumerate(offsets):
            factors = rng.uniform(-2, 2, count).astype(np.float16)
            factors.view(np.uint16)[: len(F16_EXTREMES)] = np.roll(F16_EXTREMES, 4 * j)
            blocks[:, offset : offset + 2] = factors.view(np.uint8).reshape(count, 2)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(blocks, kind)
        records.add(f"decode/{name}/blocks", blocks)
        records.add(f"decode/{name}/values", values.astype(np.float32))


def write_encoded_blocks(records, inputs, ggml):
    records.add("encode/input", inputs)
    for name in ENCODED:
        elements, size, _ = BLOCKS[name]
        encode = getattr(ggml, f"quantize_row_{name.replace('_k', '_K')}_ref")
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


def fp_inputs():
    """[rows, 256] f32: halfway between codes, scales at the ends of their range."""
    ramp = np.arange(256)
    e2m1_halves = np.where(ramp % 32, (ramp % 49 - 24) / 4, 6.0)
    # Every E4M3 value up to 448 and the halves between them, under a scale of 1.
    e4m3 = np.array([(8 + h / 2 % 8) * 2.0 ** (h // 16 - 10) for h in range(256)])
    e4m3_halves = np.where(ramp % 32, np.minimum(e4m3, 448) * np.where(ramp % 3, 1, -1), 448.0)
    rng = np.random.default_rng(7)
    # The scale of a group is just beside a power of two.
    beside = (1 + (ramp // 32 % 3 - 1) * 2.0**-22) * 2.0 ** (ramp // 32 * 9 - 40)
    rows = [e2m1_halves, -e2m1_halves, e4m3_halves, e4m3_halves / 2]
    rows += [np.where(ramp % 32, 0, largest * beside) for largest in (6, -448)]
    # Below 1e-35 mlx wraps the exponent of the scale.
    rows += [rng.standard_normal(256) * 10.0**e for e in (-34, -20, -3, 2, 20, 37)]
    return np.array(rows, dtype=np.float32)


def write_mlx_fp(records, shared, rng):
    records.add("encode/input", fp_inputs())
    inputs = np.concatenate([shared, fp_inputs()])
    for mode, (bits, group, extremes) in FP_MODES.items():
        codes = mx.array(rng.integers(0, 2**32, (4, 256 * bits // 32), dtype=np.uint32))
        scales = rng.integers(0, 256, (4, 256 // group), dtype=np.uint8)
        scales.reshape(-1)[: len(extremes)] = extremes
        values = mx.dequantize(codes, mx.array(scales), group_size=group, bits=bits, mode=mode,
                               dtype=mx.float32)
        records.add(f"decode/{mode}/codes", np.array(codes))
        records.add(f"decode/{mode}/scales", scales)
        records.add(f"decode/{mode}/values", np.array(values))
        codes, scales = mx.quantize(mx.array(inputs), group_size=group, bits=bits, mode=mode)
        records.add(f"encode/{mode}/codes", np.array(codes))
        records.add(f"encode/{mode}/scales", np.array(scales))


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
    write_encoded_affine(affine, inputs[:SHARED_ROWS])
    (here / "affine.bin").write_bytes(affine.out)

    fp = Records()
    write_mlx_fp(fp, inputs[:SHARED_ROWS], rng)
    (here / "mlx_fp.bin").write_bytes(fp.out)


if __name__ == "__main__":
    main()
