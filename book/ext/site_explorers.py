"""Sphinx directive `{qlearn-explorer} name`: one of `qlearn.course.gallery` on a page of prose."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from qlearn.course import gallery
from qlearn.teach.explorer.html import markup


class ExplorerDirective(Directive):
    """Computes the explorer's positions while the site is built."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """The figure element.

        Raises:
            DirectiveError: the gallery has no explorer of that name.
        """
        name = self.arguments[0]
        if name not in gallery.EXPLORERS:
            raise self.error(
                f"qlearn.course.gallery has no explorer {name!r}; choose "
                f"{', '.join(gallery.EXPLORERS)}"
            )
        html = markup(gallery.EXPLORERS[name]().bundle(), f"qx-gallery-{name}")
        return [nodes.raw(text=html, format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("qlearn-explorer", ExplorerDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
