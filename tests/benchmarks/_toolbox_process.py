"""A worker of the tools table as its parent sees it: questions, answers, faults of all kinds."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from _environments import ROOT

THREADS = 2
WORKER = Path(__file__).with_name("_toolbox_worker.py")


class ToolError(Exception):
    """A tool that raised, ended or hung; the message says which, without this machine's paths."""


class Worker:
    """A process that works on one row.

    Args:
        python: the interpreter of the tool's environment.
        script: the tool's ``_tool_NAME.py``.
        row: its name.
        job: the folder of the run; the process's log goes there.
    """

    def __init__(self, python: Path, script: Path, row: str, job: Path) -> None:
        self.row = row
        with (job / f"{row}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [python, WORKER, script, row, job],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=job,
                env=surroundings(),
                start_new_session=True,  # so that what it starts ends with it
            )

    def ask(self, do: str, timeout: float, **more: Any) -> dict[str, Any]:
        """Have one thing done.

        Raises:
            ToolError: where the tool raised, ended, or took more than ``timeout`` seconds. The
                worker is closed then.
        """
        try:
            return self._ask(do, timeout, more)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process, and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _ask(self, do: str, timeout: float, more: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ToolError(f"{do}: {self._ending()}") from None
        said, end = b"", time.monotonic() + timeout
        while not said.endswith(b"\n"):
            left = max(0.0, end - time.monotonic())
            if not select.select([self.process.stdout], [], [], left)[0]:
                raise ToolError(f"{do}: no answer within {timeout:.0f} s")
            part = os.read(self.process.stdout.fileno(), 65536)
            if not part:
                raise ToolError(f"{do}: {self._ending()}")
            said += part
        answer: dict[str, Any] = json.loads(said)
        if "error" in answer:
            raise ToolError(f"{do}: {without_paths(answer['error'])}")
        done: dict[str, Any] = answer["done"]
        return done

    def _ending(self) -> str:
        status = self.process.wait(timeout=10)
        if status < 0:
            return f"the process was ended by {signal.Signals(-status).name}"
        return f"the process ended with status {status}"


def surroundings() -> dict[str, str]:
    """The workers' environment variables: two threads, no network."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": str(THREADS),
        "MKL_NUM_THREADS": str(THREADS),
        "GPTQMODEL_CPU_WORKERS": str(THREADS),  # otherwise it wants more than there are cores
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
    }


def without_paths(message: str) -> str:
    """A message whose places on this machine are cut to the file's name; 300 characters."""
    line = " ".join(message.split())
    return re.sub(r"(?:/[\w.+~-]+)+/([\w.+~-]+)", r"\1", line)[:300]
