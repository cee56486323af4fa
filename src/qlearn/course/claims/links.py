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


_PLACES: dict[str, dict[str, tuple[int, ...]]] = {
    "04_post_training_quantization": {
        "INT8: almost for free": (7,),
        "A real task: the sentiment of movie reviews": (37,),
        "What is claimed": (3, 12),
    },
    "06_gptq": {
        "In `qlearn`: the whole model": (4, 10),
        "The production libraries: GPTQModel and llm-compressor": (17,),
    },
    "07_awq": {
        "One percent": (11,),
        "Which text, and how much of it": (15, 16),
    },
    "08_qat": {
        "When it is worth it": (8,),
        "What is claimed": (29,),
    },
    "09_qlora": {
        "QLoRA for real": (9,),
        "Codes have no gradient": (35,),
        "Where the memory goes": (2, 36),
    },
    "02_affine_quantization": {"Idempotence": (40,)},
    "10_memory_and_hardware": {
        "A rule of thumb against the count": (6, 20),
        "Predicted and measured": (1,),
        "The KV cache": (21,),
        "The hardware examples, recomputed": (22, 23, 24),
        "Bandwidth bounds speed": (38,),
    },
    "11_choosing": {
        "Batches": (5, 26),
        "A larger model in fewer bits": (30,),
        "Which tasks fall first": (27, 28),
        "Rules as a function": (25,),
        "Your own task": (18,),
    },
    "12_toolbox": {
        "Loading what is quantized already": (39,),
        "The article's snippet": (13,),
        "What is old, and what came after": (14, 32),
        "The fewest statements": (31,),
        "OpenVINO against torch": (34,),
        "TensorRT: nodes and an engine": (33,),
    },
    "13_deploy_and_monitor": {"Faults, planted and caught": (19,)},
}
LINKS = {
    number: Link(notebook, heading)
    for notebook, headings in _PLACES.items()
    for heading, numbers in headings.items()
    for number in numbers
}
