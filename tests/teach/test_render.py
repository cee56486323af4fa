"""The notebook's explorers on the site: what myst-nb's plugin makes of an output."""

from importlib.metadata import entry_points
from types import SimpleNamespace

import plotly.graph_objects as go
import pytest

from qlearn.teach.explorer.explorer import MIME, Explorer
from qlearn.teach.render import PLOTLY_MIME, ExplorerMime


def output(content, mime=MIME, cell=3, number=1):
    return SimpleNamespace(mime_type=mime, content=content, cell_index=cell, output_index=number)


@pytest.fixture
def renderer():
    warnings = []
    return SimpleNamespace(logger=SimpleNamespace(warning=warnings.append), warnings=warnings)


def explorer(figure=lambda bits: go.Figure(go.Bar(y=[bits]))):
    return Explorer(figure, {"bits": [2, 3]}, lambda bits: f"{bits} bits")


def test_an_explorer_becomes_a_figure_element(renderer):
    (node,) = ExplorerMime.handle_mime(renderer, output(explorer().bundle()), inline=False)
    assert node["format"] == "html"
    assert node.astext().startswith('<figure class="qx" id="qx-3-1"')
    assert renderer.warnings == []


def test_other_outputs_are_left_to_myst(renderer):
    assert ExplorerMime.handle_mime(renderer, output("x", "text/plain"), inline=False) is None
    assert ExplorerMime.handle_mime(renderer, output({}), inline=True) is None
    assert ExplorerMime.handle_mime(renderer, output({}, PLOTLY_MIME), inline=False) == []


def test_a_position_that_failed_warns(renderer):
    def fragile(bits):
        return go.Figure(go.Bar(y=[1 / (3 - bits)]))

    ExplorerMime.handle_mime(renderer, output(explorer(fragile).bundle()), inline=False)
    assert renderer.warnings == [
        "an explorer has a position without a figure: ZeroDivisionError at bits=3: division by zero"
    ]


@pytest.mark.parametrize("content", [{"version": 2}, {}, "text"])
def test_an_output_of_another_version_is_refused(renderer, content):
    with pytest.raises(ValueError, match="the site reads 1; execute the notebook again"):
        ExplorerMime.handle_mime(renderer, output(content), inline=False)


def test_the_plugin_is_found_by_its_entry_point():
    found = {point.value for point in entry_points(group="myst_nb.mime_renderers")}
    assert "qlearn.teach.render:ExplorerMime" in found
