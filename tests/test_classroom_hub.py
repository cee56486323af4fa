"""The class on a hub: nbgrader's exchange there and back, what may not pass it, the configuration.

The whole hub, with users of the machine and a browser, is walked through by
`tests/benchmarks/hub.py`; `results/hub.json` keeps its last run.
"""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from classroom_room import needs_bubblewrap, needs_nbgrader
from synthetic_class import due, right_work
from traitlets.config.loader import PyFileConfigLoader

from qlearn.classroom.__main__ import main
from qlearn.classroom.course import Course, CourseError, make_course
from qlearn.classroom.exchange import collect_exchange, inbound
from qlearn.results import load

pwd = pytest.importorskip("pwd", reason="nbgrader's exchange does not run on Windows")

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "book" / "jupyterhub.md"
NAME = "a1_int4_and_packing"
SEED = 20_261
TIME = "2026-11-25 10:00:{:02d}.000000 UTC"
ME = pwd.getpwuid(os.getuid()).pw_name
needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("jupyterhub") is None,
    reason="jupyterhub is missing: pip install -c constraints.txt -e '.[hub]'",
)


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory):
    """Two students and their class, through nbgrader's own commands: exchange, homes, points."""
    folder = tmp_path_factory.mktemp("exchange")
    exchange = folder / "exchange"
    exchange.mkdir(mode=0o777)
    course = make_course(folder / "course", seed=SEED, only=["a1"])
    root = f"--Exchange.root={exchange}"
    course.nbgrader("release_assignment", NAME, root)
    source = ROOT / "notebooks" / "assignments" / "source" / NAME / f"{NAME}.ipynb"
    points = {}
    for student, wrong in (("ada", None), ("ben", "def pack_int4(codes):\n    return codes\n")):
        home = folder / student
        home.mkdir()
        as_student(home, "fetch_assignment", root)
        work = right_work(home / NAME / f"{NAME}.ipynb", source)
        if wrong:
            work.answer("pack", wrong)
        points[student] = due(work, SEED)
        work.write(home / NAME)
        as_student(home, "submit", root)
    course.nbgrader("collect", NAME, root)
    assert main(["grade", str(course.root), "a1", "--processes", "1"]) == 0
    course.nbgrader("release_feedback", NAME, root)
    for student in points:
        as_student(folder / student, "fetch_feedback", root)
    return folder, points


def as_student(home, *arguments):
    """Run an nbgrader command in a student's home, under their name."""
    programs = str(Path(sys.executable).parent)
    command = [sys.executable, "-m", "nbgrader", arguments[0], NAME, *arguments[1:]]
    subprocess.run(
        [*command, "--course=qlearn", f"--student={home.name}"],
        cwd=home,
        env={
            **os.environ,
            "HOME": str(home),
            "JUPYTER_DATA_DIR": str(home / ".data"),
            "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        },
        check=True,
        capture_output=True,
    )


@needs_bubblewrap
@needs_nbgrader
@pytest.mark.slow
def test_points_and_feedback_come_back_through_the_exchange(exchanged):
    folder, points = exchanged
    path = folder / "course" / "grades" / f"{NAME}_canvas.csv"
    with path.open(encoding="utf-8") as file:
        listed = {row[3]: float(row[5]) for row in list(csv.reader(file))[2:]}
    assert listed == {student: sum(marks.values()) for student, marks in points.items()}
    assert listed["ben"] < listed["ada"]
    for student in points:
        (page,) = (folder / student / NAME / "feedback").rglob(f"{NAME}.html")
        assert "points on the cases that count" in page.read_text(encoding="utf-8")


@needs_bubblewrap
@needs_nbgrader
@pytest.mark.slow
def test_what_was_collected_stays_and_what_is_newer_replaces_it(exchanged):
    folder, _ = exchanged
    course = Course(folder / "course")
    exchange = folder / "exchange"
    students, left = collect_exchange(course, "a1", exchange, any_owner=True)
    assert (students, left) == (["ada", "ben"], [])
    kept = course.root / "submitted" / "ada" / NAME
    assert json.loads((kept / f"{NAME}.ipynb").read_text())["cells"]  # ours, from before
    assert len(list((course.root / "received" / "ada").iterdir())) == 1
    assert re.fullmatch("[0-9a-f]{128}", (kept / "submission_secret.txt").read_text())
    newer = inbound(exchange) / f"ben+{NAME}+2099-01-01 00:00:00.000000 UTC+again"
    newer.mkdir()
    (newer / f"{NAME}.ipynb").write_text("{}")
    (newer / "submission_secret.txt").write_text("<script>")
    collect_exchange(course, "a1", exchange, any_owner=True)
    assert (course.root / "submitted" / "ben" / NAME / f"{NAME}.ipynb").read_text() == "{}"
    assert main(["grade", str(course.root), "a1", "--processes", "1", "--no-feedback"]) == 0
    assert not (course.root / "submitted" / "ben" / NAME / "submission_secret.txt").exists()


@needs_bubblewrap
@needs_nbgrader
@pytest.mark.slow
def test_nbgrader_s_own_collect_does_what_the_page_says(exchanged):
    """It believes names and follows links: where it no longer does, change the page."""
    folder, _ = exchanged
    course = Course(folder / "course")
    exchange = folder / "exchange"
    forged = inbound(exchange) / f"ada+{NAME}+2099-01-02 00:00:00.000000 UTC+forged"
    forged.mkdir()
    (forged / "seed.txt").symlink_to(course.root / "seed")
    course.nbgrader("collect", NAME, "--update", f"--Exchange.root={exchange}")
    taken = course.root / "submitted" / "ada" / NAME / "seed.txt"
    assert str(SEED) in taken.read_text()
    assert not taken.is_symlink()


@pytest.fixture
def class_of_me(tmp_path):
    """A course and an exchange in which the user who runs the test is a student."""
    (tmp_path / "course" / "source" / NAME).mkdir(parents=True)
    inbound(tmp_path / "exchange").mkdir(parents=True)
    return Course(tmp_path / "course"), tmp_path / "exchange"


def submit(exchange, student, second, text):
    folder = inbound(exchange) / f"{student}+{NAME}+{TIME.format(second)}+cmFuZG9t"
    folder.mkdir()
    (folder / f"{NAME}.ipynb").write_text(text)
    return folder


def test_the_newest_submission_of_each_owner_is_taken(class_of_me):
    course, exchange = class_of_me
    submit(exchange, ME, 9, "newest")
    submit(exchange, ME, 1, "older")
    submit(exchange, "somebody_else", 30, "forged")
    (inbound(exchange) / "no submission").mkdir()
    other = inbound(exchange) / f"{ME}+a2_other+{TIME.format(40)}+x"
    other.mkdir()
    students, left = collect_exchange(course, "a1", exchange)
    assert students == [ME]
    folder = course.root / "submitted" / ME / NAME
    assert (folder / f"{NAME}.ipynb").read_text() == "newest"
    assert (folder / "timestamp.txt").read_text() == TIME.format(9)
    assert [line.split(": ", 1)[1] for line in left] == [
        "no name of a submission",
        f"it belongs to {ME}, not to somebody_else",
    ]
    assert not (course.root / "submitted" / "somebody_else").exists()
    assert "somebody_else" in collect_exchange(course, "a1", exchange, any_owner=True)[0]


def test_no_link_and_no_special_file_is_followed(class_of_me, tmp_path):
    course, exchange = class_of_me
    secret = tmp_path / "seed"
    secret.write_text("20261")
    folder = submit(exchange, ME, 1, "mine")
    (folder / "seed.txt").symlink_to(secret)
    (folder / "all").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    (folder / "deep").mkdir()
    (folder / "deep" / "data.bin").write_bytes(b"data")
    elsewhere = submit(tmp_path / "exchange", ME, 0, "old").with_name(
        f"{ME}+{NAME}+{TIME.format(2)}"
    )
    elsewhere.symlink_to(tmp_path)
    _, left = collect_exchange(course, "a1", exchange)
    target = course.root / "submitted" / ME / NAME
    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert found == {f"{NAME}.ipynb", "deep/data.bin", "timestamp.txt"}
    assert sum("left out" in line for line in left) == 2
    assert any("a link or a file" in line for line in left)


def test_a_folder_that_is_no_exchange_says_so(class_of_me, tmp_path):
    course, _ = class_of_me
    with pytest.raises(CourseError, match="exchange's root"):
        collect_exchange(course, "a1", tmp_path / "nothing")


def configuration(name, folder):
    return PyFileConfigLoader(name, path=str(folder)).load_config()


@needs_hub
def test_jupyterhub_knows_every_setting_and_takes_its_value():
    from jupyterhub.app import JupyterHub
    from jupyterhub.auth import PAMAuthenticator
    from jupyterhub.spawner import LocalProcessSpawner

    config = configuration("jupyterhub_config.py", ROOT / "classroom")
    classes = {"JupyterHub": JupyterHub, "Authenticator": PAMAuthenticator}
    classes["Spawner"] = LocalProcessSpawner
    assert set(config) == set(classes)
    for name, settings in config.items():
        traits = classes[name].class_traits(config=True)
        assert set(settings) <= set(traits), name
    hub = JupyterHub(config=config)
    assert hub.bind_url == "http://127.0.0.1:8000"
    assert hub.load_groups["nbgrader-qlearn"]["users"]
    assert PAMAuthenticator(config=config).allowed_users == {
        user for group in hub.load_groups.values() for user in group["users"]
    }
    spawner = LocalProcessSpawner(config=config)
    assert (Path(spawner.environment["JUPYTER_CONFIG_PATH"]) / "nbgrader_config.py").is_file()
    assert "--KernelManager.transport=ipc" in spawner.args


@needs_nbgrader
def test_nbgrader_knows_every_setting():
    from nbgrader.auth import Authenticator, JupyterHubAuthPlugin
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.exchange.default import Exchange

    from qlearn.classroom.course import COURSE_ID

    config = configuration("nbgrader_config.py", ROOT / "classroom")
    assert Authenticator(config=config).plugin_class is JupyterHubAuthPlugin
    assert CourseDirectory(config=config).course_id == COURSE_ID
    assert "root" in Exchange.class_traits(config=True)
    assert set(config) == {"Authenticator", "CourseDirectory", "Exchange"}


def test_links_are_of_the_form_that_nbgitpuller_documents():
    site = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]
    links = re.findall(r"https://[^\s<>)`]+/git-pull\?[^\s<>)`]+", PAGE.read_text(encoding="utf-8"))
    assert links
    for link in links:
        parts = urlsplit(link)
        assert parts.path == "/hub/user-redirect/git-pull"
        query = {key: value for key, (value,) in parse_qs(parts.query, strict_parsing=True).items()}
        assert set(query) == {"repo", "branch", "urlpath"}
        assert (query["repo"], query["branch"]) == (site["url"], site["branch"])
        folder = "lab/tree/" + site["url"].rsplit("/", 1)[1] + "/"
        assert query["urlpath"].startswith(folder)
        assert (ROOT / query["urlpath"].removeprefix(folder)).exists(), link


def test_fragments_for_kubernetes_are_yaml_and_ask_for_what_was_measured():
    text = PAGE.read_text(encoding="utf-8")
    values, job = (
        yaml.safe_load(part) for part in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    )
    user = values["singleuser"]
    limit = float(user["memory"]["limit"].removesuffix("G")) * 1e9
    run = load("hub")["memory"]
    chapters = max(row["memory_bytes"] for row in load("chapters")["rows"])
    assert limit > chapters + max(run["server_bytes"])
    assert user["lifecycleHooks"]["postStart"]["exec"]["command"][0] == "gitpuller"
    mounts = {mount["name"] for mount in user["storage"]["extraVolumeMounts"].values()}
    assert mounts == {volume["name"] for volume in user["storage"]["extraVolumes"].values()}
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    names = {mount["name"] for mount in container["volumeMounts"]}
    assert names == {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}


def test_the_committed_walk_went_through_all_steps(bench):
    steps = bench("_hub_steps").STEPS
    results = load("hub")
    assert [row["step"] for row in results["rows"]] == [
        (step.__doc__ or "").splitlines()[0] for step in steps
    ]
    assert {"jupyterhub", "nbgitpuller", "nbgrader"} <= set(results["installed"])


def test_an_installed_package_takes_the_clone_that_it_is_run_in(monkeypatch, tmp_path):
    from qlearn.classroom import course

    monkeypatch.setattr(course, "__file__", str(tmp_path / "course.py"))
    monkeypatch.chdir(ROOT / "book")
    assert course._clone() == ROOT
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseError, match="run this in one"):
        course._clone()


def test_a_new_course_is_closed_to_others(tmp_path):
    with pytest.raises(CourseError, match="no source notebook"):
        make_course(tmp_path / "course", seed=1, sources=tmp_path)
    assert (tmp_path / "course").stat().st_mode & 0o777 == 0o700
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o750)
    with pytest.raises(CourseError, match="no source notebook"):
        make_course(tmp_path / "shared", seed=1, sources=tmp_path)
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o750  # a teacher's own choice stays
