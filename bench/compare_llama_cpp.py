# SPDX-License-Identifier: Apache-2.0
"""Prompt and generation speed of mlxn beside llama.cpp's, on the same GGUF files in the same run.

  compare_llama_cpp.py --mlxn build/release/mlxn [--threads 2] [--rounds 5] [--prompt 512] [--gen 128] MODEL ...

Per round, mlxn and llama.cpp take turns, each in a process of its own with its model loaded anew:
a warm-up, then one prompt of --prompt tokens and --gen single-token steps from an empty cache, ids
at random, no sampling. The table has medians over the rounds. "GB/s" is the size of the weights
times generation speed: what the steps read of them; beside it the read bandwidth that `mlxn bench`
measured in the same rounds. An MLX directory has no peer here and runs alone.
Needs llama-cpp-python for the peer, which runs through llama_decode: n_batch 512, flash attention as
llama.cpp chooses, weights mapped.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def run_peer(args):
    """In a process of its own: prints one JSON object."""
    import ctypes
    import llama_cpp
    import numpy as np

    @llama_cpp.llama_log_callback
    def errors_only(level, text, _):
        if level >= 4:
            sys.stderr.write(text.decode(errors="replace"))

    llama_cpp.llama_log_set(errors_only, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(args.models[0].encode(), llama_cpp.llama_model_default_params())
    if not model:
        sys.exit(f"{args.models[0]}: llama.cpp does not load it")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = max(args.prompt, args.gen)
    params.n_batch = params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = args.threads
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        sys.exit(f"{args.models[0]}: llama.cpp makes no context of it")
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    ids = np.random.default_rng(1).integers(0, vocab, max(args.prompt, args.gen)).astype(np.int32)

    def decode(begin, count):
        part = np.ascontiguousarray(ids[begin:begin + count])
        pointer = part.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token))
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(pointer, count)) != 0:
            sys.exit("llama_decode failed")
        llama_cpp.llama_synchronize(context)

    def rate(count, piece):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        start = time.perf_counter()
        for begin in range(0, count, piece):
            decode(begin, min(piece, count - begin))
        return count / (time.perf_counter() - start)

    rate(args.prompt, 512)  # warm-up
    prompt = rate(args.prompt, 512)
    rate(min(args.gen, 8), 1)
    print(json.dumps({"prompt": prompt, "gen": rate(args.gen, 1)}))


def output_of(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def run_mlxn(args, model):
    rows = output_of([args.mlxn, "bench", "-m", model, "-t", str(args.threads), "-p", str(args.prompt),
                      "-n", str(args.gen), "-r", "1", "-o", "json", "-q"])
    prompt, gen = sorted(rows, key=lambda row: row["n_gen"])
    return {"prompt": prompt["avg_ts"], "gen": gen["avg_ts"], "size": gen["model_size"],
            "bandwidth": gen["read_bandwidth"]}


def peer_of(args, model):
    return output_of([sys.executable, os.path.abspath(__file__), "--peer", "--threads", str(args.threads),
                      "--prompt", str(args.prompt), "--gen", str(args.gen), model])


def medians(samples):
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


def table_rows(args, model):
    ours, theirs = [], []
    for turn in range(args.rounds):
        print(f"{model}: round {turn + 1} of {args.rounds}", file=sys.stderr)
        ours.append(run_mlxn(args, model))
        if not os.path.isdir(model):
            theirs.append(peer_of(args, model))
    mlxn, peer = medians(ours), medians(theirs) if theirs else None
    name = os.path.basename(model.rstrip("/"))
    for key, test in (("prompt", f"pp{args.prompt}"), ("gen", f"tg{args.gen}")):
        other, ratio = (f"{peer[key]:.1f}", f"{mlxn[key] / peer[key]:.2f}") if peer else ("-", "-")
        reads, share = "-", "-"
        if key == "gen":
            reads = f"{mlxn['size'] * mlxn[key] / 1e9:.1f} of {mlxn['bandwidth'] / 1e9:.1f}"
            share = f"{100 * mlxn['size'] * mlxn[key] / mlxn['bandwidth']:.0f}"
        yield f"| {name} | {test} | {mlxn[key]:.1f} | {other} | {ratio} | {reads} | {share} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlxn", default="build/release/mlxn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--gen", type=int, default=128)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    if args.peer:
        run_peer(args)
        return
    print("| model | test | mlxn t/s | llama.cpp t/s | ratio | GB/s | % of bandwidth |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for model in args.models:
        for row in table_rows(args, model):
            print(row, flush=True)


if __name__ == "__main__":
    main()
