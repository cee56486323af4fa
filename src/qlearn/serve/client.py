"""One request to an OpenAI-compatible server, its answer streamed, and when each piece came.

The answer comes as *server-sent events*: lines ``data: {...}``, each with the next piece of text,
written as soon as its token is there. So a client sees two kinds of waiting: for the first token,
while the server is busy with others and reads the prompt, and between one token and the next.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from qlearn.serve.monitor.text import Ask

PATH = "/v1/completions"


@dataclass(frozen=True)
class Reply:
    """An answer; times are in seconds of :func:`time.perf_counter`.

    Attributes:
        text: what was generated.
        read: tokens of the prompt.
        generated: tokens of the answer.
        sent: when the request left.
        pieces: when each piece of text came.
        ended: when the last byte came.
    """

    text: str
    read: int
    generated: int
    sent: float
    pieces: tuple[float, ...]
    ended: float

    @property
    def first_token(self) -> float | None:
        """Seconds to the first token (TTFT); ``None`` for an empty answer."""
        return self.pieces[0] - self.sent if self.pieces else None

    @property
    def gaps(self) -> list[float]:
        """Seconds between one token and the next."""
        return [after - before for before, after in pairwise(self.pieces)]

    @property
    def seconds(self) -> float:
        """From the request to the last byte."""
        return self.ended - self.sent


def complete(
    address: tuple[str, int],
    model: str | os.PathLike[str],
    prompt: str,
    new_tokens: int = 16,
    timeout: float = 120.0,
) -> Reply:
    """Ask for the text after a prompt, at temperature 0.

    Args:
        address: host and port.
        model: name, or folder where the server reads folders.
        prompt: text, taken as it is.
        new_tokens: at the most.
        timeout: seconds of silence.

    Raises:
        OSError: the server can't be reached, falls silent or answers with an error.
    """
    body = {
        "model": os.fspath(model),
        "prompt": prompt,
        "max_tokens": new_tokens,
        "temperature": 0,
        "stream": True,
    }
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    sent = time.perf_counter()
    text, pieces, usage = "", [], dict[str, Any]()
    try:
        connection.request("POST", PATH, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise OSError(f"{PATH} answered {response.status}: {response.read(500)!r}")
        for line in response:
            event = _event(line)
            for choice in event.get("choices", []):
                if choice.get("text"):
                    pieces.append(time.perf_counter())
                    text += choice["text"]
            usage = event.get("usage") or usage
    except http.client.HTTPException as error:
        raise OSError(f"{PATH} broke off: {error!r}") from error
    finally:
        connection.close()
    if not usage:
        raise OSError(f"{PATH} ended before its answer did, after {text!r:.60}")
    counts = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    return Reply(text, *counts, sent, tuple(pieces), time.perf_counter())


def asker_at(address: tuple[str, int], model: str | os.PathLike[str], new_tokens: int = 16) -> Ask:
    """A function from a prompt to the text after it, such as a text canary asks."""

    def ask(prompt: str) -> str:
        return complete(address, model, prompt, new_tokens).text

    return ask


def _event(line: bytes) -> dict[str, Any]:
    """What a line of the stream says; nothing for lines between events, and for the closing one."""
    kind, _, data = line.strip().partition(b":")
    if kind != b"data" or data.strip() == b"[DONE]":
        return {}
    event: dict[str, Any] = json.loads(data)
    if "error" in event:
        raise OSError(f"{PATH} failed: {event['error']}")
    return event
