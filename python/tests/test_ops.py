# SPDX-License-Identifier: Apache-2.0
"""Every op against float64 NumPy: test_<op> is the parity case that test_coverage.py demands."""
import math

import ml_dtypes
import mlxn
import numpy as np
import pytest
from kit import attention, causal_mask, close, normal
from mlxn import ops

FLOATS = {"f32": (np.float32, 3e-6), "f16": (np.float16, 2e-3), "bf16": (ml_dtypes.bfloat16, 1.6e-2)}


@pytest.fixture(params=FLOATS)
def kind(request):
    return FLOATS[request.param]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def norm(x, w=None, eps=1e-6, offset=0.0):
    x = np.asarray(x, np.float64)
    y = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return y if w is None else y * (offset + np.asarray(w, np.float64))


def f64(*arrays):
    return [np.asarray(a).astype(np.float64) for a in arrays]


def test_rms_norm(rng, kind):
    x, w = normal(rng, 3, 5, 37, dtype=kind[0]), normal(rng, 37)
    close(ops.rms_norm(x, w, eps=1e-5, weight_offset=1.0), norm(x, w, 1e-5, 1.0), kind[1])
    close(ops.rms_norm(x), norm(x), kind[1])


def test_add_rms_norm(rng, kind):
    r, x, w = normal(rng, 4, 33, dtype=kind[0]), normal(rng, 4, 33, dtype=kind[0]), normal(rng, 33)
    total, out = ops.add_rms_norm(r, x, w)
    want = np.add(*f64(r, x))
    close(total, want, kind[1])
    close(out, norm(want, w), kind[1])


def test_rms_norm_add(rng, kind):
    r, x, w = normal(rng, 4, 33, dtype=kind[0]), normal(rng, 4, 33, dtype=kind[0]), normal(rng, 33)
    close(ops.rms_norm_add(r, x, w, scale=0.5), (f64(r)[0] + norm(x, w)) * 0.5, kind[1])


def test_rms_norm_mul(rng, kind):
    x, f, w = normal(rng, 4, 33, dtype=kind[0]), normal(rng, 4, 33, dtype=kind[0]), normal(rng, 33)
    close(ops.rms_norm_mul(x, f, w), norm(x, w) * f64(f)[0], kind[1])


def rotate(x, positions, inv_freq, pairing):
    x = f64(x)[0].copy()
    half, d = len(inv_freq), x.shape[-1]
    angle = np.float32(positions)[:, None] * np.float32(inv_freq)
    c, s = np.cos(angle.astype(np.float64))[:, None], np.sin(angle.astype(np.float64))[:, None]
    i = np.arange(half)
    a, b = {"split_head": (i, i + d // 2), "split_rotary": (i, i + half), "interleaved": (2 * i, 2 * i + 1)}[pairing]
    x0, x1 = x[..., a].copy(), x[..., b].copy()
    x[..., a], x[..., b] = x0 * c - x1 * s, x0 * s + x1 * c
    return x


@pytest.mark.parametrize("pairing", ["split_head", "split_rotary", "interleaved"])
def test_rope(rng, kind, pairing):
    x, positions = normal(rng, 5, 2, 16, dtype=kind[0]), np.array([0, 1, 7, 300, -2])
    freq = ops.rope_frequencies(1e4, 12, 16)
    close(ops.rope(x, positions, freq, pairing=pairing), rotate(x, positions, freq, pairing), kind[1])


def test_head_norm_rope(rng, kind):
    x, w, positions = normal(rng, 4, 3, 32, dtype=kind[0]), normal(rng, 32), [3, 1, 4, 1]
    freq = ops.rope_frequencies(1e4, 32, 32)
    close(ops.head_norm_rope(x, w, positions, freq), rotate(norm(x, w), positions, freq, "split_head"), kind[1])
    close(ops.head_norm_rope(x), norm(x), kind[1])


def test_rope_frequencies():
    close(ops.rope_frequencies(1e4, 8, 16, [1, 2, 3, 4]), [1e4 ** (-i / 8) / (i + 1) for i in range(4)])


def test_add(rng, kind):
    a, b = normal(rng, 3, 41, dtype=kind[0]), normal(rng, 3, 41, dtype=kind[0])
    close(ops.add(a, b), np.add(*f64(a, b)), kind[1])


def test_mul(rng, kind):
    a, b = normal(rng, 3, 41, dtype=kind[0]), normal(rng, 3, 41, dtype=kind[0])
    close(ops.mul(a, b), np.multiply(*f64(a, b)), kind[1])


def test_scale(rng, kind):
    x = normal(rng, 3, 41, dtype=kind[0])
    close(ops.scale(x, -1.5), f64(x)[0] * -1.5, kind[1])


def test_axpy(rng, kind):
    x, y = normal(rng, 3, 41, dtype=kind[0]), normal(rng, 3, 41, dtype=kind[0])
    close(ops.axpy(0.25, x, y), 0.25 * f64(x)[0] + f64(y)[0], kind[1])


def test_softcap(rng, kind):
    x = normal(rng, 3, 41, dtype=kind[0]) * kind[0](9)
    close(ops.softcap(x, 5.0), 5 * np.tanh(f64(x)[0] / 5), kind[1])


ACTIVATIONS = {"gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
               "gelu_erf": lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
               "silu": lambda x: x / (1 + np.exp(-x)), "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_glu(rng, kind, name):
    gate, up = normal(rng, 3, 20, dtype=kind[0]), normal(rng, 3, 20, dtype=kind[0])
    want = ACTIVATIONS[name](f64(gate)[0]) * f64(up)[0]
    close(ops.glu(gate, up, activation=name), want, kind[1])
    close(ops.glu(np.concatenate([gate, up], axis=1), activation=name), want, kind[1])


def test_cast(rng, kind):
    x = normal(rng, 3, 41)
    np.testing.assert_array_equal(ops.cast(x, np.dtype(kind[0]).name).numpy(), x.astype(kind[0]))


def test_softmax(rng, kind):
    x = normal(rng, 4, 29, dtype=kind[0])
    x[1, :5] = -np.inf
    e = np.exp(f64(x)[0] - f64(x)[0].max(-1, keepdims=True))
    close(ops.softmax(x), e / e.sum(-1, keepdims=True), kind[1])


def affine(rng, n, k, bits, group):
    """Codes as MLX packs them, scales, biases, and the values."""
    codes = rng.integers(0, 2**bits, (n, k))
    scales, biases = normal(rng, n, k // group), normal(rng, n, k // group)
    stream = ((codes[..., None] >> np.arange(bits)) & 1).astype(np.uint8).reshape(n, k * bits)
    words = np.packbits(stream, axis=-1, bitorder="little").view(np.uint32)
    return words, scales, biases, codes * np.repeat(scales, group, 1).astype(np.float64) + np.repeat(biases, group, 1)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_dequantize(rng, bits):
    words, scales, biases, values = affine(rng, 5, 128, bits, 64)
    weight = mlxn.Weight.affine(words, scales, biases, bits=bits, group_size=64)
    assert weight.shape == (5, 128) and weight.format == "affine"
    close(ops.dequantize(weight), values)


def q8_0(rng, n, k):
    """Blocks of an f16 scale and 32 signed bytes, and the values."""
    scales = (rng.random((n, k // 32, 1)) + 0.1).astype(np.float16)
    codes = rng.integers(-127, 128, (n, k // 32, 32)).astype(np.int8)
    blocks = np.concatenate([scales.view(np.uint8), codes.view(np.uint8)], axis=-1)
    return blocks.tobytes(), (scales.astype(np.float64) * codes).reshape(n, k)


def test_embed(rng):
    data, values = q8_0(rng, 11, 64)
    ids = [3, 0, 10, 3, 99]
    want = np.where(np.array(ids)[:, None] < 11, values[np.minimum(ids, 10)], 0) * 2.5
    close(ops.embed(mlxn.Weight.gguf(data, "q8_0", [11, 64]), ids, scale=2.5), want)


@pytest.mark.parametrize("prepare", [False, True])
def test_matmul(rng, prepare):
    data, values = q8_0(rng, 21, 96)
    weight = mlxn.Weight.gguf(data, "Q8_0".lower(), [21, 96], prepare=prepare)
    assert weight.is_prepared is prepare
    x, r = normal(rng, 2, 7, 96), normal(rng, 2, 7, 21)
    close(ops.matmul(x, weight), f64(x)[0] @ values.T, 6e-5)
    close(ops.matmul(x, weight, residual=r), f64(x)[0] @ values.T + r, 6e-5)
    dense = normal(rng, 13, 96)
    close(ops.matmul(x, dense), f64(x)[0] @ f64(dense)[0].T)


def test_expert_matmul(rng):
    data, values = q8_0(rng, 4 * 9, 64)
    weight = mlxn.Weight.gguf(data, "q8_0", [4, 9, 64])
    x, ids = normal(rng, 3, 64), np.array([[0, 3], [2, 7], [1, 1]])
    experts = np.concatenate([values.reshape(4, 9, 64), np.zeros((1, 9, 64))])[np.minimum(ids, 4)]
    close(ops.expert_matmul(x, weight, ids), np.einsum("tk,tsnk->tsn", f64(x)[0], experts), 6e-5)
    y = normal(rng, 3, 2, 64)
    close(ops.expert_matmul(y, weight, ids, per_slot_input=True), np.einsum("tsk,tsnk->tsn", f64(y)[0], experts), 6e-5)


def test_moe_route(rng):
    logits, scale = normal(rng, 6, 16), rng.random(16).astype(np.float32) + 0.5
    ids, weights = ops.moe_route(logits, 3, expert_scale=scale)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(ids.numpy(), order)
    p = np.exp(f64(logits)[0] - logits.max(1, keepdims=True))
    chosen = np.take_along_axis(p, order, 1)
    close(weights, chosen / chosen.sum(1, keepdims=True) * scale[order])


def test_moe_combine(rng, kind):
    y, w = normal(rng, 4, 3, 24, dtype=kind[0]), rng.random((4, 3)).astype(np.float32)
    shared, gate = normal(rng, 4, 24, dtype=kind[0]), normal(rng, 4)
    want = np.einsum("tsd,ts->td", f64(y)[0], w) + f64(shared)[0] / (1 + np.exp(-f64(gate)[0]))[:, None]
    close(ops.moe_combine(y, w, shared=shared, shared_gate=gate), want, kind[1])


def test_argmax(rng):
    x = normal(rng, 5, 77)
    indices, values = ops.argmax(x, return_values=True)
    np.testing.assert_array_equal(indices.numpy(), x.argmax(1))
    np.testing.assert_array_equal(values.numpy(), x.max(1))
    np.testing.assert_array_equal(ops.argmax(x).numpy(), x.argmax(1))


def test_top_k(rng):
    x = normal(rng, 5, 77)
    indices, values = ops.top_k(x, 6)
    order = np.argsort(-x, axis=1, kind="stable")[:, :6]
    np.testing.assert_array_equal(indices.numpy(), order)
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, order, 1))


def test_sample(rng):
    logits = normal(rng, 5, 50)
    tokens, logprobs = ops.sample(logits, mlxn.make_sampler(), return_logprobs=True)
    np.testing.assert_array_equal(tokens.numpy(), logits.argmax(1))
    p = np.exp(f64(logits)[0])
    close(logprobs, np.log(p / p.sum(1, keepdims=True)).max(1))
    # Draws follow the softmax of what the filters leave: 4000 of them, within five standard deviations.
    n, row = 4000, np.array([2.0, 1.0, 0.0, -1.0, 1.5], np.float32)
    drawn = ops.sample(np.tile(row, (n, 1)), mlxn.make_sampler(temp=0.7, top_k=3, seed=5), positions=9).numpy()
    want = np.exp(row / 0.7) * np.isin(np.arange(5), [0, 1, 4])
    want /= want.sum()
    counts = np.bincount(drawn, minlength=5)
    assert (np.abs(counts - n * want) <= 5 * np.sqrt(n * want * (1 - want))).all(), counts
    banned = ops.sample(logits, mlxn.make_sampler(), suppress=logits.argmax(1))
    assert not set(banned.numpy()) & set(logits.argmax(1))


def test_check_sampling_params():
    ops.check_sampling_params(mlxn.make_sampler(temp=1.0, top_p=0.5))
    with pytest.raises(mlxn.InvalidArgumentError, match="top_p: found 1.5"):
        ops.check_sampling_params(mlxn.make_sampler(temp=1.0, top_p=1.5))


def test_attn_decode(rng, kind):
    q, k, v = (normal(rng, *s, dtype=kind[0]) for s in ((2, 4, 64), (2, 2, 30, 64), (2, 2, 30, 48)))
    for b, length in enumerate([30, 17]):
        out, lse = ops.attn_decode(q, k, v, kv_len=[30, 17], softmax_scale=0.2, mask="window", window_size=9, return_lse=True)
        keys = slice(length - 9, length)
        want, want_lse = attention(q[b:b + 1, :, None], k[b:b + 1, :, keys], v[b:b + 1, :, keys], 0.2)
        close(out.numpy()[b], want[0, :, 0], 4 * kind[1])
        close(lse.numpy()[b], want_lse[0, :, 0], 1e-5)


def test_attn_prefill(rng, kind):
    q, k, v = (normal(rng, *s, dtype=kind[0]) for s in ((2, 4, 19, 40), (2, 2, 33, 40), (2, 2, 33, 40)))
    sinks = normal(rng, 4)
    out, lse = ops.attn_prefill(q, k, v, softmax_scale=0.15, window_size=11, logits_soft_cap=3.0, sinks=sinks, return_lse=True)
    want, want_lse = attention(q, k, v, 0.15, causal_mask(19, 33, 11), 3.0, sinks)
    close(out, want, 4 * kind[1])
    close(lse, want_lse, 1e-5)
    mask = normal(rng, 19, 33)
    classes = ops.attn_mask_classify(mask)
    close(ops.attn_prefill(q, k, v, mask=mask, mask_tiles=(classes, 32, 64), causal=False), attention(q, k, v, 1.0, mask)[0],
          4 * kind[1])


def test_attention(rng, kind):
    q, k, v = (normal(rng, *s, dtype=kind[0]) for s in ((1, 6, 9, 64), (1, 3, 40, 64), (1, 3, 40, 64)))
    close(ops.attention(q, k, v), attention(q, k, v, 1 / 8, causal_mask(9, 40))[0], 4 * kind[1])
    seen = rng.random((9, 40)) < 0.5
    close(ops.attention(q, k, v, causal=False, mask=seen), attention(q, k, v, 1 / 8, np.where(seen, 0, -np.inf))[0],
          4 * kind[1])


def test_attn_merge(rng, kind):
    q, k, v = (normal(rng, *s) for s in ((1, 4, 5, 32), (1, 4, 24, 32), (1, 4, 24, 32)))
    halves = [ops.attn_prefill(q, k[:, :, s], v[:, :, s], causal=False, return_lse=True) for s in (slice(0, 10), slice(10, 24))]
    parts, lse = (np.stack([h[i].numpy() for h in halves]) for i in (0, 1))
    out, total = ops.attn_merge(parts, lse, return_lse=True)
    want, want_lse = attention(q, k, v, 1.0)
    close(out, want, 1e-5)
    close(total, want_lse, 1e-5)


def test_kv_append(rng, kind):
    k, v = normal(rng, 2, 5, 3, 16), normal(rng, 2, 5, 3, 8)
    caches = np.zeros((2, 3, 8, 16), kind[0]), np.zeros((2, 3, 8, 8), kind[0])
    ops.kv_append(k, caches[0], v, caches[1], pos=[1, 6], ring=True)
    for cache, new in zip(caches, (k, v)):
        want = np.zeros(cache.shape, kind[0])
        for b, pos in enumerate([1, 6]):
            for t in range(5):
                want[b, :, (pos + t) % 8] = new[b, t].astype(kind[0])
        np.testing.assert_array_equal(cache, want)


def test_attn_mask_build(kind):
    mask = ops.attn_mask_build(7, 12, q_offset=5, window_size=4, dtype=np.dtype(kind[0]).name)
    np.testing.assert_array_equal(mask.numpy().astype(np.float64), causal_mask(7, 12, 4))


def test_attn_mask_classify():
    mask = causal_mask(64, 192).astype(np.float32)
    np.testing.assert_array_equal(ops.attn_mask_classify(mask).numpy(), [[2, 2, 1], [2, 2, 1]])


def test_alibi_slopes():
    close(ops.alibi_slopes(8), [2.0 ** -(h + 1) for h in range(8)])


def hadamard(d):
    h = np.ones((1, 1))
    while h.shape[0] < d:
        h = np.block([[h, h], [h, -h]])
    return h / math.sqrt(d)


def signs_of(d):
    bits = np.unpackbits(np.array(ops.tq_signs(), np.uint8), bitorder="little")[:d]
    return 1.0 - 2.0 * bits


def test_tq_signs():
    signs = ops.tq_signs()
    assert len(signs) == 64 and 0.3 < np.mean(signs_of(512) > 0) < 0.7


def test_fwht(rng):
    x = normal(rng, 3, 64)
    close(ops.fwht(x), x @ hadamard(64))
    rotated = ops.fwht(x, mode="forward")
    close(rotated, (x * signs_of(64)) @ hadamard(64))
    close(ops.fwht(rotated, mode="inverse"), x)


def test_lloyd_max():
    levels = np.array(ops.lloyd_max(3))
    edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
    pdf, cdf = (lambda x: np.exp(-x * x / 2) / math.sqrt(2 * math.pi)), np.vectorize(lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2))))
    close(levels, (pdf(edges[:-1]) - pdf(edges[1:])) / (cdf(edges[1:]) - cdf(edges[:-1])), 1e-9)


def test_tq_codebook():
    np.testing.assert_array_equal(ops.tq_codebook(2), np.float32(np.float16(ops.lloyd_max(2))))
    magnitudes = np.array([11, 33, 55, 79, 105, 135, 173, 229]) * 49 / 4096
    close(ops.tq_codebook(4), np.concatenate([magnitudes, -magnitudes]))


def test_tq_row_bytes():
    assert [ops.tq_row_bytes(bits, 96) for bits in (2, 3, 4, 5, 6, 8)] == [24, 36, 48, 60, 72, 96]


def test_tq_norm_count():
    assert [ops.tq_norm_count(d) for d in (64, 256, 512)] == [1, 1, 2]


def coded(x, bits):
    """What a coded cache holds for rows x, in the rotated domain."""
    d = x.shape[-1]
    y = (x * signs_of(d)) @ hadamard(d)
    n = np.sqrt((y * y).sum(-1, keepdims=True))
    levels = np.sort(np.array(ops.tq_codebook(bits), np.float64))
    z = y * math.sqrt(d) / n
    return levels[(z[..., None] > (levels[1:] + levels[:-1]) / 2).sum(-1)] * n / math.sqrt(d)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_tq_encode(rng, bits):
    x = normal(rng, 2, 16, 3, 64)
    rows = ops.tq_encode(x, bits=bits)
    assert rows.codes.shape == (2, 3, 16, 8 * bits)
    got = ops.tq_decode(rows, 64, rotate_back=False).numpy()
    want = coded(x, bits).transpose(0, 2, 1, 3)
    # A value beside a boundary may fall to either side.
    assert np.mean(np.abs(got - want) > 1e-5) < 1e-3


def test_tq_decode(rng):
    x = normal(rng, 1, 32, 2, 128)
    rows = ops.tq_encode(x, bits=8)
    turned = ops.tq_decode(rows, 128, rotate_back=False).numpy()
    close(ops.tq_decode(rows, 128), (turned @ hadamard(128)) * signs_of(128))
    np.testing.assert_array_equal(ops.tq_decode(rows, 128, rotate_back=False, first_slot=5, n=3).numpy(), turned[:, :, 5:8])


def test_attn_decode_tq(rng):
    q, k, v = normal(rng, 1, 4, 64), normal(rng, 1, 48, 2, 64), normal(rng, 1, 48, 2, 64)
    rows = [ops.tq_encode(x, bits=4) for x in (k, v)]
    want = attention(q[:, :, None], *(ops.tq_decode(r, 64).numpy()[:, :, :40] for r in rows), 0.125)[0][:, :, 0]
    close(ops.attn_decode_tq(q, *rows, kv_len=40, softmax_scale=0.125), want, 1e-4)


def test_attn_prefill_tq(rng):
    q, k, v = normal(rng, 1, 4, 9, 64), normal(rng, 1, 48, 2, 64), normal(rng, 1, 48, 2, 64)
    rows = [ops.tq_encode(x, bits=3) for x in (k, v)]
    want = attention(q, *(ops.tq_decode(r, 64).numpy()[:, :, :40] for r in rows), 0.125, causal_mask(9, 40))
    for got, expected in zip(ops.attn_prefill_tq(q, *rows, kv_len=40, softmax_scale=0.125, return_lse=True), want):
        close(got, expected, 1e-4)


def test_tq_stream_pack(rng):
    codes = rng.integers(0, 8, 64)
    bits = ((codes[:, None] >> np.array([2, 1, 0])) & 1).astype(np.uint8).reshape(-1)
    assert ops.tq_stream_pack("3", codes.tolist()) == np.packbits(bits).tobytes()


@pytest.mark.parametrize("kind_of_stream", ["2", "2.25", "3", "4"])
def test_tq_stream_unpack(rng, kind_of_stream):
    codes = rng.integers(0, 4, 64).tolist()
    assert ops.tq_stream_unpack(kind_of_stream, ops.tq_stream_pack(kind_of_stream, codes), 64) == codes
