"""Who needs what: the core runs on torch and safetensors, and each extra is named where it is used.

The core is proven in an interpreter that sees the files of those two packages, of what they require
themselves, and of qlearn; nothing else.
"""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import qlearn

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "qlearn"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = {"Explorer"}  # names of `qlearn` that need an extra as soon as they are imported
ON_THE_HOST = {"google"}  # google.colab is Colab's own
WITHOUT = {"long_runs.py": {"tqdm"}}  # does without where it is missing


def modules():
    """Every module of the package by its dotted name; programs are imported, not run."""
    paths = [path.relative_to(SOURCE.parent) for path in sorted(SOURCE.rglob("*.py"))]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return [name for name in names if name != "qlearn.__main__"]


def closure(requirements):
    """The installed packages that some requirements bring, by their canonical names."""
    found, todo = set(), [(Requirement(line), "") for line in requirements]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        wanted = {"", *requirement.extras}
        if (name, *sorted(wanted)) in found:
            continue
        found.add((name, *sorted(wanted)))
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        todo += [(Requirement(line), extra) for line in lines for extra in wanted]
    return {name for name, *_ in found}


def extra_lines(name):
    return PROJECT["optional-dependencies"][name]


def of_extra(name):
    """The packages that `pip install qlearn[name]` brings."""
    lines, todo = [*PROJECT["dependencies"]], [name]
    while todo:
        for line in extra_lines(todo.pop()):
            requirement = Requirement(line)
            if requirement.name == PROJECT["name"]:
                todo += requirement.extras
            else:
                lines.append(line)
    return closure(lines)


CORE = closure(PROJECT["dependencies"])
HOMES = importlib.metadata.packages_distributions()  # of a module: the packages that hold it


def third_party(path):
    """Each import of another package in a file: the statement, its package, the extra it names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    extras, checked = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            call = node.items[0].context_expr
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "needs":
                extras.update({id(one): call.args[0].value for one in node.body})
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            checked |= {id(one) for one in ast.walk(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom) or id(node) in checked:
            continue
        named = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        for root in {name.partition(".")[0] for name in named}:
            if root not in sys.stdlib_module_names and root not in ("qlearn", "tools"):
                yield ast.unparse(node), root, extras.get(id(node))


def test_an_import_beyond_the_core_names_the_extra_that_brings_it():
    brought = {name: of_extra(name) for name in PROJECT["optional-dependencies"]}
    # The toolbox is not installed here, so what it brings is not known beyond what it names.
    brought["toolbox"] |= {canonicalize_name(Requirement(r).name) for r in extra_lines("toolbox")}
    used, wrong = set(), []
    for path in sorted(SOURCE.rglob("*.py")):
        for statement, root, extra in third_party(path):
            homes = {canonicalize_name(one) for one in HOMES.get(root, [root])}
            alone = root in ON_THE_HOST | WITHOUT.get(path.name, set()) or homes & CORE
            used.add(extra)
            if not (homes & brought[extra] if extra else alone):
                wrong.append(
                    f"{path.name}: `{statement}` is not in a block `with needs(ITS EXTRA):`"
                )
    assert wrong == []
    assert {"course", "classroom", "dev", "toolbox"} <= used


def run(arguments, code):
    """Run code in another interpreter; give what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, *arguments, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


IMPORT_ALL = """
import importlib, json, sys
failed = {}
for name in %r:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
print(json.dumps(failed))
"""


@pytest.mark.slow
def test_every_module_imports_with_what_the_tests_install():
    assert run([], IMPORT_ALL % modules()) == {}


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """Code for an interpreter that finds the core's packages alone."""
    folder = tmp_path_factory.mktemp("core")
    for name in CORE:
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            place = Path(sysconfig.get_path("purelib")) / top
            if place.exists() and not (folder / top).exists():
                (folder / top).symlink_to(place)
    own = folder / "own"
    own.mkdir()
    (own / "qlearn").symlink_to(SOURCE)
    # -S leaves out this environment's packages, -I what the shell names.
    return f"import sys; sys.path += [{str(own)!r}, {str(folder)!r}]\n"


def test_the_core_sees_no_other_package(core):
    code = (
        "from importlib.util import find_spec\nimport json\n"
        "print(json.dumps([name for name in %r if find_spec(name)]))"
    )
    others = ["numpy", "transformers", "plotly", "ipywidgets", "nbformat", "yaml", "tqdm", "pytest"]
    assert run(["-I", "-S"], core + code % [*others, "torch"]) == ["torch"]


def test_the_core_gives_the_names_that_the_readme_promises(core):
    promised = re.findall(r"`(\w+)`", README_NAMES)
    assert set(promised) == {*qlearn.__all__} - OPTIONAL
    code = (
        "import json, qlearn\nfailed = {}\n"
        "for name in %r:\n    try:\n        getattr(qlearn, name)\n"
        "    except Exception as error:\n        failed[name] = str(error)\n"
        "print(json.dumps(failed))"
    )
    assert run(["-I", "-S"], core + code % promised) == {}
    failed = run(["-I", "-S"], core + code % sorted(OPTIONAL))
    assert failed.keys() == OPTIONAL
    for words in failed.values():
        assert "comes with qlearn's extra 'course'" in words


README = (ROOT / "README.md").read_text(encoding="utf-8")
README_NAMES = README.partition("**The package alone**")[2].partition("Whatever needs more")[0]


def test_the_readmes_example_runs_on_the_core(core):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    bits = run(["-I", "-S"], core + example + "\nprint(compact.bits_per_weight)")
    assert 4 < bits < 5


def test_a_model_of_torch_alone_is_quantized_on_the_core(core):
    code = """
import torch
from qlearn import quantize_model
class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up = torch.nn.Linear(32, 64)
    def forward(self, x):
        return self.up(x)
model = torch.nn.Sequential()
model.layers = torch.nn.ModuleList([Block(), Block()])
from qlearn import QuantScheme
report = quantize_model(model, "rtn", QuantScheme(4, False, 32))
print(len(report.layers))
"""
    assert run(["-I", "-S"], core + code) == 2


@pytest.mark.slow
def test_every_module_imports_on_the_core_or_names_its_extra(core):
    failed = run(["-I", "-S"], core + IMPORT_ALL % modules())
    hint = "comes with qlearn's extra"
    assert {name: words for name, words in failed.items() if hint not in words} == {}
    assert "qlearn.classroom.marks.preprocessor" in failed
    assert "extra 'classroom'" in failed["qlearn.classroom.marks.preprocessor"]


def test_what_is_missing_is_said_when_it_is_used(core):
    code = """
import json
from qlearn import load_model
try:
    load_model("pocket-100k")
except ModuleNotFoundError as error:
    print(json.dumps(str(error)))
"""
    words = run(["-I", "-S"], core + code)
    assert words.startswith("transformers is missing: it comes with qlearn's extra 'course'; run `")


def test_the_checks_install_no_python_package():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    code = "\n".join(line.partition("#")[0] for line in script.splitlines())
    assert not re.findall(r"\b(pip|pip3|pipx|uv|conda|mamba|poetry|easy_install|ensurepip)\b", code)
    assert "PYTHONPATH" not in code
