"""A program that runs beside this one: started, waited for, and ended whatever happens."""

from __future__ import annotations

import atexit
import http.client
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Self

Address = tuple[str, int]  # host and port
LOOPBACK = "127.0.0.1"


class Child:
    """A child process with its log; use it with ``with``. What starts one derives from it.

    Args:
        name: what messages call it.
        command: its program and arguments.
        variables: of its environment, beside this process's.
    """

    def __init__(self, name: str, command: Sequence[str], **variables: str) -> None:
        self.name = name
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as self
        self._process = subprocess.Popen(
            command, env={**os.environ, **variables}, stdout=self._log, stderr=subprocess.STDOUT
        )
        atexit.register(self.close)  # a notebook that stops half way must not leave it behind

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def log(self, lines: int = 20) -> str:
        """The last lines that it wrote."""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-lines:])

    def wait(self, ready: Callable[[], bool], patience: float) -> None:
        """Wait until it is ready; end it where anything goes wrong.

        Raises:
            OSError: it ended, or ``patience`` seconds did; with the last lines of its log.
        """
        end = time.monotonic() + patience
        try:
            while not ready():
                code = self._process.poll()
                if code is not None or time.monotonic() > end:
                    state = "did not answer in time" if code is None else f"ended with {code}"
                    raise OSError(f"{self.name} {state}; its log ends:\n{self.log()}")
                time.sleep(0.1)
        except BaseException:
            self.close()
            raise

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
