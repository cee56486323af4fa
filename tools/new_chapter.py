"""`python -m qlearn new chapter 15_words`: every file that a chapter needs; the checks pass.

What it writes is a small chapter that works; its author replaces it piece by piece.
"""

import json
import re
from pathlib import Path

from tools.environment import Environment
from tools.errors import TaskError

TEMPLATES = Path(__file__).with_name("chapter")
FILES = {  # template: the file, with the chapter's number and module in it
    "exercises.py": "src/qlearn/exercises/{module}.py",
    "module.py": "src/qlearn/course/chapters/{module}.py",
    "cases.py": "tests/helpers/exercises_cases/{module}.py",
    "test_module.py": "tests/course/test_chapters_{module}.py",
}
USAGE = "python -m qlearn new chapter NN_words [--source ARXIV]"
DROPDOWN = "````{admonition} Solution\n:class: dropdown\n\n%s\n````"


def cells(text: str) -> list[dict[str, object]]:
    """The cells of a notebook written as Markdown, parted by lines of `%% kind`."""
    parts = re.split(r"(?m)^%%[ ]?(\w*)\n", "%%\n" + text)[1:]
    made: list[dict[str, object]] = []
    for kind, body in zip(parts[::2], parts[1::2], strict=True):
        code = re.search(r"(?s)```python\n(.*?)\n```", body)
        if kind in ("code", "blank", "explorer") and code:
            tags = ["nbval-ignore-output"] if kind == "explorer" else []
            cell: dict[str, object] = {"cell_type": "code", "source": code[1], "outputs": []}
            cell |= {"execution_count": None, "metadata": {"tags": tags} if tags else {}}
            made.append(cell)
        else:
            said = DROPDOWN % body.strip() if kind == "solution" else body.strip()
            made.append({"cell_type": "markdown", "source": said, "metadata": {}})
    for number, each in enumerate(made):
        each["id"] = f"cell-{number}"
    return made


def insert(path: Path, pattern: str, text: str) -> None:
    """Put text behind the last place that a pattern matches.

    Raises:
        TaskError: the pattern matches nowhere.
    """
    whole = path.read_text(encoding="utf-8")
    found = list(re.finditer(pattern, whole))
    if not found:
        raise TaskError(f"{path} has no place for a chapter: nothing in it matches {pattern!r}")
    end = found[-1].end()
    path.write_text(whole[:end] + text + whole[end:], encoding="utf-8")


def write(root: Path, name: str, source: str) -> Path:
    """Write a chapter's files and name it where chapters are named; give its notebook.

    Args:
        root: the clone.
        name: `NN_words`, such as `15_ternary_weights`.
        source: the arXiv number of a paper that the chapter cites.

    Raises:
        TaskError: a name of another form, or a number that is taken.
    """
    if not re.fullmatch(r"\d\d_[a-z0-9]+(_[a-z0-9]+)*", name):
        raise TaskError(f"{name!r} is not a chapter's name: two digits, then words, as 15_ternary")
    number = int(name[:2])
    taken = sorted((root / "notebooks").glob(f"{name[:2]}_*.ipynb"))
    if taken:
        raise TaskError(f"chapter {number} is there: {taken[0].name}; take the next number")
    title = name[3:].replace("_", " ").capitalize()
    words = {"number": number, "title": title, "module": f"ch{name[:2]}", "source": source}
    for template, place in FILES.items():
        text = (TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
        (root / place.format(**words)).write_text(text.format(**words), encoding="utf-8")
    text = (TEMPLATES / "notebook.md.txt").read_text(encoding="utf-8").format(**words)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells(text), "metadata": {"kernelspec": kernel}}
    notebook = root / "notebooks" / f"{name}.ipynb"
    notebook.write_text(json.dumps({**content, "nbformat": 4, "nbformat_minor": 5}), "utf-8")
    contents = root / "book" / "_toc.yml"
    insert(contents, r" +- file: notebooks/\w+\n", f"      - file: notebooks/{name}\n")
    insert(
        root / "book" / "syllabus.md",
        r"\Z",
        f"\n### {number}. [{title}](../notebooks/{name}.ipynb)\n\nWhat the chapter shows.\n\n"
        "- **You do**: count what codes and scales cost.\n- **Before**: chapter 2.\n"
        "- **Time**: 60 minutes.\n",
    )
    insert(
        root / "src" / "qlearn" / "course" / "objectives.py",
        r"(?m)^    \),\n(?=\)\n)",
        f'    Objective(\n        "say what a weight costs, as chapter {number} counts it",\n'
        f"        ({number},),\n"
        "        ("
        + ", ".join(f'"ch{name[:2]}.{each}"' for each in ("codes", "layer", "bits"))
        + "),\n"
        "    ),\n",
    )
    bibliography = root / "book" / "references.bib"
    if source not in bibliography.read_text(encoding="utf-8"):
        entry = f"\n@misc{{chapter{number},\n  title = {{To be named}},\n  eprint = {{{source}}}, "
        insert(bibliography, r"\Z", entry + "archiveprefix = {arXiv}\n}\n")
    return notebook


def new(environment: Environment, more: list[str]) -> int:
    """Write the files of a new chapter: `new chapter 15_words`; the checks pass with them.

    It is executed and measured at once. Then replace what is in it, piece by piece.
    """
    words = [word for word in more if not word.startswith("--")]
    source = "2210.17323"
    if "--source" in more:
        source = more[more.index("--source") + 1]
        words.remove(source)
    if len(words) != 2 or words[0] != "chapter":
        raise TaskError(f"say what is new: {USAGE}")
    root = environment.root
    notebook = write(root, words[1], source)
    place = str(notebook.relative_to(root))
    environment.run(["-m", "qlearn.course.notebooks", "--write", place])
    status = environment.run(["tests/benchmarks/chapters.py", place])
    if status == 0:
        print(
            f"{place} is there, with its exercises, tests, objective, table of contents and "
            "syllabus. Write it; then `make notebooks ARGS=" + place + "`, `make book`, and "
            "`make bench ARGS=redraw` for its explorer. `make check` tells what is missing."
        )
    return status
