"""Sphinx extension: what each page says of itself, and the whole site as one file to download."""

from __future__ import annotations

import zipfile
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

ARCHIVE = "qlearn-site.zip"
DESCRIPTION = 155  # characters that a search result shows
_EPOCH = (2020, 1, 1, 0, 0, 0)  # the same pages give the same archive


def describe(doctree: nodes.document | None) -> str:
    """The page's first paragraph, cut at a word: what a search result shows of it."""
    if doctree is None:
        return ""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if len(text) > DESCRIPTION:
            text = text[:DESCRIPTION].rsplit(" ", 1)[0].rstrip(",;:") + " ..."
        if len(text) >= 20:
            return text
    return ""


def page_context(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Add the description, and the download to the footer."""
    description = describe(doctree) or f"{context.get('title', '')}: {app.config.html_title}"
    if 'name="description"' not in context.get("metatags", ""):
        tag = f'\n<meta name="description" content="{escape(description)}" />'
        context["metatags"] = context.get("metatags", "") + tag
    link = context["pathto"](ARCHIVE, 1)
    context["theme_extra_footer"] = (
        f'<p><a href="{link}" download>Download this whole site</a> (one zip, works offline).</p>'
    )


def write_archive(app: Sphinx, error: Exception | None) -> None:
    """Put every file of the site into one zip beside them."""
    if error is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    partial = site / f".{ARCHIVE}.part"
    files = sorted(path for path in site.rglob("*") if path.is_file())
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in files:
            name = path.relative_to(site).as_posix()
            if name.startswith(".") or name == ARCHIVE:
                continue
            entry = zipfile.ZipInfo(f"qlearn-site/{name}", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    partial.replace(site / ARCHIVE)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", page_context, priority=800)
    app.connect("build-finished", write_archive, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
