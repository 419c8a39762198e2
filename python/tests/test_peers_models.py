# SPDX-License-Identifier: Apache-2.0
"""Whole models of mlx-lm with fresh random weights, float and quantised: log-probabilities within 2e-3."""
import importlib
import json
import sys

import mlxn
import numpy as np
import pytest
from kit import GOLDENS, SEED, peer

mx, nn, mlx_utils = peer("mlx.core"), peer("mlx.nn"), peer("mlx.utils")
peer("mlx_lm")
sys.path.insert(0, str(GOLDENS))
from configs import CONFIGS  # noqa: E402

pytestmark = pytest.mark.peers
FORMS = [name for name, spec in CONFIGS.items() if "writer" not in spec]
STORED = {"float": None, "affine 8": {"bits": 8, "group_size": 32}, "affine 4": {"bits": 4, "group_size": 32},
          "mxfp4": {"bits": 4, "group_size": 32, "mode": "mxfp4"}}


def random_model(config, seed):
    module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    model = module.Model(module.ModelArgs.from_dict(config))
    if config["model_type"] == "gemma3_text":
        model.sanitize({})  # no lm_head among the weights: the table serves
    mx.random.seed(seed)
    weights = []
    for name, value in mlx_utils.tree_flatten(model.parameters()):
        spread, centre = 0.08, 0.0
        if "norm" in name or "scalar" in name or name.endswith("scale"):
            spread, centre = 0.1, 0.0 if config["model_type"] == "gemma3_text" and "norm" in name else 0.4
        elif "embed" in name:
            spread = value.shape[-1] ** -0.5
        elif "router" in name:
            spread = 1.0
        weights.append((name, mx.random.normal(value.shape) * spread + centre))
    model.load_weights(weights)
    return model


def log_probabilities(model, ids):
    logits = model(mx.array(ids)[None])[0]
    return np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))


def calm_model(config, quantization, ids):
    """A fresh model, and its log-probabilities. Integer kernels round activations to 16 bits; a draw that routes a token to
    another expert when its norms change by 2^-15 says nothing about them, and the next one is taken."""
    for seed in range(SEED, SEED + 20):
        model = random_model(config, seed)
        if not quantization:
            break
        # A table in a mode without float scales makes MLX go on in bf16.
        kept = ("router", "embed") if "mode" in quantization else ("router",)
        nn.quantize(model, **quantization, class_predicate=lambda path, m: hasattr(m, "to_quantized")
                    and m.weight.shape[-1] % 32 == 0 and not any(part in path for part in kept))
        want, weights = log_probabilities(model, ids), mlx_utils.tree_flatten(model.parameters())
        nudge = lambda value: value + 2**-15 * mx.random.uniform(-1, 1, value.shape)  # noqa: E731
        model.load_weights([(name, nudge(value) if "norm" in name else value) for name, value in weights])
        change = np.abs(log_probabilities(model, ids) - want).max()
        model.load_weights(weights)
        if change < 2e-3:
            break
    print(f"seed {seed}")
    return model, log_probabilities(model, ids)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("form", FORMS)
def test_log_probabilities(form, stored, tmp_path):
    config, quantization = CONFIGS[form]["config"] | {"dtype": "float32"}, STORED[stored]
    if "layer_types" in config:  # the last layer is a full one for transformers and mlxn, whatever the list says
        config["layer_types"] = [*config["layer_types"][:-1], "full_attention"]
    ids = np.random.default_rng(SEED).integers(0, config["vocab_size"], 24)
    model, want = calm_model(config, quantization, ids)
    if quantization:
        config = config | {"quantization": quantization, "quantization_config": quantization}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), dict(mlx_utils.tree_flatten(model.parameters())),
                        metadata={"format": "mlx"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    got = mlxn.Model.load(mlxn.device(), mlxn.Checkpoint.open(str(tmp_path)), max_context=64, kv_type="f32").logits(ids,
                          all_positions=True)
    got = got - np.log(np.exp(got.astype(np.float64)).sum(-1, keepdims=True))
    assert np.abs(got - want).max() < 2e-3
