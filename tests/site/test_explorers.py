"""Every explorer of every page is drawn, and each of its positions is what Python computed."""

import json
import math
import re

import pytest

from qlearn.measure import results
from qlearn.teach.explorer.additive import leaves, sample, shape
from qlearn.teach.explorer.bundle import bundle_controls, bundle_frame
from qlearn.teach.explorer.controls import count, positions

SAMPLES = 500  # of the positions of an additive explorer, beside all its corners
BATCH = 50
FRAME = 16  # ms: `tests/benchmarks/redraw.py` measures on a quiet machine
# Moves the controls to each position as a hand would, and says what plotly then draws.
WALK = """
async ([figure, places]) => {
  const inputs = [...figure.querySelectorAll("[data-control]")], seen = [];
  const plot = figure.querySelector(".qx-plot");
  for (const at of places) {
    inputs.forEach((input, c) => {
      if (input.type === "checkbox") input.checked = Boolean(at[c]); else input.value = at[c];
    });
    if (inputs.length) delete figure.dataset.position;  // what is there then is newly drawn
    inputs.forEach((input) => input.dispatchEvent(new Event("input", { bubbles: true })));
    const until = performance.now() + 120000;  // a busy machine draws late
    while (figure.dataset.position !== at.join(",") && performance.now() < until)
      await new Promise((done) => requestAnimationFrame(done));
    seen.push({
      position: figure.dataset.position, data: structuredClone(plot.data), layout: plot.layout,
      drawn: plot._fullData.map((trace) => trace.visible !== false),
      text: figure.querySelector("figcaption").textContent,
      alternative: plot.getAttribute("aria-label"),
      labels: inputs.map((input) => input.getAttribute("aria-valuetext")
        ?? (input.options ? input.selectedOptions[0].textContent : input.checked ? "on" : "off")),
    });
  }
  return JSON.stringify(seen);
}
"""


def places_of(bundle):
    """The positions to compare: all of them, or all corners and 500 drawn with a fixed seed."""
    controls, start = bundle_controls(bundle)
    if "base" not in bundle or count(controls) <= SAMPLES:
        return list(positions(controls))
    corners = [()]
    for control in controls:
        corners = [(*c, k) for c in corners for k in sorted({0, len(control.values) - 1})]
    return list(dict.fromkeys([start, *corners, *sample(controls, SAMPLES, seed=1)]))


def missing(expected, found, tolerance=0.0):
    """The leaves of `expected` that `found` lacks or has otherwise; plotly adds its own."""
    there = dict(leaves(found))
    return [
        path
        for path, leaf in leaves(expected)
        if leaf != {} and (path not in there or not agree(leaf, there[path], tolerance))
    ]


def agree(a, b, tolerance):
    if a == b:
        return True
    if shape(a) is None or shape(a) != shape(b):
        return False
    if shape(a) == ():
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    return all(agree(x, y, tolerance) for x, y in zip(a, b, strict=True))


def test_comparison_finds_a_difference():
    frame = {"data": [{"y": [1.0, 2.0], "name": "a"}], "layout": {"title": {"text": "t"}}}
    assert missing(frame, frame) == []
    wrong = {"data": [{"y": [1.0, 2.1], "name": "a"}], "layout": {"title": {"text": "t"}}}
    assert missing(frame, wrong, 1e-6) == [("data", 0, "y")]
    assert missing(frame, {"data": [{"y": [1.0, 2.0]}], "layout": {}}) == [
        ("data", 0, "name"),
        ("layout", "title", "text"),
    ]


def test_every_page_has_the_explorers_that_python_made(visit, pages, bundles):
    assert sum(map(len, bundles.values())) > 0
    opened = visit()
    for name in pages:
        drawn = opened.go(name).draw_all()
        assert drawn == len(bundles[name]), name


def each_explorer(opened, pages, bundles):
    """Page, figure, bundle and a name, for one explorer after the other."""
    for name in filter(bundles.get, pages):
        opened.go(name).draw_all()
        figures = opened.page.query_selector_all("figure.qx")
        for number, (figure, bundle) in enumerate(zip(figures, bundles[name], strict=True)):
            yield opened.page, figure, bundle, f"{name}, figure {number + 1}"


def test_every_position_is_what_python_computed(visit, pages, bundles):
    for page, figure, bundle, where in each_explorer(visit(), pages, bundles):
        check_all_positions(page, figure, bundle, where)


def check_all_positions(page, figure, bundle, where):
    controls, _ = bundle_controls(bundle)
    tolerance = 1e-9 if "base" in bundle else 0.0
    todo = places_of(bundle)
    for first in range(0, len(todo), BATCH):
        places = todo[first : first + BATCH]
        seen = json.loads(page.evaluate(WALK, [figure, [list(place) for place in places]]))
        for place, found in zip(places, seen, strict=True):
            expected = bundle_frame(bundle, place)
            at = f"{where} at {place}"
            assert found["position"] == ",".join(map(str, place)), at
            assert len(found["data"]) == len(expected["data"]), at
            assert all(found["drawn"]), at
            assert missing(expected["data"], found["data"], tolerance) == [], at
            check_layout(expected["layout"], found["layout"], tolerance, at)
            assert found["text"] == found["alternative"] == expected["text"], at
            labels = [c.labels[k] for c, k in zip(controls, place, strict=True)]
            assert found["labels"] == labels, at


def check_layout(expected, found, tolerance, at):
    """Plotly turns a reversed automatic range into numbers and forgets the word."""
    lacking = []
    for path in missing(expected, found, tolerance):
        if path[-1] == "autorange":
            axis = found[path[0]]
            if expected[path[0]]["autorange"] == "reversed" and axis["range"][0] > axis["range"][1]:
                continue
        lacking.append(path)
    assert lacking == [], at


def test_no_position_is_an_error(bundles):
    for name, page_bundles in bundles.items():
        for bundle in page_bundles:
            assert not any(frame.get("error") for frame in bundle.get("frames", [])), name


def test_keyboard_moves_every_slider(visit, pages, bundles):
    opened = visit()
    for name in pages:
        if not bundles[name]:
            continue
        opened.go(name).draw_all()
        for slider in opened.page.query_selector_all("figure.qx input[type=range]"):
            last = slider.get_attribute("max")
            if last == "0":
                continue
            slider.focus()
            opened.page.keyboard.press("Home")
            first = slider.get_attribute("aria-valuetext")
            opened.page.keyboard.press("ArrowRight")
            assert slider.evaluate("s => s.value") == "1", name
            assert slider.get_attribute("aria-valuetext") != first, name
            opened.page.keyboard.press("End")
            assert slider.evaluate("s => s.value") == last, name


def test_tab_reaches_the_first_control_and_shows_where_it_is(visit, server):
    opened = visit().go("book/index.html")
    opened.draw_all()
    control = opened.page.query_selector("figure.qx [data-control]")
    for _ in range(60):
        opened.page.keyboard.press("Tab")
        if control.evaluate("c => c === document.activeElement"):
            break
    else:
        pytest.fail("60 presses of Tab do not reach the first slider")
    assert control.evaluate("c => getComputedStyle(c).outlineStyle") == "solid"


def test_drawing_moves_what_is_seen(visit):
    """Not only plotly's data changes: so do the shapes on the page."""
    opened = visit().go("book/index.html")
    opened.draw_all()
    lines = "f => [...f.querySelectorAll('.qx-plot path')].map((p) => p.getAttribute('d')).join()"
    figure = opened.page.query_selector("figure.qx")
    before = figure.evaluate(lines)
    slider = figure.query_selector("input[type=range]")
    slider.focus()
    opened.page.keyboard.press("End")
    opened.page.wait_for_function(
        "([f, was]) => [...f.querySelectorAll('.qx-plot path')]"
        ".map((p) => p.getAttribute('d')).join() !== was",
        arg=[figure, before],
    )


# What is on the page, and what plotly draws of the same figure in a new place of the same size.
DRAWN = """
async ([figure, at]) => {
  const inputs = [...figure.querySelectorAll("[data-control]")];
  const plot = figure.querySelector(".qx-plot");
  const settled = () => new Promise((done) => setTimeout(done, 60));
  for (const [c, input] of inputs.entries()) {
    if (input.type === "checkbox") input.checked = Boolean(at[c]); else input.value = at[c];
    input.dispatchEvent(new Event("input", { bubbles: true }));
    await settled();
  }
  const pixels = async (image) => {
    const picture = new Image();
    picture.src = image.getAttribute("href");
    await picture.decode();
    const paper = Object.assign(document.createElement("canvas"),
      { width: picture.naturalWidth, height: picture.naturalHeight }).getContext("2d");
    paper.drawImage(picture, 0, 0);
    return [...paper.getImageData(0, 0, picture.naturalWidth, picture.naturalHeight).data];
  };
  const look = async (where) => ({
    shapes: [...where.querySelectorAll(".cartesianlayer .trace path, .cartesianlayer .trace text")]
      .map((it) => [it.getAttribute("d"), it.getAttribute("transform"), it.style.fill,
        it.style.display, it.tagName === "text" ? it.textContent : ""].join("|")),
    images: await Promise.all([...where.querySelectorAll(".hm image")].map(pixels)),
  });
  const anew = document.createElement("div");
  Object.assign(anew.style, { width: `${plot.clientWidth}px`, font: getComputedStyle(plot).font });
  plot.after(anew);
  const copy = (part) => structuredClone(part);
  await Plotly.newPlot(anew, plot.data.map(copy), copy(plot.layout), { displayModeBar: false });
  const both = [await look(plot), await look(anew)];
  anew.remove();
  return both;
}
"""


def alike(ours, theirs):
    """Equal but for a pixel: plotly snaps bars to whole ones only where nothing moves."""
    number = re.compile(r"-?\d+(?:\.\d+)?")
    pairs = zip(number.findall(ours), number.findall(theirs), strict=False)
    return number.sub("", ours) == number.sub("", theirs) and all(
        abs(float(a) - float(b)) <= 1 for a, b in pairs
    )


def test_what_moves_alone_looks_as_if_all_were_drawn_anew(visit, pages, bundles):
    """Points, bars and tiles are moved without the rest of the figure: nothing else may show."""
    compared = 0
    for opened, figure, bundle, where in each_explorer(visit(), pages, bundles):
        controls, _ = bundle_controls(bundle)
        for place in sample(controls, 4, seed=2) if controls else []:
            page, anew = opened.evaluate(DRAWN, [figure, list(place)])
            at = f"{where} at {place}"
            assert page["shapes"], at
            assert len(page["shapes"]) == len(anew["shapes"]), at
            for ours, theirs in zip(page["shapes"], anew["shapes"], strict=True):
                assert alike(ours, theirs), (at, ours, theirs)
            assert len(page["images"]) == len(anew["images"]), at
            for ours, theirs in zip(page["images"], anew["images"], strict=True):
                assert len(ours) == len(theirs), at
                assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 2, at
            compared += 1
    assert compared > 30


def test_redraw_times_were_measured_and_fit_a_frame(bundles):
    published = {(row["page"], row["explorer"]): row for row in results.load("redraw")["rows"]}
    moving = {
        (name, number)
        for name, page_bundles in bundles.items()
        for number, bundle in enumerate(page_bundles)
        if bundle["controls"]
    }
    assert set(published) == moving
    assert all(0 < row["median_ms"] <= row["p95_ms"] <= FRAME for row in published.values())


def test_frames_carry_no_template(bundles):
    """The theme's colours are the page's: a frame that fixes them would not follow the switch."""
    for name, page_bundles in bundles.items():
        for bundle in page_bundles:
            text = json.dumps(bundle)
            assert '"template": {"data"' not in text, name
            assert not re.search(r'"(paper|plot)_bgcolor": "(?!rgba\(0)', text), name
