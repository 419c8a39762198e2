# SPDX-License-Identifier: Apache-2.0
"""Models against the goldens of transformers, generation, caches, threads, memory."""
import ctypes
import gc
import os
import threading

import mlxn
import numpy as np
import pytest
from kit import DEMO, DEMO_GGUF, GOLDENS, attention, close, normal, read_safetensors

FLOATS = ["gemma3", "gemma4_dense", "gemma4_dense_null", "gemma4_e", "gemma4_moe", "gemma4_moe_ple"]
STORY = "Tell me a story about a fox."


def open_golden(name, **options):
    return mlxn.Model.load(mlxn.device(), mlxn.Checkpoint.open(str(GOLDENS / name)),
                           **{"max_context": 128, "kv_type": "f32"} | options)


@pytest.mark.parametrize("name", FLOATS)
def test_logits_are_those_of_transformers(name):
    golden, model = read_safetensors(GOLDENS / name / "golden.safetensors"), open_golden(name)
    for p in range(3):
        ids = golden[f"ids_{p}"]
        close(model.logits(ids, all_positions=True), golden[f"logits_{p}"], 2e-4)
        row, tokens = model.logits(ids), []
        while len(tokens) < 64:
            tokens.append(int(row.argmax()))
            row = model.decode([tokens[-1]])[0]
        assert tokens == golden[f"greedy_{p}"].tolist()
    assert model.length() == len(ids) + 64
    assert model.trim(len(ids)) is (model.length() == len(ids))


@pytest.fixture(scope="module", params=[DEMO, DEMO_GGUF], ids=["mlx", "gguf"])
def demo(request):
    return mlxn.load(request.param, max_kv_size=512, device="cpu")


def test_pieces_make_up_the_text(demo):
    model, tokenizer = demo
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": STORY}])
    text = mlxn.generate(model, tokenizer, prompt, max_tokens=60, temp=0.8, seed=21)
    pieces = list(mlxn.stream_generate(model, tokenizer, prompt, max_tokens=60, temp=0.8, seed=21, logprobs=2))
    assert "".join(p.text for p in pieces) == text and len(text) > 100
    assert pieces[-1].finish_reason in ("length", "eos") and all(p.finish_reason is None for p in pieces[:-1])
    assert pieces[-1].prompt_tokens == len(prompt) and pieces[-1].generation_tps > 0
    assert all(len(p.top_logprobs) == 2 and p.logprob <= p.top_logprobs[0][1] for p in pieces[:-1])
    ids = [p.token for p in pieces[:-1]]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert mlxn.generate(model, tokenizer, prompt, max_tokens=60, temp=0.8, seed=22) != text


def test_closing_a_stream_stops_the_work(demo):
    model, tokenizer = demo
    before = threading.active_count()
    stream = mlxn.stream_generate(model, tokenizer, STORY, max_tokens=400, ignore_eos=True)
    next(stream)
    stream.close()
    assert threading.active_count() == before and model.length() < 40


def test_errors_of_callbacks_come_out(demo):
    model, tokenizer = demo

    def bad(done, total):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        mlxn.generate(model, tokenizer, STORY, prompt_progress_callback=bad)
    with pytest.raises(KeyError, match="mine"):
        list(mlxn.stream_generate(model, tokenizer, STORY, prompt_progress_callback=bad))


def test_a_prompt_cache_goes_on(demo):
    model, tokenizer = demo
    cache = mlxn.make_prompt_cache(model)
    turns = [[{"role": "user", "content": "Hello."}], [{"role": "user", "content": "What is 2 plus 3?"}]]
    first = tokenizer.apply_chat_template(turns[0])
    mlxn.generate(model, tokenizer, first, prompt_cache=cache, max_tokens=30)
    held = len(cache.tokens)
    assert held > len(first)
    second = tokenizer.apply_chat_template(turns[1])[1:]
    whole = cache.tokens + second
    answer = mlxn.generate(model, tokenizer, second, prompt_cache=cache, max_tokens=30)
    assert cache.session.stats["cached_tokens"] >= held - 1
    assert answer == mlxn.generate(model, tokenizer, whole, max_tokens=30)


def test_batches_and_stops(demo):
    model, tokenizer = mlxn.load(DEMO, max_kv_size=256, batch=3, device="cpu")
    prompts = [tokenizer.apply_chat_template([{"role": "user", "content": t}]) for t in (STORY, "Hello.", "Who are you?", "What is 4 plus 4?")]
    alone = [mlxn.generate(model, tokenizer, p, max_tokens=25) for p in prompts]
    assert mlxn.batch_generate(model, tokenizer, prompts, max_tokens=25) == alone
    stopped = mlxn.generate(model, tokenizer, prompts[0], max_tokens=25, stop=[alone[0][20:24]])
    assert stopped == alone[0][:alone[0].index(alone[0][20:24])]


def test_two_threads_give_what_each_gives_alone(demo):
    models = [demo, mlxn.load(DEMO, max_kv_size=512, device="cpu")]
    jobs = [dict(prompt=STORY, max_tokens=80, temp=0.9, seed=s) for s in range(2)]
    alone = [mlxn.generate(*m, **j) for m, j in zip(models, jobs)]
    for pair in (models, [demo, demo]):  # two models, and one model that two threads take turns with
        want = alone if pair is models else [mlxn.generate(*demo, **j) for j in jobs]
        got = [None, None]

        def work(i):
            got[i] = mlxn.generate(*pair[i], **jobs[i])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert got == want


def test_perplexity_and_conversion(tmp_path, demo):
    model, tokenizer = demo
    ids = tokenizer.encode("Once upon a time there was a fox. " * 30)
    scored = model.perplexity(ids, context=64).perplexity
    assert 1 < scored < 1000
    f16, tq4 = model.kv_report(tokenizer.raw, ids, types=["f16", "tq4"], context=64, recall=[(ids[:40], "1")], depth=64)
    assert f16["perplexity"] == scored and f16["change"] == 0 and tq4["change"] != 0
    assert tq4["bytes_per_token"] < f16["bytes_per_token"] and tq4["recall_items"] == 1 and tq4["generation_rate"] > 0
    with pytest.raises(mlxn.Error, match="tq9"):
        model.kv_report(tokenizer.raw, ids, types=["tq9"])
    result = mlxn.quantize(str(GOLDENS / "gemma3"), str(tmp_path / "out"), bits=8, group_size=32, measure_errors=True)
    assert result["bytes_out"] < result["bytes_in"]
    assert 0 < max(t["relative_rms_error"] for t in result["tensors"]) < 0.01
    kinds = {t["format"] for t in mlxn.Checkpoint.open(str(tmp_path / "out")).tensors()}
    assert "affine 8-bit g32" in kinds


@pytest.mark.parametrize("kv_type,tolerance", [("f32", 1e-5), ("f16", 2e-3), ("tq8", 0.02), ("tq4", 0.3)])
@pytest.mark.parametrize("window,page_size", [(0, 0), (24, 0), (0, 16)])
def test_caches(kv_type, tolerance, window, page_size):
    rng = np.random.default_rng(3)
    cache = mlxn.KvCache.make(mlxn.device(), num_kv_heads=2, head_dim=64, kv_type=kv_type, max_context=100, window_size=window,
                              max_chunk=16, page_size=page_size)
    k, v, q = normal(rng, 1, 80, 2, 64), normal(rng, 1, 80, 2, 64), normal(rng, 1, 4, 64)
    for at in range(0, 80, 16):
        cache.append(k[:, at:at + 16], v[:, at:at + 16], at)
    seen = slice(80 - window if window else 0, 80)
    want, _ = attention(q[:, :, None], *(x.transpose(0, 2, 1, 3)[:, :, seen] for x in (k, v)), 0.125)
    close(cache.attend(q, 80, softmax_scale=0.125), want[:, :, 0], tolerance)
    assert cache.is_ring is (window > 0) and cache.nbytes > 0
    if page_size:
        free = cache.free_pages
        cache.release()
        assert cache.free_pages == free + 5


def resident():
    # What the allocator keeps for later comes and goes in steps of megabytes: it gives that back first.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_norm_correction():
    def logits(**options):
        return mlxn.load(DEMO, max_kv_size=64, device="cpu", **options)[0].logits([5, 9, 13, 21])

    plain, corrected = logits(kv_type="tq2"), logits(kv_type="tq2", kv_norm_correction=True)
    assert not np.array_equal(plain, corrected)
    with pytest.raises(mlxn.Error, match="kv_norm_correction"):
        logits(kv_type="f16", kv_norm_correction=True)


def test_memory_stays_flat():
    def cycle():
        model, tokenizer = mlxn.load(DEMO, max_kv_size=64, device="cpu")
        for _ in mlxn.stream_generate(model, tokenizer, "A fox", max_tokens=2):
            pass

    for _ in range(20):
        cycle()
    before = resident()
    count = int(os.environ.get("MLXN_LEAK_CYCLES", 100))
    for _ in range(count):
        cycle()
    grown = resident() - before
    assert grown < 1 << 20, f"{grown / count:.0f} bytes a cycle"
