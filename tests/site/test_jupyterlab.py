"""JupyterLab itself: a slider moved with the keyboard, and a student's first answers."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

WAIT = 600  # seconds until it is given up: a busy machine starts it slowly
CODE = """import plotly.graph_objects as go
from qlearn.teach.explorer.explorer import Explorer
def figure(bits):
    if bits == 5:
        raise RuntimeError("not five")
    return go.Figure(go.Bar(x=["levels"], y=[2**bits], width=bits / 10))
Explorer(figure, {"bits": range(2, 9)}, lambda bits: f"{2**bits} levels")"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(tmp_path):
    """JupyterLab on loopback over a folder; its address."""
    base = f"http://127.0.0.1:{(port := free_port())}/"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.root_dir={tmp_path}", f"--ServerApp.port={port}"]
    command += [
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--ServerApp.ip=127.0.0.1",
    ]
    homes = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "RUNTIME")}
    homes["JUPYTERLAB_SETTINGS_DIR"] = homes["JUPYTERLAB_WORKSPACES_DIR"] = str(tmp_path / "lab")
    running = subprocess.Popen(
        command,
        env={**os.environ, **homes},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(base + "api", running)
        yield base
    finally:
        running.terminate()
        running.wait(timeout=WAIT)


@pytest.fixture
def lab(tmp_path):
    """JupyterLab over a folder with one notebook; its address."""
    cells = [nbformat.v4.new_code_cell(CODE)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "one.ipynb")
    with serving(tmp_path) as base:
        yield base


def wait_for(address, running):
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        assert running.poll() is None, "JupyterLab ended before it could be opened"
        try:
            with urllib.request.urlopen(address, timeout=2) as reply:
                assert "version" in json.load(reply)
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"JupyterLab did not answer in {WAIT} s")


def opened(browser, address, height=1000):
    """A page with a notebook whose kernel is ready."""
    page = browser.new_context(viewport={"width": 1200, "height": height}).new_page()
    page.set_default_timeout(WAIT * 1000)
    page.goto(address)
    page.wait_for_selector(".jp-NotebookPanel-toolbar")
    # The toolbar's indicator says idle before there is a kernel; the status bar waits for it.
    page.wait_for_function(
        "document.querySelector('#jp-main-statusbar')?.innerText.includes('| Idle')"
    )
    return page


def test_the_keyboard_moves_a_slider_in_jupyterlab(lab, browser):
    page = opened(browser, lab + "lab/tree/one.ipynb")
    page.click(".jp-CodeCell .cm-content")
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector(".jp-OutputArea .js-plotly-plot .main-svg")
    text, handle = ".jp-OutputArea .widget-html-content >> nth=0", ".noUi-handle >> nth=0"
    assert page.inner_text(text) == "4 levels"
    heights = "() => document.querySelector('.js-plotly-plot').data[0]?.y[0] ?? null"
    assert page.evaluate(heights) == 4
    page.focus(handle)
    for press, level in (("ArrowRight", 8), ("ArrowRight", 16)):
        page.keyboard.press(press)
        page.wait_for_function(f"({heights})() === {level}")
        # The sentence is a widget of its own, so it may follow the figure by a message.
        page.wait_for_function("t => document.body.innerText.includes(t)", arg=f"{level} levels")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("t => document.body.innerText.includes(t)", arg="RuntimeError at bits=5")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("t => document.body.innerText.includes(t)", arg="64 levels")
    assert page.evaluate(heights) == 64
    page.context.close()


RELEASE = Path(__file__).parents[2] / "notebooks" / "assignments" / "release"
NAME = "a1_int4_and_packing"
WRONG = 'by_hand = {"scale": 0.31, "zero_point": 5, "codes": [0, 3, 6, 7, 15]}'
RIGHT = WRONG.replace("0.31", "0.2")


def run_all(page):
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")


def verdict(page, question):
    return page.locator(f"[aria-label='Check {question}']")


def write(page, text):
    page.locator(".jp-CodeCell .cm-content", has_text="by_hand = {").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)


def test_a_student_answers_an_assignment_in_jupyterlab(browser, tmp_path):
    """Run a fresh release; answer, first wrong; read the diagnosis; save what is handed in."""
    shutil.copy(RELEASE / NAME / f"{NAME}.ipynb", tmp_path)
    with serving(tmp_path) as base:
        # Tall enough for all cells: JupyterLab draws only those that are in view.
        page = opened(browser, f"{base}lab/tree/{NAME}.ipynb", height=12_000)
        assert "def _bootstrap" not in page.inner_text(".jp-Notebook")  # folded
        run_all(page)
        verdict(page, "a1.model").filter(has_text="Not answered yet").wait_for()  # the last one
        assert page.locator(".qlearn-verdict", has_text="Not answered yet").count() == 8
        assert page.locator(".jp-Notebook [data-mime-type*=stderr]").count() == 0
        write(page, WRONG)
        page.keyboard.press("Shift+Enter")
        run_all(page)
        told = verdict(page, "a1.by_hand").filter(has_text="Not right: scale.")
        told.wait_for()
        assert "1 of 2 points on the visible cases" in told.inner_text()
        write(page, RIGHT)
        run_all(page)
        verdict(page, "a1.by_hand").filter(has_text="2 of 2 points").wait_for()
        page.keyboard.press("Control+s")
        page.wait_for_function("!document.querySelector('.jp-mod-dirty')")
        page.context.close()
    cells = nbformat.read(tmp_path / f"{NAME}.ipynb", as_version=4).cells
    (answer,) = (c for c in cells if c.metadata.get("nbgrader", {}).get("grade_id") == "a1_by_hand")
    assert answer.source == RIGHT
