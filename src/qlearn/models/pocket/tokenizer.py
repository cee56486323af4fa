"""The pocket models' tokenizer: a token a character, in the form that transformers loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qlearn import needs
from qlearn.models.pocket.tasks import ALPHABET

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def build_tokenizer(longest: int) -> PreTrainedTokenizerFast:
    """A tokenizer whose ids are those of :func:`qlearn.models.pocket.batches.encode`.

    What is not in the alphabet becomes one unknown token a character, the last id. No special token
    is added; the line's end stands for begin, end and padding.

    Args:
        longest: how many tokens the models read.
    """
    with needs("course"):
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

    ids = {character: code for code, character in enumerate([*ALPHABET, UNKNOWN])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="\n",
        eos_token="\n",
        pad_token="\n",
        unk_token=UNKNOWN,
        model_max_length=longest,
        clean_up_tokenization_spaces=False,
    )
