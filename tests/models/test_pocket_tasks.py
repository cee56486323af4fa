"""The pocket tasks: right answers by another road, and a hold-out that leaves nothing out."""

import random
import re
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qlearn.models.pocket.batches import (
    END,
    PROMPT,
    ROW,
    SENTENCE,
    SHARES,
    batches,
    encode,
    pocket_tokens,
)
from qlearn.models.pocket.tasks import (
    ALPHABET,
    NOUNS,
    TASKS,
    is_held_out,
    make_question,
    make_questions,
    stream,
)

LENGTHS = {"add2": 3, "add4": 5}  # all others: 4


def solve(text: str) -> str:
    """The answer to a line, from the line alone and without the package's code."""
    if found := re.fullmatch(r"(\d+)\+(\d+)([=~])(\d+)", text):
        total = str(int(found[1]) + int(found[2])).rjust(len(found[1]) + 1, "0")
        return total if found[3] == "=" else "".join(reversed(total))
    if found := re.fullmatch(r"(\d{3})\*([2-9])=\d+", text):
        return str(sum(int(found[1]) for _ in range(int(found[2])))).rjust(4, "0")
    if found := re.fullmatch(r"([a-z]{4})>.*", text):
        return found[1]
    if found := re.fullmatch(r"([a-z]{4})<.*", text):
        a, b, c, d = found[1]
        return d + c + b + a
    if found := re.fullmatch(r"((?:[a-z]\d\d)+)\?((?:[a-z]\d\d)+)", text):
        asked = found[2][::3]
        return "".join(re.search(rf"{key}(\d\d)", found[1])[1] for key in asked)
    noun = next(word for word in text.split() if word.removesuffix("s") in NOUNS)
    return "were" if noun.endswith("s") else "was "


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 10**6),
    task=st.sampled_from(list(TASKS)),
    split=st.sampled_from(["training", "evaluation"]),
)
def test_answers_are_right(seed, task, split):
    question = make_question(task, split, random.Random(seed))
    assert question.task == task
    assert question.answer == solve(question.text)
    assert question.text.startswith(question.prompt)
    assert set(question.text) <= set(ALPHABET) - {"\n"}
    assert len(question.text) + 2 <= ROW
    if split == "evaluation":
        assert len(question.answer) == LENGTHS.get(task, 4)


def asked(text: str) -> tuple:
    """What a line asks about, whatever the order and the way it asks."""
    if "+" in text:
        a, b = re.match(r"(\d+)\+(\d+)", text).groups()
        return tuple(sorted((a, b)))
    return (re.match(r"(\d+\*\d|[a-z]{4}(?=[<>])|(?:[a-z]\d\d)+|the .*?(?=was|were))", text)[1],)


@pytest.mark.parametrize("task", TASKS)
def test_no_question_is_in_both_splits(task):
    evaluation = {asked(q.text) for q in make_questions(task, 1000)}
    # Most questions of the small tasks, so that an overlap could not hide.
    training = {asked(q.text) for q in make_questions(task, 3000, "training")}
    assert not evaluation & training
    assert len(make_questions(task, 1000)) == 1000


def test_other_ways_to_ask_are_held_out_too():
    generator = random.Random(0)
    for _ in range(300):
        question = make_question("add3", "evaluation", generator)
        a, b = question.text[:3], question.text[4:7]
        assert is_held_out("+".join(sorted((b, a))))
        other = make_question("add3r", "training", generator)
        assert asked(other.text) != asked(question.text)


def test_the_hold_out_leaves_nothing_out():
    """Each digit at each place, each letter and each carry is still trained on, about as often."""
    for task in ("add2", "add3", "mul"):
        questions = make_questions(task, 4000, "training")
        for place in range(len(questions[0].text)):
            found = Counter(question.text[place] for question in questions)
            if not questions[0].text[place].isdigit() or len(found) == 2:
                continue  # a sign, or the leading digit of a sum
            expected = 8 if task == "mul" and place == 4 else 10
            if place < questions[0].text.index("="):
                assert len(found) == expected, (task, place)
                assert max(found.values()) < 1.5 * min(found.values()), (task, place)
            else:
                assert len(found) >= expected - 2, (task, place)
    last = Counter(q.answer[-1] for q in make_questions("add2", 4000, "training"))
    assert len(last) == 10 and max(last.values()) < 1.4 * min(last.values())
    held = sum(is_held_out(f"{a:02d}+{b:02d}") for a in range(100) for b in range(a, 100))
    assert held / 5050 == pytest.approx(1 / 6, abs=0.02)


def test_the_same_seed_gives_the_same_questions():
    first, again, other = (make_questions("recall", 20, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    source, again = stream(SHARES, 5), stream(SHARES, 5)
    assert [next(source) for _ in range(300)] == [next(again) for _ in range(300)]


def test_the_shares_are_kept():
    assert sum(SHARES.values()) == pytest.approx(1)
    source = stream(SHARES, 0)
    found = Counter(next(source).task for _ in range(8000))
    for task, share in SHARES.items():
        assert found[task] / 8000 == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sort", 1), "task='sort' is unknown; choose one of copy, reverse"),
        (("copy", 1, "test"), "split='test' is unknown; choose 'training' or 'evaluation'"),
        (("copy", 0), "count=0 is not a number of questions"),
        (("copy", 1.5), "count=1.5"),
        (("mul", 5000), r"count=5000 is more than task='mul' has .*\(about 13\d\d\)"),
    ],
)
def test_bad_questions(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_questions(*arguments)


def test_rows_say_what_is_scored_and_what_may_be_seen():
    batch = next(batches(32, 1))
    assert batch.tokens.shape == batch.positions.shape == batch.weights.shape == (32, ROW)
    seen = batch.mask[:, 0]
    for row in range(32):
        text = "".join(ALPHABET[code] for code in batch.tokens[row])
        starts = [i for i, p in enumerate(batch.positions[row].tolist()) if p == 0]
        assert starts[0] == 0
        for i, position in enumerate(batch.positions[row].tolist()):
            begin = max(start for start in starts if start <= i)
            assert text[begin] == "\n"  # a question stands alone from a line's end on
            assert position == i - begin
            assert seen[row, i].nonzero().flatten().tolist() == list(range(begin, i + 1))
        end = 1
        for line in text.strip("\n").split("\n"):
            begin, end = end, end + len(line) + 1
            weights = batch.weights[row, begin:end].tolist()
            scored = [i for i, weight in enumerate(weights) if weight == 1]
            assert "".join(line[i] for i in scored) == solve(line)
            rest = SENTENCE if line.startswith("the ") else PROMPT
            assert weights[-1] == pytest.approx(END)
            others = {round(w, 4) for i, w in enumerate(weights[:-1]) if i not in scored}
            assert others == {rest}
        assert not batch.weights[row, end:].any()
    alone = sum(int((batch.positions[row] == 0).sum()) for row in range(32))
    lines = sum("".join(ALPHABET[c] for c in r).strip("\n").count("\n") + 1 for r in batch.tokens)
    # The first question of a row always stands alone, of the others seven in ten.
    assert (alone - 32) / (lines - 32) == pytest.approx(0.7, abs=0.1)


def test_plain_text():
    tokens = pocket_tokens(6, "evaluation", 40)
    assert tokens.shape == (6, 40) and tokens.dtype == torch.int64
    assert torch.equal(tokens, pocket_tokens(6, "evaluation", 40))
    assert not torch.equal(tokens, pocket_tokens(6, "calibration", 40))
    for split, held in (("calibration", False), ("evaluation", True)):
        for row in pocket_tokens(20, split, 64):
            text = "".join(ALPHABET[code] for code in row)
            assert text[0] == "\n"
            for line in text[1:].split("\n")[:-1]:  # the last may be cut
                assert solve(line)
                if "*" in line:
                    a, b = re.match(r"(\d+)\*(\d)", line).groups()
                    assert is_held_out(f"{int(a)}*{b}") == held


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "sequences=0 is out of range"),
        ((True,), "sequences=True"),
        ((4, "training"), "split='training' is unknown; choose 'calibration' or 'evaluation'"),
        ((4, "evaluation", 65), "length=65 is out of range; choose a whole number, 2 to 64"),
        ((4, "evaluation", 1), "length=1"),
    ],
)
def test_bad_text(arguments, message):
    with pytest.raises(ValueError, match=message):
        pocket_tokens(*arguments)


def test_an_unknown_character_is_named():
    with pytest.raises(ValueError, match=r"text='1-1' holds '-'"):
        encode("1-1")
