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
    mx.random.seed(seed)
    weights = []
    for name, value in mlx_utils.tree_flatten(model.parameters()):
        spread, centre = 0.08, 0.0
        if "norm" in name or "scalar" in name or name.endswith("scale"):
            spread, centre = 0.1, 0.0 if config["model_type"] == "gemma3_text" and "norm" in name else 0.7
        elif "embed" in name:
            spread = value.shape[-1] ** -0.5
        elif "router" in name:
            spread = 1.0
        weights.append((name, mx.random.normal(value.shape) * spread + centre))
    model.load_weights(weights)
    return model


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("form", FORMS)
def test_log_probabilities(form, stored, tmp_path):
    print(f"seed {SEED}")
    config = CONFIGS[form]["config"] | {"dtype": "float32"}
    model, quantization = random_model(config, SEED), STORED[stored]
    if quantization:
        fits = lambda path, m: hasattr(m, "to_quantized") and m.weight.shape[-1] % 32 == 0 and "router" not in path  # noqa: E731
        nn.quantize(model, **quantization, class_predicate=fits)
        config = config | {"quantization": quantization, "quantization_config": quantization}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), dict(mlx_utils.tree_flatten(model.parameters())), metadata={"format": "mlx"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    ids = np.random.default_rng(SEED).integers(0, config["vocab_size"], 24)
    logits = model(mx.array(ids)[None])[0]
    want = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
    got = mlxn.Model.load(mlxn.device(), mlxn.Checkpoint.open(str(tmp_path)), max_context=64, kv_type="f32").logits(ids, all_positions=True)
    got = got - np.log(np.exp(got.astype(np.float64)).sum(-1, keepdims=True))
    assert np.abs(got - want).max() < 2e-3
