"""Explorers: one figure function and its controls, with sliders in a kernel and on a static page.

In a kernel an `Explorer` displays ipywidgets sliders and computes each figure as it is asked for.
The same display carries a bundle of every position, computed ahead: the site turns it into native
controls that work without a kernel. Readers of plain text, and paper, get a table.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qlearn.teach.explorer.bundle import (
    MIME,
    Bundle,
    bundle_frame,
    bundle_html,
    bundle_text,
    check_count,
    make_bundle,
)
from qlearn.teach.explorer.controls import (
    Control,
    make_controls,
    move,
    start_position,
    values_at,
)
from qlearn.teach.explorer.grid import as_figure
from qlearn.teach.explorer.host import host, in_colab
from qlearn.teach.explorer.text import spoken

__all__ = ["MIME", "Explorer", "StillFigure", "show"]

PLOTLY_MIME = "application/vnd.plotly.v1+json"


class Explorer:
    """A figure that its reader moves.

    Args:
        figure: called with one keyword a control, returns a plotly `Figure`.
        controls: name -> values, or name -> {label: value}. (False, True) is a checkbox, names
            without a number among them are a menu, all else is a slider.
        describe: called like `figure`; returns one line of text that says what the figure shows,
            or (template, numbers) such as ("{total:,.1f} MB", {"total": 98.4}).
        start: where the controls stand at first; a control left out starts at its first value.
        additive: send terms instead of every position; above 500 positions this is the only way.
            True: each number is a sum of one term a control. A list of groups of names, such as
            [("model", "bits"), ("model", "context")]: a sum of one term a group. Quotients and
            verdicts are made with `ratio` and `choice`.
        title: a heading.

    Raises:
        ValueError: an unknown start, a control without values, a figure function that returns no
            plotly figure, more than 500 positions, bad groups, or a figure that isn't additive.

    >>> import plotly.graph_objects as go
    >>> levels = Explorer(
    ...     lambda bits: go.Figure(go.Bar(y=[2**bits])),
    ...     {"bits": range(2, 5)},
    ...     lambda bits: f"{2**bits} levels",
    ...     start={"bits": 3},
    ... )
    >>> levels.set(bits=4).values
    {'bits': 4}
    """

    def __init__(
        self,
        figure: Callable[..., Any],
        controls: Mapping[str, Sequence[Any] | Mapping[str, Any]],
        describe: Callable[..., Any],
        *,
        start: Mapping[str, Any] | None = None,
        additive: bool | Sequence[Sequence[str]] = False,
        title: str = "",
    ) -> None:
        self.controls: tuple[Control, ...] = make_controls(controls)
        for name, given in (("figure", figure), ("describe", describe)):
            if not callable(given):
                raise ValueError(
                    f"{name}={given!r:.40} is not a function; pass one that takes the controls' "
                    f"names as its arguments: {', '.join(controls)}"
                )
        self._position = self._start = start_position(self.controls, start)
        self._figure, self._describe = figure, describe
        self._title, self._additive = title, additive
        self._bundle: Bundle | None = None
        self._live: Any = None
        if additive is not False:
            self.bundle()  # verifies that the figure is a sum
        else:
            check_count(self.controls)
            values = values_at(self.controls, self._start)
            as_figure(figure(**values))
            spoken(describe(**values))

    @property
    def values(self) -> dict[str, Any]:
        """The value of each control now."""
        at = self._live.position if self._live is not None else self._position
        return values_at(self.controls, at)

    def set(self, **values: Any) -> "Explorer":
        """Move controls, as a reader's hand would; the others stay.

        Raises:
            ValueError: a name that is no control, or a value that its control does not have.
        """
        here = self._live.position if self._live is not None else self._position
        self._position = move(self.controls, here, values)
        if self._live is not None:
            self._live.move(self._position)
        return self

    def bundle(self) -> Bundle:
        """Every position as JSON (see `bundle`), computed once."""
        if self._bundle is None:
            self._bundle = make_bundle(
                self._figure,
                self.controls,
                self._describe,
                self._start,
                self._title,
                self._additive,
            )
        return self._bundle

    def live(self) -> Any:
        """The widgets of this explorer (`inputs`, `view`, `text`, `box`), made when first asked."""
        if self._live is None:
            from qlearn.teach.explorer.live import LiveExplorer

            self._live = LiveExplorer(
                self._figure, self.controls, self._describe, self._position, self._title
            )
        return self._live

    def _repr_mimebundle_(self, **_kwargs: Any) -> dict[str, Any]:
        where = host()
        shown = _mimebundle(self.bundle(), page=where == "page")
        if where == "live":
            shown = {**_widget_view(self.live().box), **shown}
        return shown

    def __repr__(self) -> str:
        at = ", ".join(f"{name}={value!r}" for name, value in self.values.items())
        return f"Explorer({at})"


class StillFigure:
    """A figure without controls, shown like an explorer; made by `show`."""

    def __init__(self, figure: Any, description: str, title: str = "") -> None:
        if not isinstance(description, str) or not description.strip():
            raise ValueError(
                f"description={description!r} says nothing; give the line that stands for the "
                "figure where it can't be seen"
            )
        self.figure = as_figure(figure)
        self._bundle = make_bundle(lambda: figure, (), lambda: description, (), title, False)

    def bundle(self) -> Bundle:
        """The figure as a bundle of one frame."""
        return self._bundle

    def _repr_mimebundle_(self, **_kwargs: Any) -> dict[str, Any]:
        where = host()
        shown = _mimebundle(self._bundle, page=where == "page" or in_colab())
        if where == "live":
            from qlearn.teach.look import TEMPLATE

            drawn = bundle_frame(self._bundle, ())
            layout = {**drawn["layout"], "height": self._bundle["height"], "template": TEMPLATE}
            plotly = {"data": drawn["data"], "layout": layout}
            shown[PLOTLY_MIME] = plotly
        return shown

    def __repr__(self) -> str:
        return bundle_text(self._bundle)


def show(figure: Any, description: str, title: str = "") -> StillFigure:
    """Show a plotly figure in a kernel and on the site; `description` is also its alternative text.

    Raises:
        ValueError: no plotly figure, or an empty description.
    """
    return StillFigure(figure, description, title)


def _mimebundle(bundle: Bundle, page: bool) -> dict[str, Any]:
    if page:
        from qlearn.teach.explorer.html import standalone

        html = standalone(bundle)
    else:
        html = bundle_html(bundle)
    return {MIME: bundle, "text/html": html, "text/plain": bundle_text(bundle)}


def _widget_view(box: Any) -> dict[str, Any]:
    shown = box._repr_mimebundle_()
    shown = shown[0] if isinstance(shown, tuple) else shown
    view = "application/vnd.jupyter.widget-view+json"
    return {view: shown[view]}
