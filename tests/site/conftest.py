"""The built site in headless Chromium, with every request but those to its own server blocked."""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import needs
import pytest
from tools.tasks import BUILD_SITE

ROOT = Path(__file__).parents[2]
PATIENCE = 600_000  # ms until a page that hangs is given up; Playwright's 30 s are a busy machine's
MIME = "application/vnd.qlearn.explorer+json"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a browser test."""
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.path).parents:
            item.add_marker(pytest.mark.browser)


def is_stale(index: Path) -> bool:
    """Whether a source of the site is newer than the site."""
    if not index.exists():
        return True
    sources = [ROOT / "_config.yml"]
    for folder in ("book", "notebooks", "src/qlearn"):
        sources += [p for p in (ROOT / folder).rglob("*.*") if "__pycache__" not in p.parts]
    built = index.stat().st_mtime
    return any(source.stat().st_mtime > built for source in sources)


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site; built here unless it is there and new (see `make book`)."""
    named = os.environ.get("QLEARN_SITE")
    if named:
        return Path(named)
    folder = ROOT / "_build" / "html"
    if is_stale(folder / "search.html"):
        command = [sys.executable, *BUILD_SITE]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def sources(site: Path) -> Path:
    """The folder of the site's sources (the repository, unless another site is named)."""
    return site.parents[1] if os.environ.get("QLEARN_SITE") else ROOT


@pytest.fixture(scope="session")
def server(site: Path) -> Iterator[str]:
    """The address at which the site is served, on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_args: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium; without one a skip that says so, or a failure where CI is set."""
    from playwright.sync_api import sync_playwright

    path = needs.require("Chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield running
        running.close()


class Visit:
    """One open page, and what went wrong on it."""

    def __init__(self, page: Any, base: str) -> None:
        self.page, self.base = page, base
        self.foreign: list[str] = []
        self.failed: list[str] = []
        self.console: list[str] = []
        page.route("**/*", self._route)
        page.on("console", lambda m: m.type == "error" and self.console.append(m.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("requestfailed", lambda request: self.failed.append(request.url))
        page.on(
            "response",
            lambda reply: reply.status >= 400 and self.failed.append(f"{reply.status} {reply.url}"),
        )

    def _route(self, route: Any) -> None:
        if route.request.url.startswith((self.base, "data:", "blob:")):
            route.continue_()
        else:
            self.foreign.append(route.request.url)
            route.abort()

    def go(self, name: str) -> Visit:
        """Open a page of the site by its name, such as `book/index.html`."""
        self.page.goto(self.base + name)
        return self

    def draw_all(self) -> int:
        """Scroll to each explorer, wait until it is drawn, and say how many there are."""
        figures = self.page.query_selector_all("figure.qx")
        for figure in figures:
            figure.scroll_into_view_if_needed()
            self.page.wait_for_function(
                "f => 'position' in f.dataset && f.querySelector('.qx-plot .main-svg')", arg=figure
            )
        self.page.wait_for_load_state("networkidle")
        return len(figures)

    def set_theme(self, theme: str) -> None:
        """Choose light or dark as the theme's own switch stores it."""
        self.page.evaluate(
            "t => { document.documentElement.dataset.mode = t;"
            " document.documentElement.dataset.theme = t; }",
            theme,
        )
        # Until the colours have stopped changing: a busy machine draws late.
        self.page.evaluate(
            "async () => { const frame = () => new Promise((r) => requestAnimationFrame(r));"
            " await frame(); await frame();"
            " await Promise.allSettled(document.getAnimations().map((a) => a.finished));"
            " await frame(); }"
        )


@pytest.fixture
def visit(browser: Any, server: str) -> Iterator[Any]:
    """`visit(width=1280, **context)` opens a page that is closed after the test."""
    contexts = []

    def open_page(width: int = 1280, **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        return Visit(context.new_page(), server)

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def pages(site: Path) -> list[str]:
    """Every page of the site, by its name."""
    found = sorted(
        path.relative_to(site).as_posix()
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    )
    return [name for name in found if name != "index.html"]  # it only sends on to book/index.html


@pytest.fixture(scope="session")
def bundles(sources: Path, pages: list[str]) -> dict[str, list[dict[str, Any]]]:
    """What Python computed for each page: its notebook's outputs, or the gallery's explorers."""
    from qlearn.course import gallery

    found: dict[str, list[dict[str, Any]]] = {}
    for name in pages:
        stem = sources / name.removesuffix(".html")
        notebook, prose = stem.with_suffix(".ipynb"), stem.with_suffix(".md")
        if notebook.exists():
            outputs = [
                output["data"][MIME]
                for cell in nbformat.read(notebook, 4).cells
                for output in cell.get("outputs", [])
                if MIME in output.get("data", {})
            ]
        elif prose.exists():
            names = re.findall(r"(?m)^```\{qlearn-explorer\} *(\w+)", prose.read_text("utf-8"))
            outputs = [gallery.EXPLORERS[explorer]().bundle() for explorer in names]
        else:
            outputs = []
        found[name] = outputs
    return found
