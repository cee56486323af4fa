"""Sphinx directives of the page on JupyterHub: ``{hub-memory}`` and ``{hub-walk}``.

Their numbers come from ``measure/results/tools/hub.json``, which ``tests/benchmarks/hub.py``
writes after a walk through all steps of a class, and from ``chapters.json``.
"""

from __future__ import annotations

from typing import Any

from classroom_tables import paragraph, table
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from qlearn.measure.results import load

MACHINES = (16, 64, 256)  # GB
SYSTEM = 2.0  # GB left to the system and the hub


def memory(hub: dict[str, Any], chapters: dict[str, Any]) -> list[tuple[str, ...]]:
    """GB of one student at work, and how many of them fit into some machines."""
    run = hub["memory"]
    server = max(run["server_bytes"])
    heaviest = max(chapters["rows"], key=lambda row: row["memory_bytes"])
    cases = (
        ("JupyterLab open, nothing runs", server),
        ("assignment 1, all of it run", server + run["kernel_bytes"]),
        ("smollm2-135m loaded and run", server + run["model_kernel_bytes"]),
        (f"the heaviest chapter ({heaviest['title']})", server + heaviest["memory_bytes"]),
    )
    return [
        (name, f"{size / 1e9:.2f}", *(str(int((gb - SYSTEM) * 1e9 // size)) for gb in MACHINES))
        for name, size in cases
    ]


def walk(hub: dict[str, Any]) -> list[tuple[str, ...]]:
    """Who did what, and how long it took."""
    return [(row["who"], row["step"].rstrip("."), f"{row['seconds']:.0f}") for row in hub["rows"]]


def said(hub: dict[str, Any]) -> str:
    """When and with what the walk was made."""
    found = ", ".join(f"{name} {version}" for name, version in hub["installed"].items())
    return (
        f"Run on {hub['date'][:10]} with `{hub['command']}`, on {hub['cores']} cores "
        f"({hub['cpu']}), with {found}."
    )


class HubMemory(Directive):
    """``{hub-memory}``: what a student takes, and how many a machine holds."""

    def run(self) -> list[nodes.Node]:
        """The table, and what is measured in it."""
        heads = ("A student with", "GB", *(f"students in {gb} GB" for gb in MACHINES))
        lines = memory(load("hub"), load("chapters"))
        text = (
            f"GB are measured; the numbers of students follow from them, with {SYSTEM:.0f} GB left "
            "to the system and all students at that work at the same time."
        )
        return [table(heads, lines), nodes.paragraph(text=text)]


class HubWalk(Directive):
    """``{hub-walk}``: the steps of the last walk through a class on a hub."""

    def run(self) -> list[nodes.Node]:
        """The table, and how it was made."""
        hub = load("hub")
        return [table(("Who", "Step", "Seconds"), walk(hub)), paragraph(said(hub))]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("hub-memory", HubMemory)
    app.add_directive("hub-walk", HubWalk)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
