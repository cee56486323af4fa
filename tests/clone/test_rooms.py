"""The house: rooms of few entries that say what they are, public names that load, short names."""

import ast
import json
import re
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "qlearn"
FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))
ROOMS = [
    ".".join(("qlearn", *folder.relative_to(PACKAGE).parts))
    for folder in FOLDERS
    if folder != PACKAGE
]
MOST = 12  # entries of a folder beside its __init__
# A series with one file a chapter, or a folder an assignment, may grow with the course.
SERIES = {"exercises", "course/chapters", "assignments"}
NOT_COUNTED = {"__init__.py", "__main__.py", "__pycache__", "py.typed"}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
NOTEBOOKS += sorted((ROOT / "notebooks" / "assignments" / "source").glob("*/*.ipynb"))


def test_no_folder_has_more_entries_than_can_be_seen_at_once():
    folders = [path for path in PACKAGE.rglob("*") if path.is_dir()]
    for folder in [path for path in folders if path.name != "__pycache__"]:
        name = folder.relative_to(PACKAGE).as_posix()
        entries = {path.name for path in folder.iterdir()} - NOT_COUNTED
        assert len(entries) <= MOST or name in SERIES, (name, sorted(entries))
    assert len({path.name for path in PACKAGE.iterdir()} - NOT_COUNTED) == MOST


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_and_its_public_names_load(room):
    module = import_module(room)
    first = (module.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
    assert first.endswith((".", "?")) and 15 < len(first) <= 200, first
    inside = {found.name for found in iter_modules(module.__path__)}
    for name in getattr(module, "__all__", []):
        value = getattr(module, name)
        assert name in dir(module)
        # A function of a module's own name would be hidden behind it, or hide it.
        assert name not in inside or getattr(value, "__name__", "") == f"{room}.{name}", name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("gptq", ["gptq_quantize"]),
        ("awq", ["awq_search"]),
        ("codebook", ["NF4", "FP4", "quantize_blockwise"]),
        ("packing", ["pack", "unpack"]),
        ("formats", ["encode", "decode", "FP32", "FP16", "BF16", "FP8_E4M3", "FP8_E5M2"]),
    ],
)
def test_short_names_of_public_modules_are_the_rooms_own(module, names):
    short = import_module(f"qlearn.{module}")
    methods = import_module("qlearn.methods"), import_module("qlearn.numerics")
    for name in names:
        homes = [room for room in methods if name in room.__all__]
        assert [getattr(room, name) for room in homes] == [getattr(short, name)]
    with pytest.raises(AttributeError, match="no attribute 'torch'"):
        _ = short.torch  # whoever looks at all modules does not load one
    assert sys.modules[f"qlearn.{module}"] is short


def imports_of(path):
    """Each import of the package in a notebook: the module and the names."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or source.startswith("%"):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "qlearn":
                yield node.module, [alias.name for alias in node.names]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_public_names_alone(path):
    found = list(imports_of(path))
    assert found
    for module, names in found:
        public = set(getattr(import_module(module), "__all__", ()))
        inside = {one.name for one in iter_modules(getattr(import_module(module), "__path__", []))}
        assert set(names) <= public | (inside & {"figures", "results"}), (module, names)


def leads_somewhere(reference):
    """Whether a dotted name is a module of the package, or something in one."""
    parts = reference.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_names_that_docstrings_and_pages_give_are_there():
    """The site leads a reference that it does not know to no place, and says nothing."""
    assert leads_somewhere("qlearn.numerics.affine.quantize")
    assert not leads_somewhere("qlearn.numerics.affine.no_such_name")
    known = {"qlearn.py": "a file that would be in the way", "qlearn.capstone_board": "a launcher"}
    lost, seen = [], set()
    for folder in ("src", "tools", "book", "tests", "notebooks", "."):
        pattern = "*" if folder == "." else "**/*"
        for path in sorted((ROOT / folder).glob(pattern)):
            if path.suffix not in (".py", ".md", ".ipynb") or "release" in path.parts:
                continue
            text = path.read_text(encoding="utf-8")
            for name in set(re.findall(r"(?:`~?|-m )(qlearn(?:\.\w+)+)", text)) - known.keys():
                seen.add(name)
                if not leads_somewhere(name):
                    lost.append((path.relative_to(ROOT).as_posix(), name))
    assert len(seen) > 80
    assert lost == []
