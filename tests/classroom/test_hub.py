"""The class on a hub: its configuration, its page, the walk that was recorded, a course's folder.

The whole hub, with users of the machine and a browser, is walked through by
`tests/benchmarks/hub.py`; `results/hub.json` keeps its last run.
"""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from traitlets.config.loader import PyFileConfigLoader

from qlearn.classroom.course import CourseError, make_course
from qlearn.measure.results import load

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "book" / "jupyterhub.md"


def configuration(name, folder):
    return PyFileConfigLoader(name, path=str(folder)).load_config()


def test_jupyterhub_knows_every_setting_and_takes_its_value():
    from jupyterhub.app import JupyterHub
    from jupyterhub.auth import PAMAuthenticator
    from jupyterhub.spawner import LocalProcessSpawner

    config = configuration("jupyterhub_config.py", ROOT / "deploy")
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


def test_nbgrader_knows_every_setting():
    from nbgrader.auth import Authenticator, JupyterHubAuthPlugin
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.exchange.default import Exchange

    from qlearn.classroom.course import COURSE_ID

    config = configuration("nbgrader_config.py", ROOT / "deploy")
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
