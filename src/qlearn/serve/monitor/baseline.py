"""What is normal for a healthy quantized model, prompt by prompt.

A quantized model always lies some way from its original, and farther on some prompts than on
others: KL divergences over prompts spread over a factor of ten and have a heavy tail. Their
logarithms do not, so what is watched is the log-ratio ``ln(KL now / KL then)``: 0 while all is
well, 0.4 where the divergence is half as large again.

There are two ways to say what "then" is.

- **Paired**: the same prompt's own value when the model was deployed. Differences between prompts
  cancel, and what is left is how much a harmless rerun moves a prompt (another dtype, another
  batch, another kernel). That is little, so a drift stands out after few prompts. It needs reruns:
  every way in which the server may rightly run the model.
- **Unpaired**: all prompts' median. It needs no rerun and no fixed prompts, and takes much longer,
  since the spread between prompts is all noise to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from qlearn.serve.monitor.canary import CanaryResult

LEAST_KL = 1e-4  # nats a token: divergences below it are no concern, whatever their ratio
_NORMAL = 1.4826  # makes the median of |x| the deviation of normal values


@dataclass(frozen=True)
class Measure:
    """How a figure of a canary becomes one that adds up.

    Attributes:
        scale: from the figure to what is compared.
        least: the smallest spread to believe in: a deterministic server shows none at all.
        worth: the drift that is worth an alarm, on that scale.
    """

    scale: Callable[[Tensor], Tensor]
    least: float
    worth: float


MEASURES = {
    "kl": Measure(lambda kl: (kl.double() + LEAST_KL).log(), least=log(1.05), worth=log(1.5)),
    "surprise": Measure(lambda nats: nats.double(), least=0.01, worth=0.05),
}


@dataclass(frozen=True)
class Baseline:
    """The healthy model's own distribution over prompts, of one measure.

    Attributes:
        measure: ``"kl"`` or ``"surprise"``.
        center: of each prompt where it is paired, ``[prompts]``, else of all, ``[]``.
        spread: deviation of healthy values around it; robust, since a few prompts vary wildly.
        sample: standardized healthy values ``[n]``: what a threshold is designed on.
        first: which of the canary's prompts is the first.
        canary: fingerprint of the canary, where it is paired.
    """

    measure: str
    center: Tensor
    spread: float
    sample: Tensor
    first: int = 0
    canary: str | None = None

    @property
    def paired(self) -> bool:
        """Whether each prompt is compared with itself."""
        return self.canary is not None

    @property
    def worth(self) -> float:
        """The drift worth an alarm, in deviations: KL half as large again, 0.05 nats of surprise.

        Half of it is the allowance, so it is 4 times the healthy sample's own mean at the least.
        """
        own = 4 * abs(float(self.sample.clamp(-3, 3).mean()))
        return max(MEASURES[self.measure].worth / self.spread, own)

    def standardize(self, result: CanaryResult) -> Tensor:
        """How many deviations each prompt lies above what is normal, float64 ``[prompts]``.

        Raises:
            ValueError: in a paired baseline, for a result of another canary or of prompts that
                the baseline has not seen.
        """
        values = MEASURES[self.measure].scale(getattr(result, self.measure))
        center = self.center
        if self.paired:
            start = result.first - self.first
            if result.canary != self.canary or start < 0 or start + len(result) > len(center):
                raise ValueError(
                    f"result is of prompts {result.first} to {result.first + len(result) - 1} of "
                    f"canary {result.canary}, the baseline knows {self.first} to "
                    f"{self.first + len(center) - 1} of {self.canary}; make a baseline of these "
                    "prompts, or one without reruns, which suits any"
                )
            center = center[start : start + len(result)]
        return (values - center) / self.spread


def make_baseline(
    run: CanaryResult, reruns: Sequence[CanaryResult] = (), measure: str = "kl"
) -> Baseline:
    """Learn what is normal.

    Args:
        run: the healthy quantized model as deployed, on all prompts of a canary.
        reruns: the same prompts, run in other harmless ways. With them the baseline is paired.
        measure: ``"kl"`` or ``"surprise"``.

    Raises:
        ValueError: an unknown measure, reruns of other prompts, values that are not finite.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure={measure!r} is unknown; choose {' or '.join(MEASURES)}")
    for each in (run, *reruns):
        if (each.canary, each.first, len(each)) != (run.canary, run.first, len(run)):
            raise ValueError(
                "reruns are not of the prompts of run; check the same prompts of the same canary"
            )
        if not bool(torch.isfinite(getattr(each, measure)).all()):
            raise ValueError(
                "run or a rerun holds infinite values; a model with NaN logits is not healthy"
            )
    how = MEASURES[measure]
    values = how.scale(getattr(run, measure))
    if reruns:
        apart = torch.cat([how.scale(getattr(each, measure)) - values for each in reruns])
        spread = max(how.least, _NORMAL * float(apart.abs().median()))
        return Baseline(measure, values, spread, apart / spread, run.first, run.canary)
    center = values.median()
    spread = max(how.least, _NORMAL * float((values - center).abs().median()))
    return Baseline(measure, center, spread, (values - center) / spread)
