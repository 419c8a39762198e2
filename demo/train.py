# SPDX-License-Identifier: Apache-2.0
"""Trains the demo model on one GPU, in several runs of limited time.

  generate_data.py shards --out DATA --plan 1024:300,4096:600 --bible kjv.txt.xz &
  train.py --data DATA --state state.pt --out OUT --seconds 550 --budget 3300 [--carry DIR]

`--budget` is the whole training's wall-clock time; a run continues from the state file, or from the weights and the
progress file in --carry, and ends after --seconds. Schedule by the share of the budget used: sequences of 1024 tokens,
then of 4096 (from --long); the learning rate decays linearly from --decay on; from --qat on the forward pass sees the
weights as the shipped files store them (Q4_0 and MLX affine in turn), with gradients passed straight through.
Matrices are updated by Muon, all else by AdamW.

The King James text comes from Debian's packages bible-kjv and bible-kjv-text:
  bible -f -l100000 'Gen1:1-Rev22:21' | sed 's/[[:space:]]*$//' | xz -9 > kjv.txt.xz
"""
import argparse
import glob
import json
import math
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import evaluate
from model import CONFIG, head, hidden_states, initialise, layer, quantised, rope_tables
from quantise import affine, q4_0

ANSWER_WEIGHT = 5.0


class Rows:
    """Rows of one kind and length from the shards, each shard once as long as new ones come."""

    def __init__(self, folder, kind, length, used, device):
        self.pattern = os.path.join(folder, f"{kind}-{length}-*.npy")
        self.used, self.device, self.data, self.at = used, device, None, 0

    def next_shard(self):
        while True:
            files = sorted(glob.glob(self.pattern))
            fresh = [f for f in files if os.path.basename(f) not in self.used]
            if fresh or (len(files) > 2 and self.data is not None):
                break
            time.sleep(0.5)
        path = fresh[0] if fresh else random.choice(files)
        self.used.add(os.path.basename(path))
        rows = torch.from_numpy(np.load(path).astype(np.int32))
        self.data, self.at = rows[torch.randperm(len(rows))].to(self.device), 0

    def take(self, n):
        out = []
        while n:
            if self.data is None or self.at >= len(self.data):
                self.next_shard()
            part = self.data[self.at:self.at + n]
            self.at += len(part)
            n -= len(part)
            out.append(part)
        return torch.cat(out)


def orthogonalise(g):
    """Newton-Schulz iteration of Muon on a stack of matrices with rows >= columns."""
    x = g.bfloat16()
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).bfloat16()
    for _ in range(5):
        a = x.mT @ x
        x = 3.4445 * x + x @ (-4.7750 * a + 2.0315 * (a @ a))
    return x.float()


class Trainer:
    def __init__(self, device, compiled):
        self.device = device
        self.names = [n for n in initialise() if quantised(n)]
        self.weights = {}
        self.layer = torch.compile(layer, dynamic=False) if compiled else layer
        self.loss = torch.compile(self.loss_of, dynamic=False) if compiled else self.loss_of
        self.fake_q4 = torch.compile(lambda w: q4_0(w.bfloat16())[-1].bfloat16()) if compiled else lambda w: q4_0(w.bfloat16())[-1].bfloat16()
        self.fake_mlx = torch.compile(lambda w: affine(w.bfloat16())[-1].bfloat16()) if compiled else lambda w: affine(w.bfloat16())[-1].bfloat16()
        self.ns = torch.compile(orthogonalise, dynamic=False) if compiled else orthogonalise
        self.step, self.tokens, self.elapsed, self.used = 0, 0, 0.0, set()

    def start(self, weights):
        """Matrices live in one flat master so that one pass quantises all of them."""
        matrices = [weights[n].float().flatten() for n in self.names]
        self.sizes = [len(m) for m in matrices]
        self.flat = torch.cat(matrices).to(self.device)
        self.shapes = [weights[n].shape for n in self.names]
        self.weights = {n: p.view(s) for n, p, s in zip(self.names, self.flat.split(self.sizes), self.shapes)}
        self.small = {n: w.float().to(self.device).clone() for n, w in weights.items() if n not in self.weights}
        self.weights |= self.small
        self.momentum = torch.zeros_like(self.flat)
        self.adam = {n: [torch.zeros_like(w), torch.zeros_like(w)] for n, w in self.small.items()}
        e = "model.embed_tokens.weight"
        self.adam[e] = [torch.zeros_like(self.weights[e]), torch.zeros_like(self.weights[e])]
        groups = {}
        for i, (n, s) in enumerate(zip(self.names, self.shapes)):
            if n != e:
                groups.setdefault((max(s[-2:]), min(s[-2:])), []).append(i)
        self.groups = groups

    def forward_weights(self, mode):
        leaf = {"none": lambda w: w.bfloat16(), "q4_0": self.fake_q4, "mlx": self.fake_mlx}[mode](self.flat)
        leaf = leaf.detach().clone().requires_grad_()
        small = {}
        for n, w in self.small.items():
            if mode == "mlx" and n.endswith("router.proj.weight"):
                w = affine(w.bfloat16(), bits=8)[-1]
            small[n] = w.detach().clone().requires_grad_()
        return leaf, small

    def loss_of(self, x, embed, norm, targets, weight):
        ce = F.cross_entropy(head(x, embed, norm).flatten(0, 1), targets.flatten(), reduction="none")
        weight = weight.flatten()
        answers = (weight > 1).float()
        plain = (weight == 1).float()
        return ((ce * weight).sum() / weight.sum(), (ce * plain).sum() / plain.sum(),
                (ce * answers).sum() / answers.sum().clamp(min=1))

    def train_step(self, rows, tables, rates, mode, balance_weight):
        ids = (rows & 0x3FFF).long()
        weight = torch.ones(rows.shape, device=self.device)
        weight[(rows & 0x8000) != 0] = ANSWER_WEIGHT
        weight[(rows & 0x4000) != 0] = 0.0
        leaf, small = self.forward_weights(mode)
        seen = dict(small)
        seen |= {n: p.view(s) for n, p, s in zip(self.names, leaf.split(self.sizes), self.shapes)}
        x, balance = hidden_states(seen, ids[:, :-1] if ids.shape[1] % 256 == 1 else ids, tables, self.layer)
        targets = torch.cat((ids[:, 1:], ids[:, :1]), 1)
        shifted = torch.cat((weight[:, 1:], torch.zeros_like(weight[:, :1])), 1)
        loss, plain, answers = self.loss(x, seen["model.embed_tokens.weight"], seen["model.norm.weight"], targets, shifted)
        (loss + balance_weight * balance).backward()
        with torch.no_grad():
            self.update(leaf.grad.float(), {n: w.grad for n, w in small.items()}, rates)
        self.step += 1
        self.tokens += ids.numel()
        return torch.stack((plain.detach(), answers.detach(), balance.detach()))

    def update(self, grad, small_grads, rates):
        lr, decay = rates
        self.momentum.lerp_(grad, 0.05)
        nesterov = grad.lerp(self.momentum, 0.95)
        parts, masters = nesterov.split(self.sizes), self.flat.split(self.sizes)
        for (rows, cols), members in self.groups.items():
            stack, flips = [], []
            for i in members:
                g = parts[i].view(-1, *self.shapes[i][-2:])
                flips.append(g.shape[1] < g.shape[2])
                stack.append(g.mT if flips[-1] else g)
            done = self.ns(torch.cat(stack)) * (0.2 * math.sqrt(rows))
            at = 0
            for i, flip, s in zip(members, flips, stack):
                u = done[at:at + len(s)]
                at += len(s)
                u = (u.mT if flip else u).reshape(-1)
                masters[i].mul_(1 - lr * decay).add_(u, alpha=-lr)
        e = "model.embed_tokens.weight"
        i = self.names.index(e)
        self.adamw(e, self.weights[e], grad.split(self.sizes)[i].view(self.shapes[i]), lr * 0.5, decay)
        for n, g in small_grads.items():
            self.adamw(n, self.small[n], g, lr * (0.2 if n.endswith("layer_scalar") else 0.5), 0.0)

    def adamw(self, name, w, g, lr, decay):
        m, v = self.adam[name]
        m.lerp_(g, 0.1)
        v.lerp_(g.square(), 0.02)
        t = self.step + 1
        update = m / (1 - 0.9 ** t) / ((v / (1 - 0.98 ** t)).sqrt() + 1e-8)
        w.mul_(1 - lr * decay).add_(update, alpha=-lr)

    def state(self):
        return {"weights": self.weights, "momentum": self.momentum, "adam": self.adam, "step": self.step,
                "tokens": self.tokens, "elapsed": self.elapsed, "used": self.used}

    def load(self, state):
        self.start({n: w.clone() for n, w in state["weights"].items()})
        for key in ("step", "tokens", "elapsed", "used"):
            setattr(self, key, state.get(key, getattr(self, key)))
        if "momentum" in state:
            self.momentum.copy_(state["momentum"])
            self.adam = state["adam"]


def write_shards(weights, folder, limit=15 << 20):
    """bf16 weights in files of at most `limit` bytes."""
    part, size, index = {}, 0, 0
    for name, w in list(weights.items()) + [(None, None)]:
        n = 0 if w is None else w.numel() * 2
        if part and (w is None or size + n > limit):
            save_file(part, os.path.join(folder, f"weights-{index}.safetensors"))
            part, size, index = {}, 0, index + 1
        if w is not None:
            part[name] = w.detach().bfloat16().cpu().contiguous().clone()
            size += n


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, kind, value in (("data", str, None), ("state", str, "state.pt"), ("out", str, "."), ("carry", str, None),
                              ("seconds", float, 550), ("budget", float, 3300), ("lr", float, 3e-3), ("decay", float, 0.6),
                              ("long", float, 0.3), ("qat", float, 0.72), ("batch", int, 65536), ("recall", float, 0.4),
                              ("short", int, 1024), ("length", int, 4096), ("bible", str, None), ("every", int, 100),
                              ("seed", int, 0), ("elapsed", float, None), ("items", int, 64)):
        parser.add_argument("--" + flag, type=kind, default=value)
    args = parser.parse_args()
    begin = time.time()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    trainer = Trainer(device, device == "cuda")
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    if os.path.exists(args.state):
        trainer.load(torch.load(args.state, map_location=device, weights_only=False))
    elif args.carry and glob.glob(os.path.join(args.carry, "weights-*.safetensors")):
        with open(os.path.join(args.carry, "progress.json"), encoding="utf-8") as file:
            trainer.load({"weights": evaluate.load_weights(args.carry), **json.load(file)})
    else:
        trainer.start(initialise(args.seed))
    if args.elapsed is not None:
        trainer.elapsed = args.elapsed
    print(f"step {trainer.step} tokens {trainer.tokens} elapsed {trainer.elapsed:.0f}", flush=True)
    items = evaluate.make_items(args.items, [512, 1024, 2048, 3500], args.bible) if args.items else {}
    carried, streams, tables = trainer.elapsed, {}, {}
    sums, mark, since, last_step = [], time.time(), trainer.tokens, trainer.step
    next_eval = time.time() + 120
    while time.time() - begin < args.seconds:
        trainer.elapsed = carried + time.time() - begin
        p = trainer.elapsed / args.budget
        length = args.short if p < args.long else args.length
        lr = args.lr * min(1.0, (trainer.step + 1) / 200, (trainer.step - last_step + 1) / 50)
        if p > args.decay:
            lr *= max(0.02, (1 - p) / (1 - args.decay))
        mode = "none" if p < args.qat else ("q4_0", "mlx")[trainer.step % 2]
        if length not in tables:
            tables = {length: rope_tables(length, device)}
            streams = {k: Rows(args.data, k, length, trainer.used, device) for k in ("recall", "mix")}
        rows = args.batch // length
        n = round(rows * args.recall)
        batch = torch.cat((streams["recall"].take(n), streams["mix"].take(rows - n)))
        sums.append(trainer.train_step(batch, tables[length], (lr, 0.05), mode, 0.01))
        if trainer.step % args.every == 0:
            plain, answers, balance = torch.stack(sums).mean(0).tolist()
            now = time.time()
            print(f"step {trainer.step} p {p:.3f} T {length} {mode} lr {lr:.5f} text {plain:.4f} answers {answers:.4f}"
                  f" balance {balance / 6:.3f} tok/s {(trainer.tokens - since) / (now - mark):.0f}", flush=True)
            sums, mark, since = [], now, trainer.tokens
        if time.time() > next_eval and items:
            quick(trainer, items, device)
            mark, since, next_eval = time.time(), trainer.tokens, time.time() + 120
    trainer.elapsed = carried + time.time() - begin
    torch.save(trainer.state(), args.state)
    write_shards(trainer.weights, args.out)
    with open(os.path.join(args.out, "progress.json"), "w", encoding="utf-8") as file:
        json.dump({"step": trainer.step, "tokens": trainer.tokens, "elapsed": trainer.elapsed}, file)
    quick(trainer, items, device)
    print(f"end: step {trainer.step} tokens {trainer.tokens} elapsed {trainer.elapsed:.0f}", flush=True)


def quick(trainer, items, device):
    """Recall on a few held-out items, bf16 activations, per stored form."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    for mode in ("none", "q4_0", "mlx"):
        leaf, small = trainer.forward_weights(mode)
        seen = dict(small) | {n: q.view(s).to(dtype) for n, q, s in zip(trainer.names, leaf.split(trainer.sizes), trainer.shapes)}
        scores = {d: evaluate.recall(seen, items[d], device, 32) for d in items}
        print("recall", mode, " ".join(f"{d}:{r:.3f}" for d, r in scores.items()), flush=True)


if __name__ == "__main__":
    main()
