# SPDX-License-Identifier: Apache-2.0
"""Ops and formats next to MLX, from its own arrays without a copy."""
import mlxn
import numpy as np
import pytest
from kit import SEED, close, peer
from mlxn import ops

mx = peer("mlx.core")
pytestmark = pytest.mark.peers
DTYPES = {"float32": 3e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


def f32(x):
    return np.array(x.astype(mx.float32))


@pytest.fixture(autouse=True)
def seed():
    mx.random.seed(SEED)


def normal(*shape, dtype=mx.float32):
    x = mx.random.normal(shape).astype(dtype)
    mx.eval(x)
    return x


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_go_both_ways_without_a_copy(dtype):
    x = normal(3, 40, dtype=getattr(mx, dtype))
    b = mlxn.array(x)
    np.testing.assert_array_equal(b.numpy().astype(np.float32), f32(x))
    assert mlxn.array(x).address == b.address
    back = mx.array(ops.scale(b, 2.0))
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(f32(back), 2 * f32(x))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("group", [32, 64, 128])
def test_affine(bits, group):
    w, x = normal(48, 256), normal(5, 256)
    codes, scales, biases = mx.quantize(w, group_size=group, bits=bits)
    want = mx.dequantize(codes, scales, biases, group_size=group, bits=bits)
    for prepare in (False, True):
        weight = mlxn.Weight.affine(codes, scales, biases, bits=bits, group_size=group, prepare=prepare)
        np.testing.assert_array_equal(ops.dequantize(weight).numpy(), f32(want))
        close(ops.matmul(x, weight), f32(mx.quantized_matmul(x, codes, scales, biases, group_size=group, bits=bits)), 1e-4)
    rows = mx.array([3, 0, 47])
    np.testing.assert_array_equal(ops.embed(weight, [3, 0, 47]).numpy(), f32(want[rows]))


@pytest.mark.parametrize("mode", ["mxfp4", "mxfp8", "nvfp4"])
def test_fp_modes(mode):
    w, x = normal(48, 256), normal(5, 256)
    codes, scales = mx.quantize(w, mode=mode)[:2]
    group, bits = (16 if mode == "nvfp4" else 32), (8 if mode == "mxfp8" else 4)
    weight = mlxn.Weight.mlx(mode, codes, scales)
    np.testing.assert_array_equal(ops.dequantize(weight).numpy(),
                                  f32(mx.dequantize(codes, scales, mode=mode, group_size=group, bits=bits)))
    close(ops.matmul(x, weight), f32(mx.quantized_matmul(x, codes, scales, mode=mode, group_size=group, bits=bits)), 1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm(dtype):
    x, w = normal(7, 96, dtype=getattr(mx, dtype)), normal(96, dtype=getattr(mx, dtype))
    close(ops.rms_norm(x, w, eps=1e-5), f32(mx.fast.rms_norm(x, w, 1e-5)), DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(dtype):
    x = normal(7, 96, dtype=getattr(mx, dtype))
    close(ops.softmax(x), f32(mx.softmax(x, axis=-1, precise=True)), DTYPES[dtype])


@pytest.mark.parametrize("dims,traditional", [(64, False), (64, True), (32, False), (32, True)])
def test_rope(dims, traditional):
    x = normal(1, 2, 9, 64)  # MLX: [B, H, T, D]
    want = mx.fast.rope(x, dims, traditional=traditional, base=10000.0, scale=1.0, offset=5)
    freq = ops.rope_frequencies(10000.0, dims, dims)
    got = ops.rope(x[0].transpose(1, 0, 2), range(5, 14), freq, pairing="interleaved" if traditional else "split_rotary")
    close(got, f32(want)[0].transpose(1, 0, 2), 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads,kv_heads,dim,q_len,kv_len",
                         [(8, 2, 64, 17, 50), (4, 4, 128, 1, 33), (4, 1, 256, 9, 9), (2, 1, 512, 5, 70)])
def test_attention(dtype, heads, kv_heads, dim, q_len, kv_len):
    q, k, v = (normal(2, h, n, dim, dtype=getattr(mx, dtype)) for h,
               n in ((heads, q_len), (kv_heads, kv_len), (kv_heads, kv_len)))
    sdpa = mx.fast.scaled_dot_product_attention
    close(ops.attention(q, k, v), f32(sdpa(q, k, v, scale=dim**-0.5, mask="causal")), 4 * DTYPES[dtype])
    close(ops.attention(q, k, v, causal=False), f32(sdpa(q, k, v, scale=dim**-0.5)), 4 * DTYPES[dtype])
    mask, sinks = normal(q_len, kv_len, dtype=getattr(mx, dtype)), normal(heads, dtype=getattr(mx, dtype))
    got = ops.attention(q, k, v, causal=False, mask=mask, sinks=sinks.astype(mx.float32))
    close(got, f32(sdpa(q, k, v, scale=dim**-0.5, mask=mask, sinks=sinks)), 4 * DTYPES[dtype])
    seen = mx.random.uniform(shape=(q_len, kv_len)) < 0.7
    close(ops.attention(q, k, v, causal=False, mask=seen), f32(sdpa(q, k, v, scale=dim**-0.5, mask=seen)), 4 * DTYPES[dtype])
