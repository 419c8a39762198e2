# SPDX-License-Identifier: Apache-2.0
"""Text to token ids and back, with the method names of transformers."""
import json
from typing import Any, Sequence

from ._mlxn import RawTokenizer


class Tokenizer:
    """Immutable; may be used by several threads at once."""

    def __init__(self, raw: RawTokenizer):
        self.raw = raw
        self.vocab_size: int = raw.vocab_size
        self.bos_token_id: int | None = raw.bos_token_id
        self.eos_token_id: int | None = raw.eos_token_id
        self.eos_token_ids: set[int] = set(raw.stop_ids)
        self.has_chat_template: bool = raw.has_chat_template

    @classmethod
    def from_directory(cls, path) -> "Tokenizer":
        """Reads tokenizer.json and its companions."""
        return cls(RawTokenizer.from_directory(str(path)))

    @classmethod
    def from_json(cls, tokenizer_json, tokenizer_config_json="", chat_template="") -> "Tokenizer":
        """Texts or bytes of the files."""
        return cls(RawTokenizer.from_json(tokenizer_json, tokenizer_config_json, chat_template))

    def encode(self, text: str | bytes, add_special_tokens: bool = True, parse_special: bool = True) -> list[int]:
        """Token ids. Any bytes are accepted. parse_special: text such as "<eos>" becomes the special token."""
        return self.raw.encode(text, add_special_tokens, parse_special)

    def decode(self, ids: int | Sequence[int], skip_special_tokens: bool = False) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD."""
        return self.raw.decode([ids] if isinstance(ids, int) else [int(i) for i in ids], skip_special_tokens)

    def convert_ids_to_tokens(self, ids: int | Sequence[int]) -> Any:
        """Entries of the vocabulary, one or a list."""
        return self.raw.token(ids) if isinstance(ids, int) else [self.raw.token(int(i)) for i in ids]

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """Ids of entries of the vocabulary, None for what is none."""
        return self.raw.token_id(tokens) if isinstance(tokens, str) else [self.raw.token_id(t) for t in tokens]

    def apply_chat_template(self, messages: Sequence[dict], *, tokenize: bool = True, add_generation_prompt: bool = True,
                            tools: list | None = None, now: int | None = None, **variables) -> list[int] | str:
        """The conversation as ids, or as text. Messages have "role" and "content"; ones with more fields, tools and other
        variables go to the template as they are. now: seconds since 1970 for strftime_now."""
        if tools is not None:
            variables["tools"] = tools
        if any(set(m) != {"role", "content"} or not isinstance(m["content"], str) for m in messages):
            variables["messages"] = list(messages)
        plain = [{"role": str(m.get("role", "")), "content": m["content"] if isinstance(m.get("content"), str) else ""} for m in messages]
        texts = {name: json.dumps(value) for name, value in variables.items()}
        text = self.raw.apply_template(plain, add_generation_prompt, texts, now)
        return self.encode(text, add_special_tokens=False) if tokenize else text
