"""The article's rules as a function, by hand; and both laid side by side."""

import pytest
from choice_cases import ALONE, CROWD, EVIDENCE, SEVEN, device

from qlearn.course.article.rules import (
    QUALITY,
    ArticleAdvice,
    article_for,
    article_recommend,
    side_by_side,
)
from qlearn.measure.choose.advice import TASKS

HOME = {"consumer": True, "int8_hardware": False}
CENTRE = {"consumer": False, "int8_hardware": True}


@pytest.mark.parametrize(
    ("ratio", "more", "named", "bits"),
    [
        (3.0, {**CENTRE, "quality": "critical", "finetuning": True}, (16, 8), 16),
        (2.0, {**CENTRE, "quality": "critical"}, (16, 8), 16),
        (1.9, {**CENTRE, "quality": "critical"}, (16, 8), None),  # one condition each
        (1.5, CENTRE, (8,), 8),  # balance, and hardware for INT8
        (1.5, {**CENTRE, "users": 20, "production": True}, (8,), 8),
        (0.5, {**HOME, "quality": "flexible"}, (4,), 4),
        (0.5, HOME, (8, 4), 4),
        (
            3.0,
            {**HOME, "quality": "flexible"},
            (16, 4),
            4,
        ),  # memory for twice the model, yet 4 bits
        (1.5, {**CENTRE, "quality": "flexible", "throughput": True, "users": 8}, (8, 4), None),
        (1.5, {**HOME, "quality": "critical", "speed_matters": False}, (16, 4), 16),
    ],
)
def test_by_hand(ratio, more, named, bits):
    advice = article_recommend(ratio, **more)
    assert (advice.named, advice.bits) == (named, bits)


def test_no_list_applies():
    advice = article_recommend(1.5, consumer=False, int8_hardware=False, quality="critical")
    assert advice.bits == 16  # quality alone
    nothing = ArticleAdvice({16: (), 8: (), 4: ()})
    assert nothing.bits is None and nothing.named == () and str(nothing) == "no list applies"


def test_it_says_what_is_met():
    said = str(article_recommend(0.5, consumer=True, int8_hardware=True))
    expected = (
        "undecided: 8 bits (quality and size in balance, hardware for INT8); "
        "4 bits (memory is very short, consumer hardware)"
    )
    assert said == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory_ratio": 0}, "memory_ratio=0 must be above 0"),
        ({"memory_ratio": -1.0}, "memory_ratio=-1.0"),
        ({"users": 0}, "users=0"),
        ({"quality": "good"}, "quality='good'"),
    ],
)
def test_bad_input(change, said):
    with pytest.raises(ValueError, match=said):
        article_recommend(**{"memory_ratio": 1.0, **HOME, **change})
    with pytest.raises(ValueError, match="task='poems'"):
        article_for(SEVEN, device(24), "poems")


def test_a_situation_is_read_off_model_and_device():
    weights = 2 * SEVEN.parameters / 1e9
    roomy = article_for(SEVEN, device(2 * weights), "code")
    assert roomy.met[16] == ("memory for twice the model", "quality comes first")
    short = article_for(SEVEN, device(0.99 * weights), "chat")
    assert short.met[4] == ("memory is very short", "consumer hardware", "some loss is acceptable")
    crowd = article_for(SEVEN, device(1.5 * weights, "data-center GPU"), "recall", batch=32)
    assert crowd.met[8][-1] == "several users at once" and crowd.met[4] == ("the most throughput",)
    assert set(QUALITY) == set(TASKS)


def test_side_by_side():
    devices = [device(4), device(4.45), device(17), device(60, "data-center GPU")]
    speeds = {1: ALONE, 32: CROWD}
    rows = side_by_side([SEVEN], devices, ("chat", "code"), (1, 32), context=512,
                        evidence=EVIDENCE, speeds=speeds)  # fmt: skip
    assert len(rows) == 4 * 2 * 2
    table = {(r.device, r.task, r.batch): r for r in rows}
    tiny = table["card-4", "chat", 32]
    assert (tiny.ours, tiny.article.bits, tiny.verdict) == (None, 4, "nothing fits")
    tight = table["card-4.45", "chat", 1]
    assert (tight.ours, tight.article.bits, tight.article_fits) == (4, 4, False)
    assert tight.same and tight.verdict == "the same, with a narrower cache"
    plain = table["card-17", "chat", 1]
    assert plain.same and plain.article_fits and plain.verdict == "the same"
    centre = table["card-60", "code", 32]  # 16 bits are the fastest, and the lists are level
    assert (centre.ours, centre.article.bits) == (16, None)
    assert centre.verdict == "the lists are undecided" and not centre.same
    alone = table["card-60", "code", 1]
    assert (alone.ours, alone.article.bits) == (4, 16) and alone.verdict == "ours has fewer bits"
    with pytest.raises(ValueError, match="context=0"):
        side_by_side([SEVEN], devices, context=0, evidence=EVIDENCE, speeds=speeds)
