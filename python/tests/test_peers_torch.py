# SPDX-License-Identifier: Apache-2.0
"""Next to PyTorch and transformers; run by scripts/test_peers.sh, since they are 5 GB."""
import json
import sys

import mlxn
import pytest
from kit import GOLDENS, SEED, close
from mlxn import ops

torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
sys.path.insert(0, str(GOLDENS))
make_goldens = pytest.importorskip("make_goldens")
F = torch.nn.functional
DTYPES = {"float32": 3e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
FORMS = [name for name, spec in make_goldens.CONFIGS.items() if "writer" not in spec]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(SEED)


def wide(x):
    return x.double().numpy()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_come_and_go(dtype):
    x, w = torch.randn(5, 96, dtype=getattr(torch, dtype)), torch.randn(96)
    assert mlxn.array(x).address == x.data_ptr()
    got = ops.rms_norm(x, w, eps=1e-5)
    assert isinstance(got, torch.Tensor) and got.dtype == x.dtype
    close(wide(got), wide(F.rms_norm(x.double(), (96,), w.double(), 1e-5)), DTYPES[dtype])
    close(wide(ops.softmax(x)), wide(F.softmax(x.double(), -1)), DTYPES[dtype])
    for name in DTYPES:
        assert torch.equal(torch.as_tensor(ops.cast(x, name)), x.to(getattr(torch, name)))
    close(wide(ops.glu(x, x, activation="gelu_tanh")), wide(F.gelu(x.double(), approximate="tanh") * x.double()), DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads,kv_heads,dim,q_len,kv_len",
                         [(8, 2, 64, 17, 17), (4, 4, 128, 1, 33), (4, 1, 256, 40, 40), (2, 1, 512, 70, 70)])
def test_attention(dtype, heads, kv_heads, dim, q_len, kv_len):
    q, k, v = (torch.randn(2, h, n, dim, dtype=getattr(torch, dtype)) for h,
               n in ((heads, q_len), (kv_heads, kv_len), (kv_heads, kv_len)))
    causal = q_len == kv_len
    want = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=causal, enable_gqa=True)
    close(wide(ops.attention(q, k, v)), wide(want), 4 * DTYPES[dtype])
    seen = torch.rand(q_len, kv_len) < 0.7
    want = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=seen, enable_gqa=True)
    close(wide(ops.attention(q, k, v, causal=False, mask=seen)), wide(want).astype("f8"), 4 * DTYPES[dtype])


def clear_logits(model, config, ids):
    """Fresh weights with which no expert is chosen by a hair, and the logits of every position."""
    for seed in range(SEED, SEED + 1000):
        make_goldens.overwrite(model, seed, config["model_type"] == "gemma3_text")
        logits, _, routes = make_goldens.run(model, ids)
        ranked = [r[0].sort(-1, descending=True).values[:, :config["top_k_experts"] + 1] for r in routes]
        if all((r[:, :-1] - r[:, 1:]).min() >= make_goldens.MIN_ROUTER_GAP for r in ranked):
            return logits.numpy()
    raise AssertionError("no seed with clear decisions")


@pytest.mark.parametrize("as_saved", [False, True], ids=["published config", "config as saved"])
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_logits(form, as_saved, tmp_path):
    print(f"seed {SEED}, torch {torch.__version__}, transformers {transformers.__version__}")
    config = make_goldens.CONFIGS[form]["config"] | {"dtype": "float32"}
    model = make_goldens.build(config)
    ids = torch.randint(0, config["vocab_size"], (32,)).tolist()
    want = clear_logits(model, config, ids)
    if as_saved:
        model.save_pretrained(tmp_path)
    else:
        make_goldens.save_file({k: v.contiguous() for k, v in make_goldens.tensors_of(model).items()},
                               tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(config))
    if as_saved:
        assert config["model_type"] == "gemma3_text" or "per_layer_config" in json.loads((tmp_path / "config.json").read_text())
    loaded = mlxn.Model.load(mlxn.device(), mlxn.Checkpoint.open(str(tmp_path)), max_context=64, kv_type="f32")
    close(loaded.logits(ids, all_positions=True), want, 2e-4)
