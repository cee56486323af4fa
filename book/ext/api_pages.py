"""Sphinx directive ``{room} qlearn.numerics``: what is public in a room, from its own docstrings.

The names are those of the room's ``__all__``, so no page can forget one. A reference to a name of
the package leads to its entry, under whichever path it is written.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

DOMAIN = "py"


def home(value: Any, name: str, room: str) -> str:
    """The innermost room in which a name is public, where it is described; others lead there."""
    parts = str(getattr(value, "__module__", None) or room).split(".")
    for count in range(len(parts), 1, -1):
        candidate = ".".join(parts[:count])
        if name in getattr(import_module(candidate), "__all__", ()) and count < len(parts):
            return candidate
    return room


def entry(room: str, name: str) -> list[str]:
    """The lines that have autodoc describe one public name, or that lead to its description."""
    value = getattr(import_module(room), name)
    place = home(value, name, room)
    path = f"{place}.{name}"
    if place != room:
        said = (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")
        return [f"- :py:obj:`{name} <{path}>`: {said}", ""]
    if inspect.isclass(value):
        return [f".. autoclass:: {path}", "   :members:", ""]
    if callable(value):
        return [f".. autofunction:: {path}", ""]
    if inspect.ismodule(value):
        return [f".. automodule:: {value.__name__}", "   :members:", ""]
    return [f".. py:data:: {path}", "", f"   {summary(value)}", ""]


def summary(value: Any) -> str:
    """One line on a constant: what it is, and how it prints where that is short."""
    kind = type(value).__name__
    text = repr(value)
    if isinstance(value, Path):
        return "A folder of the package."
    if isinstance(value, dict):
        return f"A mapping of {len(value)} entries."
    return f"``{text}``" if len(text) <= 80 and "`" not in text else f"A ``{kind}``."


class Room(SphinxDirective):
    """``{room}`` takes a room's dotted name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The room's sentence, then an entry for each public name."""
        room = import_module(self.arguments[0])
        lines = ["````{eval-rst}", *(inspect.getdoc(room) or "").splitlines(), ""]
        for name in room.__all__:
            lines += entry(room.__name__, name)
        lines += ["````"]
        parent = nodes.section()
        parent.document = self.state.document
        source = StringList(lines, source=room.__file__ or "")
        self.state.nested_parse(source, self.content_offset, parent)
        return parent.children


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element
) -> nodes.Node | None:
    """Lead `qlearn.numerics.affine.quantize` to `qlearn.numerics.quantize`; else to no place.

    Types of other packages stand in signatures without a link, since the site has no other host.
    """
    if node.get("refdomain") != DOMAIN:
        return None
    last = str(node.get("reftarget", "")).rpartition(".")[2]
    found = [
        (name, entry)
        for name, entry in env.get_domain(DOMAIN).objects.items()  # type: ignore[attr-defined]
        if name.rpartition(".")[2] == last and name.startswith("qlearn")
    ]
    if len(found) != 1 or not app.builder:
        return contnode
    name, place = found[0]
    return nodes.reference(
        "",
        "",
        contnode,
        internal=True,
        refuri=f"{app.builder.get_relative_uri(node['refdoc'], place.docname)}#{place.node_id}",
        reftitle=name,
    )


def readable(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: Any
) -> tuple[str, Any] | None:
    """A default that is made anew for each instance is no expression; Sphinx wants one."""
    if signature and "<factory>" in signature:
        return signature.replace("<factory>", "..."), returns
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.config.autodoc_typehints = "signature"
    app.config.autodoc_preserve_defaults = True  # as the source has them, not as they print
    app.config.autodoc_member_order = "bysource"
    app.config.python_use_unqualified_type_names = True
    app.add_directive("room", Room)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-signature", readable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
