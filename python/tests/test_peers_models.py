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


def largest_change(model, ids, want):
    """Of the log-probabilities, as norms change by 2^-12 in four random directions and the opposite ones."""
    weights, largest = mlx_utils.tree_flatten(model.parameters()), 0
    for _ in range(4):
        nudges = [2**-12 * mx.random.uniform(-1, 1, value.shape) if "norm" in name else 0 for name, value in weights]
        for sign in (1, -1):
            model.load_weights([(name, value + sign * nudge) for (name, value), nudge in zip(weights, nudges)])
            largest = max(largest, np.abs(log_probabilities(model, ids) - want).max())
    model.load_weights(weights)
    return largest


def calm_model(config, quantization, ids):
    """A fresh model, and its log-probabilities. Integer kernels round activations to 16 bits, which moves these as norms do
    that change by some 2^-16. Where a change 16 times as large routes a token to another expert, they jump by a tenth and
    more instead of 0.003 to 0.011; a rounding might do so too and say nothing about the kernels, and the next draw is taken."""
    for seed in range(SEED, SEED + 50):
        model = random_model(config, seed)
        if quantization:
            # A table in a mode without float scales makes MLX go on in bf16.
            kept = ("router", "embed") if "mode" in quantization else ("router",)
            nn.quantize(model, **quantization, class_predicate=lambda path, m: hasattr(m, "to_quantized")
                        and m.weight.shape[-1] % 32 == 0 and not any(part in path for part in kept))
        want = log_probabilities(model, ids)
        if largest_change(model, ids, want) < 0.03:
            print(f"seed {seed}")
            return model, want
    raise AssertionError("every draw has a close decision")


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
