"""A canary for a server: weights compared on disk, answers through the endpoint.

Servers that speak OpenAI's protocol return text; few return the probabilities that a KL divergence
is made of. So two things are asked of each prompt. The folder that is served is read once more,
beside the server, and compared with the original logit by logit, which finds a small change in two
or three prompts. And the server itself answers in text, which finds what only a user would see:
the wrong folder served, a changed tokenizer, a server that garbles.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.models.load import load_model, load_tokenizer
from qlearn.serve.monitor.canary import Canary, CanaryResult
from qlearn.serve.monitor.text import Ask, TextCanary

Load = Callable[[str | os.PathLike[str]], nn.Module]


class Renumbered(nn.Module):
    """A model behind a tokenizer that numbers tokens in its own way.

    Args:
        model: as its own tokenizer numbers them.
        theirs: int64 ``[classes]``: the model's number of each of the client's tokens.
    """

    def __init__(self, model: nn.Module, theirs: Tensor) -> None:
        super().__init__()
        self.model, self.theirs = model, theirs

    def forward(self, ids: Tensor) -> Tensor:
        """Logits ``[..., classes]`` of the tokens as the client numbers them."""
        out: Any = self.model(self.theirs[ids])
        logits: Tensor = getattr(out, "logits", out)
        return logits[..., self.theirs]


def numbering(client: Any, server: Any, classes: int) -> Tensor:
    """The number that a server's tokenizer gives to each of the client's tokens, ``[classes]``.

    A token that the server does not know becomes its unknown one, or keeps its number where the
    server has none: a vocabulary is often padded with numbers that are no token.
    """
    numbers = []
    for own in range(classes):
        token = client.convert_ids_to_tokens(own)
        found = None if token is None else server.convert_tokens_to_ids(token)
        numbers.append(own if found is None else int(found))
    return torch.tensor(numbers)


@dataclass(frozen=True)
class ServedCanary:
    """A canary and its prompts as text.

    Attributes:
        canary: made from the original.
        text: the same prompts and their answers.
        tokenizer: the original's.
    """

    canary: Canary
    text: TextCanary
    tokenizer: Any

    def __len__(self) -> int:
        return len(self.canary)

    def check(
        self,
        folder: str | os.PathLike[str],
        ask: Ask,
        prompts: slice = slice(None),
        load: Load = load_model,
    ) -> CanaryResult:
        """Ask some prompts.

        Args:
            folder: the version that the server serves.
            ask: the server, see :func:`qlearn.serve.client.asker_at`.
            prompts: some of them, neighbours.
            load: reads the model of the folder.

        Returns:
            KL, surprise and agreement of the folder's weights behind the folder's tokenizer;
            ``exact`` from the server's answers.

        Raises:
            OSError: where the folder can't be read, or the server does not answer.
        """
        model = load(folder)
        theirs = numbering(self.tokenizer, load_tokenizer(folder), self.canary.classes)
        if not torch.equal(theirs, torch.arange(self.canary.classes)):
            model = Renumbered(model, theirs)
        result = self.canary.check(model, prompts)
        return replace(result, exact=self.text.check(ask, prompts).exact)


def served_canary(canary: Canary, tokenizer: Any) -> ServedCanary:
    """The prompts of a canary as text: all before the answer, and the answer.

    Raises:
        ValueError: for a canary without answers, or with one in several places of its prompt, which
            a server that writes text on can't be asked for.
    """
    if canary.answers is None:
        raise ValueError("canary has no answers; make one of questions, with question_canary")
    prompts, expected = [], []
    for row, (tokens, marked) in enumerate(zip(canary.tokens, canary.answers, strict=True)):
        places = (marked.nonzero()[:, 0] + 1).tolist()  # of the answer's own tokens
        first, last = places[0], places[-1]
        if places != list(range(first, last + 1)):
            raise ValueError(
                f"canary's prompt {row} has its answer in several places; leave its task out: "
                "question_canary(model, count, tasks)"
            )
        # The beginning as it stands: a special token there belongs to the prompt.
        prompts.append(tokenizer.decode(tokens[:first], skip_special_tokens=False))
        expected.append(tokenizer.decode(tokens[first : last + 1]))
    return ServedCanary(canary, TextCanary(tuple(prompts), tuple(expected)), tokenizer)
