"""The built site, for benchmarks that open it in a browser."""

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve(site: Path, kind: type[Quiet] = Quiet) -> Iterator[str]:
    """Serve a folder on loopback; gives the address."""
    handler = functools.partial(kind, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def built_site(arguments: list[str]) -> Path:
    """The folder that the command line names, or `make book`'s.

    Raises:
        SystemExit: no built site is there.
    """
    site = Path(arguments[0] if arguments else "_build/html")
    if not (site / "search.html").exists():
        raise SystemExit(f"{site} holds no built site; run `make book` first")
    return site
