"""The class on JupyterHub, for real: ``results/hub.json``.

A hub with `deploy/jupyterhub_config.py` as it stands, users of the system who log in with their
passwords, a browser that follows an nbgitpuller link, and assignment 1 there and back through
nbgrader's exchange. It makes users and folders of the machine (and takes them away again), so it
runs as root, on a machine that you can throw away, and only when asked:

    python tests/benchmarks/hub.py --on-this-machine
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from _hub_client import Person
from _hub_steps import STEPS
from _results import save
from traitlets.config.loader import PyFileConfigLoader

from qlearn.classroom.course import COURSE_ID

ROOT = Path(__file__).parents[2]
COMMAND = "python tests/benchmarks/hub.py --on-this-machine"
CONFIG = Path("/srv/qlearn-class")  # a copy of deploy/
CACHE = Path("/srv/qlearn")
EXCHANGE = Path("/srv/nbgrader/exchange")
PACKAGES = ("jupyterhub", "nbgitpuller", "nbgrader", "jupyterlab", "torch", "qlearn")
PORT, GIT_PORT = 8000, 9418


def names() -> tuple[list[str], list[str]]:
    """Teachers and students, as the configuration names them."""
    loader = PyFileConfigLoader("jupyterhub_config.py", path=str(ROOT / "deploy"))
    groups = loader.load_config().JupyterHub.load_groups
    return groups[f"formgrade-{COURSE_ID}"]["users"], groups[f"nbgrader-{COURSE_ID}"]["users"]


def quiet(*command: object, **options: Any) -> str:
    """Run a command; give its output, or fail with it."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def environment(folder: Path) -> None:
    """Make the hub's environment as the book says, where there is none yet."""
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
    if not (folder / "bin" / "configurable-http-proxy").exists():
        quiet("/usr/bin/python3", "-m", "venv", folder)
        torch = next(
            line
            for line in (ROOT / "constraints.txt").read_text().splitlines()
            if line.startswith("torch==")
        )
        quiet(*pip, torch)
        quiet(*pip, f"{ROOT}[course,classroom,hub]", "jupyterlab")
        quiet("npm", "install", "--global", "--prefix", folder, "configurable-http-proxy")
    quiet(*pip, "--no-deps", "--force-reinstall", f"{ROOT}")  # this very package


@contextmanager
def accounts(people: list[str]) -> Iterator[dict[str, str]]:
    """Users of the system with passwords, for as long as the hub runs."""
    passwords = {name: secrets.token_urlsafe(16) for name in people}
    made = []
    try:
        for name, password in passwords.items():
            private = ["--key", "HOME_MODE=0700"]
            quiet("useradd", "--create-home", *private, "--shell", "/bin/bash", name)
            made.append(name)
            quiet("chpasswd", input=f"{name}:{password}\n")
        yield passwords
    finally:
        for name in made:
            subprocess.run(["userdel", "--remove", name], capture_output=True, check=False)


@contextmanager
def folders(python: Path) -> Iterator[None]:
    """The configuration's copy, the shared model, the exchange."""
    for path in (CONFIG, CACHE, EXCHANGE.parent):
        if path.exists():
            raise RuntimeError(f"{path} exists: this script would take it away; move it first")
    try:
        shutil.copytree(ROOT / "deploy", CONFIG)
        quiet(python, "-m", "qlearn", "fetch", env={**os.environ, "QLEARN_CACHE": str(CACHE)})
        EXCHANGE.mkdir(parents=True)
        teachers, _ = names()
        quiet("chown", teachers[0], EXCHANGE)
        EXCHANGE.chmod(0o1777)
        yield
    finally:
        for path in (CONFIG, CACHE, EXCHANGE.parent):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def running(command: list[object], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A server in the background."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in command], stdout=out, stderr=subprocess.STDOUT, **options
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def versions(python: Path) -> dict[str, str]:
    """What runs: packages of the hub's environment, the proxy, node, the system."""
    code = "import json, sys; from importlib.metadata import version as v; "
    code += f"print(json.dumps({{p: v(p) for p in {PACKAGES!r}}} | {{'Python': "
    code += "sys.version.split()[0]}))"
    found = dict(json.loads(quiet(python, "-c", code)))
    listed = json.loads(quiet("npm", "ls", "--global", "--json", "--prefix", python.parents[1]))
    found["configurable-http-proxy"] = listed["dependencies"]["configurable-http-proxy"]["version"]
    system = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    return {
        **found,
        "node": quiet("node", "--version").strip(),
        "bubblewrap": quiet("bwrap", "--version").split()[-1],
        "system": system["PRETTY_NAME"].strip('"'),
    }


def walk(people: dict[str, Person], facts: dict[str, Any], say: Callable[..., None]) -> list[Any]:
    """All steps in their order; each raises where something is not as it should be."""
    rows = []
    for step in STEPS:
        begun = time.monotonic()
        who, found = step(people, facts)
        what = (step.__doc__ or "").splitlines()[0]
        rows.append({"who": who, "step": what, "seconds": round(time.monotonic() - begun, 1)})
        rows[-1] |= found
        say(f"{who}: {what} {rows[-1]['seconds']} s {found or ''}", flush=True)
    return rows


def main(arguments: list[str]) -> int:
    """Set up, walk through all steps, save, and take everything away again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on-this-machine", action="store_true", help="make users and folders")
    parser.add_argument(
        "--environment", type=Path, default=Path("/opt/hub"), help="made if missing"
    )
    parser.add_argument("--log", type=Path, default=Path("/tmp/hub.log"), help="the hub's own")
    options = parser.parse_args(arguments)
    if not options.on_this_machine or os.geteuid() != 0:
        print("hub: left out, it makes users of the machine; as root: " + COMMAND)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("hub: stopped"))  # and clean up
    environment(options.environment)
    python = options.environment / "bin" / "python"
    teachers, students = names()
    with ExitStack() as stack:
        passwords = stack.enter_context(accounts([*teachers, *students]))
        stack.enter_context(folders(python))
        git = CONFIG / "git" / "quantization-course"
        quiet("git", "clone", "--quiet", "--bare", ROOT, git)
        branch = quiet("git", "-C", git, "symbolic-ref", "--short", "HEAD").strip()
        daemon = ["git", "daemon", "--export-all", f"--base-path={git.parent}"]
        daemon += ["--listen=127.0.0.1", f"--port={GIT_PORT}", git]
        stack.enter_context(running(daemon, options.log.with_suffix(".git")))
        path = f"{python.parent}{os.pathsep}{os.defpath}"
        hub = ["jupyterhub", "-f", CONFIG / "jupyterhub_config.py"]
        hub = [python.parent / hub[0], *hub[1:]]
        state = CONFIG / "state"
        state.mkdir(mode=0o700)
        env = {"PATH": path, "HOME": str(Path.home()), "LANG": "C.UTF-8"}
        stack.enter_context(running(hub, options.log, cwd=state, env=env))
        url = f"http://127.0.0.1:{PORT}"
        people = {name: Person(url, name, password) for name, password in passwords.items()}
        facts = {
            "url": url,
            "teacher": teachers[0],
            "students": students,
            "root": ROOT,
            "repository": f"git://127.0.0.1:{GIT_PORT}/quantization-course",
            "branch": branch,
            "exchange": EXCHANGE,
        }
        rows = walk(people, facts, print)
        found = versions(python)
    memory = facts["memory"]
    print(save("hub", rows, COMMAND, installed=found, memory=memory))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
