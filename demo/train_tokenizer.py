# SPDX-License-Identifier: Apache-2.0
"""Trains the demo model's tokenizer on a text file and writes it in Gemma's form.

  train_tokenizer.py sample.txt --out DIR

Training isolates words, single digits and punctuation, so that no piece contains an inner space; the file written runs
BPE over whole segments, as Gemma's does. `check` compares the two on the sample.
"""
import argparse
import json
import os

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from generate_data import Encoder, WORDS

VOCABULARY = 4096
SPECIALS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>", "<|think|>", "<|channel>", "<channel|>",
            "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>"]
BYTES = [f"<0x{b:02X}>" for b in range(256)]
TEMPLATE = """{{ bos_token }}
{%- for message in messages -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{%- if role not in ['system', 'user', 'model'] -%}
{{ raise_exception('unknown role: ' ~ role) }}
{%- endif -%}
{{ '<|turn>' ~ role ~ '\\n' ~ (message['content'] | trim) ~ '<turn|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|turn>model\\n' }}
{%- endif -%}
"""


def train(sample):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "isolated")
    alphabet = [chr(c) for c in range(33, 127)] + ["\n", "▁"]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIALS + BYTES, initial_alphabet=alphabet,
                                  limit_alphabet=len(alphabet), show_progress=False)
    tokenizer.train([sample], trainer)
    return tokenizer


def gemma_form(trained):
    data = json.loads(trained.to_str())
    keep = set(SPECIALS)
    data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] in keep]
    data["pre_tokenizer"] = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    data["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]}
    data["post_processor"] = None
    return data


def check(path, sample):
    tokenizer = Tokenizer.from_file(path)
    vocab = tokenizer.get_vocab()
    assert len(vocab) == VOCABULARY and sorted(vocab.values()) == list(range(VOCABULARY))
    for piece in vocab:
        assert "▁" not in piece.lstrip("▁"), piece
        assert sum(ch.isdigit() for ch in piece) <= 1 or piece in BYTES, piece
    encode = Encoder(path)
    tokens = characters = 0
    with open(sample, encoding="utf-8") as file:
        for i, line in enumerate(file):
            if i > 4000:
                break
            ids = tokenizer.encode(line, add_special_tokens=False).ids
            assert ids == encode(line), line
            assert tokenizer.decode(ids) == line, line
            tokens += len(ids)
            characters += len(line)
    text = "Grüße, 日本 🙂"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    print(f"{VOCABULARY} pieces, {characters / tokens:.2f} characters a token")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "model-mlx-4bit"))
    args = parser.parse_args()
    data = gemma_form(train(args.sample))
    path = os.path.join(args.out, "tokenizer.json")

    def write(name, value):
        with open(os.path.join(args.out, name), "w", encoding="utf-8") as file:
            text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"
            file.write(text)

    write("tokenizer.json", json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")
    write("chat_template.jinja", TEMPLATE)
    write("tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096, "clean_up_tokenization_spaces": False,
        "pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>", "mask_token": "<mask>"})
    write("generation_config.json", {
        "bos_token_id": 2, "pad_token_id": 0, "eos_token_id": [1, SPECIALS.index("<turn|>")], "do_sample": True,
        "temperature": 0.7, "top_k": 40, "top_p": 0.95})
    check(path, args.sample)


if __name__ == "__main__":
    main()
