"""The steps of a class on a hub, in their order: link, release, fetch, submit, grade, feedback.

Each takes the people and what is known so far, raises where something is not as it should be, and
gives who did it and what else is worth keeping.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests
from _hub_client import SECONDS, Person, processes_of

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from synthetic_class import due, right_work

Facts = dict[str, Any]
People = dict[str, Person]
Found = tuple[str, dict[str, Any]]

NAME = "a1_int4_and_packing"
SEED = 20_261
CLONE = "quantization-course"
COURSE = "course"
GIVEN = f"notebooks/assignments/release/{NAME}/{NAME}.ipynb"
GRADE = f"python -m qlearn.classroom grade ~/{COURSE} a1 --processes 1"


def link(facts: Facts) -> str:
    """The nbgitpuller link of assignment 1, in the form that the book gives."""
    query = {
        "repo": facts["repository"],
        "branch": facts["branch"],
        "urlpath": f"lab/tree/{CLONE}/{GIVEN}",
    }
    return f"{facts['url']}/hub/user-redirect/git-pull?{urlencode(query)}"


def hub_starts(people: People, facts: Facts) -> Found:
    """The hub starts."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            requests.get(facts["url"] + "/hub/api/", timeout=5).raise_for_status()
            return "the hub", {}
        except requests.RequestException:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def browser_follows_the_link(people: People, facts: Facts) -> Found:
    """Open the link in a browser, log in, and find the assignment open in JupyterLab."""
    from playwright.sync_api import sync_playwright

    who = facts["students"][0]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.goto(link(facts))
        page.fill("#username_input", who)
        page.fill("#password_input", people[who].password)
        page.click("#login_submit")
        page.wait_for_url(f"**/lab/**/{NAME}.ipynb**", timeout=SECONDS * 1000)
        heading = page.locator(".jp-Notebook h1").first
        heading.wait_for(timeout=SECONDS * 1000)
        assert "INT4" in heading.inner_text(), heading.inner_text()
        browser.close()
    assert (home(who) / CLONE / GIVEN).is_file()
    return who, {}


def everybody_logs_in(people: People, facts: Facts) -> Found:
    """Log in, and start a server."""
    for person in people.values():
        person.log_in()
        person.start_server()
    facts["memory"] = {"server_bytes": [memory_of(name)["server"] for name in people]}
    return "everybody", {}


def the_others_pull(people: People, facts: Facts) -> Found:
    """The link's page pulls the course into the others' homes."""
    query = {"repo": facts["repository"], "branch": facts["branch"], "targetpath": CLONE}
    for name in (facts["students"][1], facts["teacher"]):
        answer = people[name].server("GET", "/git-pull/api", params=query)
        assert '"phase": "finished"' in answer.text, answer.text[-2000:]
        assert (home(name) / CLONE / GIVEN).is_file()
    return f"{facts['students'][1]}, {facts['teacher']}", {}


def teacher_releases(people: People, facts: Facts) -> Found:
    """Make the course, and release assignment 1 to the exchange."""
    teacher = people[facts["teacher"]]
    variant = f"python -m qlearn.classroom variant ~/{COURSE} --only a1 --seed {SEED}"
    teacher.shell(variant, f"~/{CLONE}")
    said = teacher.shell(f"nbgrader release_assignment {NAME}", f"~/{COURSE}")
    assert "Released as" in said, said
    return teacher.name, {}


def students_fetch(people: People, facts: Facts) -> Found:
    """Fetch the assignment from the exchange, as the Assignments page does."""
    for name in facts["students"]:
        act(people[name], "fetch")
        given = (home(name) / NAME / f"{NAME}.ipynb").read_bytes()
        assert (
            given
            == (home(facts["teacher"]) / COURSE / "release" / NAME / f"{NAME}.ipynb").read_bytes()
        )
    return ", ".join(facts["students"]), {}


def students_work(people: People, facts: Facts) -> Found:
    """The first solves all questions and runs the notebook, the second solves one."""
    first, second = facts["students"]
    release = home(facts["teacher"]) / COURSE / "release" / NAME / f"{NAME}.ipynb"
    source = facts["root"] / "notebooks" / "assignments" / "source" / NAME / f"{NAME}.ipynb"
    whole, part = right_work(release, source), right_work(release, source)
    blank, mine = cells(release), cells(part.cells)
    solved = [grade for grade in mine if mine[grade]["source"] != blank[grade]["source"]]
    for grade in solved[1:]:
        mine[grade]["source"] = blank[grade]["source"]
    facts["due"] = {first: sum(due(whole, SEED).values()), second: sum(due(part, SEED).values())}
    for name, work in ((first, whole), (second, part)):
        facts[f"work of {name}"] = work
        hand_in(people[name], work)
    code = [cell["source"] for cell in whole.cells if cell["cell_type"] == "code"]
    printed = people[first].run(*code, keep=True)
    right = sum("on the visible cases" in text for text in printed)
    assert right == len(solved), (right, len(solved), printed)
    facts["memory"] |= {"kernel_bytes": memory_of(first)["kernel"]}
    return f"{first}, {second}", {"questions": len(solved), "right_checks": right}


def student_loads_the_model(people: People, facts: Facts) -> Found:
    """Load the model from the folder that all share, and predict with it."""
    who = facts["students"][1]
    code = "import torch\nfrom qlearn import load_model\nmodel = load_model('smollm2-135m')\n"
    code += "with torch.no_grad():\n    model(torch.arange(256)[None])\n"
    code += "print(model.num_parameters())"
    (printed,) = people[who].run(code, keep=True)
    facts["memory"] |= {"model_kernel_bytes": memory_of(who)["kernel"]}
    return who, {"parameters": int(printed)}


def hand_in(person: Person, work: Any) -> None:
    """Save a notebook with the server's own pages, as JupyterLab does."""
    notebook = {"cells": work.cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    body = {"type": "notebook", "format": "json", "content": notebook}
    person.server("PUT", f"/api/contents/{NAME}/{NAME}.ipynb", json=body)


def students_submit(people: People, facts: Facts) -> Found:
    """Submit through the exchange, as the Assignments page does."""
    for name in facts["students"]:
        act(people[name], "submit")
    return ", ".join(facts["students"]), {}


def teacher_collects_with_nbgrader(people: People, facts: Facts) -> Found:
    """Collect with nbgrader, grade in the sandbox, release the feedback."""
    teacher = people[facts["teacher"]]
    said = teacher.shell(f"nbgrader collect {NAME}", f"~/{COURSE}")
    assert said.count("Collecting submission") == len(facts["students"]), said
    said = teacher.shell(GRADE)
    assert "2 submissions graded" in said, said
    facts["graded"] = scores(facts)
    assert facts["graded"] == facts["due"], (facts["graded"], facts["due"])
    teacher.shell(f"nbgrader release_feedback {NAME}", f"~/{COURSE}")
    return teacher.name, {"points": list(facts["graded"].values())}


def students_read_feedback(people: People, facts: Facts) -> Found:
    """Fetch the feedback; it holds the points of the cases that count."""
    for name in facts["students"]:
        act(people[name], "fetch_feedback")
        pages = list((home(name) / NAME / "feedback").rglob(f"{NAME}.html"))
        newest = max(pages, key=lambda page: page.stat().st_mtime)
        text = newest.read_text(encoding="utf-8")
        assert f"{facts['graded'][name]:g}" in text
        assert "on the cases that count" in text
    return ", ".join(facts["students"]), {}


def student_looks_around(people: People, facts: Facts) -> Found:
    """Try to see the seed, homes and submissions; forge a submission of another student."""
    first, second = facts["students"]
    course, exchange = home(facts["teacher"]) / COURSE, facts["exchange"] / "qlearn"
    for statement in (
        f"open({str(course / 'seed')!r})",
        f"open({str(course / 'gradebook.db')!r})",
        f"os.listdir({str(home(first))!r})",
        f"os.listdir({str(exchange / 'inbound')!r})",
        f"os.rename({str(exchange)!r}, {str(exchange) + '-gone'!r})",
    ):
        refused(people[second], statement)
    code = "import json; from ipykernel.connect import get_connection_info as g\n"
    assert people[second].run(code + "print(json.loads(g())['transport'])") == ["ipc\n"]
    stamp = "2099-01-01 00:00:00.000000 UTC"
    forged = f"{exchange}/inbound/{first}+{NAME}+{stamp}+forged"
    linked = f"{exchange}/inbound/{second}+{NAME}+{stamp}+linked"
    people[second].shell(
        f"cp -r ~/{NAME} '{forged}' && cp -r ~/{NAME} '{linked}' && "
        f"ln -s {course / 'seed'} '{linked}/seed.txt' && "
        f"chmod -R a+rX '{forged}' '{linked}'"
    )
    return second, {}


def refused(person: Person, statement: str) -> None:
    """Raise unless the system forbids a statement to a user."""
    code = f"import os\ntry:\n    {statement}\n    print('done')\n"
    code += "except PermissionError:\n    print('refused')"
    assert person.run(code) == ["refused\n"], f"{person.name} may: {statement}"


def teacher_collects_with_qlearn(people: People, facts: Facts) -> Found:
    """Collect again with our command: the forged folder and the link are left out."""
    first, second = facts["students"]
    teacher = people[facts["teacher"]]
    said = teacher.shell(f"python -m qlearn.classroom collect ~/{COURSE} a1 {facts['exchange']}")
    assert f"it belongs to {second}, not to {first}" in said, said
    assert "seed.txt was left out" in said, said
    teacher.shell(GRADE)
    assert scores(facts) == facts["due"], (scores(facts), facts["due"])
    received = home(facts["teacher"]) / COURSE / "received"
    assert not list(received.rglob("seed.txt"))
    return teacher.name, {"left_out": 2}


STEPS = (
    *(hub_starts, browser_follows_the_link, everybody_logs_in, the_others_pull),
    *(teacher_releases, students_fetch, students_work, student_loads_the_model),
    students_submit,
    *(teacher_collects_with_nbgrader, students_read_feedback),
    *(student_looks_around, teacher_collects_with_qlearn),
)


def home(name: str) -> Path:
    """A user's home."""
    return Path(f"~{name}").expanduser()


def act(person: Person, action: str) -> None:
    """What a button of the Assignments page does, and that it worked."""
    body = {"assignment_id": NAME, "course_id": "qlearn"}
    answer = person.server("POST", f"/assignments/{action}", json=body).json()
    assert answer["success"], answer
    status = {"fetch": "fetched", "submit": "submitted", "fetch_feedback": "submitted"}[action]
    assert status in {row["status"] for row in answer["value"]}, answer


def cells(notebook: Any) -> dict[str, Any]:
    """The cells of students' answers, by nbgrader's id."""
    if isinstance(notebook, Path):
        notebook = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        for cell in notebook:
            cell["source"] = "".join(cell["source"])
    marked = {cell["metadata"].get("nbgrader", {}).get("grade_id"): cell for cell in notebook}
    return {k: c for k, c in marked.items() if k and c["metadata"]["nbgrader"].get("solution")}


def scores(facts: Facts) -> dict[str, float]:
    """Student -> points, from the list for Canvas."""
    import csv

    path = home(facts["teacher"]) / COURSE / "grades" / f"{NAME}_canvas.csv"
    with path.open(encoding="utf-8") as file:
        return {row[3]: float(row[5]) for row in list(csv.reader(file))[2:]}


def memory_of(name: str) -> dict[str, int]:
    """Bytes (PSS) of a user's server and of their largest kernel."""
    found = processes_of(name)
    kernels = [one["pss"] for one in found if "ipykernel" in one["command"]]
    servers = [one["pss"] for one in found if "jupyterhub-singleuser" in one["command"]]
    return {"server": max(servers, default=0), "kernel": max(kernels, default=0)}
