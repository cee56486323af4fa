"""The two cells that are generated and the same in every chapter: its buttons and its bootstrap."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import quote

from qlearn import needs

with needs("dev"):
    import nbformat
    import yaml

BADGES_TAG = "badges"
BOOTSTRAP_TAG = "bootstrap"


@dataclass(frozen=True)
class Publication:
    """Where the course is published: what badges and the bootstrap cell point at.

    Attributes:
        repository: `owner/name` on GitHub.
        branch: the branch whose notebooks the badges open.
        version: the package's version; its tag is `v` and the version.
    """

    repository: str
    branch: str
    version: str

    @property
    def requirement(self) -> str:
        """What pip installs: the tagged repository, never a bare name of a registry."""
        return f"qlearn[course] @ git+https://github.com/{self.repository}@v{self.version}"


def read_publication(root: Path) -> Publication:
    """Read `repository` of `_config.yml` and the version of `pyproject.toml`.

    Raises:
        ValueError: `repository.url` is not a GitHub repository's address.
    """
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    url = str(config["repository"]["url"])
    match = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", url)
    if match is None:
        raise ValueError(
            f"repository.url={url!r} in _config.yml is not a GitHub repository; "
            "write https://github.com/OWNER/NAME"
        )
    return Publication(
        match[1], str(config["repository"].get("branch", "main")), project["version"]
    )


def badges(name: str, publication: Publication) -> str:
    """Write the Markdown of a chapter's buttons: links, so that the site loads no foreign image.

    >>> print(badges("01_a.ipynb", Publication("me/course", "main", "0.1.0")).splitlines()[0])
    [Open in Colab](https://colab.research.google.com/github/me/course/blob/main/notebooks/01_a.ipynb)
    """
    path = quote(f"lab/tree/notebooks/{name}", safe="")
    base = f"{publication.repository}/{publication.branch}"
    blob = f"{publication.repository}/blob/{publication.branch}"
    return (
        f"[Open in Colab](https://colab.research.google.com/github/{blob}/notebooks/{name})\n"
        f"&nbsp; [Open in Binder](https://mybinder.org/v2/gh/{base}?urlpath={path})"
    )


def bootstrap_cell(publication: Publication) -> str:
    """Write the code that makes a chapter run in a fresh Colab session, and nothing elsewhere.

    Colab's torch and numpy are built for its machines and loaded by much that it preinstalls, so
    pip is held to those very versions; the rest changes only where it is too old.
    """
    code = """
        # Set-up: run this cell first.
        # The same in all chapters, written by `python -m qlearn.course.notebooks --write`.
        def _bootstrap(requirement):
            import importlib.util
            import subprocess
            import sys

            colab = "google.colab" in sys.modules
            found = importlib.util.find_spec("qlearn")
            if found is None or found.origin is None:
                if not colab:
                    raise ModuleNotFoundError(
                        "This kernel has no qlearn: open the notebook with `make lab`, "
                        f"or install it with: pip install '{requirement}'"
                    )
                import tempfile
                from importlib.metadata import distributions, packages_distributions
                from pathlib import Path

                before = {one.name: one.version for one in distributions()}
                keep = Path(tempfile.gettempdir(), "keep.txt")
                keep.write_text("".join(f"{n}=={before[n]}\\n" for n in ("torch", "numpy")))
                print("Installing qlearn: about a minute.")
                pip = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(keep)]
                subprocess.run([*pip, requirement], check=True)
                importlib.invalidate_caches()

                owners = packages_distributions()
                loaded = {o for m in list(sys.modules) for o in owners.get(m.split(".")[0], [])}
                now = {one.name: one.version for one in distributions()}
                if changed := sorted(n for n in loaded if before.get(n, now[n]) != now[n]):
                    raise SystemExit(
                        f"Installed. This session still holds the old {', '.join(changed)}: "
                        "choose Runtime > Restart session, then run the notebook from the top."
                    )
            if colab:
                from google.colab import output

                output.enable_custom_widget_manager()


        _bootstrap("REQUIREMENT")
    """
    return dedent(code).strip().replace("REQUIREMENT", publication.requirement)


def generated(notebook: Any, name: str, publication: Publication) -> Any:
    """Put the two generated cells after a chapter's title, in place of what carries their tags.

    Args:
        notebook: an nbformat notebook; it is not changed.
        name: its file name.
        publication: where the course is published.
    """
    fresh = nbformat.from_dict(notebook)
    cells = [cell for cell in fresh.cells if not _tags(cell) & {BADGES_TAG, BOOTSTRAP_TAG}]
    # Where the package is installed the bootstrap does nothing, so a new text needs no new run.
    counts = [c.get("execution_count") for c in fresh.cells if BOOTSTRAP_TAG in _tags(c)]
    buttons = nbformat.v4.new_markdown_cell(
        badges(name, publication), metadata={"tags": [BADGES_TAG]}
    )
    bootstrap = nbformat.v4.new_code_cell(
        bootstrap_cell(publication),
        # Folded in JupyterLab and in Colab: a reader's first sight is the chapter.
        metadata={
            "cellView": "form",
            "jupyter": {"source_hidden": True},
            "tags": [BOOTSTRAP_TAG, "remove-cell"],
        },
        execution_count=counts[0] if counts else None,
    )
    fresh.cells = [*cells[:1], buttons, bootstrap, *cells[1:]]
    return fresh


def _tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", []))
