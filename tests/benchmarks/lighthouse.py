"""Lighthouse's four scores of the built site, desktop preset, median of three runs a page.

Run `python tests/benchmarks/lighthouse.py [folder of the built site]` in the repository after
`make book`. It needs node 18.20 or newer, npm (which fetches Lighthouse), and Chromium.
"""

import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _results import save
from _site import Quiet, built_site, serve

LIGHTHOUSE = "lighthouse@12.8.2"  # the newest that node 20 runs
PAGES = ("book/index.html", "notebooks/03_granularity.html", "book/glossary.html")
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
RUNS = 3


class Compressed(Quiet):
    """Sends text compressed, as every host of static sites does."""

    def do_GET(self) -> None:
        """Send one file."""
        path = Path(self.translate_path(self.path))
        kind = self.guess_type(str(path))
        if not path.is_file() or not kind.startswith(("text/", "application/j", "image/svg")):
            super().do_GET()
            return
        body = gzip.compress(path.read_bytes())
        self.send_response(200)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Encoding": "gzip",
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def scores(address: str) -> dict[str, float]:
    """Run Lighthouse once: 0 to 100 in each category.

    Raises:
        SystemExit: Lighthouse can't be fetched or fails; it says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [
                *("npx", "--yes", LIGHTHOUSE, address, "--quiet", "--preset=desktop"),
                "--chrome-flags=--headless=new --no-sandbox --disable-gpu",
                *("--output=json", f"--output-path={report}"),
                f"--only-categories={','.join(CATEGORIES)}",
            ],
            env={**os.environ, "CHROME_PATH": shutil.which("chromium") or ""},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not report.exists():
            raise SystemExit(f"Lighthouse failed on {address}: {done.stderr[-2000:]}")
        found = json.loads(report.read_text(encoding="utf-8"))["categories"]
    return {name: round(100 * found[name]["score"]) for name in CATEGORIES}


def measure(site: Path) -> list[dict[str, Any]]:
    """One row a page: the median of each score."""
    rows = []
    with serve(site, Compressed) as base:
        for page in PAGES:
            runs = [scores(f"{base}/{page}") for _ in range(RUNS)]
            median = {name: statistics.median(run[name] for run in runs) for name in CATEGORIES}
            rows.append({"page": page, "runs": RUNS, **median})
            sys.stdout.write(f"{rows[-1]}\n")
    return rows


def main(arguments: list[str]) -> None:
    """Measure and write `lighthouse.json`."""
    rows = measure(built_site(arguments))
    command = "python tests/benchmarks/lighthouse.py"
    save("lighthouse", rows, command, unit="of 100", tool=LIGHTHOUSE, preset="desktop")


if __name__ == "__main__":
    main(sys.argv[1:])
