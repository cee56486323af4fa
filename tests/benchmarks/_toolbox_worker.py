"""One row of the tools table, in the environment of its tool: `toolbox.py` starts and asks it.

    python _toolbox_worker.py _tool_NAME.py ROW JOB

JOB is a folder with ``tokens.npy`` (int64 ``[8, 512]``), ``calibration.npy`` and the reference's
log-probabilities; the row's files go to JOB/ROW. A line of JSON comes in on standard input, such as
``{"do": "decode", "batch": 8}``, and one goes out. Only numpy is imported here: what a process
takes is the tool's. A tool's ``load`` gives an object with

``logits(tokens)``
    int64 ``[length]`` to float32 ``[length, vocabulary]``, by one pass over all positions.
``decoder(prompt)``
    Reads int64 ``[batch, length]`` but its last column into a cache of keys and values; gives a
    function. Each call of that one feeds the newest token of each sequence to the model and
    returns the likeliest next ones, int64 ``[batch]``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _toolbox_quality import likeliest, log_probabilities, quality
from numpy.typing import NDArray

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
PROMPT, WRITTEN, WARM_UP, CHECKED = 32, 64, 8, 16
DECODE_SECONDS = 10.0  # one turn of a slow tool ends here, with the tokens it has
AGREE = 0.9  # of a decoder's tokens are those of its logits; a near tie may fall either way
Answer = dict[str, Any]


class Row:
    """What the parent asks for, on one row."""

    def __init__(self, script: Path, name: str, job: Path) -> None:
        spec = importlib.util.spec_from_file_location(script.stem, script)
        if spec is None or spec.loader is None:
            raise ValueError(f"script={script} is no Python file")
        self.tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.tool)
        self.name, self.job, self.folder = name, job, job / name
        self.model = Path(json.loads((job / "job.json").read_text())["model"])
        self.tokens = np.load(job / "tokens.npy")

    def make(self) -> Answer:
        """Quantize and save."""
        self.folder.mkdir()
        start = time.perf_counter()
        calibration = np.load(self.job / "calibration.npy")
        facts = self.tool.make(self.name, self.model, calibration, self.folder) or {}
        seconds = time.perf_counter() - start
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        return {
            **facts,  # what a tool found of its own on the way
            "seconds_to_make": round(seconds, 2),
            "make_peak_bytes": memory("VmHWM"),
            "disk_bytes": sum(file.stat().st_size for file in files),
        }

    def load(self) -> Answer:
        """Load what was saved, and write some tokens."""
        start = time.perf_counter()
        self.loaded = self.tool.load(self.name, self.folder, self.model)
        seconds = time.perf_counter() - start
        self._write(1, WARM_UP)
        return {
            "seconds_to_load": round(seconds, 2),
            "resident_bytes": memory("VmRSS"),
            "peak_bytes": memory("VmHWM"),
        }

    def reference(self) -> Answer:
        """Leave this row's log-probabilities for the others to compare with."""
        np.save(self.job / "reference.npy", np.stack([log_probabilities(one[:-1]) for one in self]))
        return {}

    def quality(self) -> Answer:
        """Perplexity, KL divergence and agreement; and the decoder's tokens are the logits'."""
        reference = np.load(self.job / "reference.npy", mmap_mode="r")
        found = quality(self, reference, self.tokens)
        least = self.tool.ROWS[self.name].get("agree", AGREE)
        for batch in (1, len(self.tokens)):
            written, _ = self._write(batch, CHECKED)
            same = []
            for prompt, tokens in zip(self.tokens[:batch, :PROMPT], written, strict=True):
                logits = self.loaded.logits(np.concatenate([prompt, tokens[:-1]]))
                same.append(np.mean(likeliest(logits[PROMPT - 1 :], tokens)))
            if np.mean(same) < least:
                raise ValueError(
                    f"{np.mean(same):.0%} of the tokens written at batch {batch} are the likeliest "
                    f"by the same model's logits; {least:.0%} at least should be"
                )
        return {name: round(value, 6) for name, value in found.items()}

    def decode(self, batch: int) -> Answer:
        """Tokens written, of all sequences together, and how long that took."""
        written, seconds = self._write(batch, WRITTEN)
        return {"tokens": written.size, "seconds": seconds}

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """The logits of each row of the text."""
        for row in self.tokens:
            yield self.loaded.logits(row)

    def _write(self, batch: int, tokens: int) -> tuple[NDArray[Any], float]:
        """Tokens ``[batch, written]``, and seconds behind the prompt."""
        step = self.loaded.decoder(np.ascontiguousarray(self.tokens[:batch, :PROMPT]))
        written: list[NDArray[Any]] = []
        start = time.perf_counter()
        while len(written) < tokens and time.perf_counter() - start < DECODE_SECONDS:
            written.append(step())
        return np.stack(written, axis=1), time.perf_counter() - start


def memory(field: str) -> int:
    """Bytes of a field of the kernel's: ``VmRSS`` now, ``VmHWM`` at most so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


def main(script: str, name: str, job: str) -> None:
    """Answer until there is nothing more to read."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    row: Row | None = None
    for line in sys.stdin:
        wanted = json.loads(line)
        try:
            row = row or Row(Path(script), name, Path(job))
            answer = {"done": getattr(row, wanted.pop("do"))(**wanted)}
        except BaseException as error:
            traceback.print_exc()
            answer = {"error": traceback.format_exception_only(error)[-1].strip()}
        print(json.dumps(answer), file=answers, flush=True)
    answers.flush()
    os._exit(0)  # a library's threads may not end by themselves


if __name__ == "__main__":
    main(*sys.argv[1:])
