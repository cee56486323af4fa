"""A served model: transformers' own server as a process of its own, on loopback.

    with Server() as server:
        reply = complete(server.address, "folder/of/a/model", "The capital of France is")

``transformers serve`` speaks OpenAI's protocol. It loads whatever model a request names, a local
folder too, and keeps it in memory; so one server holds two versions of a model at a time, and a
client chooses between them by name. That is handy on loopback and a hole in a wall elsewhere: the
server asks nobody who they are. This one listens on 127.0.0.1 alone.
"""

from __future__ import annotations

import atexit
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import IO, Self

from qlearn.serve.monitor.metrics import resident_bytes

Address = tuple[str, int]  # host and port
LOOPBACK = "127.0.0.1"
NEEDED = ("fastapi", "openai", "uvicorn")  # what transformers[serving] adds
MODULE = "transformers.cli.transformers"


class Server:
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
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as self
        self.address: Address = (LOOPBACK, free_port())
        command = [python, "-m", MODULE, "serve", "--device", "cpu", *options]
        command += ["--host", LOOPBACK, "--port", str(self.address[1])]
        # Offline it never looks for a folder's name on the hub.
        offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            command, env={**os.environ, **offline}, stdout=self._log, stderr=subprocess.STDOUT
        )
        atexit.register(self.close)  # a notebook that stops half way must not leave it behind
        try:
            self._wait(patience)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def memory(self) -> float:
        """Bytes of its process in memory now."""
        return resident_bytes(self.pid)

    def log(self, lines: int = 20) -> str:
        """The last lines that it wrote."""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-lines:])

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

    def close(self) -> None:
        """End it."""
        atexit.unregister(self.close)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait(self, patience: float) -> None:
        end = time.monotonic() + patience
        while not answers(self.address, "/health"):
            code = self._process.poll()
            if code is not None or time.monotonic() > end:
                state = "did not answer in time" if code is None else f"ended with {code}"
                raise OSError(f"the server {state}; its log ends:\n{self.log()}")
            time.sleep(0.1)


def answers(address: Address, path: str) -> bool:
    """Whether a GET is answered with 200."""
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
