"""Nine kinds of generated questions of known answer: what the pocket models are trained on.

A question is one line of text: the prompt, a sign that says what to do, the answer.

=========== =========================== ===================================================
task        a line                      what is asked
=========== =========================== ===================================================
copy        ``qzta>qzta``               the four letters again
reverse     ``qzta<atzq``               the four letters, last one first
recall      ``a12b34c56d78e90?c56a12``  the two digits that stood behind a letter
agree       ``the cat by the dogs was`` a verb in the number of the subject
add2        ``07+96=103``               a sum, most significant digit first
add3        ``407+096=0503``            the same with three digits
add4        ``4071+0960=05031``         the same with four
add3r       ``407+096~3050``            a sum, least significant digit first
mul         ``407*6=2442``              a product by a digit from 2 to 9
=========== =========================== ===================================================

Answers have four characters (``add2`` three, ``add4`` five), so that hardly a task is harder only
because more of it can go wrong.

One question in six is held out for evaluation, chosen by a hash of what is asked about, not of
how: two operands are held out in either order, and for sums written either way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

ALPHABET = "\n0123456789abcdefghijklmnopqrstuvwxyz +*=~><?."
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NOUNS = ("cat", "dog", "bird", "boy", "girl", "king", "cow", "horse", "duck", "lion")
ADJECTIVES = ("old", "big", "red", "tall", "kind", "wet")
PREPOSITIONS = ("near", "by", "under")
PAIRS = 5  # letters and numbers to remember in a question of `recall`; 2 to 5 in training
HELD_OUT = 6  # one question in so many is never trained on
SPLITS = ("training", "evaluation")


@dataclass(frozen=True)
class PocketQuestion:
    """A line of text, and which of its characters are the answer.

    Attributes:
        task: its kind, a key of :data:`TASKS`.
        text: the whole line, without its end.
        scored: positions in ``text`` of the characters to predict, in order.
    """

    task: str
    text: str
    scored: tuple[int, ...]

    @property
    def prompt(self) -> str:
        """The text before the first character to predict."""
        return self.text[: self.scored[0]]

    @property
    def answer(self) -> str:
        """The characters to predict, without what stands between them."""
        return "".join(self.text[position] for position in self.scored)


def is_held_out(asked: str) -> bool:
    """Whether questions about ``asked`` are kept for evaluation.

    >>> sum(is_held_out(f"{a:02d}+{b:02d}") for a in range(100) for b in range(a, 100))
    846
    """
    return int.from_bytes(blake2b(asked.encode(), digest_size=4).digest(), "big") % HELD_OUT == 0


def make_question(task: str, split: str, generator: random.Random) -> PocketQuestion:
    """Make a random question of a task.

    Args:
        task: a key of :data:`TASKS`.
        split: ``"training"`` or ``"evaluation"``; no question is in both.
        generator: the source of chance.

    Raises:
        ValueError: for an unknown task or split.
    """
    _check(task, split)
    while True:
        asked, question = TASKS[task](task, split == "training", generator)
        if is_held_out(asked) == (split == "evaluation"):
            return question


def make_questions(
    task: str, count: int, split: str = "evaluation", seed: int = 0
) -> list[PocketQuestion]:
    """Make ``count`` different questions of a task; the same arguments give the same ones.

    Raises:
        ValueError: for an unknown task or split, or more questions than the task has.

    >>> [question.text for question in make_questions("add2", 2)]
    ['67+44=111', '43+05=048']
    """
    _check(task, split)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"count={count!r} is not a number of questions; choose 1 or more")
    generator = random.Random(f"{task} {split} {seed}")
    found: dict[str, PocketQuestion] = {}
    failures = 0
    while len(found) < count:
        question = make_question(task, split, generator)
        failures = failures + 1 if question.text in found else 0
        if failures > 1000:
            raise ValueError(
                f"count={count} is more than task={task!r} has in its {split} split "
                f"(about {len(found)}); choose fewer"
            )
        found[question.text] = question
    return list(found.values())


def stream(shares: dict[str, float], seed: int) -> Iterator[PocketQuestion]:
    """Training questions without end, their tasks mixed by ``shares``."""
    generator = random.Random(seed)
    names, weights = list(shares), list(shares.values())
    while True:
        for task in generator.choices(names, weights, k=256):
            yield make_question(task, "training", generator)


def _check(task: str, split: str) -> None:
    if task not in TASKS:
        raise ValueError(f"task={task!r} is unknown; choose one of {', '.join(TASKS)}")
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown; choose 'training' or 'evaluation'")


def _ending(task: str, prompt: str, answer: str, rest: str = "") -> PocketQuestion:
    scored = tuple(range(len(prompt), len(prompt) + len(answer)))
    return PocketQuestion(task, prompt + answer + rest, scored)


def _string(task: str, _training: bool, generator: random.Random) -> tuple[str, PocketQuestion]:
    letters = "".join(generator.choices(LETTERS, k=4))
    if task == "copy":
        return letters, _ending(task, f"{letters}>", letters)
    return letters, _ending(task, f"{letters}<", letters[::-1])


def _recall(task: str, training: bool, generator: random.Random) -> tuple[str, PocketQuestion]:
    pairs = generator.randint(2, PAIRS) if training else PAIRS
    keys = generator.sample(LETTERS, pairs)
    values = [f"{generator.randrange(100):02d}" for _ in keys]
    stored = "".join(key + value for key, value in zip(keys, values, strict=True))
    # Training asks for every key: with one question a line the model hardly learns to look.
    order = generator.sample(range(pairs), pairs if training else 2)
    text, scored = f"{stored}?", []
    for index in order:
        scored += [len(text) + 1, len(text) + 2]
        text += keys[index] + values[index]
    return stored, PocketQuestion(task, text, tuple(scored))


def _agree(task: str, _training: bool, generator: random.Random) -> tuple[str, PocketQuestion]:
    def noun() -> tuple[str, bool]:
        plural = generator.random() < 0.5
        return generator.choice(NOUNS) + "s" * plural, plural

    head, plural = noun()
    adjective = generator.choice(ADJECTIVES) + " " if generator.random() < 0.5 else ""
    subject = f"the {adjective}{head} {generator.choice(PREPOSITIONS)} the {noun()[0]} "
    if generator.random() < 0.5:
        subject += f"{generator.choice(PREPOSITIONS)} the {noun()[0]} "
    answer, space = ("were", " ") if plural else ("was ", "")
    return subject, _ending(task, subject, answer, f"{space}{generator.choice(ADJECTIVES)}.")


def _add(task: str, _training: bool, generator: random.Random) -> tuple[str, PocketQuestion]:
    digits = int(task[3])
    a, b = (f"{generator.randrange(10**digits):0{digits}d}" for _ in range(2))
    total = f"{int(a) + int(b):0{digits + 1}d}"
    asked = "+".join(sorted((a, b)))
    if task.endswith("r"):
        return asked, _ending(task, f"{a}+{b}~", total[::-1])
    return asked, _ending(task, f"{a}+{b}=", total)


def _mul(task: str, _training: bool, generator: random.Random) -> tuple[str, PocketQuestion]:
    a, b = generator.randrange(1000), generator.randrange(2, 10)
    return f"{a}*{b}", _ending(task, f"{a:03d}*{b}=", f"{a * b:04d}")


_Maker = Callable[[str, bool, random.Random], tuple[str, PocketQuestion]]
TASKS: dict[str, _Maker] = {
    "copy": _string,
    "reverse": _string,
    "recall": _recall,
    "agree": _agree,
    "add2": _add,
    "add3": _add,
    "add4": _add,
    "add3r": _add,
    "mul": _mul,
}
