"""The sandbox, for real: what is not there, what is refused, and what a stop costs."""

import os
from pathlib import Path

import pytest
import torch
from classroom_room import needs_bubblewrap

import qlearn.classroom.sandbox.sandbox as sandbox
from qlearn.assignments import assignments, in_assignment
from qlearn.classroom.marks.grade import room_for
from qlearn.classroom.sandbox.filtered import filtered_copy
from qlearn.classroom.sandbox.process import LostError, WorkerProcess
from qlearn.classroom.sandbox.sandbox import Limits, NotIsolatedError, Room, command, environment
from qlearn.classroom.sandbox.seccomp import program
from qlearn.classroom.sandbox.session import Session, StoppedError

pytestmark = [needs_bubblewrap, pytest.mark.slow]
MOST = 10_000_000
STEP = "def step(weights, bits):\n    return weights.abs().amax(1) / (2 ** (bits - 1) - 1)\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rooms")


@pytest.fixture(scope="module")
def inside(folder, tmp_path_factory):
    data = tmp_path_factory.mktemp("handed") / "model.bin"
    data.write_bytes(b"12345")
    room = Room(
        ("qlearn.numerics.affine", "qlearn.numerics.packing.pack"), {"model.bin": data}, Limits()
    )
    with WorkerProcess(room, folder) as running:
        yield running


def run(inside, source, seconds=300.0):
    return inside.ask({"do": "cell", "source": source}, seconds, MOST)


def said(reply):
    texts = [one.get("text") or one.get("data", {}).get("text/plain") for one in reply["outputs"]]
    return "\n".join(filter(None, texts))


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import os; os.fork()", "PermissionError"),
        ("import subprocess; subprocess.run(['true'])", "PermissionError"),
        ("!true", "PermissionError"),
        ("import multiprocessing as m; p = m.Process(); p.start()", "PermissionError"),
        ("import os; os.memfd_create('x')", "PermissionError"),
        ("import socket; socket.create_connection(('1.1.1.1', 53), 3)", "OSError"),
        ("import socket; socket.getaddrinfo('example.org', 80)", "gaierror"),
        ("open('/qlearn/x', 'w')", "OSError"),
        ("open('/new', 'w')", "OSError"),
        ("open('/dev/new', 'w')", "OSError"),
        ("open('/work/model.bin', 'w')", "OSError"),
        ("import os; os.remove('/work/model.bin')", "OSError"),
        ("open('/tmp/large', 'wb').write(bytes(100_000_000))", "OSError"),
        ("import resource as r; r.setrlimit(r.RLIMIT_AS, (-1, -1))", "ValueError"),
        ("import os; os.setuid(0)", "OSError"),
        ("bytearray(10**11)", "MemoryError"),
        ("import qlearn.exercises", "ImportError"),
        ("from qlearn.assignments.a0 import QUESTIONS", "ModuleNotFoundError"),
        ("from qlearn.classroom.marks import grade", "ModuleNotFoundError"),
        ("from qlearn.numerics.affine import quantize", "ImportError"),
        ("from qlearn import quantize", "ImportError"),
        ("from qlearn.numerics.packing import pack", "ImportError"),
        ("import peft", "ModuleNotFoundError"),
        ("import torchao", "ModuleNotFoundError"),
        ("import bitsandbytes", "ModuleNotFoundError"),
    ],
)
def test_what_is_refused(inside, source, error):
    reply = run(inside, source)
    assert reply["error"].startswith(error), reply


def test_a_blocked_name_says_what_to_do_and_its_neighbours_work(inside):
    assert "write it yourself" in run(inside, "from qlearn.numerics.packing import pack")["error"]
    assert (
        run(inside, "from qlearn.numerics.packing import unpack; from qlearn import load_model")[
            "error"
        ]
        == ""
    )
    assert run(inside, "from qlearn.assignments import check; check('a0.step', 1)")["error"] == ""


def test_nothing_of_this_machine_is_seen(inside):
    there = (
        "import os\n"
        f"print([p for p in {[str(Path.home() / '.ssh'), str(Path(__file__).parents[2])]!r} "
        "if os.path.exists(p)])\n"
        "print(sorted(os.environ))\n"
        "print([p for p in os.listdir('/proc') if p.isdigit()])\n"
        "print(open('/proc/1/cmdline').read())\n"
        "print([s.partition('=')[0] for s in open('/proc/1/environ').read().split('\\0') if s])\n"
        "print(os.listdir('/tmp'), os.listdir('/work'), open('model.bin').read())\n"
    )
    reply = run(inside, there)
    paths, variables, processes, first, of_first, own = said(reply).splitlines()
    assert paths == "[]"
    assert not {"USER", "SSH_AUTH_SOCK", "GITHUB_TOKEN", "PYTHONPATH"} & set(eval(variables))
    assert len(eval(processes)) <= 2
    assert set(eval(of_first)) <= set(environment())
    assert str(Path(__file__).parents[2]) not in first
    assert "model.bin" in own and own.endswith("12345")


def test_output_without_end_is_cut(inside):
    reply = run(inside, "for _ in range(300):\n    print('x' * 1_000_000)")
    assert reply["error"] == ""
    assert len(said(reply)) < 200_000
    assert (
        run(inside, "import os\nfor _ in range(100):\n    os.write(1, b'x' * 10**6)")["error"] == ""
    )


def test_displays_keep_text_and_pictures_alone(inside):
    source = "from IPython.display import HTML\nHTML('<script>alert(1)</script>')"
    (output,) = run(inside, source)["outputs"]
    assert set(output["data"]) == {"text/plain"}


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("while True:\n    pass", "time"),
        ("import time; time.sleep(1000)", "time"),
        ("import os; os._exit(0)", "ended"),
        ("import os; os.kill(os.getpid(), 9)", "ended"),
        (
            (
                "import os\nfor n in range(3, 64):\n    try:\n        os.write(n, b'\\xff' * 99)\n"
                "    except OSError:\n        pass"
            ),
            "size",
        ),
        (
            (
                "import os, struct\nfor n in range(3, 64):\n    try:\n"
                "        os.write(n, struct.pack('<Q', 4) + b'junk')\n"
                "    except OSError:\n        pass"
            ),
            "damaged",
        ),
    ],
)
def test_what_ends_the_process_is_told_and_costs_one_cell(folder, source, kind):
    with Session(Room(limits=Limits(cell_seconds=2)), folder) as session:
        assert session.run("a = 41")["error"] == ""
        with pytest.raises(LostError) as lost:
            session.inside.ask({"do": "cell", "source": source}, 2, MOST)
        assert lost.value.kind == kind
        session._lost()
        assert said(session.run("a + 1")) == "42"
        assert session.losses == 1


def test_a_memory_bomb_leaves_room_for_the_next_cell(folder):
    limits = Limits(memory=2 * 2**30)
    with Session(Room(limits=limits), folder) as session:
        assert session.run("a = 41")["error"] == ""
        bomb = session.run("held = []\nwhile True:\n    held.append(bytearray(10**8))")
        assert bomb["error"].startswith("MemoryError")
        assert said(session.run("b = bytearray(10**9); a + 1")) == "42"


def test_calls_answer_change_and_raise_as_they_do_here(folder):
    from qlearn.assignments import find
    from qlearn.classroom.sandbox.remote import RemoteFunction

    question = find("a0.step")
    with Session(Room(), folder) as session:

        def mark(source):
            session.begin_question()
            assert session.run(f"import torch\n{source}")["error"] == ""
            found = session.look("step", 10, MOST)
            call = lambda arguments: session.call("step", arguments, 3, MOST)  # noqa: E731
            return question.mark(RemoteFunction("step", found["parameters"], call), 3)

        for source, local in (
            (STEP, "right"),
            ("def step(weights, bits):\n    ...", "blank"),
            ("def step(weights, bits):\n    raise NotImplementedError()", "blank"),
            ("def step(w, bits):\n    w.mul_(2)\n    return w.abs().amax(1)", "wrong"),
            ("def step(weights):\n    return weights", "wrong"),
            ("def step(weights, bits):\n    return weights[99]", "wrong"),
            ("def step(weights, bits):\n    raise SystemExit", "wrong"),
        ):
            names: dict = {"torch": torch}
            exec(source, names)
            here, there = question.mark(names["step"], 3), mark(source)
            assert there.verdict.kind == here.verdict.kind == local
            assert there.points == here.points
            if "SystemExit" not in source:
                assert there.verdict.diagnosis == here.verdict.diagnosis
        assert "too large" in mark("def step(w, b):\n    return torch.zeros(10**8)").verdict.message
        stopped = mark("def step(w, b):\n    while True: pass")
        assert "longer than 3 s" in stopped.verdict.message
        assert mark(STEP).points == 3
        session.losses = 99
        session.close()
        with pytest.raises(StoppedError, match="stopped 99 times"):
            session.look("step", 1, MOST)


def test_models_are_loaded_inside(folder):
    from qlearn.assignments.shared.question import Packaged
    from qlearn.classroom.sandbox.remote import RemoteFunction

    with Session(Room(), folder) as session:
        session.run("def count(model):\n    return sum(p.numel() for p in model.parameters())")
        found = session.look("count", 10, MOST)
        call = lambda arguments: session.call("count", arguments, 60, MOST)  # noqa: E731
        model = Packaged("pocket-100k")
        remote = RemoteFunction("count", found["parameters"], call)
        assert remote(model) == sum(p.numel() for p in model.load().parameters())


def test_a_room_without_models_has_none(folder):
    room = room_for(in_assignment("a6"))
    assert not room.models
    with Session(room, folder) as session:
        assert said(session.run("import os; os.path.exists('/cache')")) == "False"
        assert session.run("import qlearn; qlearn.load_model('smollm2-135m')")["error"]
        assert session.run("import qlearn; qlearn.load_model('pocket-100k')")["error"] == ""


def test_every_question_finds_what_it_blocks(folder):
    for assignment in assignments():
        blocked = {name for question in in_assignment(assignment) for name in question.blocked}
        copy = filtered_copy(blocked, folder) / "qlearn"
        assert not (copy / "exercises").exists()
        assert sorted(p.name for p in (copy / "assignments").glob("*.py")) == ["__init__.py"]
    with pytest.raises(ValueError, match="spelling"):
        filtered_copy(["qlearn.no_such_module"], folder)


def test_without_bubblewrap_it_refuses_and_says_why(monkeypatch, folder):
    monkeypatch.setattr(sandbox, "availability", lambda: "bubblewrap is not installed")
    with pytest.raises(NotIsolatedError, match=r"not installed.*--without-isolation"):
        command(Room(), folder, None)
    with Session(Room(isolated=False), folder) as session:
        assert said(session.run("1 + 1")) == "2"
        assert session.run("import qlearn.exercises")["error"].startswith("ImportError")


def test_the_filter_names_this_processor():
    assert program("x86_64") != program("aarch64")
    assert program("riscv64") is None
    assert len(program("x86_64")) % 8 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to become another user")
def test_it_also_runs_unprivileged():
    import subprocess

    tried = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bwrap"]
    tried += ["--ro-bind", "/", "/", "--unshare-all", "--proc", "/proc", "true"]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
