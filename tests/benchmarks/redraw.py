"""How long one move of a slider takes to be drawn on the built site, in headless Chromium.

Run `python tests/benchmarks/redraw.py [folder of the built site]` in the repository after
`make book`, on a quiet machine. The time runs from the input event to the last change that it makes
to the plot's elements; the browser paints after that. A move that changes nothing is not counted.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from _results import save
from _site import built_site, serve

MOVES = 200
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# Walks the positions in order, one move every second frame.
MOVE = """
async ([figure, moves]) => {
  const inputs = [...figure.querySelectorAll("[data-control]")], times = [];
  const size = (i) => i.type === "checkbox" ? 2 : i.options?.length ?? Number(i.max) + 1;
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  let began, ended;
  const watch = new MutationObserver(() => { ended = performance.now(); });
  const all = { subtree: true, attributes: true, childList: true, characterData: true };
  watch.observe(figure.querySelector(".qx-plot"), all);
  for (let k = 0; k < moves; k++) {
    const c = k % inputs.length, at = Math.floor(k / inputs.length) % size(inputs[c]);
    if (inputs[c].type === "checkbox") inputs[c].checked = Boolean(at); else inputs[c].value = at;
    began = performance.now(), ended = 0;
    inputs[c].dispatchEvent(new Event("input", { bubbles: true }));
    await frame();
    await frame();
    if (ended) times.push(ended - began);
  }
  watch.disconnect();
  return times;
}
"""


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def measure(site: Path) -> list[dict[str, Any]]:
    """One row for each explorer that has controls: page, positions, milliseconds."""
    from playwright.sync_api import sync_playwright

    rows = []
    with serve(site) as base, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or playwright.chromium.executable_path,
            args=ARGUMENTS,
        )
        for path in sorted([*site.glob("book/*.html"), *site.glob("notebooks/*.html")]):
            name = path.relative_to(site).as_posix()
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{base}/{name}")
            for number, figure in enumerate(page.query_selector_all("figure.qx")):
                figure.scroll_into_view_if_needed()
                page.wait_for_function("f => 'position' in f.dataset", arg=figure)
                if figure.query_selector("[data-control]") is None:
                    continue
                page.evaluate(MOVE, [figure, 40])  # the first redraws compile the script
                times = page.evaluate(MOVE, [figure, MOVES])
                rows.append(
                    {
                        "page": name,
                        "explorer": number,
                        "redraws": len(times),
                        "median_ms": round(quantile(times, 0.5), 1),
                        "p95_ms": round(quantile(times, 0.95), 1),
                    }
                )
            page.close()
        browser.close()
    return rows


def main(arguments: list[str]) -> None:
    """Measure and write `redraw.json`."""
    rows = measure(built_site(arguments))
    for row in rows:
        sys.stdout.write(f"{row}\n")
    save("redraw", rows, "python tests/benchmarks/redraw.py", unit="ms, one redraw")


if __name__ == "__main__":
    main(sys.argv[1:])
