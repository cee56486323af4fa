"""Load: closed loops and open ones, and why their percentiles differ.

A **closed loop** has so many clients, each of which waits for its answer before it asks again. It
finds out how much a server can do, and how long answers take at so many at once.

In an **open loop** requests come when they come, as users do who know nothing of one another: at a
mean rate, at times of a Poisson process. Each is timed from when it *came*, not from when
somebody was free to send it.

The difference shows when the server stops for a second. In a closed loop one request waits, and
all those that would have come in that second are never made: the measuring tool politely waits
with its server, and a percentile hardly moves. Gil Tene named it *coordinated omission*. In an open
loop all of them wait and are counted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from queue import Empty, SimpleQueue
from threading import Barrier

from qlearn.numerics.refuse import check_positive
from qlearn.serve.client import Reply

Send = Callable[[str], Reply]  # a prompt to its answer; raises OSError where there is none


@dataclass(frozen=True)
class Timing:
    """One request.

    Attributes:
        due: when it came; ``perf_counter`` seconds. In a closed loop that is when it was sent.
        ended: when its answer, or its error, was there.
        reply: the answer, or ``None``.
        error: why there is none.
    """

    due: float
    ended: float
    reply: Reply | None
    error: str = ""

    @property
    def seconds(self) -> float:
        """From when it came to its last byte."""
        return self.ended - self.due

    @property
    def first_token(self) -> float | None:
        """From when it came to its first token."""
        return self.reply.pieces[0] - self.due if self.reply and self.reply.pieces else None


def closed_loop(send: Send, prompts: Sequence[str], clients: int) -> list[Timing]:
    """All prompts by so many clients, each sending its next when its last is answered.

    Raises:
        ValueError: for fewer than one client, or no prompts.
    """
    _check(prompts, clients=clients)
    waiting: SimpleQueue[str] = SimpleQueue()
    for prompt in prompts:
        waiting.put(prompt)
    ready = Barrier(clients)

    def client(_: int) -> list[Timing]:
        done: list[Timing] = []
        ready.wait()
        while True:
            try:
                prompt = waiting.get_nowait()
            except Empty:
                return done
            done.append(_timed(send, prompt, time.perf_counter()))

    with ThreadPoolExecutor(clients) as pool:
        parts = list(pool.map(client, range(clients)))
    return sorted((each for part in parts for each in part), key=lambda each: each.due)


def arrivals(rate: float, count: int, seed: int = 0) -> list[float]:
    """Seconds at which ``count`` users come, of a Poisson process of ``rate`` a second.

    >>> [round(second, 2) for second in arrivals(rate=2.0, count=3)]
    [0.93, 1.64, 1.91]
    """
    check_positive(rate=rate, count=count)
    generator = random.Random(seed)
    return list(accumulate(generator.expovariate(rate) for _ in range(count)))


def open_loop(send: Send, prompts: Sequence[str], rate: float, seed: int = 0) -> list[Timing]:
    """Each prompt at its own time, ``rate`` a second on average, whether or not others are done.

    Raises:
        ValueError: for a rate that is not positive, or no prompts.
    """
    _check(prompts, rate=rate)
    begin = time.perf_counter()
    due = [begin + second for second in arrivals(rate, len(prompts), seed)]
    # A thread each: one too few would hold a request back, and close the loop again.
    with ThreadPoolExecutor(len(prompts)) as pool:
        running = []
        for prompt, moment in zip(prompts, due, strict=True):
            time.sleep(max(0.0, moment - time.perf_counter()))
            running.append(pool.submit(_timed, send, prompt, moment))
        return [each.result() for each in running]


def _timed(send: Send, prompt: str, due: float) -> Timing:
    try:
        reply = send(prompt)
    except OSError as error:
        return Timing(due, time.perf_counter(), None, str(error))
    return Timing(due, reply.ended, reply)


def _check(prompts: Sequence[str], **numbers: float) -> None:
    if isinstance(prompts, str) or not prompts:
        raise ValueError(f"prompts={prompts!r:.40} is no list of texts; pass one or more")
    check_positive(**numbers)
