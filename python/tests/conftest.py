# SPDX-License-Identifier: Apache-2.0
from kit import SEED


def pytest_report_header():
    return f"MLXN_TEST_SEED={SEED}"
