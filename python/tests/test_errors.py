# SPDX-License-Identifier: Apache-2.0
"""Errors are those of the library, of its kind and of the fitting type of Python."""
import subprocess

import mlxn
import numpy as np
import pytest
from kit import DEMO
from mlxn import ops


def test_text_and_parts_are_those_of_the_library():
    with pytest.raises(mlxn.InvalidArgumentError) as info:
        ops.rms_norm(np.ones((2, 8), np.float32), np.ones(7, np.float32))
    error = info.value
    assert str(error) == "rms_norm: weight: found 7 elements, required at least 8"
    assert (error.kind, error.where, error.parameter, error.found) == ("invalid argument", "rms_norm", "weight", "7 elements")
    assert isinstance(error, ValueError) and isinstance(error, mlxn.Error) and not error.is_transient


@pytest.mark.parametrize("kind,python,call", [
    (mlxn.IoError, OSError, lambda p: mlxn.Checkpoint.open(str(p / "none"))),
    (mlxn.GgufError, ValueError, lambda p: mlxn.Checkpoint.open(str(p / "bad.gguf"))),
    (mlxn.ConfigError, ValueError, lambda p: mlxn.Checkpoint.open(str(p))),
    (mlxn.TokenizerError, ValueError, lambda p: mlxn.Tokenizer.from_json('{"model": {"type": "Unknown"}}')),
    (mlxn.DeviceNotFoundError, LookupError, lambda p: mlxn.device("cuda:99")),
    (mlxn.BufferAllocationError, MemoryError, lambda p: mlxn.Buffer.alloc(mlxn.device(), [1 << 50])),
    (mlxn.InvalidArgumentError, ValueError, lambda p: mlxn.Weight.gguf(b"", "q9_9", [1, 32])),
    (mlxn.InvalidArgumentError, ValueError, lambda p: mlxn.Weight.gguf(b"1234", "q8_0", [1, 32])),
    (mlxn.InvalidArgumentError, ValueError, lambda p: ops.cast([1.0], "f64")),
    (mlxn.InvalidArgumentError, ValueError, lambda p: ops.rope([[[1.0, 2.0]]], [0], [1.0], pairing="sideways")),
    (mlxn.InvalidArgumentError, ValueError, lambda p: mlxn.Stream.on(mlxn.device(), 0)),
    (TypeError, TypeError, lambda p: ops.softcap([1.0], "five")),
])
def test_kinds(tmp_path, kind, python, call):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(40))
    (tmp_path / "config.json").write_text('{"model_type": "unheard_of"}')
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(kind) as info:
        call(tmp_path)
    assert isinstance(info.value, python) and str(info.value)


def test_context_and_templates():
    model, tokenizer = mlxn.load(DEMO, max_kv_size=16)
    with pytest.raises(mlxn.ContextFullError, match="17 tokens, required at most 16") as info:
        mlxn.generate(model, tokenizer, [5] * 17)
    assert isinstance(info.value, OverflowError)
    with pytest.raises(mlxn.ContextFullError, match="9 tokens, required at most 8"):
        mlxn.generate(model, tokenizer, [5] * 9, max_kv_size=8)
    with pytest.raises(mlxn.InvalidArgumentError):
        mlxn.generate(model, tokenizer, [])
    with pytest.raises(mlxn.InvalidArgumentError):
        model.logits([10**6])
    with pytest.raises(TypeError, match="sampler: found together with temp"):
        mlxn.generate(model, tokenizer, "a", sampler=mlxn.make_sampler(), temp=1.0)
    with pytest.raises(mlxn.TemplateError):
        tokenizer.from_json((DEMO / "tokenizer.json").read_bytes(), "", "{% if %}").apply_chat_template([])


def test_command_comes_along():
    import sys

    said = subprocess.run([sys.executable, "-m", "mlxn", "--version"], capture_output=True, text=True, check=True).stdout
    assert said == f"mlxn {mlxn.__version__}\n"
