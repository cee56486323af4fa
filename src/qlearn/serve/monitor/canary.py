"""A canary: fixed prompts, and what the original model said to them.

Miners took a canary down with them: it fell silent before they noticed the gas. Here the canary is
a set of prompts that a served model is asked again and again. Its answers are compared with the
original's, which were written down once, so the original need not be kept in memory.

What is written down is small: for each position the ``top`` likeliest tokens, and one class for
all the others together. Merging classes can only make a KL divergence smaller (the data-processing
inequality, Cover and Thomas, *Elements of Information Theory*, 2.8), so what is measured is a lower
bound, and the exact value where ``top`` covers the vocabulary.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from qlearn.models.long_runs import whole_file
from qlearn.models.predictor import Predictor, row_slices


@dataclass(frozen=True)
class CanaryResult:
    """What a model made of a canary's prompts; float64 tensors, a value a prompt.

    Attributes:
        kl: KL(original || model) in nats, mean a counted token; infinite where the model gave NaN.
        surprise: negative log-likelihood of the prompt's own tokens in nats, mean a counted token.
        agreement: share of counted tokens for which both models' first choice is the same.
        exact: 1 where all of the answer's tokens are the model's first choice, else 0; ``None``
            for a canary without answers.
        first: which of the canary's prompts is the first here.
        canary: the canary's fingerprint.
    """

    kl: Tensor
    surprise: Tensor
    agreement: Tensor
    exact: Tensor | None
    first: int
    canary: str

    def __len__(self) -> int:
        return len(self.kl)

    def __getitem__(self, prompts: slice) -> CanaryResult:
        """Some neighbouring prompts of it.

        Raises:
            ValueError: for a slice with a step, or without prompts.
        """
        first, stop, step = prompts.indices(len(self))
        if step != 1 or stop <= first:
            raise ValueError(f"prompts={prompts} takes none of {len(self)}, or not neighbours")
        return CanaryResult(
            self.kl[first:stop],
            self.surprise[first:stop],
            self.agreement[first:stop],
            None if self.exact is None else self.exact[first:stop],
            self.first + first,
            self.canary,
        )


@dataclass(frozen=True, eq=False)
class Canary:
    """Prompts and what the original said; made by :func:`qlearn.serve.monitor.make.make_canary`.

    Attributes:
        tokens: int64 ``[prompts, length]``.
        counted: bool ``[prompts, length - 1]``: whether predicting the next token counts.
        answers: bool ``[prompts, length - 1]``: whether the next token is part of an answer.
        top: int32 ``[n, top]``, a row a counted token: the original's likeliest tokens, in order.
        log_probabilities: float32 ``[n, top + 1]``: of those, then of the rest together.
        classes: how many tokens the original tells apart.
    """

    tokens: Tensor
    counted: Tensor
    answers: Tensor | None
    top: Tensor
    log_probabilities: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def fingerprint(self) -> str:
        """Twelve characters that differ between canaries, so that no two are mixed up."""
        digest = hashlib.sha256()
        for name, tensor in self._tensors().items():
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    @cached_property
    def _ends(self) -> list[int]:
        """Where each prompt's rows begin in ``top``, and where the last one's end."""
        return [0, *self.counted.sum(1).cumsum(0).tolist()]

    def check(self, model: nn.Module, prompts: slice = slice(None)) -> CanaryResult:
        """Ask ``model`` the prompts and compare it with the original.

        Args:
            model: the served model, or any causal language model of the same vocabulary.
            prompts: some of them, such as ``slice(0, 16)``; a step is not possible.

        Raises:
            ValueError: for no prompts, a step, or a model of another vocabulary.
        """
        first, stop, step = prompts.indices(len(self))
        if step != 1 or stop <= first:
            raise ValueError(
                f"prompts={prompts} takes none of the {len(self)} prompts, or not neighbours; "
                "pass a slice such as slice(0, 16)"
            )
        tokens = self.tokens[first:stop]
        predictor = Predictor(model, tokens)
        if predictor.vocab_size != self.classes:
            raise ValueError(
                f"model predicts {predictor.vocab_size} classes, the canary's original "
                f"{self.classes}; make a canary from this model's own original"
            )
        found = []
        with predictor.evaluating(), torch.inference_mode():
            for rows in row_slices(tokens):
                features = predictor.features(rows)
                found += [
                    self._compare(first + rows.start + i, predictor, own)
                    for i, own in enumerate(features)
                ]
        kl, surprise, agreement, exact = torch.tensor(found, dtype=torch.float64).unbind(1)
        return CanaryResult(
            kl,
            surprise,
            agreement,
            None if self.answers is None else exact,
            first,
            self.fingerprint,
        )

    def _compare(
        self, prompt: int, predictor: Predictor, features: Tensor
    ) -> tuple[float, float, float, float]:
        counted = self.counted[prompt]
        rows = slice(*self._ends[prompt : prompt + 2])
        top = self.top[rows].long()
        try:
            logits = predictor.logits(features[counted.to(features.device)]).cpu()
        except ValueError:  # NaN or infinite logits: as far from the original as can be
            return inf, inf, 0.0, 0.0
        targets = self.tokens[prompt, 1:][counted]
        best = logits.argmax(-1)
        merged, own = merge(logits, top, targets)
        truth = self.log_probabilities[rows].double()
        # A class that the original holds impossible adds nothing, whatever the model thinks of it.
        terms = torch.where(truth > -inf, truth.exp() * (truth - merged), 0.0)
        exact = 0.0
        if self.answers is not None:
            answers = self.answers[prompt][counted]
            exact = float((best == targets)[answers].all())
        agreement = float((best == top[:, 0]).double().mean())
        return float(terms.sum(-1).mean()), -float(own.mean()), agreement, exact

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the canary to one safetensors file, whole or not at all.

        Raises:
            OSError: where it can't be written.
        """
        path = Path(path)
        try:
            with whole_file(path) as new:
                save_file(self._tensors(), new, metadata={"classes": str(self.classes)})
        except SafetensorError as error:
            raise OSError(f"{path} can't be written: {error}") from error
        return path

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {
            "tokens": self.tokens,
            "counted": self.counted,
            "top": self.top,
            "log_probabilities": self.log_probabilities,
            "classes": torch.tensor([self.classes]),
        }
        return tensors if self.answers is None else {**tensors, "answers": self.answers}

    def __repr__(self) -> str:
        size = sum(tensor.nbytes for tensor in self._tensors().values())
        kind = "text" if self.answers is None else "questions"
        return f"Canary({len(self)} prompts of {kind}, {self.fingerprint}, {size / 1e6:.1f} MB)"


def merge(logits: Tensor, top: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities ``[n, top + 1]`` of some tokens and of the rest, and ``[n]`` of targets."""
    logits = logits.double()
    total = logits.logsumexp(-1, keepdim=True)
    chosen = logits.gather(-1, top)
    # Summed over the others themselves: 1 minus the sum of the top ones would be all rounding.
    rest = logits.scatter(-1, top, -inf).logsumexp(-1, keepdim=True)
    own = logits.gather(-1, targets[:, None]) - total
    return torch.cat([chosen, rest], -1) - total, own[:, 0]
