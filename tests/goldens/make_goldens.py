# SPDX-License-Identifier: Apache-2.0
"""Writes the model goldens: tiny random Gemma models, and what transformers computes with them in float32.

    python tests/goldens/make_goldens.py [OUT]      (default: this directory)

Per model a directory with config.json and model.safetensors (or a .gguf file) and golden*.safetensors:
  ids_P [T] i32          prompt P
  logits_P [T, V]        logits of every position; of a long prompt, of the last ones
  hidden_0 [L+1, T, H]   scaled embeddings, then the output of every layer
  router_ids_0, router_weights_0 [L, T, K]   MoE only; experts by descending probability
  greedy_P [64] i32      argmax continuation
Every parameter is overwritten (a default-initialised norm or scalar of one would hide a missing multiply), and seeds are
tried until no greedy step and no routing decision is a close one.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, Gemma3TextConfig
from transformers.models.gemma4 import Gemma4TextConfig

from configs import CONFIGS
from variants import write_gguf, write_mlx

PROMPTS = [
    [2, 7, 199, 3, 42, 42, 250, 11, 5, 91, 128, 64, 17],
    [2, 77, 31, 200, 9, 140, 33],
    [2],
    [(37 * i * i + 11 * i + 5) % 256 for i in range(32)],  # MoE only: enough pairs to group them by expert
]
LONG_PROMPT, KEPT_POSITIONS = 3, 4
GREEDY_PROMPTS = 3
GREEDY_TOKENS = 64
MIN_GAP = 1e-3  # between the two best logits, of the largest logit
MIN_ROUTER_GAP = 1e-4  # between neighbouring probabilities


def overwrite(model, seed, zero_centred):
    """Random values for every parameter and persistent buffer, rounded to bf16."""
    g = torch.Generator().manual_seed(seed)
    normal = lambda shape, std: torch.randn(shape, generator=g) * std
    uniform = lambda shape, lo, hi: torch.rand(shape, generator=g) * (hi - lo) + lo
    layers = model.config.num_hidden_layers
    for name, p in sorted(model.state_dict().items()):
        if name == "lm_head.weight":
            continue
        if name.endswith("layer_scalar"):
            value = torch.full((1,), 0.05) if f".{layers // 2}." in name else uniform((1,), 0.3, 0.9)
        elif name.endswith("router.scale"):
            value = uniform(p.shape, 0.5, 1.5)
        elif name.endswith("per_expert_scale"):
            value = uniform(p.shape, 0.5, 2.0)
        elif "norm" in name:
            value = normal(p.shape, 0.2) + (0.0 if zero_centred else 1.0)
        elif "embed_tokens" in name:
            value = normal(p.shape, 1.0) / p.shape[-1] ** 0.5
        elif name.endswith("router.proj.weight"):
            value = normal(p.shape, 1.0)  # its input is divided by sqrt(H)
        elif name.endswith(("q_proj.weight", "k_proj.weight")):
            value = normal(p.shape, 0.15)
        else:
            value = normal(p.shape, 0.08)
        p.copy_(value.bfloat16().float())


def round_scales(model, dtype):
    """transformers rounds embedding scales to the dtype of the table; the reference model is f32, the file may not be."""
    for module in model.modules():
        if hasattr(module, "embed_scale") and torch.is_tensor(module.embed_scale):
            exact = torch.tensor(module.scalar_embed_scale, dtype=torch.float32)
            module.embed_scale.copy_(exact.to(dtype).float())


def run(model, ids):
    """Logits, hidden states and router results of one prompt."""
    hidden, routes = [], []
    hooks = [model.model.embed_tokens.register_forward_hook(lambda m, i, o: hidden.append(o[0].clone()))]
    for layer in model.model.layers:
        hooks.append(layer.register_forward_hook(
            lambda m, i, o: hidden.append((o[0] if isinstance(o, tuple) else o).reshape(len(ids), -1).clone())))
        if hasattr(layer, "router"):
            hooks.append(layer.router.register_forward_hook(lambda m, i, o: routes.append(o)))
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return logits, torch.stack(hidden), routes


def greedy(model, ids):
    """The continuation and the smallest lead of its tokens."""
    out, gap = list(ids), 1e9
    for _ in range(GREEDY_TOKENS):
        logits = model(input_ids=torch.tensor([out]), use_cache=False).logits[0, -1]
        best = torch.topk(logits, 2)
        gap = min(gap, ((best.values[0] - best.values[1]) / logits.abs().max()).item())
        out.append(best.indices[0].item())
    return out[len(ids):], gap


def golden(model, top_k=0, strict=True):
    """Everything the tests compare; None if a decision is too close to call."""
    out = {}
    for p, ids in enumerate(PROMPTS if top_k else PROMPTS[:3]):
        logits, hidden, routes = run(model, ids)
        out[f"ids_{p}"] = torch.tensor(ids, dtype=torch.int32)
        out[f"logits_{p}"] = logits[-KEPT_POSITIONS:] if p == LONG_PROMPT else logits
        if p == 0:
            out[f"hidden_{p}"] = hidden
        if routes:
            if p == 0:
                out[f"router_ids_{p}"] = torch.stack([r[2] for r in routes]).int()
                out[f"router_weights_{p}"] = torch.stack([r[1] for r in routes])
            for probabilities, _, _ in routes:
                ranked = probabilities.sort(-1, descending=True).values[:, :top_k + 1]
                if strict and (ranked[:, :-1] - ranked[:, 1:]).min() < MIN_ROUTER_GAP:
                    return None
    for p, ids in enumerate(PROMPTS[:GREEDY_PROMPTS]):
        tokens, gap = greedy(model, ids)
        if strict and gap < MIN_GAP:
            return None
        out[f"greedy_{p}"] = torch.tensor(tokens, dtype=torch.int32)
    return {k: v.contiguous() for k, v in out.items()}


def build(config):
    cls = Gemma3TextConfig if config["model_type"] == "gemma3_text" else Gemma4TextConfig
    fields = {k: v for k, v in json.loads(json.dumps(config)).items() if k not in ("architectures", "dtype")}
    return AutoModelForCausalLM.from_config(cls(**fields), attn_implementation="eager").float().eval()


def find_seed(model, config, prepare):
    """The first seed whose decisions are all clear. prepare(model) may replace weights (quantisation)."""
    for seed in range(1, 1000):
        overwrite(model, seed, config["model_type"] == "gemma3_text")
        prepare(model)
        result = golden(model, config.get("top_k_experts") or 0)
        if result is not None:
            return seed, result
    raise SystemExit("no seed with clear decisions")


def tensors_of(model):
    return {k: v.clone() for k, v in model.state_dict().items() if k != "lm_head.weight"}


def write(out, name, spec):
    config = spec["config"]
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config["dtype"]]
    model = build(config)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    writer = spec.get("writer")
    if writer is None:
        round_scales(model, dtype)
        seed, result = find_seed(model, config, lambda m: None)
        save_file({k: v.to(dtype).contiguous() for k, v in tensors_of(model).items()}, folder / "model.safetensors",
                  metadata={"format": "pt"})
        stored = json.loads(model.config.to_json_string(use_diff=False)) if spec.get("as_saved") else config
        if spec.get("as_saved"):
            stored["dtype"] = config["dtype"]
            stored["architectures"] = config["architectures"]
        (folder / "config.json").write_text(json.dumps(stored, indent=1) + "\n")
    else:
        write_variant = {"mlx": write_mlx, "gguf": write_gguf}[writer]
        round_scales(model, torch.float32 if writer == "gguf" else dtype)

        def quantise(m):  # the reference computes with the dequantised weights
            for key, value in write_variant(folder, config, tensors_of(m), **spec["options"]).items():
                m.state_dict()[key].copy_(value)

        seed, result = find_seed(model, config, quantise)
    save_file(result, folder / "golden.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)
    print(f"{name}: seed {seed}, {sum(p.numel() for p in model.parameters())} parameters")

    for suffix, changes in spec.get("also", {}).items():  # the same weights under another configuration
        other = build(config | changes)
        other.load_state_dict(model.state_dict())
        round_scales(other, dtype)
        result = golden(other, (config | changes).get("top_k_experts") or 0, strict=False)
        save_file(result, folder / f"golden_{suffix}.safetensors")


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    with torch.no_grad():
        for name, spec in CONFIGS.items():
            if len(sys.argv) <= 2 or name in sys.argv[2:]:
                write(out, name, spec)


if __name__ == "__main__":
    main()
