"""A notebook in its sandbox, kept alive: when a cell or a call stops it, it starts again without.

A process that was stopped has lost its variables. The next request starts another one and executes
the cells again that went well before, so that one endless loop costs its own question alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from qlearn.classroom.sandbox.process import LostError, WorkerProcess
from qlearn.classroom.sandbox.sandbox import Room

__all__ = ["Session", "SpentError", "StoppedError"]

MOST_OUTPUT = 8_000_000  # bytes of one cell's outputs
LOSSES_PER_QUESTION = 2


class StoppedError(Exception):
    """A call was stopped; the text says why. Not one of Python's kinds: no answer raises it."""


class SpentError(StoppedError):
    """The notebook has used up its time, or its process was stopped too often."""


class Session:
    """Executes cells and calls functions of one notebook. Use it in a ``with`` block."""

    def __init__(self, room: Room, folder: Path) -> None:
        self.room, self.folder = room, folder
        self.limits = room.limits
        self.begun = time.monotonic()
        self.inside: WorkerProcess | None = None
        self.done: list[str] = []  # the cells that went well, in order
        self.held = ""  # the function that the process holds for calls
        self.losses = 0
        self.lost_here = 0  # since the question began

    def run(self, source: str) -> dict[str, Any]:
        """Execute a cell: its outputs, and the error that ended it ('' for none)."""
        try:
            inside = self._alive()
            reply = self._cell(inside, source)
        except LostError as error:
            self._lost()
            return _failed("Stopped", str(error))
        except SpentError as error:
            return _failed("Stopped", str(error))
        if _memory_is_full(reply):
            # What filled it may still be held: the next cells would pay for it.
            self.close()
            self._lost()
        else:
            self.done.append(source)
        return reply

    def begin_question(self) -> None:
        """Count the stops of the next question from none."""
        self.lost_here = 0

    def look(self, name: str, seconds: float, most: int) -> dict[str, Any]:
        """What the notebook holds under a name: ``kind`` missing, value or function.

        Raises:
            StoppedError: it can't be read.
        """
        return self._ask({"do": "look", "name": name}, seconds, most, look=name)

    def call(
        self, name: str, arguments: tuple[Any, ...], seconds: float, most: int
    ) -> dict[str, Any]:
        """Call the function of that name; give the reply of `worker.Worker.call`.

        Raises:
            StoppedError: the call was stopped, or the function is no longer there.
        """
        return self._ask({"do": "call", "arguments": arguments}, seconds, most, call=name)

    def close(self) -> None:
        """Stop the process."""
        if self.inside is not None:
            self.inside.close()
            self.inside = None

    def __enter__(self) -> Session:  # noqa: PYI034
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(
        self, request: dict[str, Any], seconds: float, most: int, look: str = "", call: str = ""
    ) -> dict[str, Any]:
        if self.lost_here >= LOSSES_PER_QUESTION:
            raise StoppedError(f"stopped {self.lost_here} times before: not tried again")
        try:
            inside = self._alive()
            if call and self.held != call:
                reply = inside.ask({"do": "look", "name": call}, seconds, most)
                if reply.get("kind") != "function":
                    raise StoppedError(f"`{call}` is not there when its cells run again")
                self.held = call
            reply = inside.ask(request, seconds, most)
        except LostError as error:
            self._lost()
            self.lost_here += 1
            raise StoppedError(str(error)) from None
        self.held = look or self.held
        return reply

    def _alive(self) -> WorkerProcess:
        """The running process; a new one, with the cells executed again, where there is none."""
        limits = self.limits
        if time.monotonic() - self.begun > limits.notebook_seconds:
            raise SpentError(f"the notebook has used up its {limits.notebook_seconds:g} s")
        while self.inside is None:
            if self.losses > limits.losses:
                raise SpentError(f"the notebook's process was stopped {self.losses} times")
            inside = WorkerProcess(self.room, self.folder)
            self.held = ""
            for source in list(self.done):
                try:
                    self._cell(inside, source)
                except LostError:  # it went well the first time: a cell that depends on chance
                    self._lost()
                    self.done.remove(source)
                    break
            else:
                self.inside = inside
        return self.inside

    def _cell(self, inside: WorkerProcess, source: str) -> dict[str, Any]:
        request = {"do": "cell", "source": source}
        return inside.ask(request, self.limits.cell_seconds, MOST_OUTPUT)

    def _lost(self) -> None:
        self.inside = None
        self.losses += 1


def _memory_is_full(reply: dict[str, Any]) -> bool:
    error = str(reply.get("error"))
    return error.startswith("MemoryError") or "can't allocate memory" in error


def _failed(name: str, text: str) -> dict[str, Any]:
    error = {"kind": "error", "name": name, "value": text, "trace": f"{name}: {text}"}
    return {"outputs": [error], "error": f"{name}: {text}"}
