"""Inside the sandbox: executes cells in IPython without a kernel, and collects their outputs."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, cast

from qlearn import needs

MOST_TEXT = 100_000  # characters of a cell's output that are kept
MOST_OUTPUTS = 50


class Bounded(io.StringIO):
    """A stream that keeps its beginning and drops the rest: a cell may print for ever."""

    left = MOST_TEXT

    def write(self, text: str) -> int:
        """Keep what there is room for; report all of it as written, as print expects."""
        kept = text[: max(self.left, 0)]
        super().write(kept)
        if len(kept) < len(text) and self.left >= 0:
            super().write("\n... the rest of this output is not kept")
        self.left -= len(text)
        return len(text)


class Cells:
    """A namespace in which cells are executed one after the other."""

    def __init__(self) -> None:
        with needs("classroom"):
            from IPython.core.interactiveshell import InteractiveShell
            from traitlets.config import Config

        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        config.InteractiveShell.autoindent = False
        self.shell = cast(Any, InteractiveShell.instance(config=config))
        self.outputs: list[dict[str, Any]] = []
        self.shell.display_pub.publish = self._display
        self.shell.displayhook.write_output_prompt = lambda: None
        self.shell.displayhook.write_format_data = self._result
        self.shell._showtraceback = self._traceback

    def run(self, source: str) -> dict[str, Any]:
        """Execute a cell; give its outputs, and the error that ended it ('' for none)."""
        self.outputs = []
        out, err = Bounded(), Bounded()
        saved = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = out, err
        try:
            result = self.shell.run_cell(source, store_history=False)
        finally:
            sys.stdout, sys.stderr = saved
        problem = result.error_in_exec or result.error_before_exec
        streams = [
            {"kind": "stream", "name": name, "text": stream.getvalue()}
            for name, stream in (("stdout", out), ("stderr", err))
            if stream.getvalue()
        ]
        error = f"{type(problem).__name__}: {problem}"[:300] if problem is not None else ""
        return {"outputs": [*streams, *self.outputs[:MOST_OUTPUTS]], "error": error}

    def _display(self, data: dict[str, Any], *_: Any, **__: Any) -> None:
        self.outputs.append({"kind": "display_data", "data": _texts(data)})

    def _result(self, data: dict[str, Any], *_: Any, **__: Any) -> None:
        self.outputs.append({"kind": "execute_result", "data": _texts(data)})

    def _traceback(self, kind: Any, value: Any, lines: Any) -> None:
        text = "\n".join(str(line) for line in lines)[:MOST_TEXT]
        name = getattr(kind, "__name__", "Error")
        self.outputs.append({"kind": "error", "name": name, "value": str(value), "trace": text})


def _texts(data: dict[str, Any]) -> dict[str, str]:
    """Of a display's forms the two that a page can show without running anything."""
    kept: dict[str, str] = {}
    for mime, limit in (("text/plain", MOST_TEXT), ("image/png", 2_000_000)):
        form = data.get(mime)
        if isinstance(form, bytes):
            import base64

            form = base64.b64encode(form).decode()
        if isinstance(form, str) and len(form) <= limit:
            kept[mime] = form
        elif isinstance(form, str) and mime == "text/plain":
            kept[mime] = form[:limit]
    return kept


def silence() -> None:
    """Point the process's own output at nothing, for what writes past Python's streams."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
