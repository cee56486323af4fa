"""What is remembered of a linear layer's inputs: small summaries that grow no larger with the text.

Each statistic is made with the layer's ``in_features``, fed with inputs ``[tokens, in_features]``
by ``add``, and read from ``value``.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

_STRIPE = 192  # columns of a Hessian that are computed at once


class Statistic(Protocol):
    """Anything with an ``add`` that takes inputs ``[tokens, in_features]``."""

    def add(self, inputs: Tensor) -> None:
        """Take note of some tokens' inputs."""

    @property
    def value(self) -> Any:
        """What has been noted so far."""


class _Counted:
    """Counts tokens, and refuses to speak where there were none."""

    def __init__(self, in_features: int) -> None:
        self.in_features = in_features
        self.tokens = 0

    def _count(self, inputs: Tensor) -> None:
        if inputs.dim() != 2 or inputs.shape[1] != self.in_features:
            raise ValueError(
                f"inputs has shape {tuple(inputs.shape)}; pass [tokens, {self.in_features}]"
            )
        self.tokens += inputs.shape[0]

    def _seen(self, value: Tensor | None) -> Tensor:
        if value is None or self.tokens == 0:
            raise ValueError(
                f"{type(self).__name__} has seen no tokens; the layer was never run: "
                "calibrate on more text, or skip the layer"
            )
        return value


class Hessian(_Counted):
    """``H = 2/n X^T X``, float32 ``[in_features, in_features]``: the Hessian of the squared error.

    Source: GPTQ (arXiv 2210.17323), section 3.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self._sum: Tensor | None = None

    def add(self, inputs: Tensor) -> None:
        """Add ``X^T X`` of some tokens."""
        self._count(inputs)
        inputs = inputs.float()
        if self._sum is None:
            self._sum = inputs.new_zeros(self.in_features, self.in_features)
        # The matrix is symmetric: the stripes right of the diagonal are enough.
        for start in range(0, self.in_features, _STRIPE):
            part = slice(start, start + _STRIPE)
            self._sum[part, start:].addmm_(inputs[:, part].T, inputs[:, start:])

    @property
    def value(self) -> Tensor:
        """The Hessian over all tokens so far, a new tensor."""
        upper = self._seen(self._sum) * (2 / max(1, self.tokens))
        return upper.triu() + upper.triu(1).T


class AbsMean(_Counted):
    """Mean of ``|x|`` of each input feature, float32 ``[in_features]``: what AWQ scales by."""

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self._sum: Tensor | None = None

    def add(self, inputs: Tensor) -> None:
        """Add ``|x|`` of some tokens."""
        self._count(inputs)
        total = inputs.abs().sum(0, dtype=torch.float64)
        self._sum = total if self._sum is None else self._sum + total

    @property
    def value(self) -> Tensor:
        """The mean over all tokens so far."""
        return (self._seen(self._sum) / max(1, self.tokens)).float()


class AbsMax(_Counted):
    """Largest ``|x|`` of each input feature, ``[in_features]``: what SmoothQuant scales by."""

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self._max: Tensor | None = None

    def add(self, inputs: Tensor) -> None:
        """Look at some tokens."""
        self._count(inputs)
        if inputs.shape[0]:
            largest = inputs.abs().amax(0)
            self._max = largest if self._max is None else torch.maximum(self._max, largest)

    @property
    def value(self) -> Tensor:
        """The maximum over all tokens so far."""
        return self._seen(self._max)


class Inputs(_Counted):
    """Up to ``limit`` of the inputs themselves, ``[rows, in_features]``, drawn evenly and seeded.

    Every token gets a random key, and those of the largest keys stay (Efraimidis and Spirakis
    2006, for equal weights), so each token has the same chance however many come.
    """

    def __init__(self, in_features: int, limit: int = 512, seed: int = 0) -> None:
        super().__init__(in_features)
        if limit < 1:
            raise ValueError(f"limit={limit} keeps no inputs; choose 1 or more")
        self.limit = limit
        self._generator = torch.Generator().manual_seed(seed)
        self._rows: Tensor | None = None
        self._keys = torch.empty(0)

    def add(self, inputs: Tensor) -> None:
        """Draw from some tokens."""
        self._count(inputs)
        keys = torch.cat([self._keys, torch.rand(inputs.shape[0], generator=self._generator)])
        rows = inputs if self._rows is None else torch.cat([self._rows, inputs])
        kept = keys.topk(min(self.limit, len(keys))).indices.sort().values
        self._keys = keys[kept]
        self._rows = rows[kept.to(rows.device)]

    @property
    def value(self) -> Tensor:
        """The inputs that were kept, in the order in which they came."""
        return self._seen(self._rows)
