"""A byte-level BPE tokenizer as GGUF's metadata.

GGUF keeps tokens, merges and the ids of special tokens. Of the rule that cuts text into pieces
before the merges it keeps a name alone, which llama.cpp knows the regular expression of. Two are
written here: ``gpt-2``, and ``smollm``, which cuts off each digit first.

transformers forgets the second rule when it reads a GGUF file, so a SmolLM2 loaded from one calls
itself GPT-2. Its vocabulary gives it away: no merge joins a digit to anything.
"""

from __future__ import annotations

import json
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REMEDY = "pass tokenizer=None, and save it beside the model with tokenizer.save_pretrained"


class TokenType(IntEnum):
    """What a token is, in GGUF's numbers."""

    NORMAL = 1
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5


def tokenizer_metadata(
    tokenizer: PreTrainedTokenizerBase | None, vocabulary: int
) -> dict[str, Any]:
    """What is stored of a tokenizer, by GGUF's keys.

    Args:
        tokenizer: a byte-level BPE tokenizer, or ``None``.
        vocabulary: rows of the model's embedding; unused tokens fill it where there are fewer.

    Raises:
        ValueError: for a tokenizer that GGUF does not describe, or one of another model.
    """
    if tokenizer is None:
        return {"tokenizer.ggml.model": "none"}
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(
            f"tokenizer={type(tokenizer).__name__} has no description of its own; {REMEDY}"
        )
    described = json.loads(backend.to_str())
    merges = [_merge(pair) for pair in described["model"].get("merges", [])]
    name = _pre_tokenizer(described, merges)
    tokens, types = _tokens(backend, described, vocabulary)
    found: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in merges],
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.add_bos_token": _adds(tokenizer, 0, tokenizer.bos_token_id),
        "tokenizer.ggml.add_eos_token": _adds(tokenizer, -1, tokenizer.eos_token_id),
    }
    ids = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "unknown": tokenizer.unk_token_id,
        "padding": tokenizer.pad_token_id,
    }
    found |= {f"tokenizer.ggml.{key}_token_id": id for key, id in ids.items() if id is not None}
    template = tokenizer.chat_template
    template = template.get("default") if isinstance(template, dict) else template
    return found | ({"tokenizer.chat_template": template} if template else {})


def _pre_tokenizer(described: dict[str, Any], merges: list[tuple[str, str]]) -> str:
    """The name of the rule that cuts text, or a ValueError for one that has none here."""
    model = described["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):
        kind = "SentencePiece BPE" if model["type"] == "BPE" else model["type"]
        raise ValueError(
            f"tokenizer is {kind}; format='gguf' writes byte-level BPE alone: {REMEDY}"
        )
    first = described.get("pre_tokenizer") or {}
    parts = first.get("pretokenizers", [first])
    digits = [part for part in parts if part.get("type") == "Digits"]
    cuts = [part for part in parts if part.get("type") == "ByteLevel"]
    usual = len(cuts) == 1 and cuts[0].get("use_regex") and not cuts[0].get("add_prefix_space")
    usual = usual and all(part.get("individual_digits") for part in digits)
    if described.get("normalizer") or len(digits) + len(cuts) < len(parts) or not usual:
        kinds = [part.get("type") for part in parts]
        raise ValueError(
            f"tokenizer cuts text in a way (pre_tokenizer={kinds}, normalizer="
            f"{(described.get('normalizer') or {}).get('type')}) that has no name here; {REMEDY}"
        )
    return "smollm" if digits or not _joins_digits(merges) else "gpt-2"


def _tokens(
    backend: Any, described: dict[str, Any], vocabulary: int
) -> tuple[list[str], list[int]]:
    """The tokens in the order of their ids, and what each one is."""
    ids: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    highest = max(ids.values(), default=-1)
    if not 0 <= highest < vocabulary:
        raise ValueError(
            f"tokenizer has ids up to {highest}, the model {vocabulary} embeddings; "
            "pass the model's own tokenizer, or tokenizer=None"
        )
    tokens = [f"[PAD{number}]" for number in range(vocabulary)]
    types = [TokenType.UNUSED.value] * vocabulary
    for token, number in ids.items():
        tokens[number], types[number] = token, TokenType.NORMAL.value
    for added in described["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        types[added["id"]] = kind.value
    return tokens, types


def _adds(tokenizer: Any, place: int, token: int | None) -> bool:
    """Whether encoding puts a token at that end of a text by itself."""
    return token is not None and tokenizer("a").input_ids[place] == token


def _merge(pair: str | list[str]) -> tuple[str, str]:
    left, right = pair.split(" ") if isinstance(pair, str) else pair
    return left, right


def _joins_digits(merges: list[tuple[str, str]]) -> bool:
    """Whether some merge makes a token of a digit and something else; digits spell themselves."""
    digits = set("0123456789")
    return any(digits.intersection(left + right) for left, right in merges)
