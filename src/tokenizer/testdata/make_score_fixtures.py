# SPDX-License-Identifier: Apache-2.0
"""Writes score_vocab.json with the PyPI package `sentencepiece`: a BPE model with byte fallback as the
vocabulary of a GGUF file of kind "llama", and cases [text, ids, decoded text (if it differs)].

Control tokens are not in the texts: SentencePiece never reads them from text.
"""
import io
import json
import pathlib

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

import nasty_strings

HERE = pathlib.Path(__file__).parent
USER = ["<start_of_turn>", "<end_of_turn>", "\n\n", "\n", "\t", "<table>", "[x]"]


def train(prefix):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(nasty_strings.training_lines()), model_writer=out, model_type="bpe", vocab_size=2400,
        byte_fallback=True, user_defined_symbols=USER, add_dummy_prefix=prefix, remove_extra_whitespaces=False,
        normalization_rule_name="identity", split_digits=True, allow_whitespace_only_pieces=True, character_coverage=0.997,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", minloglevel=2,
        num_threads=1)
    return out.getvalue()


def vocab_of(serialized):
    model = model_pb2.ModelProto.FromString(serialized)
    return {"tokens": [p.piece for p in model.pieces], "scores": [p.score for p in model.pieces], "types": [p.type for p in model.pieces]}


def cases_of(serialized, texts):
    processor = sentencepiece.SentencePieceProcessor(model_proto=serialized)
    cases = []
    for text in texts:
        ids = processor.encode(text)
        decoded = processor.decode(ids)
        cases.append([text, ids] + ([] if decoded == text else [decoded]))
    return cases


def main():
    texts = [t for t in nasty_strings.nasty_strings(USER) if "\0" not in t]
    serialized = train(False)
    cases = cases_of(serialized, texts[::2])
    model = model_pb2.ModelProto.FromString(serialized)
    model.normalizer_spec.add_dummy_prefix = True
    # Every fifth of the texts again, which stand with the cases.
    prefixed = [case[1:] for case in cases_of(model.SerializeToString(), texts[::10])]
    # A text of gemma_cases.json is its place there.
    shared = {}
    for i, case in enumerate(json.loads((HERE / "gemma_cases.json").read_text(encoding="utf-8"))):
        shared.setdefault(case[0], i)
    placed = [[shared.get(case[0], case[0])] + case[1:] for case in cases]
    result = {"vocab": vocab_of(serialized), "cases": placed, "prefixed": prefixed}
    (HERE / "score_vocab.json").write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(len(cases), "cases,", sum(len(c) > 2 for c in cases), "not exact")


main()
