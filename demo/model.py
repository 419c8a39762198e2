# SPDX-License-Identifier: Apache-2.0
"""The demo model (Gemma 4 text decoder with experts) as plain functions over a dict of weights.

The same function as transformers' Gemma4ForCausalLM (`check_against_transformers`), arranged for fast training: every
expert is computed for every token as one wide product, and attention runs in blocks.
"""
import torch
import torch.nn.functional as F

SLIDING, FULL = "sliding_attention", "full_attention"
CONFIG = {
    "architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text", "vocab_size": 4096, "hidden_size": 256,
    "intermediate_size": 512, "moe_intermediate_size": 256, "enable_moe_block": True, "num_experts": 8,
    "top_k_experts": 2, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 1,
    "num_global_key_value_heads": 1, "attention_k_eq_v": True, "head_dim": 256, "global_head_dim": 512,
    "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
    "sliding_window": 256, "layer_types": [SLIDING, SLIDING, FULL, SLIDING, SLIDING, FULL],
    "rope_parameters": {SLIDING: {"rope_type": "default", "rope_theta": 10000.0},
                        FULL: {"rope_type": "proportional", "rope_theta": 1000000.0, "partial_rotary_factor": 0.25}},
    "attention_bias": False, "attention_dropout": 0.0, "num_kv_shared_layers": 0, "use_double_wide_mlp": False,
    "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 4096, "final_logit_softcapping": 30.0,
    "tie_word_embeddings": True, "initializer_range": 0.02, "use_cache": True, "pad_token_id": 0, "bos_token_id": 2,
    "eos_token_id": [1, 6], "dtype": "bfloat16"}
NORMS = ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm",
         "post_feedforward_layernorm_1", "pre_feedforward_layernorm_2", "post_feedforward_layernorm_2"]


def shapes(c=None):
    """Name -> shape of every tensor of the checkpoint."""
    c = c or CONFIG
    h, e, i, ie = c["hidden_size"], c["num_experts"], c["intermediate_size"], c["moe_intermediate_size"]
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,)}
    for n, kind in enumerate(c["layer_types"]):
        p = f"model.layers.{n}."
        d = c["head_dim"] if kind == SLIDING else c["global_head_dim"]
        out |= {p + f"{name}.weight": (h,) for name in NORMS}
        out[p + "self_attn.q_proj.weight"] = (c["num_attention_heads"] * d, h)
        out[p + "self_attn.k_proj.weight"] = (d, h)
        if kind == SLIDING:
            out[p + "self_attn.v_proj.weight"] = (d, h)
        out[p + "self_attn.o_proj.weight"] = (h, c["num_attention_heads"] * d)
        out |= {p + "self_attn.q_norm.weight": (d,), p + "self_attn.k_norm.weight": (d,)}
        out |= {p + "mlp.gate_proj.weight": (i, h), p + "mlp.up_proj.weight": (i, h), p + "mlp.down_proj.weight": (h, i)}
        out |= {p + "router.proj.weight": (e, h), p + "router.scale": (h,), p + "router.per_expert_scale": (e,)}
        out |= {p + "experts.gate_up_proj": (e, 2 * ie, h), p + "experts.down_proj": (e, h, ie), p + "layer_scalar": (1,)}
    return out


def quantised(name):
    """Whether the shipped files store this tensor in 4 bits."""
    return name.endswith(("_proj.weight", "embed_tokens.weight", "experts.gate_up_proj", "experts.down_proj"))


def initialise(seed=0, c=None):
    g = torch.Generator().manual_seed(seed)
    out = {}
    for name, shape in shapes(c).items():
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            out[name] = torch.full(shape, shape[0] ** -0.25)
        elif len(shape) == 1:
            out[name] = torch.ones(shape)
        else:
            out[name] = torch.randn(shape, generator=g) * shape[-1] ** -0.5
    return out


def rms(x, weight=None):
    y = x.float()
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + CONFIG["rms_norm_eps"])
    return y if weight is None else y * weight.float()


def rope_tables(length, device, c=None):
    c = c or CONFIG
    out = {}
    for kind, d in ((SLIDING, c["head_dim"]), (FULL, c["global_head_dim"])):
        p = c["rope_parameters"][kind]
        inv = 1.0 / (p["rope_theta"] ** (torch.arange(0, d, 2, dtype=torch.float32) / d))
        if kind == FULL:
            inv[int(p["partial_rotary_factor"] * d // 2):] = 0
        angle = (torch.arange(length, dtype=torch.float32)[:, None] * inv).to(device)
        out[kind] = (angle.cos(), angle.sin())
    return out


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def sliding_attention(q, k, v, window):
    """q [B,T,N,D], k and v [B,T,D]; T is a multiple of the window."""
    b, t, n, d = q.shape
    c = t // window
    q = q.reshape(b * c, window * n, d)
    k, v = (torch.cat((F.pad(y, (0, 0, window, 0))[:, :t].reshape(b * c, window, d), y.reshape(b * c, window, d)), 1)
            for y in (k, v))
    s = torch.matmul(q, k.transpose(1, 2)).float().view(b, c, window, n, 2 * window)
    i = torch.arange(window, device=q.device)[:, None]
    j = torch.arange(2 * window, device=q.device)[None]
    block = torch.arange(c, device=q.device)[:, None, None]
    allowed = ((j > i) & (j <= i + window))[None] & ((block > 0) | (j[None] >= window))
    s = s.masked_fill(~allowed[None, :, :, None], float("-inf"))
    p = torch.softmax(s, -1).to(v.dtype).view(b * c, window * n, 2 * window)
    return torch.matmul(p, v).view(b, t, n, d)


def full_attention(q, k, v, block=1024):
    b, t, n, d = q.shape
    out = []
    for start in range(0, t, block):
        end = min(t, start + block)
        s = torch.matmul(q[:, start:end].reshape(b, (end - start) * n, d), k[:, :end].transpose(1, 2)).float()
        s = s.view(b, end - start, n, end)
        i = torch.arange(start, end, device=q.device)[:, None]
        allowed = torch.arange(end, device=q.device)[None] <= i
        s = s.masked_fill(~allowed[None, :, None], float("-inf"))
        p = torch.softmax(s, -1).to(v.dtype).view(b, (end - start) * n, end)
        out.append(torch.matmul(p, v[:, :end]).view(b, end - start, n, d))
    return torch.cat(out, 1)


def layer_weights(weights, n):
    prefix = f"model.layers.{n}."
    return {name[len(prefix):].removesuffix(".weight"): w for name, w in weights.items() if name.startswith(prefix)}


def layer(x, w, cos, sin, kind):
    """One decoder layer; x [B,T,H] in float32. Returns the new x and the router's balance loss."""
    dtype = w["self_attn.q_proj"].dtype
    b, t, _ = x.shape
    d = cos.shape[-1] * 2
    h = rms(x, w["input_layernorm"]).to(dtype)
    q = rms(F.linear(h, w["self_attn.q_proj"]).view(b, t, -1, d), w["self_attn.q_norm"])
    q = rotate(q, cos[:, None], sin[:, None]).to(dtype)
    k0 = F.linear(h, w["self_attn.k_proj"])
    v = rms(F.linear(h, w["self_attn.v_proj"]) if kind == SLIDING else k0).to(dtype)
    k = rotate(rms(k0, w["self_attn.k_norm"]), cos, sin).to(dtype)
    o = sliding_attention(q, k, v, CONFIG["sliding_window"]) if kind == SLIDING else full_attention(q, k, v)
    o = F.linear(o.reshape(b, t, -1), w["self_attn.o_proj"])
    x = x + rms(o, w["post_attention_layernorm"])

    h = rms(x, w["pre_feedforward_layernorm"]).to(dtype)
    m = F.gelu(F.linear(h, w["mlp.gate_proj"]), approximate="tanh") * F.linear(h, w["mlp.up_proj"])
    m = rms(F.linear(m, w["mlp.down_proj"]), w["post_feedforward_layernorm_1"])

    y = rms(x) * w["router.scale"].float() * CONFIG["hidden_size"] ** -0.5
    p = torch.softmax(F.linear(y, w["router.proj"].float()), -1)
    first = p.amax(-1, keepdim=True)
    second = p.masked_fill(p >= first, -1.0).amax(-1, keepdim=True)
    chosen = (p >= second).float()
    gate = p * chosen
    gate = gate / gate.sum(-1, keepdim=True) * w["router.per_expert_scale"].float()
    balance = (chosen.mean((0, 1)) * p.mean((0, 1))).sum() * (p.shape[-1] / CONFIG["top_k_experts"])

    h = rms(x, w["pre_feedforward_layernorm_2"]).to(dtype)
    e, ie2, hidden = w["experts.gate_up_proj"].shape
    gu = F.linear(h, w["experts.gate_up_proj"].view(e * ie2, hidden)).view(b, t, e, 2, ie2 // 2)
    a = F.gelu(gu[..., 0, :], approximate="tanh") * gu[..., 1, :] * gate[..., None].to(dtype)
    down = w["experts.down_proj"].permute(1, 0, 2).reshape(hidden, e * ie2 // 2)
    m = m + rms(F.linear(a.reshape(b, t, -1), down), w["post_feedforward_layernorm_2"])
    x = x + rms(m, w["post_feedforward_layernorm"])
    return x * w["layer_scalar"].float(), balance


def head(x, embed, norm):
    logits = F.linear(rms(x, norm).to(embed.dtype), embed).float()
    cap = CONFIG["final_logit_softcapping"]
    return cap * torch.tanh(logits / cap)


def hidden_states(weights, ids, tables, layer_fn=layer):
    embed = weights["model.embed_tokens.weight"]
    x = F.embedding(ids, embed).float() * CONFIG["hidden_size"] ** 0.5
    balance = 0.0
    for n, kind in enumerate(CONFIG["layer_types"]):
        cos, sin = tables[kind]
        x, part = layer_fn(x, layer_weights(weights, n), cos, sin, kind)
        balance = balance + part
    return x, balance


def logits(weights, ids, tables=None):
    """Logits of every position; ids [B,T], T a multiple of the window."""
    tables = tables or rope_tables(ids.shape[1], ids.device)
    x, _ = hidden_states(weights, ids, tables)
    return head(x, weights["model.embed_tokens.weight"], weights["model.norm.weight"])


def transformers_model(weights):
    """transformers' own model in float32 with these weights."""
    from transformers import AutoModelForCausalLM
    from transformers.models.gemma4 import Gemma4TextConfig
    config = Gemma4TextConfig(**{k: v for k, v in CONFIG.items() if k != "dtype"})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    state = {k: v.detach().float().cpu().clone() for k, v in weights.items()}
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("rotary" in m for m in missing), (missing, unexpected)
    model.tie_weights()
    return model


def check_against_transformers(weights, length=768):
    weights = {k: v.detach().float().cpu() for k, v in weights.items()}
    ids = torch.randint(7, CONFIG["vocab_size"], (2, length), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mine, theirs = logits(weights, ids), transformers_model(weights)(ids).logits
    return ((mine - theirs).norm() / theirs.norm()).item()


if __name__ == "__main__":
    start = initialise()
    for tensor_name, value in start.items():
        if value.dim() == 1:
            value.mul_(1 + 0.3 * torch.rand_like(value))
    print(sum(v.numel() for v in start.values()), "parameters, relative error", check_against_transformers(start))
