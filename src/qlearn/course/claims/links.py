"""Where each claim is shown: a chapter, and a heading in it.

Links lead from an output of a notebook, which Jupyter reads as HTML: there a neighbour is
``06_gptq.ipynb`` and a heading's anchor its words with hyphens. On the site the same place is
``06_gptq.html`` and the anchor in lower case; the site's build puts that address in place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Link:
    """A heading of a chapter.

    Attributes:
        notebook: the chapter's file, without its ending.
        heading: the heading's words.
    """

    notebook: str
    heading: str

    @property
    def chapter(self) -> int:
        """The chapter's number."""
        return int(self.notebook.split("_")[0])

    @property
    def in_jupyter(self) -> str:
        """Address beside the notebook that shows the link."""
        anchor = self.heading.replace("`", "").replace(" ", "-")
        return f"{self.notebook}.ipynb#{anchor}"

    @property
    def on_site(self) -> str:
        """Address beside the page that shows the link."""
        return f"{self.notebook}.html#{site_anchor(self.heading)}"

    def html(self) -> str:
        """The link, named after its chapter."""
        title = escape(self.heading.replace("`", ""), quote=True)
        return (
            f'<a href="{escape(self.in_jupyter, quote=True)}" data-site="{self.on_site}" '
            f'title="{title}">ch. {self.chapter}</a>'
        )


def site_anchor(heading: str) -> str:
    """A heading's anchor on the site, as docutils makes it.

    >>> site_anchor("In `qlearn`: the whole model")
    'in-qlearn-the-whole-model'
    """
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
