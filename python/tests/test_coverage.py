# SPDX-License-Identifier: Apache-2.0
"""What the C++ headers offer is bound under the same names, and has a parity case."""
import re

import mlxn
import pytest
import test_ops
from kit import ROOT
from mlxn import _mlxn, errors, ops

HEADERS = {path.name: re.sub(r"//[^\n]*", "", path.read_text()) for path in sorted((ROOT / "include/mlxn/ops").glob("*.h"))}
FUNCTIONS = [name for text in HEADERS.values() for name in re.findall(r"^MLXN_API [\w:<> ]+?[ &](\w+)\(", text, re.M)]
RECORDED = [(name, args) for text in HEADERS.values() for name,
             args in re.findall(r"(\w+)\(Stream& stream, const (\w+)& args\)", text)]


def fields_of(struct):
    [body] = [m for text in HEADERS.values() for m in re.findall(rf"^struct {struct} {{\n(.*?)^}};", text, re.M | re.S)]
    return re.findall(r"(\w+)(?:\s*=[^;]*)?;", re.sub(r"\{[^{}]*\}", "0", body))


def test_headers_are_understood():
    assert {"rms_norm", "attn_prefill", "lloyd_max", "rope_frequencies", "tq_signs"} <= set(FUNCTIONS)
    assert len(RECORDED) >= 33


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_bound_and_compared(name):
    assert callable(getattr(ops, name, None)), f"mlxn.ops has no {name}"
    assert hasattr(test_ops, f"test_{name}"), f"test_ops.py has no test_{name}"


@pytest.mark.parametrize("name,struct", RECORDED)
def test_fields_are_those_of_the_header(name, struct):
    assert list(_mlxn._ops.FIELDS[name]) == fields_of(struct)


def test_everything_public_is_described():
    """Beside the signature that nanobind writes; properties say by their names what they are."""
    things = [getattr(mlxn, name) for name in {*mlxn.__all__} - {"__version__", "errors", "ops"}]
    things += [m for t in things if isinstance(t, type) for n, m in vars(t).items() if n[0] != "_" and callable(m)]
    things += [f for n, f in vars(ops).items() if getattr(f, "__module__", "") == ops.__name__ and n[0] != "_"]
    for thing in things:
        assert re.sub(r"(?m)^\w+\(.*\) -> .*$", "", thing.__doc__ or "").strip(), thing


def test_error_kinds_are_those_of_the_header():
    text = re.sub(r"//[^\n]*", "", (ROOT / "include/mlxn/error.h").read_text())
    kinds = re.findall(r"k(\w+)", re.search(r"enum class ErrorKind.*?\{(.*?)\}", text, re.S)[1])
    assert [c.__name__ for c in errors.KINDS] == [f"{kind}Error" for kind in kinds] == errors.__all__[1:]
