# SPDX-License-Identifier: Apache-2.0
"""PyTorch's CUDA tensors: no copy, PyTorch's stream and allocator; models on a GPU. Skipped where there is no GPU."""
import contextlib
import os

import mlxn
import numpy as np
import pytest
from kit import DEMO, DEMO_GGUF, ROOT, read_safetensors
from mlxn import ops

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no GPU", allow_module_level=True)


def test_memory_is_used_where_it_lies():
    x = torch.arange(24, device="cuda", dtype=torch.float32).reshape(4, 6)
    b = mlxn.array(x)
    assert b.address == x.data_ptr() and b.device == mlxn.device("cuda:0")
    assert b.__dlpack_device__() == (2, 0) and torch.from_dlpack(b).data_ptr() == x.data_ptr()
    np.testing.assert_array_equal(b.numpy(), x.cpu())
    y = ops.scale(x, 2.0)
    assert isinstance(y, torch.Tensor) and y.is_cuda and torch.equal(y, 2 * x)
    assert ops.scale(x, 3.0, out=x) is x and x[0, 1] == 3
    with pytest.raises(mlxn.InvalidArgumentError, match="contiguous"):
        ops.softmax(x.T)
    with pytest.raises(mlxn.InvalidArgumentError):
        mlxn.array(x, mlxn.device("cpu"))


def test_work_is_in_order_with_torch():
    """Each op needs what PyTorch has just queued, and PyTorch what the op has: any missing order shows."""
    for stream in (torch.cuda.current_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):
            x = torch.ones(1 << 22, device="cuda")
            for _ in range(50):
                y = ops.add(x, x)
                x = y * 0.5
                del y
            assert bool((x == 1).all())


def test_graphs_are_replayed_with_new_values():
    x, w = torch.randn(16, 256, device="cuda"), torch.randn(256, device="cuda")
    out = torch.empty_like(x)
    ops.rms_norm(x, w, out=out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        ops.rms_norm(x, w, out=out)
    for _ in range(3):
        x.copy_(torch.randn_like(x))
        graph.replay()
        torch.testing.assert_close(out, torch.nn.functional.rms_norm(x, (256,), w, 1e-6), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(os.environ.get("MLXN_TEST_DEVICE") != "cuda", reason="test_ops.py ran on the CPU")
def test_every_op_ran_inside_a_graph():
    """Of PyTorch's, in test_ops.py, as on_cuda.py arranges it."""
    from on_cuda import ON_GPU
    from test_ops import ops as on_gpu

    assert on_gpu.in_graphs == ON_GPU


def test_the_host_reads_what_torch_has_queued():
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.ones(1 << 24, device="cuda")
        for _ in range(100):
            x = x * 1.0 + 1.0
        np.testing.assert_array_equal(mlxn.array(x)[-4:], [101.0] * 4)


@pytest.mark.parametrize("name", ["cupy", "jax.numpy"])
def test_other_libraries(name, monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    xp = pytest.importorskip(name)
    if name != "cupy" and xp.ones(1).device.platform != "gpu":
        pytest.skip("JAX has no GPU")
    with xp.cuda.Stream(non_blocking=True) if name == "cupy" else contextlib.nullcontext():
        x = xp.ones((1 << 22,), xp.float32)
        for _ in range(50):
            x = xp.from_dlpack(ops.add(x, x)) * xp.float32(0.5)
        assert mlxn.array(x).address == x.__cuda_array_interface__["data"][0] and bool((x == 1).all())


@pytest.mark.parametrize("path,golden", [(DEMO, "mlx"), (DEMO_GGUF, "q4_0")])
def test_a_model_on_the_gpu(path, golden):
    """Prompts whose replies are known, from transformers."""
    known = read_safetensors(ROOT / f"demo/goldens/{golden}.safetensors")
    model, tokenizer = mlxn.load(path, device="cuda:0", kv_type="f32", max_kv_size=1024)
    for prompt in ("short", "chat", "count"):
        want = known[f"{prompt}.greedy"].tolist()
        got = mlxn.stream_generate(model, tokenizer, known[f"{prompt}.ids"], max_tokens=len(want), ignore_eos=True)
        assert [p.token for p in got][:-1] == want
