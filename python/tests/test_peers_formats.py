# SPDX-License-Identifier: Apache-2.0
"""Formats next to gguf, safetensors, tokenizers and jinja2."""
import json
import random
import sys

import ml_dtypes
import mlxn
import numpy as np
import pytest
from kit import DEMO, DEMO_GGUF, ROOT, SEED, peer
from mlxn import ops

gguf, safetensors_numpy, tokenizers, jinja2 = peer("gguf"), peer("safetensors.numpy"), peer("tokenizers"), peer("jinja2")
pytestmark = pytest.mark.peers
sys.path.insert(0, str(ROOT / "src/tokenizer/testdata"))
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", "F16", "BF16", "F32"]


@pytest.mark.parametrize("name", TYPES)
def test_gguf_blocks_decode_to_the_same_bits(name):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    rows, cols = 23, 512
    data = np.random.default_rng(SEED).integers(0, 256, (rows, cols // elements * size)).astype(np.uint8)
    if name in ("F16", "BF16", "F32"):
        dtype = {"F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32}[name]
        weight, want = mlxn.Weight.dense(data.view(dtype)), data.view(dtype).astype(np.float32)
    else:
        weight = mlxn.Weight.gguf(data, name.lower(), [rows, cols])
        with np.errstate(all="ignore"):
            want = gguf.dequantize(data, kind)
    np.testing.assert_array_equal(ops.dequantize(weight).numpy(), want)


@pytest.mark.parametrize("name", ["Q4_0", "Q5_1", "Q8_0", "MXFP4"])
def test_gguf_matmul(name):
    rng = np.random.default_rng(SEED)
    blocks = gguf.quantize(rng.standard_normal((65, 256)).astype(np.float32), gguf.GGMLQuantizationType[name])
    x = rng.standard_normal((3, 256)).astype(np.float32)
    want = x.astype(np.float64) @ gguf.dequantize(blocks, gguf.GGMLQuantizationType[name]).astype(np.float64).T
    got = ops.matmul(x, mlxn.Weight.gguf(blocks, name.lower(), [65, 256], prepare=True)).numpy()
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


def test_gguf_files_hold_what_gguf_reads():
    theirs = {t.name: (t.tensor_type.name, tuple(int(n) for n in reversed(t.shape))) for t in gguf.GGUFReader(DEMO_GGUF).tensors}
    ours = {t["name"]: (t["dtype"], t["shape"]) for t in mlxn.Checkpoint.open(str(DEMO_GGUF)).tensors()}
    assert ours == theirs


def test_safetensors_files_hold_what_safetensors_reads(tmp_path):
    from safetensors import safe_open

    with safe_open(DEMO / "model.safetensors", "np") as file:
        theirs = {name: (file.get_slice(name).get_dtype(), tuple(file.get_slice(name).get_shape())) for name in file.keys()}
    checkpoint = mlxn.Checkpoint.open(str(DEMO))
    assert {t["name"]: (t["dtype"], t["shape"]) for t in checkpoint.tensors()} == theirs
    want = safetensors_numpy.load_file(ROOT / "tests/goldens/gemma4_dense/model.safetensors")
    golden = mlxn.Checkpoint.open(str(ROOT / "tests/goldens/gemma4_dense"))
    for ours, name in (("embed_tokens", "model.embed_tokens.weight"),
                       ("layers.0.mlp.down_proj", "model.layers.0.mlp.down_proj.weight")):
        weight = golden.weight(mlxn.device(), ours, want[name].shape)
        np.testing.assert_array_equal(ops.dequantize(weight).numpy(), want[name].astype(np.float32))


def test_tokens_are_those_of_tokenizers():
    import nasty_strings

    theirs, ours = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json")), mlxn.Tokenizer.from_directory(DEMO)
    texts = nasty_strings.nasty_strings(["<bos>", "<|turn>", "<turn|>"])
    rng = random.Random(SEED)
    texts += ["".join(rng.choice(rng.choice(texts) or " ") for _ in range(rng.randint(1, 30))) for _ in range(500)]
    assert len(texts) > 1500
    for text in texts:
        want = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, add_special_tokens=False) == want, repr(text)
        assert ours.decode(want) == theirs.decode(want, skip_special_tokens=False), repr(text)
    assert ours.vocab_size == theirs.get_vocab_size()


def environment():
    """That of published chat templates."""
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import SandboxedEnvironment

    env = SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    env.filters["tojson"] = lambda value, indent=None, ensure_ascii=False, separators=None, sort_keys=False: json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.globals["raise_exception"] = raise_exception
    return env


def test_chat_templates_are_rendered_as_by_jinja2():
    import template_sources as sources

    rng = random.Random(SEED)
    templates = [sources.GEMMA3, sources.GEMMA4, sources.CHATML, (DEMO / "chat_template.jinja").read_text()]
    tokenizer_json = (DEMO / "tokenizer.json").read_bytes()
    config = json.dumps({"bos_token": "<bos>", "eos_token": "<eos>"})
    words = ["fox", "  two\nlines ", "{{ x }}", "<turn|>", "Köln", "'\"<&>", "", "東京", "<think>a</think>b"]
    compared = 0
    for template in templates:
        tokenizer = mlxn.Tokenizer.from_json(tokenizer_json, config, template)
        compiled = environment().from_string(template)
        for _ in range(60):
            turns = [{"role": "user" if i % 2 == 0 else "assistant", "content": " ".join(rng.choices(words, k=rng.randint(0, 5)))}
                     for i in range(rng.randint(1, 6))]
            messages = [{"role": "system", "content": rng.choice(words)}] * rng.randint(0, 1) + turns
            prompt = rng.random() < 0.5
            extra = {"tools": sources.TOOLS} if rng.random() < 0.3 else {}
            variables = {"messages": messages, "add_generation_prompt": prompt, "bos_token": "<bos>", "eos_token": "<eos>", "tools": None} | extra
            try:
                want = compiled.render(**variables, documents=None)
            except jinja2.exceptions.TemplateError:
                want = None
            try:
                got = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt, **extra)
            except mlxn.TemplateError:
                got = None
            assert got == want, (messages, extra)
            compared += want is not None
    assert compared > 100
