# SPDX-License-Identifier: Apache-2.0
"""What tests share: data of the source tree, comparisons, peers."""
import importlib
import json
import os
import pathlib

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo/model-mlx-4bit"
DEMO_GGUF = ROOT / "demo/model-q4_0.gguf"
GOLDENS = ROOT / "tests/goldens"
SEED = int(os.environ.get("MLXN_TEST_SEED", np.random.SeedSequence().entropy % 2**31))


def peer(name):
    """A package to compare with. Where scripts/check.sh runs, none may be missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("MLXN_NEED_PEERS"):
            raise
        pytest.skip(f"{name} is not installed", allow_module_level=True)


def normal(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def close(got, want, tolerance=2e-6):
    """Every element within `tolerance` of the largest magnitude; infinities and NaN at the same places."""
    got, want = np.asarray(got).astype(np.float64), np.asarray(want).astype(np.float64)
    assert got.shape == want.shape
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite])
    if finite.any():
        worst = np.abs(got[finite] - want[finite]).max() / max(np.abs(want[finite]).max(), 1e-30)
        assert worst <= tolerance, f"{worst:.3g} of the largest, at most {tolerance:.3g}"


def read_safetensors(path):
    """F32 and I32 tensors by name."""
    data = pathlib.Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    dtypes = {"F32": np.float32, "I32": np.int32}
    return {name: np.frombuffer(data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]], dtypes[t["dtype"]])
            .reshape(t["shape"]) for name, t in json.loads(data[8:8 + size]).items() if name != "__metadata__"}


def attention(q, k, v, scale, mask=None, cap=0.0, sinks=None):
    """softmax(scale q k^T + mask) v in float64. q [B, H, L, D]; mask additive [L, S]. Also the log-sum-exp."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    k, v = (np.repeat(x, q.shape[1] // k.shape[1], axis=1) for x in (k, v))
    z = scale * q @ k.swapaxes(-1, -2)
    if cap:
        z = cap * np.tanh(z / cap)
    if mask is not None:
        z = z + mask
    if sinks is not None:
        sink = np.broadcast_to(np.asarray(sinks, np.float64)[None, :, None, None], (*z.shape[:3], 1))
        z = np.concatenate([z, sink], axis=-1)
    top = z.max(-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    e = np.exp(z - top)
    total = e.sum(-1, keepdims=True)
    out = np.divide(e, total, out=np.zeros_like(e), where=total > 0)[..., :k.shape[2]] @ v
    with np.errstate(divide="ignore"):
        return out, (np.log(total) + top)[..., 0]


def causal_mask(q_len, kv_len, window=None):
    ahead = np.arange(kv_len)[None] - (np.arange(q_len)[:, None] + kv_len - q_len)
    blocked = ahead > 0
    if window:
        blocked |= -ahead >= window
    return np.where(blocked, -np.inf, 0.0)
