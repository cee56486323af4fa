"""A common set of rules for choosing a precision, as a function, beside the course's own choice.

The rules are those of the article that this course checks (claim 25): three lists of situations,
one each for 16, 8 and 4 bits, in our words. Its words leave two numbers open; they are read so:
memory "twice the model" is counted against the weights in 16 bits, and memory is "extremely
constrained" where those weights alone do not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from qlearn.measure.choose.advice import TASKS, USABLE, recommend
from qlearn.measure.choose.evidence import Evidence
from qlearn.measure.choose.levels import Speeds, measured_speeds
from qlearn.measure.memory.architectures import Architecture, get_architecture
from qlearn.measure.memory.devices import Device, get_device
from qlearn.measure.memory.inference import estimate_memory
from qlearn.numerics.refuse import check_count

Quality = Literal["critical", "required", "flexible"]
LEVELS = (16, 8, 4)
# Text and classification are said to be robust, mathematics and code not; recall is not named.
QUALITY: dict[str, Quality] = {
    "chat": "flexible",
    "writing": "flexible",
    "classification": "flexible",
    "recall": "required",
    "arithmetic": "critical",
    "code": "critical",
}


@dataclass(frozen=True)
class ArticleAdvice:
    """What the three lists say to one situation.

    Attributes:
        met: bits -> the conditions of that list that are met.
    """

    met: dict[int, tuple[str, ...]]

    @property
    def named(self) -> tuple[int, ...]:
        """Every level of whose list some condition is met, from most bits to fewest."""
        return tuple(bits for bits in LEVELS if self.met[bits])

    @property
    def bits(self) -> int | None:
        """The level of which most conditions are met; ``None`` where two are level."""
        most = max(len(conditions) for conditions in self.met.values())
        first = [bits for bits in LEVELS if len(self.met[bits]) == most]
        return first[0] if most and len(first) == 1 else None

    def __str__(self) -> str:
        lists = [f"{bits} bits ({', '.join(self.met[bits])})" for bits in self.named]
        choice = f"{self.bits} bits" if self.bits else "undecided"
        return f"{choice}: " + "; ".join(lists) if lists else "no list applies"


def article_recommend(
    memory_ratio: float,
    *,
    consumer: bool,
    int8_hardware: bool,
    users: int = 1,
    quality: Quality = "required",
    production: bool = False,
    finetuning: bool = False,
    speed_matters: bool = True,
    throughput: bool = False,
) -> ArticleAdvice:
    """Count which conditions of the three lists a situation meets.

    Args:
        memory_ratio: the device's memory over the weights' bytes in 16 bits.
        consumer: the device is a consumer's.
        int8_hardware: it multiplies 8-bit integers fast.
        users: at the same time.
        quality: ``"critical"``: the most there is; ``"required"``: not much may be lost;
            ``"flexible"``: some loss is acceptable.
        production: it serves customers.
        finetuning: it is trained further, or studied.
        speed_matters: waiting is a cost.
        throughput: as many tokens a second as possible are wanted.

    Raises:
        ValueError: a ratio that is not above 0, fewer than one user, or an unknown quality.

    >>> advice = article_recommend(0.6, consumer=True, int8_hardware=True, quality="flexible")
    >>> advice.bits, advice.named
    (4, (8, 4))
    """
    if isinstance(memory_ratio, bool) or not memory_ratio > 0:
        raise ValueError(f"memory_ratio={memory_ratio!r} must be above 0: memory over model size")
    check_count(users=users)
    if quality not in ("critical", "required", "flexible"):
        raise ValueError(f"quality={quality!r}; choose 'critical', 'required' or 'flexible'")
    lists = {
        16: {
            "memory for twice the model": memory_ratio >= 2,
            "quality comes first": quality == "critical",
            "fine-tuning or research": finetuning,
            "speed is no concern": not speed_matters,
        },
        8: {
            "quality and size in balance": quality == "required",
            "production with demands": production and quality != "flexible",
            "hardware for INT8": int8_hardware,
            "several users at once": users > 1,
        },
        4: {
            "memory is very short": memory_ratio < 1,
            "consumer hardware": consumer,
            "some loss is acceptable": quality == "flexible",
            "the most throughput": throughput,
        },
    }
    return ArticleAdvice(
        {
            bits: tuple(condition for condition, met in conditions.items() if met)
            for bits, conditions in lists.items()
        }
    )


def article_for(
    model: str | Architecture, device: str | Device, task: str, batch: int = 1
) -> ArticleAdvice:
    """Put a situation of :func:`qlearn.measure.choose.advice.recommend` to the article's lists.

    A batch above 1 is read as several users and a wish for throughput; speed always matters.

    Raises:
        ValueError: an unknown model, device or task, or a batch below 1.
    """
    if task not in TASKS:
        raise ValueError(f"task={task!r} is not known; choose one of {', '.join(TASKS)}")
    machine = get_device(device)
    return article_recommend(
        machine.memory / (2 * get_architecture(model).parameters),
        consumer=machine.kind not in ("data-center GPU", "cloud"),
        int8_hardware=machine.kind in ("data-center GPU", "consumer GPU"),
        users=batch,
        quality=QUALITY[task],
        throughput=batch > 1,
    )


@dataclass(frozen=True)
class SideBySide:
    """One situation: what the course recommends, and what the article's lists say.

    Attributes:
        model, device, task, batch: the situation.
        ours: bits that the course recommends; ``None`` where nothing fits.
        article: the lists' answer.
        article_fits: the weights in the lists' bits and a 16-bit cache fit the device; ``None``
            where the lists are undecided.
    """

    model: str
    device: str
    task: str
    batch: int
    ours: int | None
    article: ArticleAdvice
    article_fits: bool | None

    @property
    def same(self) -> bool:
        """Both choose the same bits."""
        return self.ours is not None and self.ours == self.article.bits

    @property
    def verdict(self) -> str:
        """How they differ, in a few words: one of six."""
        if self.article.bits is None:
            return "the lists are undecided"
        if self.same:
            return "the same" if self.article_fits else "the same, with a narrower cache"
        if self.ours is None:
            return "nothing fits"
        if not self.article_fits:
            return "the lists' choice does not fit"
        return "ours has more bits" if self.ours > self.article.bits else "ours has fewer bits"


def side_by_side(
    models: Iterable[str | Architecture],
    devices: Iterable[str | Device],
    tasks: Iterable[str] = tuple(TASKS),
    batches: Iterable[int] = (1, 32),
    *,
    context: int = 4096,
    evidence: Sequence[Evidence] | None = None,
    speeds: dict[int, Speeds] | None = None,
) -> list[SideBySide]:
    """Ask both about every model, device, task and batch.

    Args:
        models, devices, tasks, batches: as :func:`qlearn.measure.choose.advice.recommend` takes
            them.
        context: tokens of each sequence.
        evidence: as there.
        speeds: for each batch; by default as measured.

    Raises:
        ValueError: an unknown name, or a batch below 1.
    """
    batches = tuple(batches)
    known = {b: measured_speeds(b) for b in batches} if speeds is None else speeds
    rows = []
    for model, device, task, batch in product(models, devices, tasks, batches):
        sizes, machine = get_architecture(model), get_device(device)
        advice = article_for(sizes, machine, task, batch)
        try:
            ours = recommend(
                sizes, machine, task, context=context, batch=batch, evidence=evidence,
                speeds=known[batch],
            ).bits  # fmt: skip
        except ValueError as error:
            if "does not fit" not in str(error):
                raise
            ours = None
        fits = None
        if advice.bits is not None:
            needs = estimate_memory(sizes, advice.bits, context=context, batch=batch).total
            fits = needs <= USABLE * machine.memory
        rows.append(SideBySide(sizes.name, machine.name, task, batch, ours, advice, fits))
    return rows
