"""A student's process seen from outside: start it, ask it something, stop it. Trusts no reply."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from qlearn.classroom.sandbox import wire
from qlearn.classroom.sandbox.sandbox import Room, command, environment
from qlearn.classroom.sandbox.seccomp import program

__all__ = ["LostError", "WorkerProcess"]

START_SECONDS = 60.0  # importing torch on a busy machine
PATIENCE = 4  # times the limit of CPU seconds, on the clock
CHUNK = 1 << 20


class LostError(Exception):
    """The process is gone. The text says why, for the student; ``kind`` is one of a few words."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind  # "time", "ended", "size" or "damaged"


class WorkerProcess:
    """One running worker. Use it in a ``with`` block, or close it."""

    def __init__(self, room: Room, folder: Path) -> None:
        filters = program() if room.isolated else None
        with _pipe(filters or b"") as seccomp:
            worker, options = command(room, folder, seccomp if filters else None)
            self.scratch = None if room.isolated else tempfile.TemporaryDirectory()
            with _pipe("".join(f"{option}\0" for option in options).encode()) as arguments:
                bwrap = [shutil.which("bwrap") or "bwrap", "--args", str(arguments), "--"]
                self.process = subprocess.Popen(
                    [*bwrap, *worker] if room.isolated else worker,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    pass_fds=[seccomp, arguments] if room.isolated else [],
                    cwd=self.scratch.name if self.scratch else None,
                    env=environment(),  # bubblewrap's own would be seen in /proc/1
                    start_new_session=True,
                )
        assert self.process.stdin and self.process.stdout
        self.to, self.back = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.to, False)
        os.set_blocking(self.back, False)
        try:
            self._reply(b"", START_SECONDS, 1 << 16)
        except LostError as error:
            said = self._said()
            self.close()
            raise LostError(error.kind, f"it could not be started: {error} {said}") from None

    def ask(self, request: dict[str, Any], seconds: float, most: int) -> dict[str, Any]:
        """Send a request and take the reply.

        Args:
            request: see `worker.Worker.answer`.
            seconds: of CPU that it may take; on the clock up to four times as many.
            most: bytes that the reply may have.

        Raises:
            LostError: no sound reply came. The process has been stopped.
        """
        data = wire.pack({**request, "most": most})
        try:
            reply = self._reply(struct.pack("<Q", len(data)) + data, seconds, most)
        except LostError:
            self.close()
            raise
        return reply

    def close(self) -> None:
        """Stop the process, and with it all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, 9)
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()
        if self.scratch:
            with contextlib.suppress(OSError):
                self.scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reply(self, data: bytes, seconds: float, most: int) -> dict[str, Any]:
        clock = _Clock(self.process.pid, seconds)
        left = memoryview(data)
        got = bytearray()
        wanted = 8
        while len(got) < wanted:
            clock.check()
            poll = select.poll()
            poll.register(self.back, select.POLLIN)
            if left:
                poll.register(self.to, select.POLLOUT)
            for descriptor, event in poll.poll(250):
                if descriptor == self.to:
                    left = left[self._write(left) :]
                elif event & (select.POLLIN | select.POLLHUP):
                    chunk = self._read(min(CHUNK, wanted - len(got)))
                    got += chunk
            if len(got) >= 8 and wanted == 8:
                wanted += struct.unpack("<Q", got[:8])[0]
                if wanted > most + 8:
                    raise LostError("size", f"a reply of {wanted} bytes: {most} are allowed")
        try:
            reply = wire.unpack(bytes(got[8:]))
        except wire.Damaged as error:
            raise LostError("damaged", f"a reply that can't be read ({error})") from None
        if not isinstance(reply, dict):
            raise LostError("damaged", "a reply of the wrong kind")
        return reply

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self.to, data[:CHUNK])
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            raise self._ended() from None

    def _read(self, size: int) -> bytes:
        try:
            chunk = os.read(self.back, size)
        except BlockingIOError:
            return b""
        if not chunk:
            raise self._ended()
        return chunk

    def _ended(self) -> LostError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        status = self.process.poll()
        return LostError("ended", f"the process ended (status {status})")

    def _said(self) -> str:
        assert self.process.stderr
        descriptor = self.process.stderr.fileno()
        os.set_blocking(descriptor, False)
        with contextlib.suppress(BlockingIOError):
            return os.read(descriptor, 4096).decode(errors="replace").strip()[-500:]
        return ""


@contextlib.contextmanager
def _pipe(data: bytes) -> Iterator[int]:
    """A file descriptor from which a started program reads these bytes."""
    with tempfile.TemporaryFile() as file:  # a pipe would block where they are many
        file.write(data)
        file.seek(0)
        yield file.fileno()


class _Clock:
    """Time for one request: CPU seconds where they can be read, so that a busy machine costs none.

    Waiting (sleep, a lock) takes no CPU: on the clock four times as much is allowed.
    """

    def __init__(self, pid: int, seconds: float) -> None:
        self.pid, self.seconds = pid, seconds
        self.begun = time.monotonic()
        self.cpu = _cpu_seconds(pid)

    def check(self) -> None:
        """Raise where the time is over."""
        waited = time.monotonic() - self.begun
        if waited <= self.seconds:
            return
        used = _cpu_seconds(self.pid) - self.cpu
        if used > self.seconds or waited > PATIENCE * self.seconds:
            raise LostError("time", f"stopped: it takes longer than {self.seconds:g} s")


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process and of what descends from it, as far as it can be read."""
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
            todo += [int(p) for p in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
    return total
