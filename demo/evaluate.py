# SPDX-License-Identifier: Apache-2.0
"""Measures a checkpoint: loss on held-out text, and recall of a 4-digit number over 512 to 3500 tokens.

  evaluate.py --weights DIR_OR_FILE [--bible FILE] [--items 500] [--variants bf16,q4_0,mlx]

An item counts when greedy decoding gives the whole answer sentence with the right four digits. With every answer token
the argmax given the ones before it, one pass over prompt and answer decides that.
"""
import argparse
import glob
import json
import multiprocessing
import os
import random

import torch
from safetensors.torch import load_file

import generate_data
from data_chat import chat
from data_recall import held_out_item
from model import CONFIG, head, hidden_states, quantised, rope_tables
from quantise import shipped_weights

DISTANCES = [512, 1024, 2048, 3500]
TOKENIZER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model-mlx-4bit", "tokenizer.json")


def load_weights(path):
    files = sorted(glob.glob(os.path.join(path, "*.safetensors"))) if os.path.isdir(path) else [path]
    out = {}
    for file in files:
        out |= load_file(file)
    return out


def make_item(job):
    seed, distance, bible = job
    encode = generate_data.STATE["encode"]
    prompt, answer, digits = held_out_item(random.Random(seed), distance, encode.count, generate_data.STATE["held"])
    return encode(prompt), encode(answer), digits


def start_worker(tokenizer, bible):
    generate_data.start_worker(tokenizer, bible)
    generate_data.STATE["held"] = generate_data.load_bible(bible, held_out=True)


def make_items(count, distances, bible, seed=900000000, workers=None):
    jobs = [(seed + d * 100000 + i, d, bible) for d in distances for i in range(count)]
    with multiprocessing.Pool(workers, start_worker, (TOKENIZER, bible)) as pool:
        made = pool.map(make_item, jobs, chunksize=8)
    return {d: made[i * count:(i + 1) * count] for i, d in enumerate(distances)}


@torch.no_grad()
def recall(weights, items, device, batch=16):
    """Share of items answered exactly."""
    right = 0
    window = CONFIG["sliding_window"]
    for start in range(0, len(items), batch):
        part = items[start:start + batch]
        rows = [p + a for p, a, _ in part]
        length = -(-max(map(len, rows)) // window) * window
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, :len(row)] = torch.tensor(row)
        ids = ids.to(device)
        x, _ = hidden_states(weights, ids, rope_tables(length, device))
        for i, (prompt, answer, _) in enumerate(part):
            at = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1, device=device)
            got = head(x[i, at], weights["model.embed_tokens.weight"], weights["model.norm.weight"]).argmax(-1)
            right += int((got == ids[i, at + 1]).all())
    return right / len(items)


def text_rows(kind, rows, length, bible):
    """Held-out rows of packed documents of one kind."""
    encode = generate_data.Encoder(TOKENIZER)
    rng = random.Random(987654321)
    held = generate_data.load_bible(bible, held_out=True)
    if kind == "kjv" and not held:
        return None
    out = torch.zeros(rows, length, dtype=torch.long)
    for r in range(rows):
        ids = []
        while len(ids) < length:
            text = {"stories": lambda: generate_data.plain_story(rng), "chats": lambda: chat(rng) + "<eos>",
                    "kjv": lambda: "<bos>" + " ".join(held[(i := rng.randrange(len(held) // 20) * 20):i + 20]) + "<eos>"}[kind]()
            ids += encode(text)
        out[r] = torch.tensor([i & ~(generate_data.ANSWER | generate_data.SILENT) for i in ids[:length]])
    return out


@torch.no_grad()
def text_loss(weights, rows, device, batch=8):
    total = count = 0
    for start in range(0, len(rows), batch):
        ids = rows[start:start + batch].to(device)
        x, _ = hidden_states(weights, ids, rope_tables(ids.shape[1], device))
        out = head(x[:, :-1], weights["model.embed_tokens.weight"], weights["model.norm.weight"])
        total += torch.nn.functional.cross_entropy(out.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").item()
        count += ids[:, 1:].numel()
    return total / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--bible")
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--variants", default="bf16,q4_0,mlx")
    parser.add_argument("--out")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    weights = load_weights(args.weights)
    items = make_items(args.items, DISTANCES, args.bible)
    results = {"items": args.items, "distances": DISTANCES}
    mean = {d: sum(len(p) for p, _, _ in items[d]) / args.items for d in DISTANCES}
    results["mean_prompt_tokens"] = mean
    texts = {k: text_rows(k, args.rows, 1024, args.bible) for k in ("stories", "chats", "kjv")}
    for variant in args.variants.split(","):
        seen = {k: v.to(device) for k, v in shipped_weights(weights, variant, quantised).items()}
        results[variant] = {"recall": {d: recall(seen, items[d], device) for d in DISTANCES},
                            "loss": {k: text_loss(seen, v, device) for k, v in texts.items() if v is not None}}
        print(variant, json.dumps(results[variant]), flush=True)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
