"""One normal form for a committed notebook, so that a diff shows what an author changed."""

import hashlib
from typing import Any

from qlearn import needs

with needs("dev"):
    import nbformat

KEPT_CELL_METADATA = {
    *("tags", "nbgrader", "mystnb", "editable", "deletable"),
    *("cellView", "jupyter"),  # a cell whose code is folded, in Colab and in JupyterLab
}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PLOTLY_VIEW = "application/vnd.plotly.v1+json"
EXPLORER = "application/vnd.qlearn.explorer+json"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}


def normalise(notebook: Any) -> Any:
    """Bring a notebook to its normal form; the argument is not changed.

    What a run leaves by chance goes: widget state and views, timings, the kernel's version,
    progress bars. Cell ids come from the cells' text, counts run from 1 in order.

    >>> cell = nbformat.v4.new_code_cell("1 + 1", execution_count=7)
    >>> normalise(nbformat.v4.new_notebook(cells=[cell])).cells[0].execution_count
    1
    """
    fresh = nbformat.from_dict(notebook)
    fresh.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    fresh.nbformat, fresh.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    count = 0
    for cell in fresh.cells:
        cell.source = cell.source.strip("\n")
        cell.metadata = nbformat.from_dict(
            {key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA}
        )
        cell.id = _stable_id(cell.cell_type, cell.source, seen)
        if cell.cell_type != "code":
            continue
        executed = bool(cell.source.strip()) and cell.execution_count is not None
        count += executed
        cell.execution_count = count if executed else None
        cell.outputs = [_normal_output(output, count) for output in _without_noise(cell.outputs)]
    return fresh


def _stable_id(kind: str, source: str, seen: dict[str, int]) -> str:
    """Make an id of a cell's text; a repeated text gets a number."""
    digest = hashlib.sha256(f"{kind}\n{source}".encode()).hexdigest()[:10]
    seen[digest] = seen.get(digest, 0) + 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def _without_noise(outputs: list[Any]) -> list[Any]:
    """Join streams, and drop progress bars and views of widgets that are gone."""
    kept: list[Any] = []
    for output in outputs:
        output = nbformat.from_dict(output)
        if output.output_type == "stream":
            if output.name == "stderr" and "\r" in output.text:
                continue
            last = kept[-1] if kept else None
            if last is not None and last.output_type == "stream" and last.name == output.name:
                last.text += output.text
                continue
        elif "data" in output and EXPLORER in output.data:
            for live in (WIDGET_VIEW, PLOTLY_VIEW):  # a running kernel's views of the same figure
                output.data.pop(live, None)
        elif "data" in output and WIDGET_VIEW in output.data:
            del output.data[WIDGET_VIEW]
            if set(output.data) <= {"text/plain"}:
                continue
        kept.append(output)
    return kept


def _normal_output(output: Any, count: int) -> Any:
    """Give a result its cell's count, and drop an output's own metadata where it is empty."""
    output.pop("transient", None)
    if output.output_type == "execute_result":
        output.execution_count = count
    return output
