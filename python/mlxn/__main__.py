# SPDX-License-Identifier: Apache-2.0
"""The mlxn command, which comes with the package."""
import os
import sys


def main() -> None:
    path = os.path.join(os.path.dirname(__file__), "bin", "mlxn")
    os.execv(path, ["mlxn", *sys.argv[1:]])


if __name__ == "__main__":
    main()
