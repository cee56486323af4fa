"""Sphinx extension: every script and font of the site comes from the site's own host."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from npm_assets import MATHJAX, PLOTLY, cache_folder, fetch
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "src" / "qlearn" / "teach" / "explorer" / "assets"
SITE = ROOT / "book" / "site"
MATHJAX_PATH = "mathjax/tex-mml-chtml.js"


def stage(folder: Path) -> None:
    """Lay the third-party files out as the site serves them.

    Raises:
        ExtensionError: MathJax can't be had. (plotly.js has a stand-in: the wheel's own, which is
        three times as large.)
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        plotly = fetch(PLOTLY) / "plotly-cartesian.min.js"
    except OSError as error:
        import plotly as wheel

        assert wheel.__file__
        plotly = Path(wheel.__file__).parent / "package_data" / "plotly.min.js"
        logger.info("plotly.js: %s. The plotly package's own copy is used (1.5 MB gzip).", error)
    shutil.copyfile(plotly, folder / "plotly.min.js")
    try:
        shutil.copytree(fetch(MATHJAX) / "es5", folder / "mathjax")
    except OSError as error:
        raise ExtensionError(f"The site needs MathJax: {error}") from error


def add_static(app: Sphinx) -> None:
    """Add the folders whose files go to `_static`: ours, and the staged third-party ones."""
    staged = Path(app.doctreedir).parent / ".site-assets"
    stage(staged)
    app.config.html_static_path += [str(SITE), str(ASSETS), str(staged)]


def is_ours(script: Any) -> bool:
    """Whether a script belongs on the page: nothing foreign, and nothing of the unused thebe.

    Thebe's inline script comes twice on each page, and declaring its constants twice throws.
    """
    name = str(getattr(script, "filename", script) or "")
    attributes = getattr(script, "attributes", {})
    body = str(attributes.get("body", ""))
    foreign = name.startswith(("http:", "https:", "//"))
    return not foreign and "thebe" not in name and "THEBE_JS_URL" not in body


def page_assets(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Give each page the scripts that it uses."""
    if 'class="qx"' in context.get("body", ""):
        app.add_js_file("explorer.js", loading_method="defer")
    if "<table" in context.get("body", ""):
        app.add_js_file("tables.js", loading_method="defer")
    context["script_files"][:] = [s for s in context["script_files"] if is_ours(s)]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.config.mathjax_path = MATHJAX_PATH
    app.connect("builder-inited", add_static, priority=100)
    app.connect("html-page-context", page_assets, priority=900)
    app.add_css_file("explorer.css")
    app.add_css_file("course.css")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


__all__ = ["cache_folder", "is_ours", "setup", "stage"]
