"""The explorers of a notebook on the built site: a renderer for myst-nb, found by entry point."""

from typing import Any

from qlearn import needs
from qlearn.teach.explorer.bundle import MIME, errors
from qlearn.teach.explorer.html import markup

with needs("dev"):
    from docutils import nodes
    from myst_nb.core.render import MimeData, MimeRenderPlugin, NbElementRenderer

PLOTLY_MIME = "application/vnd.plotly.v1+json"


class ExplorerMime(MimeRenderPlugin):
    """Draws the `application/vnd.qlearn.explorer+json` output of a cell in preference to others."""

    # A figure without controls also carries plotly's own type, for JupyterLab; here it comes last.
    mime_priority_overrides = (("*", MIME, 1), ("*", PLOTLY_MIME, 999))

    @staticmethod
    def handle_mime(
        renderer: NbElementRenderer, data: MimeData, inline: bool
    ) -> list[nodes.Element] | None:
        """The figure element, or None for an output of another kind.

        A position whose function raised is a warning, which a strict build does not let pass.
        """
        if inline or data.mime_type not in (MIME, PLOTLY_MIME):
            return None
        if data.mime_type == PLOTLY_MIME:
            return []  # ours stands beside it, and myst-nb would warn of a type it doesn't know
        bundle = _checked(data.content)
        for line in errors(bundle):
            renderer.logger.warning(f"an explorer has a position without a figure: {line}")
        cell, output = data.cell_index or 0, data.output_index or 0
        return [nodes.raw(text=markup(bundle, f"qx-{cell}-{output}"), format="html")]


def _checked(content: Any) -> dict[str, Any]:
    """The bundle, if it is of the version that the page's script reads.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(content, dict) or content.get("version") != 1:
        version = content.get("version") if isinstance(content, dict) else None
        raise ValueError(
            f"an explorer's output has version={version!r} and the site reads 1; "
            "execute the notebook again with this qlearn"
        )
    return content
