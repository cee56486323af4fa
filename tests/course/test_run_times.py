"""The run-time table of the site: read from its results file, and loud where that is wrong."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "book" / "ext" / "run_times.py"
GOOD = {
    "date": "2026-01-02",
    "cpu": "a processor",
    "cores": 2,
    "commit": "abcdef0123",
    "modified": False,
    "command": "make notebooks",
    "rows": [
        {"notebook": "02_b", "title": "B", "seconds": 3.4, "memory_bytes": 400_000_000},
        {"notebook": "01_a", "title": "A", "seconds": 30, "memory_bytes": 1_400_000_000},
    ],
}


@pytest.fixture(scope="module")
def run_times():
    spec = importlib.util.spec_from_file_location("run_times", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(folder, text):
    path = folder / "chapters.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_in_order_and_in_gb(run_times, tmp_path):
    results = run_times.read(written(tmp_path, json.dumps(GOOD)))
    assert run_times.rows(results) == [
        ("A", "30", "90", "1.40", "1.6"),
        ("B", "3", "90", "0.40", "1.6"),
    ]
    assert run_times.sentence(results) == (
        "Measured on 2026-01-02 with make notebooks, on 2 cores of a machine with a processor, "
        "at commit abcdef0."
    )
    assert "not yet committed" in run_times.sentence({**results, "modified": True})
    assert "Seconds" in run_times.table(run_times.rows(results)).astext()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "be read"),
        ("[]", "be read"),
        ('{"rows": 3}', "be read"),
        ('{"rows": []}', "all chapters"),
        ('{"rows": [{"notebook": "01_a", "title": "A"}]}', "01_a: seconds, 01_a: memory_bytes"),
        (json.dumps({**GOOD, "cpu": None, "date": ""}).replace('"date": "", ', ""), "lacks date"),
    ],
)
def test_bad_results_name_file_and_remedy(run_times, tmp_path, text, words):
    pattern = f"chapters.json .*{re.escape(words)}.*make notebooks"
    with pytest.raises(ValueError, match=pattern):
        run_times.read(written(tmp_path, text))


def test_a_missing_file_is_told(run_times, tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        run_times.read(tmp_path / "chapters.json")
