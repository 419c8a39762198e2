# SPDX-License-Identifier: Apache-2.0
import os

from kit import SEED


def pytest_report_header():
    return f"MLXN_TEST_SEED={SEED}"


def pytest_configure(config):
    if os.environ.get("MLXN_TEST_DEVICE") == "cuda":
        import on_cuda

        on_cuda.use_it()
