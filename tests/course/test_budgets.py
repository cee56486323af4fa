"""Budgets that a clock decides are measured elsewhere; here the recorded figures are read.

Chapters: `test_chapters.py`. Redraws: `site/test_explorers.py`.
"""

from qlearn.measure import results

CATEGORIES = ("performance", "accessibility", "best-practices", "seo")


def test_recorded_lighthouse_scores_are_95_or_more():
    rows = results.load("lighthouse")["rows"]
    assert {"book/index.html", "notebooks/03_granularity.html"} <= {row["page"] for row in rows}
    for row in rows:
        assert row["runs"] >= 3
        assert all(95 <= row[name] <= 100 for name in CATEGORIES), row
