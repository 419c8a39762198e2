# SPDX-License-Identifier: Apache-2.0
"""Writes gemma_tokenizer.json, gemma_cases.json and variants.json with the PyPI package `tokenizers`.

gemma_tokenizer.json has the form of Gemma's: spaces become U+2581, BPE over whole segments with byte
fallback. A case is [text, ids, ids with special tokens read as text (if they differ), decoded text
(if it differs from the text)].
"""
import copy
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import nasty_strings

HERE = pathlib.Path(__file__).parent
MARK = "\u2581"


def added(token_id, content, special=True, **flags):
    token = {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": special}
    return token | flags


def train_merges(vocab_size):
    """BPE over words that begin with U+2581; returns pieces and merges in order."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", MARK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(MARK, "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=[])
    tokenizer.train_from_iterator(nasty_strings.training_lines(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    return pieces, [tuple(m) for m in model["merges"]]


def gemma_form():
    pieces, merges = train_merges(3400)
    vocab, tokens = {}, []

    def add(text, is_added=False, **flags):
        if text not in vocab:
            vocab[text] = len(vocab)
        if is_added:
            tokens.append(added(vocab[text], text, **flags))

    for text in ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]:
        add(text, True)
    for text in ["<|tool>", "<tool|>", "<|\"|>", "<|think|>", "<|channel>", "<channel|>", "<|turn>", "<turn|>"]:
        add(text, True)
    for n in range(1, 8):
        add("\n" * n, True, special=False)
    for n in range(2, 17):
        add(MARK * n)
        merges.append((MARK * (n // 2), MARK * (n - n // 2)))
    for text in ["<table>", "</table>", "<unused0>", "[multimodal]"]:
        add(text, True, special=False)
    for byte in range(256):
        add(f"<0x{byte:02X}>")
    for text in pieces:
        add(text)
    for text, flags in [("<left>", {"lstrip": True}), ("<right>", {"rstrip": True}), ("<both>", {"lstrip": True, "rstrip": True}),
                        ("cat", {"single_word": True, "special": False}), ("é́x", {"special": False}),
                        ("turn", {"single_word": True, "normalized": True, "special": False}), ("<|turn", {"special": False})]:
        add(text, True, **flags)
    model_size = len(vocab)  # the rest is known as added tokens only
    for text, flags in [("new york", {"normalized": True, "special": False}), ("<tail>", {"rstrip": True, "special": False, "single_word": True})]:
        add(text, True, **flags)
    vocab_of_model = {t: i for t, i in vocab.items() if i < model_size}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": sorted(tokens, key=lambda t: t["id"]),
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": MARK},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": MARK}, "content": " "},
                                                     {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": vocab_of_model, "merges": [list(m) for m in merges]},
    }


def cases_of(spec, texts, add_special=False):
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    plain = Tokenizer.from_str(json.dumps(spec))
    plain.encode_special_tokens = True
    cases = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=add_special).ids
        raw_ids = plain.encode(text, add_special_tokens=add_special).ids
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        case = [text, ids, None if raw_ids == ids else raw_ids, None if decoded == text else decoded]
        while case[-1] is None:
            case.pop()
        cases.append(case)
    return cases


def variants():
    """Small tokenizers that differ from Gemma's form in one thing each."""
    pieces = ["<unk>", "<s>", "</s>", "a", "b", "c", MARK, "ab", "bc", "abc", MARK + "a", MARK + "ab", "aa", "aaaa", "é", ".", "-", "ca"]
    base = {
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": MARK},
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": {t: i for i, t in enumerate(pieces)},
                  "merges": ["a b", "b c", "ab c", MARK + " a", MARK + "a b", "a a", "aa aa", "c a", "a bc"]},
    }
    texts = ["", "a", "abc", "aabca", " ab ab", "xyz", "xaxx", "é", "\u4e2d\u6587", "a-b--c", "-", "--", "-a", "a-", "<s>abc</s>", "  a", "abc abc  ",
             "aaaaaaaaa", "a.b..c", "<s><s>", "x\u4e2d", "abcab c-a", "aaaaa-aaaa", ".-.-", "caca", "\u0301a"]
    made = {}

    def variant(name, add_special=False, **changes):
        spec = copy.deepcopy(base)
        for key, value in changes.items():
            if key.startswith("model_"):
                spec["model"][key[6:]] = value
            else:
                spec[key] = value
        made[name] = {"tokenizer": spec, "add_special": add_special, "cases": cases_of(spec, texts, add_special)}

    def split(behavior, invert=False, pattern="-"):
        return {"type": "Split", "pattern": {"String": pattern}, "behavior": behavior, "invert": invert}

    variant("plain")
    variant("fuse_unk", model_fuse_unk=True)
    variant("no_unk", model_unk_token=None)
    variant("ignore_merges", model_ignore_merges=True, model_merges=["a b"])
    variant("byte_fallback_partial", model_byte_fallback=True, model_fuse_unk=True,
            model_vocab=base["model"]["vocab"] | {f"<0x{b:02X}>": 100 + b for b in range(0x60, 0xD0)})
    variant("merge_pairs_duplicates", model_merges=[["b", "c"], ["a", "b"], ["ab", "c"], ["a", "bc"], ["a", "b"], ["b", "c"]])
    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        variant("split_" + behavior, pre_tokenizer=split(behavior))
        variant("split_inverted_" + behavior, pre_tokenizer=split(behavior, True))
    variant("pre_tokenizer_sequence", pre_tokenizer={"type": "Sequence", "pretokenizers": [split("Isolated"), split("MergedWithNext", False, ".")]})
    variant("llama2_form", True,
            normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": MARK}, base["normalizer"]]},
            post_processor={"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                                                    {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}},
            decoder={"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"},
                                                      {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})
    variant("strip_each_token", decoder={"type": "Strip", "content": "a", "start": 1, "stop": 0})
    return made


def main():
    spec = gemma_form()
    markers = [t["content"] for t in spec["added_tokens"] if t["content"].strip()]
    dump = lambda name, value, ascii=True: (HERE / name).write_text(
        json.dumps(value, ensure_ascii=ascii, separators=(",", ":")) + "\n", encoding="utf-8")
    dump("gemma_tokenizer.json", spec, ascii=False)
    cases = cases_of(spec, nasty_strings.nasty_strings(markers))
    dump("gemma_cases.json", cases, ascii=False)
    dump("variants.json", variants())
    print(len(spec["model"]["vocab"]), "pieces,", len(cases), "cases,", sum(len(c) > 3 for c in cases), "not exact")


main()
