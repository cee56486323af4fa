"""The tables of the page on JupyterHub follow from the results files."""

from pathlib import Path

import pytest


@pytest.fixture
def tables(monkeypatch):
    import importlib

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "book" / "ext"))
    return importlib.import_module("hub_tables")


HUB = {
    "date": "2026-11-25T10:00:00+00:00",
    "command": "make x",
    "cores": 2,
    "cpu": "A CPU",
    "installed": {"jupyterhub": "6.1.1"},
    "memory": {"server_bytes": [1e8, 2e8], "kernel_bytes": 5e8, "model_kernel_bytes": 8e8},
    "rows": [{"who": "ada", "step": "Open the link.", "seconds": 12.3}],
}
CHAPTERS = {
    "rows": [{"title": "9. Large", "memory_bytes": int(1.2e9)}, {"title": "1", "memory_bytes": 1}]
}


def test_students_that_fit_follow_from_what_one_takes(tables):
    lines = tables.memory(HUB, CHAPTERS)
    assert [line[1] for line in lines] == ["0.20", "0.70", "1.00", "1.40"]
    assert lines[1][2:] == ("20", "88", "362")  # 14, 62 and 254 GB by 0.7
    assert "9. Large" in lines[3][0]


def test_the_walk_says_who_what_when_and_with_what(tables):
    assert tables.walk(HUB) == [("ada", "Open the link", "12")]
    assert (
        tables.said(HUB)
        == "Run on 2026-11-25 with `make x`, on 2 cores (A CPU), with jupyterhub 6.1.1."
    )
