# SPDX-License-Identifier: Apache-2.0
"""Writes goldens/: what transformers computes in float32 on the dequantised weights of each shipped file.

  make_goldens.py        (needs torch, transformers, gguf)

goldens/prompts.json holds the prompts (text to encode without further special tokens). goldens/mlx.safetensors and
goldens/q4_0.safetensors hold for every prompt NAME: NAME.ids I32 [T], NAME.positions I32 [P], NAME.logits F32 [P, V]
(the logits after the token at that position), NAME.greedy I32 [<=64] (ends after an end token) and NAME.margin F32 (the
gap between the best and the second logit at each greedy step).
"""
import json
import os
import random

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer

from data_recall import held_out_item
from data_stories import story
from export import HERE, read_gguf, read_mlx
from model import CONFIG, transformers_model

STEPS = 64


def prompts(count):
    rng = random.Random(20)
    long_text = "<bos>" + "\n\n".join(story(rng)[1] for _ in range(3))
    window = long_text[:long_text.rindex(".", 0, 1700) + 1]
    recall, answer, digits = held_out_item(random.Random(77), 1200, count)
    turn = "<bos><|turn>user\n{}<turn|>\n<|turn>model\n"
    return {"short": "<bos>Once upon a time there was a little fox", "chat": turn.format("Tell me a story about a fox."),
            "sum": turn.format("What is 3 plus 4?"), "count": turn.format("Count to twenty."), "window": window, "recall": recall}, {"recall": digits}


@torch.no_grad()
def golden(model, ids):
    out = model(torch.tensor([ids])).logits[0]
    positions = [2 * len(ids) // 3, len(ids) - 1] if 100 <= len(ids) < 1000 else [len(ids) - 1]
    done = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
                          max_new_tokens=STEPS, eos_token_id=CONFIG["eos_token_id"], pad_token_id=0,
                          return_dict_in_generate=True, output_logits=True)
    top = torch.stack(done.logits)[:, 0].topk(2).values
    return {"ids": torch.tensor(ids, dtype=torch.int32), "positions": torch.tensor(positions, dtype=torch.int32),
            "logits": out[positions].float(), "greedy": done.sequences[0, len(ids):].int(),
            "margin": (top[:, 0] - top[:, 1]).float()}


def main():
    tokenizer = Tokenizer.from_file(os.path.join(HERE, "model-mlx-4bit", "tokenizer.json"))
    texts, digits = prompts(lambda text: len(tokenizer.encode(text).ids))
    folder = os.path.join(HERE, "goldens")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "prompts.json"), "w", encoding="utf-8") as file:
        json.dump({"transformers": transformers.__version__, "prompts": texts, "digits": digits}, file, indent=1)
        file.write("\n")
    for variant, weights in (("mlx", read_mlx(os.path.join(HERE, "model-mlx-4bit"))),
                             ("q4_0", read_gguf(os.path.join(HERE, "model-q4_0.gguf")))):
        model = transformers_model(weights)
        out = {}
        for name, text in texts.items():
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            got = golden(model, ids)
            out |= {f"{name}.{key}": value.contiguous() for key, value in got.items()}
            print(variant, name, len(ids), f"margin {got['margin'].min():.3f}", repr(tokenizer.decode(got["greedy"].tolist())))
        save_file(out, os.path.join(folder, variant + ".safetensors"))


if __name__ == "__main__":
    main()
