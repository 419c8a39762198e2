#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Python package next to PyTorch and transformers: 5 GB of packages, so not part of scripts/check.sh. What came out is in
# docs/parity.md. Builds and tests as scripts/test_python.sh does, then adds them to the same environment.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/test_python.sh
python=build/python/venv/bin/python
"$python" -m pip --quiet --disable-pip-version-check install torch transformers 'mlx[cpu]' gguf safetensors
"$python" -m pytest -v python/tests/test_peers_torch.py
"$python" examples/attention_512.py build/python/examples
"$python" - <<'END'
from importlib.metadata import version
print(", ".join(f"{name} {version(name)}" for name in ("mlxn", "numpy", "torch", "transformers")))
END
