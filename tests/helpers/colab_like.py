"""Executes every chapter as Colab would: torch is there, qlearn comes through the bootstrap cell.

Run it with the Python of an environment that lacks qlearn and has torch, numpy, ipykernel and
nbclient. It holds that neither torch nor numpy was replaced. The clone stands for the tagged
repository.

    python tests/colab_like.py [NOTEBOOK ...]
"""

import os
import re
import sys
import tempfile
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
CHECK = """
import google.colab.output, ipywidgets
assert google.colab.output.enabled == 1, "the custom widget manager was not enabled"
"""
OUTPUT = """
enabled = 0


def enable_custom_widget_manager():
    global enabled
    enabled += 1
"""


def pretend_colab(folder: Path) -> None:
    """Write a `google.colab` that counts calls, where a kernel started with it finds it."""
    package = folder / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from google.colab import output\n", encoding="utf-8")
    (package / "output.py").write_text(OUTPUT, encoding="utf-8")


def execute(path: Path, folder: Path) -> None:
    """Execute one chapter away from the clone, as an uploaded notebook lies alone."""
    notebook = nbformat.read(path, as_version=4)
    (bootstrap,) = (c for c in notebook.cells if "bootstrap" in c.metadata.get("tags", []))
    bootstrap.source, count = re.subn(r"git\+https://\S+?@v[\w.]+", ROOT.as_uri(), bootstrap.source)
    assert count == 1, "the bootstrap cell installs from no tagged repository"
    place = notebook.cells.index(bootstrap)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("import google.colab"))
    notebook.cells.insert(place + 2, nbformat.v4.new_code_cell(CHECK))
    work = folder / "content"
    work.mkdir(exist_ok=True)
    resources = {"metadata": {"path": str(work)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()


def main(names: list[str]) -> None:
    """Execute the named chapters, or all; stop at the first failure."""
    with suppress(PackageNotFoundError):
        sys.exit(f"this environment already has qlearn {version('qlearn')}; take one without it")
    chosen = [Path(name) for name in names] or sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    before = {name: version(name) for name in ("torch", "numpy")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pretend_colab(folder)
        os.environ["PYTHONPATH"] = temporary
        for path in chosen:
            begun = time.monotonic()
            execute(path, folder)
            print(f"{path.name}: {time.monotonic() - begun:.0f} s", flush=True)
    after = {name: version(name) for name in before}
    assert after == before, f"the bootstrap replaced {before} by {after}"
    print(f"{len(chosen)} chapters ran; torch {after['torch']} and numpy {after['numpy']} stayed.")


if __name__ == "__main__":
    main(sys.argv[1:])
