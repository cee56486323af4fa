"""Every threshold of chapter 14, stated before the measurements that it judges.

Shares are of 1, sizes in GB (1e9 bytes), times in seconds. A figure of the article's own is marked
so; each of the others says in a line why it is what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Thresholds:
    """Every threshold by its name; :func:`limits_with` changes some."""

    # Quality
    KEPT: float = 0.95  # the article's own: "95%+" of the quality
    # a task counts where the float model answers this share; half-learned ones drift
    SOLVED: float = 0.95
    # rise of perplexity; Llama-2-7B to 13B is 11%, so a fifth of a size's step
    NEAR_LOSSLESS: float = 0.02
    GAIN: float = 0.01  # accuracy; about one standard error of 1,000 questions answered at 90%
    PERPLEXITY_GAIN: float = 0.01  # relative; runs of one method with other seeds differ by less
    INT8_LOSS: float = 0.02  # the article's own: "about 2%"
    INT4_LOSS: float = 0.05  # the article's own: "about 5%"
    QLORA_LOSS: float = 0.05  # the article says "low"; no more than it allows GPTQ at 4 bits
    # the article's own range for general text at 4 bits
    TEXT_LOSS: tuple[float, float] = (0.02, 0.05)
    # the article's own range for reasoning and maths at 4 bits
    REASONING_LOSS: tuple[float, float] = (0.05, 0.15)
    # a difference below two of them is what chance gives one time in twenty
    STANDARD_ERRORS: float = 2.0

    # Memory
    # a saving given to half a percent (87.5) is off where it misses by one point
    SAVING_POINTS: float = 0.01
    # for 7B: scales cost 0.5 to 1.5 points, a wide embedding 2 more
    LARGE_SAVING_POINTS: float = 0.03
    HEADLINE_SAVING: float = 0.70  # the article's 75%, less five points for scales and embeddings
    SIZE_TOLERANCE: float = 0.05  # sizes given to two digits, of "7B" that are 6.7B to 7.6B
    FORMULA_FACTOR: float = 1.2  # the article's own overhead
    # half of the overhead that the formula adds: beyond it, it says nothing
    FORMULA_TOLERANCE: float = 0.10
    # the article's own, GB for 1000 tokens of a 7B model
    KV_RANGE: tuple[float, float] = (1.0, 2.0)
    # the article's own, GB for 4-bit 7B with 4K of context
    TOTAL_RANGE: tuple[float, float] = (6.0, 8.0)
    FITS_SHARE: float = 0.9  # of a device's memory: screen, driver and allocator take the rest
    CONTEXT: int = 4096  # the article's own "4K"
    SHORT_CONTEXT: int = 1000  # the least that is of use; the article's unit for the cache
    # the larger model at 4 bits may take a tenth more than the smaller at 16
    EQUAL_MEMORY: float = 1.10
    # bits a weight; one weight in a hundred kept in 16 bit would cost 0.12
    MIXED_BITS: float = 0.05
    # codes alone, to codes with a float32 absmax for each 64
    NF4_BITS: tuple[float, float] = (4.0, 4.5)
    ADAPTER_BITS: int = 16  # the article's own: adapters in 16 bit
    CARDS: int = 4  # cards that one consumer machine can hold

    # Speed
    HEADLINE_SPEED: float = 2.0  # the article's own: "2-4x"
    FASTER: float = 1.2  # a speed-up that a busy machine does not give by chance
    CPU_SLOWDOWN: tuple[float, float] = (10.0, 20.0)  # the article's own
    SHORTEST: int = 30 * 60  # the article's "30 minutes to several hours"; several is six
    LONGEST: int = 6 * 3600  # as above: the article's "30 minutes to several hours"; several is six
    LOAD_FASTER: int = 10  # loading saves the effort where it takes a tenth of quantizing or less

    # Methods and tools
    LAYER_LOSS: float = 0.9  # of rounding's: the error of a layer fell by a tenth or more
    # share of what 128 sequences gain: the rest is not worth four times the text
    ENOUGH: float = 0.9
    CANARY_FOUND: float = 0.9  # share of broken models that an alert must notice
    # a tool without a release for longer does not know this year's models
    RECENT_YEARS: float = 1.0
    LEARNED: float = 0.5  # share of answers that a fine-tuning must gain to count as one
    RECOVERED: float = 0.05  # share of weights that come back exactly by chance, zeros above all
    AGREE: float = 0.9  # share of situations in which two sets of rules choose the same
    # as above: share of situations in which two sets of rules choose the same
    AGREE_PARTLY: float = 0.5


STATED = Thresholds()


def limits_with(**changes: float | tuple[float, float]) -> Thresholds:
    """The thresholds with some changed, to see what a verdict rests on.

    Raises:
        ValueError: for a name that is no threshold.

    >>> limits_with(KEPT=0.9).KEPT
    0.9
    """
    known = [field.name for field in fields(Thresholds)]
    for name in changes:
        if name not in known:
            raise ValueError(f"{name}= is no threshold; choose one of {', '.join(known)}")
    return replace(STATED, **changes)  # type: ignore[arg-type]
