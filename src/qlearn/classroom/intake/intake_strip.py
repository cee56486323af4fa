"""Read a notebook of unknown content: its cells' kinds, sources and ids, and nothing else.

Run as a program of its own with limits (``python -I -S intake_strip.py < notebook``), so that
a file made to exhaust memory harms nobody. Writes JSON: the cells, or a "problem".
"""

import json
import resource
import sys
from typing import Any

MOST_MEMORY = 3 * 2**30
MOST_SECONDS = 60
MOST_SOURCE = 1_000_000  # characters of all cells together
MOST_CELLS = 2_000


def text_of(value: Any) -> str | None:
    """A cell's source: a string, or a list of lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return None


def cells_of(notebook: Any) -> Any:
    """The cells of a notebook's JSON, of format 4 or of the older 3."""
    if not isinstance(notebook, dict):
        return None
    if isinstance(notebook.get("cells"), list):
        return notebook["cells"]
    sheets = notebook.get("worksheets")
    if isinstance(sheets, list) and sheets and isinstance(sheets[0], dict):
        return sheets[0].get("cells")
    return None


def strip(notebook: Any) -> dict[str, Any]:
    """Keep of a notebook what grading needs."""
    cells = cells_of(notebook)
    if not isinstance(cells, list):
        return {"problem": "it is JSON, but not a notebook: it has no list of cells"}
    kept: list[dict[str, str]] = []
    dropped, size = 0, 0
    for cell in cells:
        kind = cell.get("cell_type") if isinstance(cell, dict) else None
        kind = "markdown" if kind == "heading" else kind
        source = None
        if kind in ("code", "markdown", "raw"):
            source = text_of(cell.get("source", cell.get("input")))
        if source is None or len(kept) >= MOST_CELLS or size + len(source) > MOST_SOURCE:
            dropped += 1
            continue
        size += len(source)
        metadata = cell.get("metadata")
        nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
        grade_id = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
        # A lone surrogate is valid in JSON, but can't be written to a file again.
        source = source.encode("utf-8", "replace").decode("utf-8")
        name = grade_id[:200] if isinstance(grade_id, str) else ""
        kept.append({"kind": str(kind), "source": source, "grade_id": name})
    return {"cells": kept, "dropped": dropped}


def main() -> None:
    """Strip what stands on standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    try:
        data = sys.stdin.buffer.read()
        if not data.strip():
            result = {"problem": "the file is empty"}
        else:
            result = strip(json.loads(data.decode("utf-8-sig")))
    except UnicodeDecodeError:
        result = {"problem": "it is not UTF-8 text, which a notebook is"}
    except (ValueError, RecursionError):
        result = {"problem": "it is not JSON, which a notebook is"}
    except MemoryError:
        result = {"problem": "reading it takes more than 3 GiB of memory"}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
