"""Did the inputs drift, or did the model break?

A canary asks the same prompts for ever, so it knows nothing of what users send. Users may turn to
another language, longer texts, another subject: the model is as good as it was, and its answers get
worse all the same. That shows in the prompts themselves: in their length, and in how much they
surprise the *original* model (or any fixed small one). So both are compared with a sample from the
time when all was well.

| canary | inputs | what happened |
|---|---|---|
| quiet | quiet | all is well |
| alarm | quiet | the model broke |
| quiet | alarm | the inputs drifted |
| alarm | alarm | both: look at the model first |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from qlearn.models.predictor import Predictor, row_slices
from qlearn.numerics.refuse import check_positive


def prompt_features(model: nn.Module, prompts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """What is compared of each prompt: its length, and how much it surprises a model.

    Args:
        model: the original, or any fixed one; a served model that drifts itself would not do.
        prompts: token ids of each, two at the least: the first of a prompt is not predicted.

    Returns:
        ``length`` in tokens and ``surprise`` in nats a token, float64 ``[prompts]``.

    Raises:
        ValueError: for no prompts, one of fewer than two tokens, or ids the model does not know.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    if not len(lengths) or int(lengths.min()) < 2:
        raise ValueError("prompts is empty or has one of fewer than two tokens; leave it out")
    # Padding on the right needs no mask: a causal model's earlier positions never look at it.
    tokens = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.as_tensor(prompt)
    predictor = Predictor(model, tokens)
    surprise = []
    with predictor.evaluating(), torch.inference_mode():
        for rows in row_slices(tokens):
            features = predictor.features(rows)
            for own, row in zip(features, range(rows.start, rows.stop), strict=True):
                logits = predictor.logits(own[: lengths[row] - 1]).cpu()
                targets = tokens[row, 1 : lengths[row]]
                surprise.append(float(nn.functional.cross_entropy(logits, targets)))
    return {"length": lengths.double(), "surprise": torch.tensor(surprise, dtype=torch.float64)}


def ks_distance(first: Tensor, second: Tensor) -> float:
    """The largest gap between two samples' cumulative shares (Kolmogorov and Smirnov), 0 to 1.

    Any difference of distribution shows in it, in place or in shape, whatever the units.

    >>> ks_distance(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([3.5, 4.5]))
    0.75
    """
    first, second = _sample("first", first), _sample("second", second)
    points = torch.cat([first, second])
    below = [torch.searchsorted(each, points, right=True).double() for each in (first, second)]
    return float((below[0] / len(first) - below[1] / len(second)).abs().max())


def ks_p_value(distance: float, first: int, second: int) -> float:
    """How often two samples of one distribution lie so far apart or farther, exactly.

    Sorted together, the two samples are a path on a grid of ``first`` by ``second`` steps, and all
    paths are equally likely. Counted are those that never stray so far from the diagonal (Hodges,
    Arkiv for Matematik 3, 1958). Ties only make it larger, so it errs towards quiet.

    >>> ks_p_value(1.0, 2, 2)  # of six orders, two keep the samples wholly apart
    0.33333333333333337
    """
    bound = distance * first * second - 1e-6
    # As shares of all paths, so that no number overflows: below[j] belongs to (i, j).
    below = [1.0] + [0.0] * second
    for i in range(first + 1):
        for j in range(second + 1):
            if i + j:
                inside = abs(i * second - j * first) < bound
                left = below[j] * i / (i + j) if i else 0.0
                down = below[j - 1] * j / (i + j) if j else 0.0
                below[j] = left + down if inside else 0.0
    return min(1.0, max(0.0, 1.0 - below[second]))


def stability_index(healthy: Tensor, live: Tensor, bins: int = 10) -> float:
    """The population stability index (PSI), the figure that credit risk teams report.

    ``sum (l - e) ln(l / e)`` over bins that hold equal shares ``e`` of the healthy sample, ``l`` of
    the live one: KL divergences in both directions, added up. By custom, below 0.1 is calm and
    above 0.25 is a drift; the custom knows nothing of sample sizes, so alarms here go by
    :func:`ks_p_value`. Half a count is added to each bin, so that an empty one is no infinity.

    Raises:
        ValueError: for samples as in :func:`ks_distance`, or fewer than two bins.
    """
    healthy, live = _sample("healthy", healthy), _sample("live", live)
    if bins < 2:
        raise ValueError(f"bins={bins!r} can't show a shape; choose 10, or 2 at the least")
    edges = healthy.quantile(torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]).unique()
    shares = []
    for sample in (healthy, live):
        counts = torch.bincount(torch.bucketize(sample, edges), minlength=len(edges) + 1) + 0.5
        shares.append(counts / counts.sum())
    expected, found = shares
    return float(((found - expected) * (found / expected).log()).sum())


@dataclass(frozen=True)
class InputDrift:
    """What a full window of prompts looks like beside the healthy sample.

    Attributes:
        feature: such as ``"length"``.
        distance: Kolmogorov-Smirnov, 0 to 1.
        p_value: how often healthy windows lie as far away.
        stability_index: PSI.
        drifted: whether the p-value is below the limit.
    """

    feature: str
    distance: float
    p_value: float
    stability_index: float
    drifted: bool


@dataclass
class InputWatch:
    """Compares each window of live prompts with a healthy sample, feature by feature.

    Windows do not overlap and each is tested once, at ``limit``. So healthy prompts raise on
    average ``limit * features / window`` false alarms a prompt, which is what
    ``one_false_alarm_in`` sets. The average is over healthy samples too: take a large one, five
    windows or more.

    Attributes:
        healthy: the sample, a tensor ``[n]`` for each feature.
        window: prompts that are compared at a time.
        one_false_alarm_in: prompts.
    """

    healthy: Mapping[str, Tensor]
    window: int = 100
    one_false_alarm_in: float = 10_000
    _waiting: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_positive(window=self.window, one_false_alarm_in=self.one_false_alarm_in)
        if not self.healthy:
            raise ValueError('healthy is empty; pass samples such as {"length": lengths}')
        for name, sample in self.healthy.items():
            _sample(name, sample)
        self._waiting = {name: [] for name in self.healthy}

    @property
    def limit(self) -> float:
        """The p-value below which a window has drifted."""
        return self.window / (self.one_false_alarm_in * len(self.healthy))

    def update(self, **features: float) -> list[InputDrift]:
        """Take one prompt's features; where it fills a window, how that looks, else nothing.

        Raises:
            ValueError: for features other than the healthy sample's, or one that is not finite.
        """
        if features.keys() != self.healthy.keys():
            raise ValueError(
                f"features={sorted(features)} are not those of the healthy sample; "
                f"pass {sorted(self.healthy)}"
            )
        for name, value in features.items():
            if not abs(value) < float("inf"):
                raise ValueError(f"{name}={value!r} is not a finite number; measure it again")
            self._waiting[name].append(float(value))
        if len(next(iter(self._waiting.values()))) < self.window:
            return []
        found = [self._compare(name) for name in self.healthy]
        self._waiting = {name: [] for name in self.healthy}
        return found

    def _compare(self, name: str) -> InputDrift:
        healthy = self.healthy[name]
        live = torch.tensor(self._waiting[name], dtype=torch.float64)
        distance = ks_distance(healthy, live)
        p_value = ks_p_value(distance, len(healthy), len(live))
        index = stability_index(healthy, live)
        return InputDrift(name, distance, p_value, index, p_value < self.limit)


def _sample(name: str, values: Tensor) -> Tensor:
    """Sorted float64, or a ``ValueError`` for what is no sample."""
    if values.dim() != 1 or not len(values) or not bool(torch.isfinite(values.double()).all()):
        raise ValueError(
            f"{name} of shape {tuple(values.shape)} is no sample; pass finite numbers [n]"
        )
    return values.double().sort().values
