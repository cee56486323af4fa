"""The explorer in a kernel: ipywidgets controls over a plotly FigureWidget, drawn on each move."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from qlearn import needs
from qlearn.teach.explorer.bundle import failure
from qlearn.teach.explorer.controls import Control, Position, values_at
from qlearn.teach.explorer.grid import as_figure, height
from qlearn.teach.explorer.text import spoken
from qlearn.teach.look import TEMPLATE

with needs("course"):
    import ipywidgets as widgets
    import plotly.graph_objects as go

_KEPT = {"type", "uid", "template"}  # properties that are ours, not the figure function's


class LiveExplorer:
    """Controls, a figure and a line of text that follow one another; `box` is what is displayed."""

    def __init__(
        self,
        figure: Callable[..., Any],
        controls: Sequence[Control],
        describe: Callable[..., Any],
        start: Position,
        title: str,
    ) -> None:
        self._figure, self._controls, self._describe = figure, tuple(controls), describe
        self._moving = False
        self.inputs = [_input(c, k) for c, k in zip(controls, start, strict=True)]
        self.view = go.FigureWidget()
        self.text = widgets.HTML()
        heading = [widgets.HTML(f"<b>{escape(title)}</b>")] if title else []
        self.box = widgets.VBox([*heading, *self.inputs, self.view, self.text])
        self.redraw()
        for control in self.inputs:
            control.observe(self._moved, names="value")

    @property
    def position(self) -> Position:
        """Where the controls stand."""
        return tuple(int(control.value) for control in self.inputs)

    def move(self, position: Position) -> None:
        """Put the controls at `position` and draw once."""
        self._moving = True
        try:
            for control, k in zip(self.inputs, position, strict=True):
                control.value = bool(k) if isinstance(control, widgets.Checkbox) else k
        finally:
            self._moving = False
        self.redraw()

    def _moved(self, _change: Any) -> None:
        if not self._moving:
            self.redraw()

    def redraw(self) -> None:
        """Compute and draw the present position; what the functions raise goes to the text line."""
        values = values_at(self._controls, self.position)
        try:
            new = as_figure(self._figure(**values))
            line = escape(spoken(self._describe(**values)))
        except Exception as error:  # a reader's function may raise anything; the widget must live
            new = go.Figure()
            line = f'<span role="alert">{escape(failure(error, values))}</span>'
        update_view(self.view, new)
        self.text.value = line


def _input(control: Control, k: int) -> Any:
    if control.kind == "checkbox":
        return widgets.Checkbox(value=bool(k), description=control.title, indent=False)
    make = widgets.SelectionSlider if control.kind == "range" else widgets.Dropdown
    return make(
        options=[(label, at) for at, label in enumerate(control.labels)],
        value=k,
        description=control.title,
        style={"description_width": "initial"},
        layout={"width": "min(32rem, 95%)"},
    )


def update_view(view: go.FigureWidget, new: go.Figure) -> None:
    """Make the widget show `new`, whatever it showed before.

    Traces of the same types in the same order are updated where they stand, which keeps the view
    still; any other change of traces replaces them all.
    """
    same = [trace.type for trace in view.data] == [trace.type for trace in new.data]
    layout = new.layout.to_plotly_json()
    layout["height"] = height(new)
    layout["template"] = TEMPLATE
    if not same:
        view.data = ()
    with view.batch_update():
        view.layout.update(_replacing(view.layout.to_plotly_json(), layout), overwrite=True)
        if same:
            for old, trace in zip(view.data, new.data, strict=True):
                old.update(_replacing(old.to_plotly_json(), trace.to_plotly_json()), overwrite=True)
    if not same:
        view.add_traces(list(new.data))


def _replacing(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`new`, and None for each property that only `old` has: an update alone would leave it."""
    return {**{key: None for key in old if key not in new and key not in _KEPT}, **new}
