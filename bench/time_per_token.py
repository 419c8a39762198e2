# SPDX-License-Identifier: Apache-2.0
"""Time of a decode step against the tokens in the cache, by type of cache: a figure.

  time_per_token.py measure --mlxn build/release/mlxn -m demo/model-q4_0.gguf --device cpu > cpu.jsonl
  time_per_token.py plot cpu.jsonl cuda.jsonl --out docs/time_per_token.png
"""
import argparse
import json
import subprocess

DEPTHS = (256, 512, 1024, 1536, 2048, 2560, 3072, 3584, 4032)
TOKENS = 64  # generated behind each depth


def measure(args):
    for kv_type in args.types:
        for depth in DEPTHS:
            command = [args.mlxn, "bench", "-m", args.model, "--device", args.device, "--kv-type", kv_type, "-p", "0", "-n", TOKENS,
                       "-d", depth, "-c", "4096", "-r", "5", "-o", "jsonl", "-q"]
            print(subprocess.run([str(x) for x in command], check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def plot(args):
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from PIL import Image
    lines = {}
    for path in args.files:
        for line in open(path, encoding="utf-8"):
            r = json.loads(line)
            lines.setdefault(r["backend"], {}).setdefault(r["kv_type"], []).append(
                (r["n_depth"] + TOKENS / 2, 1e6 / r["avg_ts"], 1e6 * r["stddev_ts"] / r["avg_ts"] ** 2))
    figure, axes = plt.subplots(1, len(lines), figsize=(4.5 * len(lines), 3.2), squeeze=False)
    for axis, (backend, types) in zip(axes[0], lines.items()):
        for kv_type, points in types.items():
            axis.errorbar(*zip(*points), fmt="-", capsize=2, label=kv_type)
        axis.set(title=backend, xlabel="tokens in the cache", ylabel="µs per token", ylim=(0, None))
        axis.legend()
    figure.tight_layout()
    figure.canvas.draw()
    Image.frombuffer("RGBA", figure.canvas.get_width_height(), figure.canvas.buffer_rgba()).convert("RGB").quantize(16).save(args.out, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("measure")
    command.add_argument("--mlxn", default="build/release/mlxn")
    command.add_argument("-m", "--model", required=True)
    command.add_argument("--device", default="best")
    command.add_argument("--types", nargs="+", default=["f16", "tq4"])
    command.set_defaults(run=measure)
    command = commands.add_parser("plot")
    command.add_argument("files", nargs="+")
    command.add_argument("--out", required=True)
    command.set_defaults(run=plot)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
