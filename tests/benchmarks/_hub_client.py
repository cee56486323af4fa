"""What people do on a hub, over HTTP: log in, start a server, run code in it, call its pages."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

SECONDS = 120


@dataclass
class Person:
    """A user of the hub, who logs in as everybody does: with the login page."""

    hub: str  # http://127.0.0.1:PORT
    name: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)

    def log_in(self) -> None:
        """Post the login form; take a token for what follows."""
        with requests.Session() as session:
            session.get(f"{self.hub}/hub/login", timeout=SECONDS).raise_for_status()
            form = {"username": self.name, "password": self.password}
            form["_xsrf"] = session.cookies["_xsrf"]
            session.post(f"{self.hub}/hub/login", data=form, timeout=SECONDS).raise_for_status()
            made = session.post(
                f"{self.hub}/hub/api/users/{self.name}/tokens",
                headers={"X-XSRFToken": session.cookies.get("_xsrf", path="/hub/")},
                json={"note": "test"},
                timeout=SECONDS,
            )
            made.raise_for_status()
            self.token = made.json()["token"]

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call the hub, or the user's server below /user/NAME."""
        headers = {"Authorization": f"token {self.token}"}
        url = self.hub + path
        answer = requests.request(method, url, headers=headers, timeout=SECONDS, **options)
        if answer.status_code >= 400:
            raise RuntimeError(f"{self.name}: {method} {path}: {answer.status_code} {answer.text}")
        return answer

    def server(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call a page of the user's own server."""
        return self.call(method, f"/user/{self.name}{path}", **options)

    def start_server(self) -> None:
        """Wait until the user's server answers; the hub starts it where nobody has."""
        end, asked = time.monotonic() + SECONDS, False
        while time.monotonic() < end:
            servers = self.call("GET", f"/hub/api/users/{self.name}").json()["servers"]
            if servers.get("", {}).get("ready"):
                return
            if not servers and not asked:
                self.call("POST", f"/hub/api/users/{self.name}/server")
                asked = True
            time.sleep(0.3)
        raise RuntimeError(f"{self.name}'s server is not ready after {SECONDS} s")

    def run(self, *cells: str, keep: bool = False) -> list[str]:
        """Run cells in a new kernel of the user's server; give what each printed.

        Raises:
            RuntimeError: a cell raised.
        """
        kernel = self.server("POST", "/api/kernels").json()["id"]
        try:
            return asyncio.run(self._run(kernel, cells))
        finally:
            if not keep:
                self.server("DELETE", f"/api/kernels/{kernel}")

    def shell(self, command: str, folder: str = "~") -> str:
        """Run a shell command in the user's server, from their home or a folder of it."""
        code = (
            "import os, subprocess\n"
            f"done = subprocess.run({command!r}, shell=True, text=True, capture_output=True, "
            f"cwd=os.path.expanduser({folder!r}))\n"
            "print(done.stdout + done.stderr, end='')\n"
            "assert done.returncode == 0, done.stdout + done.stderr"
        )
        return self.run(code)[0]

    async def _run(self, kernel: str, cells: tuple[str, ...]) -> list[str]:
        place = f"ws://{urlsplit(self.hub).netloc}/user/{self.name}/api/kernels/{kernel}/channels"
        headers = {"Authorization": f"token {self.token}"}
        socket = await websocket_connect(HTTPRequest(place, headers=headers))
        printed = []
        for code in cells:
            number = uuid.uuid4().hex
            header = {"msg_id": number, "msg_type": "execute_request", "version": "5.3"}
            content = {"code": code, "silent": False, "stop_on_error": True}
            message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
            await socket.write_message(json.dumps({**message, "channel": "shell"}))
            printed.append(await self._answer(socket, number))
        socket.close()
        return printed

    async def _answer(self, socket: Any, number: str) -> str:
        text, done = "", set()
        while done != {"reply", "idle"}:
            got = await asyncio.wait_for(socket.read_message(), 300)
            if got is None:
                raise RuntimeError(f"{self.name}'s kernel closed the connection")
            message = json.loads(got)
            if message["parent_header"].get("msg_id") != number:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                text += content["text"]
            elif kind in ("display_data", "execute_result"):
                text += content["data"].get("text/plain", "") + "\n"
            elif kind == "error":
                raise RuntimeError(f"{self.name}: {content['ename']}: {content['evalue']}\n{text}")
            done |= {"reply"} if kind == "execute_reply" else set()
            done |= {"idle"} if content.get("execution_state") == "idle" else set()
        return text


def processes_of(name: str) -> list[dict[str, Any]]:
    """Each process of a user of the system: its command, and the bytes that are its share (PSS)."""
    listed = subprocess.run(
        ["ps", "-u", name, "-o", "pid=,args="], capture_output=True, text=True, check=False
    )
    found = []
    for line in listed.stdout.splitlines():
        pid, command = line.split(maxsplit=1)
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:  # noqa: PTH123
                sizes = [row.split() for row in file]
        except OSError:
            continue  # it has ended
        pss, rss = (
            next(int(row[1]) * 1024 for row in sizes if row[0] == word) for word in ("Pss:", "Rss:")
        )
        found.append({"command": command, "pss": pss, "rss": rss})
    return found
