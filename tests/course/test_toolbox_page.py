"""The tools table: sentences, HTML and figure follow the rows, whatever they say."""

import re
from copy import deepcopy
from html.parser import HTMLParser

import pytest
from toolbox_cases import ROWS, row

from qlearn.course.chapters.ch12 import tools
from qlearn.course.chapters.ch12.figure import (
    COSTS,
    LOSSES,
    front,
    points,
    tools_figure,
    tools_sentence,
)
from qlearn.course.chapters.ch12.table import ToolCards, facts, tools_table
from qlearn.course.chapters.ch12.tools import (
    SIZE_AND_LOSS,
    SPEED,
    failure_sentence,
    loss_sentence,
    ranked,
    size_sentence,
    speed_sentence,
    tool_rows,
    working,
)
from qlearn.measure import results


def changed(name, **figures):
    rows = deepcopy(ROWS)
    next(each for each in rows if each["name"] == name).update(figures)
    return rows


def test_fp32_comes_first(monkeypatch):
    monkeypatch.setattr(results, "load", lambda name: {"rows": ROWS})
    assert [each["name"] for each in tool_rows()][:2] == ["torch-fp32", "b-int8"]
    assert len(working(ROWS)) == 4 and len(working(ROWS, 4)) == 2
    assert ranked(ROWS, "kl")[-1]["name"] == "b-int4"
    assert tools.REFERENCE == "torch-fp32"


def test_loss_follows_the_rows():
    assert loss_sentence(ROWS, 4) == (
        "In 4 bits Tool A, INT4 loses least (KL 0.200, perplexity 50.0), Tool B, INT4 most "
        "(0.400, 60.0); 2 rows."
    )
    assert "bits Tool B, INT4 loses least" in loss_sentence(changed("a-int4", kl=0.5), 4)


def test_size_and_speed_follow_the_rows():
    assert "Tool A, INT4 is the smallest on disk (90 MB)" in size_sentence(ROWS, 4)
    assert "Tool B, INT4 is the smallest" in size_sentence(changed("b-int4", disk_bytes=8e7), 4)
    said = speed_sentence(ROWS, 1)
    assert "Tool A, INT4 is fastest: 50 tokens a second, 2.5 times FP32" in said
    assert "1 of 4 rows are slower than FP32, Tool B, INT4 the most (0.50 times)" in said
    fast = changed("b-int4", tokens_per_second_1=30, times_float32_1=1.5)
    assert "slower" not in speed_sentence(fast, 1)


def test_failures_are_told():
    assert "1 of 5 rows" in failure_sentence(ROWS)
    assert "Tool C, INT4: RuntimeError" in failure_sentence(ROWS)
    assert failure_sentence(ROWS[:4]) == "All 4 rows ran to their end."


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: loss_sentence(ROWS, 8), "bits=8"),
        (lambda: size_sentence([], 4), "bits=4"),
        (lambda: speed_sentence([], 1), "batch=1"),
        (lambda: tools_table([], SPEED), "no table"),
        (lambda: tools_table(ROWS, [*SPEED, *SPEED]), "no table"),
        (lambda: points(ROWS[2:], "size on disk", "perplexity"), "torch-fp32"),
        (lambda: points(ROWS, "price", "perplexity"), "price"),
        (lambda: points(ROWS, "size on disk", "taste"), "taste"),
    ],
)
def test_nonsense_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


class Cells(HTMLParser):
    """Rows of cells: their tags and texts; and every tag that was opened and not closed."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("col", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append([int(dict(attrs).get("colspan", 1)), ""])

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1][1] += data

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("columns", [SIZE_AND_LOSS, SPEED])
def test_a_table_has_a_head_and_a_cell_for_every_column(columns):
    shown = Cells(tools_table(ROWS, columns)._repr_html_())
    assert not shown.open and len(shown.rows) == 1 + len(ROWS)
    for cells in shown.rows:
        assert sum(span for span, _ in cells) == 1 + len(columns)
        assert all(text.strip() for _, text in cells)
    assert "did not run" in shown.rows[-1][1][1]


def test_a_tables_plain_text_is_aligned():
    lines = repr(tools_table(ROWS, SPEED)).splitlines()
    assert len(lines) == 1 + len(ROWS)
    assert len({len(line) for line in lines[:-1]}) == 1
    assert re.search(r"Tool A, INT4\s+50\s+2\.50\s+80\s+0\.80", lines[3])


def test_cards_say_all_and_escape_it():
    shown = ToolCards(tuple(ROWS))._repr_html_()
    Cells(shown)
    assert shown.count("<details") == len(ROWS)
    assert "no &lt;kernel&gt;" in shown and "<kernel>" not in shown
    assert "pip install torch\n\nmodel = load()" in shown
    assert "needs: any CPU" in repr(ToolCards(tuple(ROWS)))
    told = dict(facts(ROWS[0]))
    assert told["newest"] == "2.1 of 2026-01-02, asked 2026-02-03"
    assert told["made in"] == "3 s to load, quantize and save, 2.0 GB at the peak"
    assert not {"error", "state", "notes"} & {*told}
    more = dict(facts({**ROWS[0], "released": None, "notes": "on one grid"}))
    assert (more["newest"], more["notes"]) == ("2.1, asked 2026-02-03", "on one grid")
    told = dict(facts(ROWS[-1]))
    assert told["tried"] == "two versions" and "made in" not in told


def test_costs_are_shares_of_fp32():
    places = points(ROWS, "size on disk", "KL divergence")
    assert places["a-int4"] == (pytest.approx(100 * 90 / 540), 0.2)
    assert "c-int4" not in places and places["torch-fp32"] == (100, 0)
    places = points(ROWS, "time a token, batch 1", "perplexity")
    assert places["a-int4"] == (pytest.approx(40), pytest.approx(50 / 42 - 1))
    assert places["b-int4"][0] == pytest.approx(200)


def test_the_front_is_what_nothing_beats():
    places = points(ROWS, "size on disk", "KL divergence")
    assert front(places) == ["a-int4", "b-int8", "torch-fp32"]
    said = tools_sentence(ROWS, "size on disk", "KL divergence", "b-int4")
    assert said.endswith("KL 0.4; beaten by Tool A, INT4.")
    assert "on the front" in tools_sentence(ROWS, "size on disk", "KL divergence", "a-int4")
    assert "not measured" in tools_sentence(ROWS, "size on disk", "KL divergence", "c-int4")


def test_axes_and_traces_are_the_same_everywhere():
    figures = [
        tools_figure(rows, cost, loss, tool)
        for rows in (ROWS, [*ROWS, row("d", "D", 4, 1, 1, 1e9, 50, 1, 1)])
        for cost in COSTS
        for loss in LOSSES
        for tool in ("a-int4", "c-int4")
    ]
    axes = [(figure.layout.xaxis, figure.layout.yaxis) for figure in figures]
    assert all(each == axes[0] for each in axes)
    assert len({tuple(trace.name for trace in figure.data) for figure in figures}) == 1
    for figure in figures:
        for trace in figure.data:
            assert all(x is None or 10**0.88 <= x <= 10**3.32 for x in trace.x)
            assert all(y is None or 10**-5.3 <= y <= 10**1.2 for y in trace.y)
