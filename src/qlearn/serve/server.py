"""A served model: transformers' own server as a process of its own, on loopback.

    with Server() as server:
        reply = complete(server.address, "folder/of/a/model", "The capital of France is")

``transformers serve`` speaks OpenAI's protocol. It loads whatever model a request names, a local
folder too, and keeps it in memory; so one server holds two versions of a model at a time, and a
client chooses between them by name. That is handy on loopback and a hole in a wall elsewhere: the
server asks nobody who they are. This one listens on 127.0.0.1 alone.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from qlearn.serve.child import LOOPBACK, Address, Child, answers, free_port
from qlearn.serve.monitor.metrics import resident_bytes

NEEDED = ("fastapi", "openai", "uvicorn")  # what transformers[serving] adds
MODULE = "transformers.cli.transformers"


class Server(Child):
    """``transformers serve`` as a child process; use it with ``with``.

    Args:
        options: of the command line, such as ``("--continuous-batching",)``.
        threads: that torch may use.
        patience: seconds until it must answer.
        python: the interpreter that runs it; by default this one.

    Raises:
        ModuleNotFoundError: where the packages that it needs are not installed.
        OSError: where it ends or does not answer in time; with the last lines of its log.
    """

    def __init__(
        self,
        options: Sequence[str] = (),
        threads: int = 2,
        patience: float = 180.0,
        python: str = sys.executable,
    ) -> None:
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing and python == sys.executable:
            raise ModuleNotFoundError(
                f"the server needs {', '.join(missing)}; pip install 'transformers[serving]'"
            )
        self.address: Address = (LOOPBACK, free_port())
        command = [python, "-m", MODULE, "serve", "--device", "cpu", *options]
        command += ["--host", LOOPBACK, "--port", str(self.address[1])]
        # Offline it never looks for a folder's name on the hub.
        super().__init__("the server", command, HF_HUB_OFFLINE="1", OMP_NUM_THREADS=str(threads))
        self.wait(lambda: answers(self.address, "/health"), patience)

    def memory(self) -> float:
        """Bytes of its process in memory now."""
        return resident_bytes(self.pid)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It stands still meanwhile, as under a swapping system or a long garbage collection.

        Raises:
            OSError: on Windows, which has no such signal.
        """
        if not hasattr(signal, "SIGSTOP"):
            raise OSError("this system can't stop a process; leave the pause out")
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)
