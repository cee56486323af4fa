"""Sphinx extension: corrects what the themes get wrong in each page that they write.

The corrections change the pages' own markup, which the theme's templates offer no hook for, so
they run on the files when the build has ended. Each is a pattern and what stands in its place;
`tests/site/test_corrections.py` shows that each still finds what it corrects.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

CORRECTIONS: dict[str, tuple[str, str]] = {
    # Font Awesome comes twice: as fonts, which draw every icon here, and as 1.5 MB of script that
    # holds up the page.
    "icons as a script": (r'\s*<script src="[^"]*fontawesome[^"]*all\.min\.js[^"]*"></script>', ""),
    # All content belongs to a landmark, and the logo above the sidebar's navigation to none.
    "sidebar without a landmark": (
        r'<div class="bd-sidebar-primary bd-sidebar',
        '<div role="navigation" aria-label="Site" class="bd-sidebar-primary bd-sidebar',
    ),
    # A source is an item of the list that Sphinx puts it in; the role it gives is deprecated.
    "sources that are no list items": (r'role="doc-biblioentry"', 'role="listitem"'),
    # thebe is not used; its settings name a server.
    "settings of thebe": (
        r'\s*<script type="text/x-thebe-config">.*?</script>\s*<script>kernelName = .*?</script>',
        "",
    ),
    # A link in a cell's output leads to a notebook, as Jupyter needs it; the page beside it is
    # what the site has.
    "links to notebooks in outputs": (
        r'href="[^"]*\.ipynb#[^"]*" data-site="([^"]*)"',
        r'href="\1"',
    ),
}


def correct(html: str) -> str:
    """The page with every correction made; a page that has them stays as it is."""
    for pattern, replacement in CORRECTIONS.values():
        html = re.sub(pattern, replacement, html, flags=re.DOTALL)
    return html


def correct_pages(app: Sphinx, error: Exception | None) -> None:
    """Correct each page of the site in place."""
    if error is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        old = page.read_text(encoding="utf-8")
        new = correct(old)
        if new != old:
            page.write_text(new, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx; before `site_pages` packs the archive."""
    app.connect("build-finished", correct_pages, priority=700)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
