# SPDX-License-Identifier: Apache-2.0
"""Generates the demo model's training data.

  generate_data.py text --megabytes 30 --out sample.txt     plain text, for train_tokenizer.py
  generate_data.py shards --out DIR --plan 512:40,1024:80    tokenised rows of fixed length, in the background of train.py

`--bible FILE` adds the King James text: one verse a line, plain or .xz (see train.py for how to produce it).
A shard is a uint16 array [rows, length]: token ids, bit 15 set on the digits of a recall answer, bit 14 on tokens
without a loss (the random digits of a fact, padding).
"""
import argparse
import json
import lzma
import multiprocessing
import os
import random
import re

import numpy as np

from data_chat import chat
from data_recall import recall_row
from data_stories import story

ANSWER, SILENT = 1 << 15, 1 << 14
# The words inside which the tokenizer's pieces lie (train_tokenizer.py trains with the same expression).
WORDS = r"'[A-Za-z]{1,2}|▁?[A-Za-z]+|[0-9]|\n+|▁?[^\sA-Za-z0-9▁]+|▁+"
MARKS = {"<bos>": "\x03", "<eos>": "\x04", "<|turn>": "\x05", "<turn|>": "\x06"}
SPLIT = re.compile(r"[\x03-\x06]|\x01[0-9]+|\x02[0-9]+|" + WORDS.replace("▁", " ").replace(r"[^\s", r"[^\s\x01-\x06"))


class Encoder:
    """Word-cached BPE over the generator's own ASCII texts; equal to the tokenizer's own result."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            model = json.load(file)["model"]
        self.vocab = model["vocab"]
        self.ranks = {tuple(m if isinstance(m, list) else m.split(" ")): i for i, m in enumerate(model["merges"])}
        self.cache = {mark: [self.vocab[s]] for s, mark in MARKS.items()}

    def word(self, text):
        if text[0] in "\x01\x02":
            flag = ANSWER if text[0] == "\x01" else SILENT
            return [self.vocab[ch] | flag for ch in text[1:]]
        parts = list(text.replace(" ", "▁"))
        while len(parts) > 1:
            ranked = [(self.ranks.get(pair, 1 << 30), i) for i, pair in enumerate(zip(parts, parts[1:]))]
            rank, i = min(ranked)
            if rank == 1 << 30:
                break
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        ids = []
        for part in parts:
            if part in self.vocab:
                ids.append(self.vocab[part])
            else:
                ids.extend(self.vocab[f"<0x{b:02X}>"] for b in part.encode())
        return ids

    def __call__(self, text):
        out, cache = [], self.cache
        for special, mark in MARKS.items():
            text = text.replace(special, mark)
        for word in SPLIT.findall(text):
            ids = cache.get(word)
            if ids is None:
                ids = self.word(word)
                if len(cache) < 200000:
                    cache[word] = ids
            out.extend(ids)
        return out

    def count(self, text):
        return len(self(text))


def load_bible(path, held_out=False):
    """Verses without their references; every 40th block of 20 verses is held out."""
    if not path:
        return []
    opener = lzma.open if path.endswith(".xz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        verses = [line.strip().split(" ", 1)[1] for line in file if " " in line.strip()]
    verses = [" ".join(v.split()) for v in verses]
    return [v for i, v in enumerate(verses) if (i // 20 % 40 == 39) == held_out]


def plain_story(rng):
    title, text, _ = story(rng)
    return f"<bos>{title}\n\n{text}<eos>" if rng.random() < 0.4 else f"<bos>{text}<eos>"


def bible_passage(rng, bible):
    start = rng.randrange(len(bible) - 20)
    return "<bos>" + rng.choice([" ", "\n"]).join(bible[start:start + rng.randint(4, 20)]) + "<eos>"


def document(rng, encode, bible, short_recall=0.05):
    k = rng.random()
    if k < short_recall:
        return recall_row(rng, rng.randint(150, 400), encode.count, bible)
    if k < short_recall + 0.012 and bible:
        return bible_passage(rng, bible)
    if k < 0.55:
        return plain_story(rng)
    return chat(rng) + "<eos>"


def make_shard(job):
    length, rows, recall, seed, out = job
    rng = random.Random(seed)
    data = np.zeros((rows, length), np.uint16)
    for r in range(rows):
        ids = []
        while recall and length - len(ids) > 200:
            room = length - len(ids)
            size = room if rng.random() < 0.4 else rng.randint(200, room)
            ids += STATE["encode"](recall_row(rng, size, STATE["encode"].count, STATE["bible"]))
        while len(ids) < length:
            ids += STATE["encode"](document(rng, STATE["encode"], STATE["bible"]))
        data[r] = ids[:length]
    name = f"{'recall' if recall else 'mix'}-{length}-{seed}.npy"
    with open(os.path.join(out, name + ".tmp"), "wb") as file:
        np.save(file, data)
    os.rename(os.path.join(out, name + ".tmp"), os.path.join(out, name))
    return data.size


STATE = {}


def start_worker(tokenizer, bible):
    os.nice(5)
    STATE["encode"] = Encoder(tokenizer)
    STATE["bible"] = load_bible(bible)


def shards(args):
    """Plan entries are length:count[:recall share]; a shard has about 2 million tokens."""
    os.makedirs(args.out, exist_ok=True)
    jobs = []
    for entry in args.plan.split(","):
        length, count, *share = entry.split(":")
        share = float(share[0]) if share else 0.4
        for i in range(int(count)):
            recall = int((i + 1) * share) != int(i * share)
            jobs.append((int(length), args.shard_tokens // int(length), recall, args.seed + len(jobs), args.out))
    with multiprocessing.Pool(args.workers, start_worker, (args.tokenizer, args.bible)) as pool:
        total = sum(pool.imap_unordered(make_shard, jobs))
    print(f"{len(jobs)} shards, {total} tokens")


def text(args):
    rng = random.Random(args.seed)
    bible = load_bible(args.bible)
    size = 0
    with open(args.out, "w", encoding="utf-8") as file:
        while size < args.megabytes << 20:
            k = rng.random()
            doc = bible_passage(rng, bible) if bible and k < 0.12 else plain_story(rng) if k < 0.5 else chat(rng)
            if k > 0.95:
                doc = recall_row(rng, 300, lambda s: len(s) // 4, bible)
            doc = re.sub(r"<bos>|<eos>|<\|turn>|<turn\|>|[\x01\x02]", "", doc)
            size += file.write(doc + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["text", "shards"])
    parser.add_argument("--out", required=True)
    parser.add_argument("--bible")
    parser.add_argument("--tokenizer", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "model-mlx-4bit", "tokenizer.json"))
    parser.add_argument("--megabytes", type=int, default=30)
    parser.add_argument("--plan", default="512:4")
    parser.add_argument("--shard-tokens", type=int, default=1 << 21)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    (text if args.what == "text" else shards)(args)


if __name__ == "__main__":
    main()
