"""A task to fine-tune on: an order in plain English becomes a record of a fixed form.

    Please send three red mugs to Oslo by Friday.   ->   3|mug|red|Oslo|Fri

A general model does not know this form; one that was tuned to it does. A record is right or wrong
as a whole, so nobody has to judge: :func:`exact_match` counts the ones that are right in every
token. Sentences are drawn with a seed, and those to test with never occur among those to train on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WORDS = """
two three four five six seven eight nine ten eleven twelve
red blue green black white yellow brown grey
mug lamp chair table bag book shirt clock bottle blanket
Oslo Paris Rome Berlin Madrid Vienna Lisbon Dublin Athens Warsaw
Monday Tuesday Wednesday Thursday Friday Saturday Sunday
"""
NUMBERS, COLOURS, ITEMS, CITIES, DAYS = (line.split() for line in _WORDS.strip().splitlines())
SENTENCES = (
    "Please send {number} {colour} {item}s to {city} by {day}.",
    "{city} needs {number} {item}s in {colour} on {day}.",
    "On {day}, ship {number} {colour} {item}s to {city}.",
    "We would like {number} {colour} {item}s, delivered to {city} before {day}.",
    "Can you get {number} {item}s to {city} by {day}? They must be {colour}.",
    "The shop in {city} ordered {number} {colour} {item}s for {day}.",
)
NEW_ITEMS = ["pillow", "ladder", "kettle", "carpet", "basket"]  # never trained on
NEW_CITIES = ["Prague", "Helsinki", "Brussels", "Budapest", "Zagreb"]
IGNORED = -100  # a target that counts neither in the loss nor in the score


@dataclass(frozen=True)
class Order:
    """A prompt and the one right continuation of it."""

    prompt: str
    record: str


def draw_orders(count: int, held_out: int, seed: int = 0) -> tuple[list[Order], list[Order]]:
    """``count`` orders to train on and ``held_out`` others to test with, all different.

    Raises:
        ValueError: for numbers below 1, or so large that different orders run out.
    """
    for name, value in (("count", count), ("held_out", held_out)):
        if value < 1:
            raise ValueError(f"{name}={value} must be 1 or more")
    orders = _draw(count + held_out, Random(seed), ITEMS, CITIES)
    return orders[:count], orders[count:]


def draw_new_words(count: int, seed: int = 0) -> list[Order]:
    """Orders of the same sentences, but of items and cities that no training order names.

    Raises:
        ValueError: as :func:`draw_orders`.
    """
    if count < 1:
        raise ValueError(f"count={count} must be 1 or more")
    return _draw(count, Random(seed), NEW_ITEMS, NEW_CITIES)


def _draw(count: int, random: Random, items: list[str], cities: list[str]) -> list[Order]:
    most = len(SENTENCES) * len(NUMBERS) * len(COLOURS) * len(DAYS) * len(items) * len(cities)
    if count > most // 2:
        raise ValueError(f"{count} orders are too many; there are {most}: ask for half at the most")
    orders: dict[str, Order] = {}
    while len(orders) < count:
        number = random.randrange(len(NUMBERS))
        words = {
            "number": NUMBERS[number],
            "colour": random.choice(COLOURS),
            "item": random.choice(items),
            "city": random.choice(cities),
            "day": random.choice(DAYS),
        }
        sentence = random.choice(SENTENCES).format(**words)
        fields = (str(number + 2), words["item"], words["colour"], words["city"], words["day"][:3])
        orders.setdefault(sentence, Order(f"Order: {sentence}\nRecord:", " " + "|".join(fields)))
    return list(orders.values())


@dataclass(frozen=True)
class Encoded:
    """Orders as tokens.

    Attributes:
        tokens: int64 ``[orders, length]``, filled up on the right. A causal model never looks to
            the right, so that needs no mask.
        targets: int64 ``[orders, length]``: what comes next, at the positions that predict a token
            of the record or its end; ``IGNORED`` at all others.
    """

    tokens: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Any) -> Encoded:
        """Some orders, cut to the length of the longest of them."""
        tokens, targets = self.tokens[rows], self.targets[rows]
        length = int((targets != IGNORED).any(0).nonzero().max()) + 1
        return Encoded(tokens[:, :length], targets[:, :length])


def encode(
    tokenizer: PreTrainedTokenizerBase, orders: Sequence[Order], before: str = ""
) -> Encoded:
    """Prompt, record and the end-of-text token of each order.

    Args:
        before: text in front of each prompt, such as worked examples.

    Raises:
        ValueError: for no orders.
    """
    if not orders:
        raise ValueError("orders is empty; draw some with draw_orders(count, held_out)")
    end: Any = tokenizer.eos_token_id
    rows, targets = [], []
    for order in orders:
        prompt = tokenizer(before + order.prompt, add_special_tokens=False)["input_ids"]
        record = [*tokenizer(order.record, add_special_tokens=False)["input_ids"], end]
        rows.append(torch.tensor([*prompt, *record[:-1]]))
        targets.append(torch.tensor([IGNORED] * (len(prompt) - 1) + record))
    return Encoded(pad_sequence(rows, True, end), pad_sequence(targets, True, IGNORED))


def answer_logits(model: nn.Module, batch: Encoded) -> tuple[Tensor, Tensor]:
    """Logits ``[answers, vocabulary]`` and targets ``[answers]``, where there is a target.

    The model reads every token, but logits are made at the records' positions alone: they have one
    number for each of tens of thousands of tokens, and would take more time and memory than all
    the rest of a small model.
    """
    unwrapped: Any = getattr(model, "get_base_model", lambda: model)
    causal: Any = unwrapped()
    hidden = causal.model(input_ids=batch.tokens, use_cache=False)[0]
    counted = batch.targets != IGNORED
    return causal.lm_head(hidden[counted]), batch.targets[counted]


def exact_match(model: nn.Module, data: Encoded, batch_size: int = 4) -> float:
    """The share of orders whose record, up to its end, is what the model would write by itself.

    One pass over the right record is enough: greedy decoding writes it exactly if each of its
    tokens is the likeliest one after those before it. The model is in evaluation mode meanwhile.
    """
    return exact_match_and_loss(model, data, batch_size)[0]


def exact_match_and_loss(
    model: nn.Module, data: Encoded, batch_size: int = 4
) -> tuple[float, float]:
    """:func:`exact_match`, and the mean cross-entropy of the records' tokens in nats."""
    right, loss, training = 0, 0.0, model.training
    model.eval()
    with torch.no_grad():
        for start in range(0, len(data), batch_size):
            batch = data[start : start + batch_size]
            logits, targets = answer_logits(model, batch)
            hits = torch.ones_like(batch.targets, dtype=torch.bool)
            hits[batch.targets != IGNORED] = logits.argmax(-1) == targets
            right += int(hits.all(1).sum())
            loss += float(F.cross_entropy(logits, targets, reduction="sum"))
    model.train(training)
    return right / len(data), loss / int((data.targets != IGNORED).sum())
