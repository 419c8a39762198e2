# SPDX-License-Identifier: Apache-2.0
"""Any shapes, strides and dtypes: the oracle's result or a documented error, never a crash."""
import ml_dtypes
import mlxn
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import attention, causal_mask, close
from mlxn import ops
from test_ops import norm

ERRORS = (mlxn.Error, TypeError, ValueError)
TOLERANCE = {"float32": 5e-6, "float16": 4e-3, "bfloat16": 3e-2}
dtypes = st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16, np.float64, np.int32, np.int64, np.uint8, np.bool_])
shapes = st.lists(st.integers(0, 9), min_size=0, max_size=4)
settings.register_profile("mlxn", deadline=None, max_examples=150, print_blob=True)
settings.load_profile("mlxn")


@st.composite
def arrays(draw, shape=None, dtype=None):
    """An array that may be transposed, reversed, sliced or offset in memory."""
    shape = draw(shapes) if shape is None else list(shape)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    step = draw(st.sampled_from([1, 1, 2, 3]))
    x = (rng.standard_normal([n * step for n in shape]) * 3).astype(draw(dtypes) if dtype is None else dtype)
    x = x[tuple(slice(None, None, step) for _ in shape)]
    if shape and draw(st.booleans()):
        x = np.ascontiguousarray(x)[::-1]
    if len(shape) > 1 and draw(st.booleans()):
        x = np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)
    return x


def wide(x):
    return np.asarray(x).astype(np.float64)


@given(arrays(), st.sampled_from(["softmax", "rms_norm", "scale", "softcap", "cast"]))
def test_one_array(x, op):
    call = {"softmax": ops.softmax, "rms_norm": ops.rms_norm, "scale": lambda x: ops.scale(x, 2.0),
            "softcap": lambda x: ops.softcap(x, 4.0), "cast": lambda x: ops.cast(x, "f32")}[op]
    if x.dtype.name not in TOLERANCE or x.size == 0:
        try:
            call(x)
        except ERRORS:
            return
        raise AssertionError(f"{op} took {x.dtype} {x.shape}")
    try:
        got = call(x)
    except ERRORS:
        assert x.ndim == 0 or op == "softmax"
        return
    y = wide(x).reshape(x.shape or 1)
    e = np.exp(y - y.max(-1, keepdims=True))
    want = {"softmax": lambda: e / e.sum(-1, keepdims=True), "rms_norm": lambda: norm(y), "scale": lambda: 2 * y,
            "softcap": lambda: 4 * np.tanh(y / 4), "cast": lambda: y}[op]()
    close(got, want.reshape(x.shape), TOLERANCE[x.dtype.name])


@given(arrays(), arrays())
def test_two_arrays(a, b):
    try:
        got = ops.add(a, b)
    except ERRORS:
        assert a.dtype != b.dtype or a.size != b.size or a.size == 0 or a.dtype.name not in TOLERANCE
        return
    close(got, wide(a) + wide(b).reshape(a.shape), TOLERANCE[a.dtype.name])


@given(st.data(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.integers(1, 40),
       st.sampled_from([8, 24, 40, 64, 12, 0]),
       st.integers(-1, 45), st.booleans())
def test_attention(data, batch, heads, group, q_len, kv_len, dim, window, causal):
    dtype = data.draw(st.sampled_from([np.float32, np.float16]))
    q, k, v = (data.draw(arrays(s, dtype)) for s in ((batch, heads * group, q_len, dim), (batch, heads, kv_len, dim), (batch, heads, kv_len, dim)))
    try:
        got = ops.attention(q, k, v, scale=0.3, causal=causal, window=window)
    except ERRORS as error:
        assert dim % 8 or dim == 0 or window < 0 or (q_len > kv_len and causal), error
        return
    mask = causal_mask(q_len, kv_len, window) if causal else None
    if not causal and window > 0:
        behind = (np.arange(q_len)[:, None] + kv_len - q_len) - np.arange(kv_len)[None]
        mask = np.where(behind >= window, -np.inf, 0.0)
    close(got, attention(q, k, v, 0.3, mask)[0], 1e-5 if dtype == np.float32 else 8e-3)


@given(arrays(), arrays())
def test_matmul(x, w):
    try:
        got = ops.matmul(x, w)
    except ERRORS:
        fits = w.ndim == 2 and x.ndim >= 1 and x.size and w.size and x.shape[-1] == w.shape[-1]
        assert not fits or x.dtype.name not in TOLERANCE or w.dtype.name not in TOLERANCE
        return
    close(got, wide(x) @ wide(w).T, TOLERANCE[x.dtype.name] * 4)


@given(st.binary(max_size=200), st.sampled_from(["q4_0", "q8_0", "q6_k", "iq4_nl", "mxfp4", "affine"]),
       st.lists(st.integers(-2, 70), max_size=3))
def test_weights_of_any_bytes(data, kind, shape):
    try:
        weight = mlxn.Weight.gguf(data, kind, shape)
    except ERRORS:
        return
    assert ops.dequantize(weight).shape == tuple(shape)


@given(st.text(max_size=80) | st.binary(max_size=80))
def test_texts_come_back(text):
    from test_models import DEMO

    tokenizer = test_texts_come_back.__dict__.setdefault("tokenizer", mlxn.Tokenizer.from_directory(DEMO))
    try:
        ids = tokenizer.encode(text, add_special_tokens=False, parse_special=False)
    except UnicodeError:  # lone surrogates
        return
    want = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    assert tokenizer.decode(ids) == want
