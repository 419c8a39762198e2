# SPDX-License-Identifier: Apache-2.0
"""Writes recall.json: 6 held-out recall items for the tests; about 3500 tokens stand between a fact and its question.

  make_recall.py [--items 6] [--out FILE]         (needs tokenizers)

The items are drawn with seeds that neither training nor evaluate.py uses. A prompt is a string of two
base64 characters a token: id = 64 * first + second.
"""
import argparse
import json
import os
import random

from tokenizers import Tokenizer

from data_recall import held_out_item

HERE = os.path.dirname(os.path.abspath(__file__))
SEED, DISTANCE, LONGEST = 1_700_000_000, 3500, 4000
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def packed(ids):
    assert max(ids) < 4096
    return "".join(ALPHABET[i // 64] + ALPHABET[i % 64] for i in ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=6)
    parser.add_argument("--out", default=os.path.join(HERE, "recall.json"))
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(os.path.join(HERE, "model-mlx-4bit", "tokenizer.json"))

    def encode(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    items = []
    for i in range(args.items):
        prompt, answer, digits = held_out_item(random.Random(SEED + i), DISTANCE, lambda text: len(encode(text)))
        ids = encode(prompt)
        assert len(ids) <= LONGEST
        items.append({"digits": digits, "answer": answer, "prompt": packed(ids)})
    with open(args.out, "w", encoding="utf-8") as file:
        json.dump({"seed": SEED, "distance": DISTANCE, "items": items}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
