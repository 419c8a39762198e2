# SPDX-License-Identifier: Apache-2.0
"""test_ops.py on a GPU: every argument becomes a CUDA tensor of PyTorch, used where it lies on a stream of PyTorch's, and
every call runs once more inside a CUDA graph of PyTorch's, which must give the same bits. Set MLXN_TEST_DEVICE=cuda."""
import mlxn
import numpy as np
import torch
from mlxn import _mlxn, ops

ON_GPU = {*_mlxn._ops.FIELDS, "attention"}


def to_cuda(x):
    if isinstance(x, tuple):
        return tuple(map(to_cuda, x))
    if isinstance(x, mlxn.Buffer):
        return torch.from_dlpack(x).cuda() if x.device.kind == "cpu" else x
    if isinstance(x, np.ndarray) and x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.uint16).copy()).view(torch.bfloat16).cuda()
    if isinstance(x, np.ndarray) and x.dtype != np.int64 and x.dtype != np.float64:
        return torch.from_numpy(np.ascontiguousarray(x)).cuda()
    return x


def to_host(x):
    if isinstance(x, tuple):
        return tuple(map(to_host, x))
    return mlxn.array(x.cpu()) if isinstance(x, torch.Tensor) else x


def tensors(result):
    """The tensors of a result, those of a coded cache too."""
    if isinstance(result, mlxn.TqRows):
        return [torch.from_dlpack(result.codes), torch.from_dlpack(result.norms)]
    return list(result) if isinstance(result, tuple) else [result]


def bits(x):
    return x.view(torch.uint8).flatten()


def with_tensors(name, args, named):
    """Adds a tensor to calls that have none: without one an op runs on a stream of its own."""
    if name == "attn_mask_build":
        named["out"] = torch.empty(tuple(args[:2]), dtype=getattr(torch, named["dtype"]), device="cuda")
    if name == "dequantize":
        named["out"] = torch.empty(tuple(args[0].shape), device="cuda")
    if name == "embed":
        args[1] = torch.tensor(args[1], dtype=torch.int32, device="cuda")
    if name == "tq_decode":
        b, heads, capacity, _ = args[0].codes.shape
        named["out"] = torch.empty((b, heads, named.get("n", capacity), args[1]), device="cuda")


class OpsOnCuda:
    def __init__(self):
        self.in_graphs = set()

    def __getattr__(self, name):
        function = getattr(ops, name)
        return (lambda *a, **k: self._call(name, function, a, k)) if name in ON_GPU else function

    def _call(self, name, function, args, named):
        given = [*args, *named.values()]
        args, named = [to_cuda(a) for a in args], {k: to_cuda(v) for k, v in named.items()}
        with_tensors(name, args, named)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            result = function(*args, **named)
        torch.cuda.synchronize()
        # Caches are given to be changed.
        for before, after in zip(given, [*args, *named.values()]):
            if name == "kv_append" and isinstance(before, np.ndarray):
                before[:] = np.asarray(mlxn.array(after.cpu()))
        want = [r.clone() for r in tensors(result)]
        assert all(r.is_cuda for r in want)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            again = tensors(function(*args, **named))
        if name != "kv_append":
            for a in again:
                bits(a).zero_()
        graph.replay()
        torch.cuda.synchronize()
        for a, w in zip(again, want):
            assert torch.equal(bits(a), bits(w)), f"{name}: a graph gives other bits"
        self.in_graphs.add(name)
        return to_host(result)


class WeightOnCuda:
    def __getattr__(self, name):
        make = getattr(mlxn.Weight, name)
        return lambda *a, **k: make(*a, device=mlxn.device("cuda:0"), **k)


class MlxnOnCuda:
    Weight = WeightOnCuda()

    def __getattr__(self, name):
        return getattr(mlxn, name)

    def device(self, id="cuda:0"):
        return mlxn.device(id)


def use_it():
    import test_models
    import test_ops

    test_ops.ops, test_ops.mlxn, test_models.mlxn = OpsOnCuda(), MlxnOnCuda(), MlxnOnCuda()
