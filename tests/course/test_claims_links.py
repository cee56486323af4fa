"""Where the claims are shown: the headings exist, and the links find them."""

import json
import re
from pathlib import Path

import pytest

from qlearn.course.claims.links import Link, site_anchor
from qlearn.course.claims.verdicts import CLAIMS

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def headings(notebook):
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text("utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.findall(r"^#+ (.+?)\s*$", text, re.MULTILINE)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: str(claim.number))
def test_the_heading_is_in_its_chapter(claim):
    link = claim.shown
    assert headings(link.notebook).count(link.heading) == 1


def test_addresses_for_jupyter_and_for_the_site():
    link = Link("06_gptq", "In `qlearn`: the whole model")
    assert link.chapter == 6
    assert link.in_jupyter == "06_gptq.ipynb#In-qlearn:-the-whole-model"
    assert link.on_site == "06_gptq.html#in-qlearn-the-whole-model"
    assert 'data-site="06_gptq.html#in-qlearn-the-whole-model"' in link.html()
    assert ">ch. 6</a>" in link.html()


def test_anchors_are_those_of_docutils():
    from docutils import nodes

    for claim in CLAIMS:
        link = claim.shown
        words = link.heading.replace("`", "")
        assert site_anchor(link.heading) == nodes.make_id(words)
