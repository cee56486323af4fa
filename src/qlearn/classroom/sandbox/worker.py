"""Runs inside the sandbox: executes a notebook's cells and answers the grader's calls.

It knows neither the cases nor the references: requests bring one case's arguments, replies take the
result away. A request and a reply are an 8-byte length and a value of
`qlearn.classroom.sandbox.wire`.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import resource
import struct
import sys
from typing import Any, BinaryIO

SHORT = 300  # characters of an error's text


def main(limits: dict[str, int]) -> None:
    """Answer requests until the grader closes its end.

    Args:
        limits: bytes of address space (`memory`), seconds of CPU (`cpu`), bytes of a file
            (`file`), open files (`files`), processes of this user (`processes`).
    """
    for name, key in (
        *(("RLIMIT_AS", "memory"), ("RLIMIT_CPU", "cpu"), ("RLIMIT_FSIZE", "file")),
        *(("RLIMIT_NOFILE", "files"), ("RLIMIT_NPROC", "processes")),
    ):
        resource.setrlimit(getattr(resource, name), (limits[key], limits[key]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from qlearn.classroom.sandbox.worker_cells import Cells, silence

    requests: BinaryIO = os.fdopen(os.dup(0), "rb")
    replies: BinaryIO = os.fdopen(os.dup(1), "wb")
    silence()
    import torch

    from qlearn.classroom.sandbox import wire

    torch.set_num_threads(1)
    session = Worker(Cells())
    _send(replies, wire.pack({"ready": True}))
    while len(head := requests.read(8)) == 8:
        request = wire.unpack(requests.read(struct.unpack("<Q", head)[0]))
        try:
            reply = wire.pack(session.answer(request), request["most"] - 100_000)
        except BaseException as error:  # a result that can't be sent, a KeyboardInterrupt
            reply = wire.pack({"error": _error(error)})
        _send(replies, reply)


class Worker:
    """The state between requests: the cells' namespace, and the function asked for last."""

    def __init__(self, cells: Any) -> None:
        self.cells = cells
        self.function: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks."""
        if request["do"] == "cell":
            return dict(self.cells.run(request["source"]))
        if request["do"] == "look":
            return self.look(request["name"])
        return self.call(request["arguments"])

    def look(self, name: str) -> dict[str, Any]:
        """What the notebook holds under a name; a function is kept for calls."""
        space = self.cells.shell.user_ns
        if name not in space:
            return {"kind": "missing"}
        value = space[name]
        if not callable(value):
            return {"kind": "value", "value": _blank_as_none(value)}
        self.function = value
        parameters: Any = None
        with contextlib.suppress(TypeError, ValueError):
            parameters = [
                [p.name, p.kind.name, p.default is not p.empty]
                for p in inspect.signature(value).parameters.values()
            ]
        return {"kind": "function", "parameters": parameters}

    def call(self, arguments: tuple[Any, ...]) -> dict[str, Any]:
        """Call the function; give its result, and the arguments that it changed in place."""
        import torch

        from qlearn.classroom.sandbox import wire

        before = [wire.pack(argument) for argument in arguments]
        given = [_built(argument) for argument in arguments]
        torch.manual_seed(0)
        saved = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = io.TextIOWrapper(io.FileIO(os.devnull, "w"))
        try:
            value = self.function(*given)
        except BaseException as error:  # SystemExit too: exit() in an answer is a wrong answer
            return {"error": _error(error)}
        finally:
            sys.stdout, sys.stderr = saved
        changed = {
            str(k): given[k]
            for k, argument in enumerate(arguments)
            if not isinstance(argument, wire.Reference) and wire.pack(given[k]) != before[k]
        }
        return {"value": _blank_as_none(value), "changed": changed}


def _built(argument: Any) -> Any:
    """The model that a reference names, or the argument itself."""
    from qlearn.classroom.sandbox import wire

    if isinstance(argument, wire.Reference):
        from qlearn.models.load import load_model

        return load_model(str(argument))
    return argument


def _blank_as_none(value: Any) -> Any:
    if value is Ellipsis:
        return None
    if type(value) in (list, tuple):
        return type(value)(_blank_as_none(item) for item in value)
    if type(value) is dict:
        return {key: _blank_as_none(item) for key, item in value.items()}
    return value


def _error(error: BaseException) -> list[str]:
    try:
        text = str(error)[:SHORT]
    except BaseException:  # an exception whose text raises
        text = ""
    # The nearest of Python's own kinds: the grader has no others.
    kinds = [kind for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    return [type(error).__name__[:80], kinds[0].__name__, text]


def _send(replies: BinaryIO, data: bytes) -> None:
    replies.write(struct.pack("<Q", len(data)))
    replies.write(data)
    replies.flush()
