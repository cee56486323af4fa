"""The README's commands are those that exist, and that `.ci/run` runs; links lead to files."""

import os
import re
from pathlib import Path

import pytest
from tools.checks import LINT
from tools.tasks import TASKS, parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "NOTICE", "book/how-to-use.md"]


def shell(text):
    blocks = re.findall(r"^ *```shell\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]


def targets():
    return set(re.search(r"^TASKS = (.+)$", MAKEFILE, flags=re.MULTILINE)[1].split())


def test_the_first_commands_build_and_test():
    assert shell(README)[:2] == ["make book", "make test"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_and_task_that_is_named_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"`([^`\n]+)`", text) + shell(text))
    made = set(re.findall(r"\bmake (?:PYTHON=\S+ )?([a-z][\w-]*)", code))
    called = set(re.findall(r"-m qlearn (?:--newest )?([a-z][\w-]*)", code))
    assert made <= targets()
    assert called <= {*TASKS}


def test_the_makefile_calls_tasks_and_nothing_else():
    assert targets() == {*TASKS}
    recipes = re.findall(r"^\t(.+)$", MAKEFILE, flags=re.MULTILINE)
    assert recipes == ["@$(PYTHON) -m qlearn --help", "@$(PYTHON) -m qlearn $@ $(ARGS)"]


def test_every_target_is_a_task_that_the_command_line_takes():
    for name in targets():
        assert parser().parse_known_args([name])[0].task == name


def test_the_checks_run_the_readmes_commands_and_end_with_the_tests():
    lines = [line for line in CI.splitlines() if line and not line.startswith("#")]
    calls = [line.removeprefix('"${run[@]}" ') for line in lines if line.startswith('"${run[@]}"')]
    assert calls == ["book", "lint", "loaders", "test"]
    assert lines[-1] == '"${run[@]}" test'
    assert "set -euo pipefail" in lines
    assert "export CI=true" in CI
    if os.name != "nt":
        assert os.access(ROOT / ".ci" / "run", os.X_OK)
        assert os.access(ROOT / "postBuild", os.X_OK)


def test_the_hooks_run_what_the_checks_run():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    checks = "\n".join(" ".join(line) for line in LINT)
    for tool in (
        "ruff check",
        "ruff format",
        "mypy",
        "lint-imports",
        "qlearn.course.notebooks",
    ):
        assert tool in checks
        assert tool in hooks


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files_that_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    missing = [link for link in links if not (ROOT / name).parent.joinpath(link).exists()]
    assert missing == []


def test_folders_and_files_that_the_readme_names_exist():
    named = re.findall(r"`((?:src|notebooks|book|tests)/[\w/]*)`", README)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readmes_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    bits, error = capsys.readouterr().out.split()
    assert 4 < float(bits) < 5
    assert 0 < float(error.strip("tensor()")) < 1


def test_the_licences_are_whole():
    apache = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in apache
    assert apache.rstrip().endswith("limitations under the License.")
    prose = (ROOT / "LICENSE-PROSE").read_text(encoding="utf-8")
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in prose
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert "SmolLM2" in notice
    assert "vaderSentiment" in notice
