# SPDX-License-Identifier: Apache-2.0
"""The two 4-bit recipes of the shipped files, on torch tensors whose rows are multiples of the group size."""
import torch


def q4_0(w):
    """GGUF Q4_0: (codes [..., n/32, 32] uint8, scales f16, dequantised f32 in w's shape)."""
    x = w.float().reshape(-1, 32)
    top = x.gather(1, x.abs().argmax(1, keepdim=True))
    d = top / -8
    inverse = torch.where(d != 0, 1 / d, torch.zeros_like(d))
    codes = torch.clamp((x * inverse + 8.5).trunc(), max=15)
    scale = d.half()
    return codes.to(torch.uint8), scale, (scale.float() * (codes - 8)).reshape(w.shape)


def affine(w, bits=4, group=64, store=torch.bfloat16):
    """MLX affine (the Metal recipe): (codes [groups, group], scales, biases, dequantised f32 in w's shape)."""
    x = w.float().reshape(-1, group)
    n = 2 ** bits - 1
    lo, hi = x.amin(1, keepdim=True), x.amax(1, keepdim=True).clamp(min=0)
    s = ((hi - lo) / n).clamp(min=1e-7)
    negative = lo.abs() > hi.abs()
    s = torch.where(negative, s, -s)
    edge = torch.where(negative, lo, hi)
    ratio = edge / s
    q0 = torch.sign(ratio) * (ratio.abs() + 0.5).floor()
    b = torch.where(q0 != 0, edge, torch.zeros_like(edge))
    s = torch.where(q0 != 0, edge / torch.where(q0 != 0, q0, torch.ones_like(q0)), s)
    codes = ((x - b) / s + 0.5).floor().clamp(0, n)
    scale, bias = s.to(store), b.to(store)
    return codes.to(torch.uint8), scale, bias, (scale.float() * codes + bias.float()).reshape(w.shape)


def pack_q4_0(codes, scale):
    """Bytes of the blocks: f16 scale, then 16 bytes (element i low nibble, element i + 16 high)."""
    low, high = codes[:, :16], codes[:, 16:]
    return torch.cat((scale.reshape(-1, 1).view(torch.uint8), low | (high << 4)), 1)


def pack_affine(codes, bits):
    """Little-endian bit stream as bytes; 4 and 8 bits."""
    return codes if bits == 8 else codes[:, 0::2] | (codes[:, 1::2] << 4)


def shipped_weights(weights, variant, quantised):
    """What a reader of a shipped file sees, as float32: `variant` is bf16, q4_0 or mlx."""
    out = {}
    for name, w in weights.items():
        w = w.detach().bfloat16().float()
        if variant == "q4_0" and quantised(name):
            w = q4_0(w)[-1]
        elif variant == "mlx" and quantised(name):
            w = affine(w)[-1]
        elif variant == "mlx" and name.endswith("router.proj.weight"):
            w = affine(w, bits=8)[-1]
        out[name] = w
    return out
