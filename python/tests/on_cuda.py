# SPDX-License-Identifier: Apache-2.0
"""test_ops.py on a GPU: every argument becomes a CUDA tensor of PyTorch, used where it lies on a stream of PyTorch's, and
every call runs once more inside a CUDA graph of PyTorch's, which must give the same bits. Set MLXN_TEST_DEVICE=cuda."""
import mlxn
import numpy as np
import torch
from mlxn import _mlxn, ops

ON_GPU = {*_mlxn._ops.FIELDS, "attention"}


def to_cuda(x):
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


def bits(x):
    return x.view(torch.uint8).flatten() if isinstance(x, torch.Tensor) else None


class OpsOnCuda:
    def __getattr__(self, name):
        function = getattr(ops, name)
        return (lambda *a, **k: self._call(name, function, a, k)) if name in ON_GPU else function

    def _call(self, name, function, args, named):
        given = [*args, *named.values()]
        args, named = [to_cuda(a) for a in args], {k: to_cuda(v) for k, v in named.items()}
        if name == "attn_mask_build":
            dtype = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[named["dtype"]]
            named["out"] = torch.empty(tuple(args[:2]), dtype=dtype, device="cuda")
        if name == "dequantize":
            named["out"] = torch.empty(tuple(args[0].shape), device="cuda")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            result = function(*args, **named)
        torch.cuda.synchronize()
        # Caches are given to be changed.
        for before, after in zip(given, [*args, *named.values()]):
            if name == "kv_append" and isinstance(before, np.ndarray):
                before[:] = np.asarray(mlxn.array(after.cpu()))
        want = [r.clone() for r in (result if isinstance(result, tuple) else (result,)) if isinstance(r, torch.Tensor)]
        if want:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                again = function(*args, **named)
            again = again if isinstance(again, tuple) else (again,)
            for a in again:
                a.view(torch.uint8).zero_() if name != "kv_append" else None
            graph.replay()
            torch.cuda.synchronize()
            for a, w in zip(again, want):
                assert torch.equal(bits(a), bits(w)), f"{name}: a graph gives other bits"
        return to_host(result)


class WeightOnCuda:
    def __getattr__(self, name):
        make = getattr(mlxn.Weight, name)
        return lambda *a, **k: make(*a, device=mlxn.device("cuda:0"), **k)


class MlxnOnCuda:
    Weight = WeightOnCuda()

    def __getattr__(self, name):
        return getattr(mlxn, name)


def use_it():
    import test_ops

    test_ops.ops, test_ops.mlxn = OpsOnCuda(), MlxnOnCuda()
