# SPDX-License-Identifier: Apache-2.0
"""Every op of the library, as functions that return new arrays.

Arguments are buffers, NumPy arrays, or anything with DLPack; f32, f16 or bf16 unless said otherwise. Results are
buffers; PyTorch tensors if an argument is one. Two more arguments are common to all: `out=` takes the result
(several results: by their names), and `stream=` only records the op, to run at `stream.commit()`; outputs are buffers
then. CUDA tensors are used where they lie, on the stream that PyTorch or CuPy works on, without waiting; inside a graph that they
capture too, if the op has run once before. What such a graph refers to lives until the process ends.

Shapes: B sequences, T tokens, H query heads, Hkv key/value heads, D elements of a head, C slots of a cache.
"""
import math
from types import SimpleNamespace
from typing import Any

from . import _mlxn
from ._mlxn import (Buffer, TqRows, Weight, alibi_slopes, check_sampling_params, lloyd_max, rope_frequencies, tq_codebook,
                    tq_norm_count, tq_row_bytes, tq_signs)
from .arrays import array, home_of, is_torch, like, native_stream, stream_for
from .errors import InvalidArgumentError, refusal

Array = Any  # a buffer, a NumPy array, or anything with DLPack
_raw = _mlxn._ops
_INTEGERS = {"positions": "i32", "history": "i32", "suppress": "i32", "sequence_ids": "u32", "block_table": "i32",
             "embed.ids": "i32", "expert_matmul.ids": "u32"}


def _convert(op, name, kind, value, home, outs):
    if kind == "array":
        if id(value) in outs:
            return outs[id(value)]
        dtype = _INTEGERS.get(name) or _INTEGERS.get(f"{op}.{name}")
        buffer = array(value, home, dtype=dtype, what=f"{op}: {name}")
        # Memory that is wrapped twice looks like two buffers to the library.
        return buffer.copy() if buffer is not value and any(o.overlaps(buffer) for o in outs.values()) else buffer
    if kind == "tiles":
        return array(value[0], home, what=f"{op}: {name}"), *value[1:]
    if kind == "weight" and not isinstance(value, Weight):
        return Weight.dense(value, device=home)
    if kind == "lengths" and not isinstance(value, Buffer):
        if is_torch(value) and value.is_cuda:
            return array(value, home, what=f"{op}: {name}")
        return [int(length) for length in value] if hasattr(value, "__len__") else int(value)
    return value


def _run(op, given, **outputs):
    """Records op with the fields in `given`. outputs: name -> function of the arguments that tells (shape, dtype) of
    what is to be allocated, or None for nothing."""
    stream, kinds = given.pop("stream", None), _raw.FIELDS[op]
    placed = [v for n, v in given.items() if v is not None and (n in outputs or kinds.get(n) in ("array", "weight", "rows"))]
    ours = [v for v in placed if isinstance(v, (Buffer, Weight, TqRows))]
    tensor = next(filter(is_torch, placed), None)
    native = next((n for v in placed if (n := native_stream(v)) is not None), None)
    home = stream.device if stream else home_of((ours or placed or [[]])[0])
    outs = {}
    for name in outputs:
        target = given.get(name)
        if target is not None:
            if stream and not isinstance(target, Buffer):
                raise refusal(InvalidArgumentError, op, name, str(type(target)), "a Buffer with stream=")
            outs[id(target)] = array(target, home, writable=True, what=f"{op}: {name}")
    a = SimpleNamespace(**{name: None if value is None or name in outputs else _convert(op, name, kinds.get(name), value, home, outs)
                           for name, value in given.items()})
    results = []
    for name, shape_of in outputs.items():
        target = given.get(name)
        spec = shape_of(a) if target is None else None
        if target is None and spec is None:
            continue
        result, buffer = (target, outs[id(target)]) if spec is None else like(tensor, home, *spec)
        setattr(a, name, buffer)
        results.append(result)
    fields = {name: value for name, value in vars(a).items() if name in kinds}
    _record(op, fields, stream, home, native)
    return results[0] if len(results) == 1 else tuple(results)


def _record(op, fields, stream, home, native):
    on = stream or stream_for(home, native)
    try:
        getattr(_raw, op)(on, **fields)
        if stream is None:
            on.commit()
    except Exception:
        if stream is None:
            on.discard()
        raise
    if stream is None and native is None:
        on.wait()


def _as(name):
    """Shape and dtype of the argument of that name."""
    return lambda a: (getattr(a, name).shape, getattr(a, name).dtype)


_like_x = _as("x")


def rms_norm(x: Array, weight=None, *, eps=1e-6, weight_offset=0.0, out=None, stream=None):
    """x / sqrt(mean(x^2) + eps) * (weight_offset + weight) over the last axis. weight [dim], any float dtype."""
    return _run("rms_norm", locals(), out=_like_x)


def add_rms_norm(residual: Array, x, weight=None, *, eps=1e-6, weight_offset=0.0, sum=None, out=None, stream=None):
    """(residual + x, rms_norm(residual + x)). The norm uses the f32 sum."""
    return _run("add_rms_norm", locals(), sum=_like_x, out=_like_x)


def rms_norm_add(residual: Array, x, weight=None, *, eps=1e-6, weight_offset=0.0, scale=1.0, out=None, stream=None):
    """(residual + rms_norm(x)) * scale."""
    return _run("rms_norm_add", locals(), out=_like_x)


def rms_norm_mul(x: Array, factor, weight=None, *, eps=1e-6, weight_offset=0.0, out=None, stream=None):
    """rms_norm(x) * factor."""
    return _run("rms_norm_mul", locals(), out=_like_x)


def rope(x: Array, positions, inv_freq, *, pairing="split_head", out=None, stream=None):
    """x [T, H, D] rotated by positions[t] * inv_freq[i]; inv_freq f32 [rotary_dim / 2], see rope_frequencies.
    pairing: split_head (i, i + D/2), split_rotary (i, i + rotary_dim/2) or interleaved (2i, 2i + 1)."""
    return _run("rope", locals(), out=_like_x)


def head_norm_rope(x: Array, weight=None, positions=None, inv_freq=None, *, pairing="split_head", eps=1e-6, weight_offset=0.0,
                   out=None, stream=None):
    """rms_norm over D, then rope, of x [T, H, D], rounded once. Without inv_freq the norm alone."""
    return _run("head_norm_rope", locals(), out=_like_x)


def add(a: Array, b, *, out=None, stream=None):
    """a + b, of one dtype and element count."""
    return _run("add", locals(), out=_as("a"))


def mul(a: Array, b, *, out=None, stream=None):
    """a * b, of one dtype and element count."""
    return _run("mul", locals(), out=_as("a"))


def scale(x: Array, factor, *, out=None, stream=None):
    """x * factor."""
    return _run("scale", locals(), out=_like_x)


def axpy(a: float, x, y, *, out=None, stream=None):
    """a * x + y, a a number."""
    return _run("axpy", locals(), out=_like_x)


def softcap(x: Array, cap, *, out=None, stream=None):
    """cap * tanh(x / cap)."""
    return _run("softcap", locals(), out=_like_x)


def glu(gate: Array, up=None, *, activation="silu", out=None, stream=None):
    """activation(gate) * up; without `up`, gate is [.., 2 I]: gate first. gelu_tanh, gelu_erf, silu, sigmoid."""
    return _run("glu", locals(),
                out=lambda a: (a.gate.shape if a.up is not None else (*a.gate.shape[:-1], a.gate.shape[-1] // 2), a.gate.dtype))


def cast(x: Array, dtype="f32", *, out=None, stream=None):
    """x as another float dtype, rounded to nearest even."""
    return _run("cast", locals(), out=lambda a: (a.x.shape, a.dtype))


def softmax(x: Array, *, out=None, stream=None):
    """Softmax over the last axis; a row of -infinity gives zeros."""
    return _run("softmax", locals(), out=_like_x)


def dequantize(weight: Weight, dtype="f32", *, out=None, stream=None):
    """A Weight [N, K] or [E, N, K] as floats."""
    return _run("dequantize", locals(), out=lambda a: (a.weight.shape, a.dtype))


def embed(table: Array, ids, *, scale=1.0, dtype="f32", out=None, stream=None):
    """scale * table[ids] -> [T, D]; ids outside the table give zeros."""
    return _run("embed", locals(), out=lambda a: ((math.prod(a.ids.shape), a.table.shape[1]), a.dtype))


def matmul(x: Array, weight, *, residual=None, dtype=None, out=None, stream=None):
    """x [.., K] times the transpose of a Weight (or array) [N, K], plus residual -> [.., N], f32 or x's dtype."""
    return _run("matmul", locals(), out=lambda a: ((*a.x.shape[:-1], a.weight.shape[-2]), a.dtype or a.x.dtype))


def expert_matmul(x: Array, weight, ids, *, per_slot_input=False, dtype=None, out=None, stream=None):
    """x [T, K] (per_slot_input: [T, top_k, K]) with Weight [E, N, K] and ids [T, top_k] -> [T, top_k, N]."""
    return _run("expert_matmul", locals(), out=lambda a: ((*a.ids.shape, a.weight.shape[1]), a.dtype or a.x.dtype))


def moe_route(logits: Array, top_k, *, expert_scale=None, mode="softmax_top_k", renormalize=True, ids=None, weights=None, stream=None):
    """logits f32 [T, E] -> (ids u32 [T, top_k], weights f32 [T, top_k]). mode: softmax_top_k or top_k_softmax."""
    return _run("moe_route", locals(), ids=lambda a: ((a.logits.shape[0], a.top_k), "u32"),
                weights=lambda a: ((a.logits.shape[0], a.top_k), "f32"))


def moe_combine(y: Array, weights, *, shared=None, shared_gate=None, residual=None, out=None, stream=None):
    """sum_j weights[t, j] y[t, j] (+ sigmoid(shared_gate[t]) shared[t]) (+ residual[t]) of y [T, top_k, D]."""
    return _run("moe_combine", locals(), out=lambda a: ((a.y.shape[0], a.y.shape[2]), a.y.dtype))


def argmax(x: Array, *, return_values=False, indices=None, values=None, stream=None):
    """Indices u32 [rows] of the largest of each row of f32 [rows, n]; ties: the lowest index."""
    return _run("argmax", locals(), indices=lambda a: (a.x.shape[:1], "u32"),
                values=lambda a: (a.x.shape[:1], "f32") if a.return_values else None)


def top_k(x: Array, k, *, indices=None, values=None, stream=None):
    """(indices u32, values f32), both [rows, k], of the k largest of each row of f32 [rows, n], best first."""
    return _run("top_k", locals(), indices=lambda a: ((a.x.shape[0], a.k), "u32"),
                values=lambda a: ((a.x.shape[0], a.k), "f32"))


def sample(logits: Array, params, *, positions=0, history=None, history_len=None, suppress=None, sequence_ids=None,
           return_logprobs=False, tokens=None, logprobs=None, stream=None):
    """Token ids i32 [B] drawn from logits f32 [B, V]; params: mlxn.make_sampler(...), one or B of them."""
    params = params if isinstance(params, (list, tuple)) else [params]
    return _run("sample", locals(), tokens=lambda a: (a.logits.shape[:1], "i32"),
                logprobs=lambda a: (a.logits.shape[:1], "f32") if a.return_logprobs else None)


def attn_decode(q: Array, k, v, *, kv_len=None, softmax_scale=1.0, logits_soft_cap=0.0, mask="causal", window_size=0, ring=False,
                ring_start=None, n_split=0, sinks=None, alibi_slopes=None, block_table=None, return_lse=False, out=None,
                lse=None, stream=None):
    """One query per sequence, q [B, H, D], over caches k [B, Hkv, C, D] and v -> [B, H, Dv]. kv_len: slots in use, all
    by default. mask: none, causal, window or chunk. With block_table caches are pages [P, Hkv, page_size, D]."""
    kv_len = k.shape[2] if kv_len is None else kv_len
    return _run("attn_decode", locals(), out=lambda a: ((*a.q.shape[:2], a.v.shape[3]), a.q.dtype),
                lse=lambda a: (a.q.shape[:2], "f32") if a.return_lse else None)


def _lse_of(a):
    s = a.q.shape
    if getattr(a, "q_starts", None) is not None:
        return (s[1], s[0]), "f32"
    return ((s[0], s[1], s[2]) if a.q_layout == "head_major" else (s[0], s[2], s[1])), "f32"


def attn_prefill(q: Array, k, v, *, kv_len=None, q_offset=None, softmax_scale=1.0, logits_soft_cap=0.0, causal=True, window_size=0,
                 window_ahead=0, chunk_size=0, prefix_len=None, mask=None, mask_tiles=None, q_layout="head_major",
                 kv_layout="head_major", ring=False, ring_start=None, q_starts=None, k_starts=None, sinks=None,
                 alibi_slopes=None, block_table=None, return_lse=False, out=None, lse=None, stream=None):
    """q [B, H, L, D] over k, v [B, Hkv, C, D] -> like q with v's D; seq_major layouts: [B, L, H, D]. Queries are the last L
    positions. mask: additive [L, S] or [B, H, L, S], or bool; mask_tiles: (classes, 32, 64) of attn_mask_classify."""
    if kv_len is None and k_starts is None:
        kv_len = k.shape[2 if kv_layout == "head_major" else 1]
    return _run("attn_prefill", locals(), out=lambda a: ((*a.q.shape[:-1], a.v.shape[-1]), a.q.dtype),
                lse=lambda a: _lse_of(a) if a.return_lse else None)


def attention(q: Array, k, v, *, scale=None, causal=True, window=None, mask=None, soft_cap=0.0, sinks=None, out=None, stream=None):
    """softmax(scale q k^T + mask) v of q [B, H, L, D] and k, v [B, Hkv, S, D]; L = 1 too. scale: D^-0.5 by default.
    causal: query i sees keys up to S - L + i; window: that many of them. mask: additive, or bool where True is seen."""
    return attn_prefill(q, k, v, softmax_scale=q.shape[-1] ** -0.5 if scale is None else scale, causal=causal,
                        window_size=window or 0, mask=mask, logits_soft_cap=soft_cap, sinks=sinks, out=out, stream=stream)


def attn_merge(parts: Array, lse, *, return_lse=False, out=None, out_lse=None, stream=None):
    """Joins results [N, .., Dv] over disjoint sets of keys by their lse f32 [N, ..] -> [.., Dv]."""
    return _run("attn_merge", locals(), out=lambda a: (a.parts.shape[1:], a.parts.dtype),
                out_lse=lambda a: (a.lse.shape[1:], "f32") if a.return_lse else None)


def kv_append(k: Array, k_cache, v=None, v_cache=None, *, pos, n=-1, src_offset=0, ring=False, layout="head_major", block_table=None,
              stream=None):
    """Writes tokens k [B, n, Hkv, D] at positions pos, pos + 1, .. of k_cache [B, Hkv, C, D] (token_major: [B, C, Hkv D]),
    and v likewise, converted to the cache's dtype. Returns the caches."""
    return _run("kv_append", locals(), k_cache=lambda a: None, v_cache=lambda a: None)


def attn_mask_build(q_len: int, kv_len, *, q_offset=0, causal=True, window_size=None, dtype="f32", out=None, stream=None):
    """The additive mask [q_len, kv_len] of causal or sliding-window attention."""
    return _run("attn_mask_build", locals(), out=lambda a: ((a.q_len, a.kv_len), a.dtype))


def attn_mask_classify(mask: Array, *, q_tile=32, k_tile=64, stream=None):
    """u8 [.., ceil(L / q_tile), ceil(S / k_tile)]: tiles of a mask that are 0 blocked, 1 mixed, 2 free."""
    home = stream.device if stream else home_of(mask)
    buffer = array(mask, home, what="attn_mask_classify: mask")
    rows, keys = buffer.shape[-2:]
    result, classes = like(mask if is_torch(mask) else None, home, [*buffer.shape[:-2], -(-rows // q_tile), -(-keys // k_tile)],
                           "u8")
    _record("attn_mask_classify", {"mask": buffer, "tiles": (classes, q_tile, k_tile)}, stream, home, native_stream(mask))
    return result


def fwht(x: Array, *, mode="plain", signs=None, blocks=False, out=None, stream=None):
    """Walsh-Hadamard transform of rows f32 [.., D], orthonormal. mode: plain, forward (signs first) or inverse."""
    return _run("fwht", locals(), out=_like_x)


def tq_rows(batch: int, num_kv_heads, capacity, dim, bits=4, device=None):
    """An empty coded cache: TqRows of [batch, num_kv_heads, capacity] rows of `dim` elements."""
    home, shape = device or home_of([]), [batch, num_kv_heads, capacity]
    codes = Buffer.alloc(home, [*shape, tq_row_bytes(bits, dim)], "u8")
    return TqRows.make(codes, Buffer.alloc(home, [*shape, tq_norm_count(dim)], "f32"), bits)


def tq_encode(src: Array, to=None, *, bits=4, pos=0, n=-1, src_offset=0, ring=False, norm_correction=False, block_table=None,
              stream=None):
    """Codes tokens src [B, n, Hkv, D] into `to` (TqRows; made to fit by default) at positions pos ..; returns it."""
    if to is None:
        b, count, heads, dim = src.shape
        to = tq_rows(b, heads, -(-count // 16) * 16, dim, bits, stream.device if stream else home_of(src))
    _run("tq_encode", locals())
    return to


def tq_decode(rows: TqRows, dim, *, first_slot=0, n=None, rotate_back=True, out=None, stream=None):
    """Slots first_slot .. of a coded cache as f32 [B, Hkv, n, dim]; rotate_back=False: in the rotated domain."""
    b, heads, capacity, _ = rows.codes.shape
    count = capacity - first_slot if n is None else n
    given = {"from": rows, "first_slot": first_slot, "rotate_back": rotate_back, "out": out, "stream": stream}
    return _run("tq_decode", given, out=lambda a: ((b, heads, count, dim), "f32"))


def attn_decode_tq(q: Array, k, v, *, kv_len, v_dim=None, softmax_scale=1.0, logits_soft_cap=0.0, mask="causal", window_size=0,
                   ring=False, ring_start=None, n_split=0, rotated=False, sinks=None, alibi_slopes=None, block_table=None,
                   return_lse=False, out=None, lse=None, stream=None):
    """attn_decode over coded caches: q [B, H, D], k and v TqRows."""
    return _run("attn_decode_tq", locals(), out=lambda a: ((*a.q.shape[:2], a.v_dim or a.q.shape[2]), a.q.dtype),
                lse=lambda a: (a.q.shape[:2], "f32") if a.return_lse else None)


def attn_prefill_tq(q: Array, k, v, *, kv_len, v_dim=None, q_offset=None, softmax_scale=1.0, logits_soft_cap=0.0, causal=True,
                    window_size=0, window_ahead=0, chunk_size=0, prefix_len=None, q_layout="head_major", ring=False,
                    ring_start=None, rotated=False, sinks=None, alibi_slopes=None, block_table=None, return_lse=False,
                    out=None, lse=None, stream=None):
    """attn_prefill over coded caches: q [B, H, L, D], k and v TqRows."""
    return _run("attn_prefill_tq", locals(), out=lambda a: ((*a.q.shape[:3], a.v_dim or a.q.shape[3]), a.q.dtype),
                lse=lambda a: _lse_of(a) if a.return_lse else None)


_STREAMS = {"2": 0, "2.25": 1, "3": 2, "4": 3}


def tq_stream_pack(kind: str, indices):
    """Bytes of another implementation's bit stream, most significant bit first; kind: '2', '2.25', '3' or '4' bits."""
    return bytes(_mlxn.tq_stream_pack(_STREAMS[kind], list(indices)))


def tq_stream_unpack(kind: str, data, dim):
    """The indices in such a stream."""
    return _mlxn.tq_stream_unpack(_STREAMS[kind], list(data), dim)
