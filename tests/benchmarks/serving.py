"""A served model: latency and throughput under load, and faults that a Prometheus alerts on.

Writes ``results/serving.json``. Needs what ``transformers[serving]`` adds, and ``prometheus``
(Debian's package) on the path. Seven minutes of two cores.

    python tests/benchmarks/serving.py
"""

from __future__ import annotations

import tempfile
import threading
import time
from functools import partial
from importlib import metadata
from logging import getLogger
from pathlib import Path
from typing import Any

import _serving_watch
import torch
from _results import save

from qlearn import load_model, load_tokenizer, quantize_model
from qlearn.checkpoints.save import save_quantized
from qlearn.course.chapters.ch13 import save_healthy
from qlearn.models.load import locate
from qlearn.serve.client import complete
from qlearn.serve.load import Send, Timing, closed_loop, open_loop
from qlearn.serve.monitor.alerts.prometheus import find_prometheus
from qlearn.serve.server import Server
from qlearn.serve.summary import Summary, summarize

COMMAND = "python tests/benchmarks/serving.py"
MODEL = "smollm2-135m"
TOKENS = 12  # of each answer
CLIENTS = (1, 2, 4, 8)
UTILIZATIONS = (0.5, 0.9)  # of the requests a second that a closed loop gets through
OPTIONS = {"one at a time": (), "continuous batching": ("--continuous-batching",)}
# Blocks of the cache that batching reserves: by default it takes most of the memory.
BATCHING = ("--cb-num-blocks", "32", "--cb-block-size", "32", "--cb-max-batch-tokens", "64")
BEGINNINGS = (
    "The capital of France is",
    "Water boils at a temperature of",
    "The three primary colours are",
    "My grandmother used to tell me that",
    "In the middle of the night the",
    "A good way to learn a language is",
    "The train to the coast leaves at",
    "Bread is made of flour, water and",
)


def saved(root: str, weights: str) -> Path:
    """A folder of the model with such weights."""
    if weights == "float32":
        return locate(MODEL, ["config.json"]).folder
    model = load_model(MODEL)
    quantize_model(model, "nf4", progress=False)
    tokenizer = load_tokenizer(MODEL)
    return save_quantized(model, Path(root) / "nf4", "bitsandbytes", tokenizer=tokenizer)


def prompts(count: int) -> list[str]:
    """So many, the beginnings in turn."""
    return [BEGINNINGS[place % len(BEGINNINGS)] for place in range(count)]


def load_rows(root: str) -> list[dict[str, Any]]:
    """Closed loops of several clients; open ones where one request runs at a time."""
    rows = []
    for weights in ("float32", "NF4"):
        folder = saved(root, weights)
        for batching, options in OPTIONS.items():
            with Server((*options, *BATCHING) if options else ()) as server:
                send = partial(complete, server.address, folder, new_tokens=TOKENS)
                began = time.perf_counter()
                send(BEGINNINGS[0])  # loads the model
                loading = time.perf_counter() - began
                head = {"weights": weights, "batching": batching}
                done = {}
                for clients in CLIENTS:
                    asked = prompts(2 * max(4, clients))
                    done[clients] = summarize(closed_loop(send, asked, clients))
                    rows.append({"what": "closed", **head, "clients": clients})
                    rows[-1] |= {**done[clients].row(), "memory": server.memory()}
                    print(rows[-1], flush=True)
                rows[-1]["first_answer_seconds"] = round(loading, 2)
                if not options:
                    rows += open_rows(send, head, done[1])
    return rows


def open_rows(send: Send, head: dict[str, Any], alone: Summary) -> list[dict[str, Any]]:
    """The same requests as users send them."""
    rows = []
    for share in UTILIZATIONS:
        rate = share * alone.requests / alone.seconds
        found = summarize(open_loop(send, prompts(24), rate))
        rows.append({"what": "open", **head, "rate": round(rate, 3), "utilization": share})
        rows[-1] |= found.row()
        print(rows[-1], flush=True)
    return rows


def stall_rows(root: str, seconds: float = 1.0, requests: int = 60) -> list[dict[str, Any]]:
    """The server stands still once: what a closed loop of one client sees, and what users do."""
    folder = save_healthy("pocket-400k", root, "pocket")
    with Server(threads=1) as server:
        send = partial(complete, server.address, folder, new_tokens=4)
        asked = ["12+34="] * requests
        alone = summarize(closed_loop(send, asked, 1))
        rate = 0.5 * alone.requests / alone.seconds
        timings = {
            "closed": paused(server, seconds, partial(closed_loop, send, asked, 1)),
            "open": paused(server, seconds, partial(open_loop, send, asked, rate)),
        }
    rows = []
    for loop, found in timings.items():
        row = {"what": "stall", "loop": loop, "stall_seconds": seconds, **summarize(found).row()}
        row["waited_long"] = sum(each.seconds > seconds / 2 for each in found)
        rows.append(row)
        print(row, flush=True)
    return rows


def paused(server: Server, seconds: float, load: Any) -> list[Timing]:
    """Put a load on a server that stands still for a while, soon after the beginning."""

    def stop() -> None:
        time.sleep(0.3)
        with server.paused():
            time.sleep(seconds)

    stopper = threading.Thread(target=stop)
    stopper.start()
    timings: list[Timing] = load()
    stopper.join()
    return timings


def main() -> None:
    """Measure everything."""
    if find_prometheus() is None:  # said now, not after five minutes
        raise SystemExit("prometheus is missing; it is in Debian's package prometheus")
    getLogger("bitsandbytes").setLevel("ERROR")  # it tells of kernels to install
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        rows = load_rows(root) + stall_rows(root)
    watched = _serving_watch.watch_rows()
    for row in watched:
        print(row, flush=True)
    packages = ("fastapi", "openai", "uvicorn", "prometheus-client")
    save(
        "serving",
        rows + watched,
        command=COMMAND,
        model=MODEL,
        watched=_serving_watch.MODEL,
        new_tokens=TOKENS,
        server={name: metadata.version(name) for name in packages},
    )


if __name__ == "__main__":
    main()
