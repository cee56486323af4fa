"""A canary for a server that returns text alone.

Most endpoints show no logits. What is left is what they answer to a prompt at temperature 0: is it
the expected text, and if not, how far do the two run together? After the first token that differs
a model writes another text, so later tokens are no longer comparable and do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.models.blocks import device_of
from qlearn.models.pocket.tasks import PocketQuestion
from qlearn.models.predictor import evaluating

Ask = Callable[[str], str]  # a prompt to the text that follows it


@dataclass(frozen=True)
class TextResult:
    """What came back; float64 tensors, a value a prompt.

    Attributes:
        exact: 1 where the answer is the expected one, else 0.
        agreement: share of the expected answer before the first difference, 0 to 1.
        answers: the texts themselves.
    """

    exact: Tensor
    agreement: Tensor
    answers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.answers)


@dataclass(frozen=True)
class TextCanary:
    """Prompts and the texts expected after them.

    Attributes:
        prompts: texts.
        expected: known answers, or what the original model wrote at temperature 0.
    """

    prompts: tuple[str, ...]
    expected: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.prompts or len(self.prompts) != len(self.expected):
            raise ValueError(
                f"prompts holds {len(self.prompts)} texts, expected {len(self.expected)}; "
                "pass one expected answer a prompt, and one prompt at the least"
            )
        if not all(isinstance(t, str) and t for t in (*self.prompts, *self.expected)):
            raise ValueError("prompts or expected holds an empty text; leave that prompt out")

    def __len__(self) -> int:
        return len(self.prompts)

    def check(self, ask: Ask, prompts: slice = slice(None), tokenizer: Any = None) -> TextResult:
        """Ask a server and compare its answers.

        Args:
            ask: gives the text that the server generates after a prompt. What follows the length
                of the expected answer is not looked at.
            prompts: some of them.
            tokenizer: counts the agreement in its tokens; without one it is in characters.

        Raises:
            ValueError: for a slice without prompts, or a server that returns no text.
        """
        pairs = list(zip(self.prompts[prompts], self.expected[prompts], strict=True))
        if not pairs:
            raise ValueError(f"prompts={prompts} takes none of the {len(self)} prompts")
        answers, same, exact = [], [], []
        for prompt, expected in pairs:
            answer = ask(prompt)
            if not isinstance(answer, str):
                raise ValueError(f"ask returned {type(answer).__name__}; return the text alone")
            answers.append(answer)
            exact.append(float(answer.startswith(expected)))
            cut: list[Sequence[Hashable]] = [expected, answer]
            if tokenizer is not None:
                cut = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in cut]
            same.append(agreement(*cut))
        numbers = torch.tensor([exact, same], dtype=torch.float64)
        return TextResult(numbers[0], numbers[1], tuple(answers))


def agreement(expected: Sequence[Hashable], answer: Sequence[Hashable]) -> float:
    """Share of ``expected`` (tokens, or a text's characters) before the first difference.

    >>> agreement("2442", "2451")
    0.5
    """
    for place, (own, other) in enumerate(zip(expected, answer, strict=False)):
        if own != other:
            return place / len(expected)
    return min(len(answer), len(expected)) / len(expected)


def answer_canary(questions: Iterable[PocketQuestion]) -> TextCanary:
    """Questions of known answer, all but ``recall``, whose answer is asked for in two places.

    Raises:
        ValueError: where none is left.
    """
    asked = [q for q in questions if q.prompt + q.answer == q.text[: q.scored[-1] + 1]]
    return TextCanary(tuple("\n" + q.prompt for q in asked), tuple(q.answer for q in asked))


def generation_canary(
    model: nn.Module, tokenizer: Any, prompts: Iterable[str], new_tokens: int = 16
) -> TextCanary:
    """Prompts without a known answer: the expected one is what the original writes.

    Prompts after which it writes nothing are left out.

    Args:
        model: the original, a transformers model.
        tokenizer: its own.
        prompts: texts.
        new_tokens: how many tokens to write. Short ones: a near tie between two tokens flips in any
            quantized model sooner or later.

    Raises:
        ValueError: where no prompt is left, or for fewer than one new token.
    """
    if not isinstance(new_tokens, int) or isinstance(new_tokens, bool) or new_tokens < 1:
        raise ValueError(f"new_tokens={new_tokens!r} is not a number of tokens; choose 16")
    ask = asker(model, tokenizer, new_tokens)
    pairs = [(prompt, answer) for prompt in prompts if (answer := ask(prompt))]
    return TextCanary(tuple(p for p, _ in pairs), tuple(a for _, a in pairs))


def asker(model: nn.Module, tokenizer: Any, new_tokens: int = 16) -> Ask:
    """A model in this process as if it were a server: greedy text after a prompt."""
    generate: Any = getattr(model, "generate", None)
    if generate is None:
        raise ValueError(
            f"model={type(model).__name__} generates no text; pass a transformers model"
        )

    def ask(prompt: str) -> str:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]], device=device_of(model))
        with evaluating(model), torch.inference_mode():
            out = generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new_tokens,
                do_sample=False,
            )
        return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))

    return ask
