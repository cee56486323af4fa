"""pyproject.toml, constraints.txt and environment.yml agree with each other and with the code."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
CONDA_NAMES = {"pytorch-cpu": "torch"}  # conda-forge's name: the registry's


def pins():
    found = {}
    for line in CONSTRAINTS.splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} is pinned twice"
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            found[name] = Version(specifier.version)
    return found


def named():
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra)]
    found = [Requirement(line) for line in lines]
    return [one for one in found if one.name != PROJECT["name"]]  # an extra that names another


def conda():
    lines = [line for line in ENVIRONMENT["dependencies"] if isinstance(line, str)]
    pairs = [line.partition("=") for line in lines]
    return {CONDA_NAMES.get(name, name): version for name, _, version in pairs}


@pytest.mark.parametrize("requirement", named(), ids=str)
def test_every_named_dependency_is_pinned_within_its_bounds(requirement):
    version = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


def test_pins_hold_no_local_version_and_no_address():
    assert not [name for name, version in pins().items() if version.local]
    assert "://" not in CONSTRAINTS
    assert " @ " not in CONSTRAINTS


def test_conda_takes_the_pinned_versions():
    versions = conda()
    assert versions.pop("pip") == ""
    python = versions.pop("python")
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)
    known = pins()
    assert {name: Version(version) for name, version in versions.items()} == {
        name: known[name] for name in versions
    }
    assert {"torch", "numpy"} <= versions.keys()


def test_conda_installs_the_rest_through_the_constraints():
    (pip,) = [line["pip"] for line in ENVIRONMENT["dependencies"] if isinstance(line, dict)]
    assert pip == ["-c constraints.txt", "-e .[course]"]


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    package = (ROOT / "src" / "qlearn" / "__init__.py").read_text(encoding="utf-8")
    assert citation["version"] == version
    assert f'__version__ = "{version}"' in package
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def imports_of(path):
    text = path.read_text(encoding="utf-8")
    return set(re.findall(r"^\s*(?:from|import)\s+(\w+)", text, flags=re.MULTILINE))


def test_what_chapters_import_is_in_the_course_extra():
    """Colab and Binder install `qlearn[course]` alone."""
    modules = {"transformers", "bitsandbytes", "gguf", "plotly", "ipywidgets", "numpy", "tqdm"}
    course = {canonicalize_name(r.name) for r in map(Requirement, _extra("course"))}
    lessons_tools = {"notebooks", "notebook_run", "notebook_cells", "notebook_normal", "render"}
    used = set()
    for path in (ROOT / "src" / "qlearn").rglob("*.py"):
        if path.stem not in lessons_tools:
            used |= imports_of(path) & modules
    assert used, "the package imports none of them: this test reads the wrong folder"
    assert used <= course


def test_what_grades_a_class_runs_the_courses_questions():
    """A teacher installs `qlearn[classroom]` alone."""
    lines = [Requirement(line) for line in _extra("classroom")]
    assert {"course"} == set().union(*(one.extras for one in lines if one.name == PROJECT["name"]))


def _extra(name):
    return PROJECT["optional-dependencies"][name]
