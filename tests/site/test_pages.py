"""Every page: nothing foreign, nothing failing, readable by all, on a phone and on paper."""

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, unquote, urlparse

import pytest

AXE = {"preload": False, "resultTypes": ["violations"]}  # its preload asks for files by wrong names


def violations(page, **options):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options=AXE | options).response["violations"]
    return [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in found]


# Of axe's rules those that look at colours; what the others look at is the same in both themes.
COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}


def test_pages_are_quiet_and_accessible(visit, pages):
    for name in pages:
        opened = visit(color_scheme="light").go(name)
        opened.draw_all()
        opened.set_theme("light")
        assert violations(opened.page) == [], f"{name} in light"
        opened.set_theme("dark")
        assert violations(opened.page, runOnly=COLOURS) == [], f"{name} in dark"
        assert opened.console == [], name
        assert opened.failed == [], name
        assert opened.foreign == [], name
        opened.page.context.close()


def test_axe_finds_what_is_wrong(visit):
    opened = visit().go("book/index.html")
    opened.page.evaluate("document.querySelector('main').append(new Image())")
    assert "image-alt" in [name for name, _ in violations(opened.page)]
    opened.page.evaluate("document.querySelector('main').append('pale')")
    for theme, pale in (("light", "#eee"), ("dark", "#222")):
        opened.set_theme(theme)
        opened.page.evaluate(f"document.querySelector('main').style.color = '{pale}'")
        assert [name for name, _ in violations(opened.page, runOnly=COLOURS)] == ["color-contrast"]


def test_foreign_requests_are_seen_and_blocked(visit):
    opened = visit().go("book/index.html")
    opened.page.evaluate("fetch('https://example.org/x').catch(() => 0)")
    opened.page.wait_for_function("() => true")
    assert opened.foreign == ["https://example.org/x"]


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_scrolls_down_only(visit, pages, width):
    opened = visit(width=width)
    for name in pages:
        opened.go(name).draw_all()
        beyond = opened.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert beyond <= 0, f"{name} is {beyond} px wider than {width} px"


def test_what_scrolls_on_a_phone_takes_the_keyboard(visit, pages):
    rule = {"type": "rule", "values": ["scrollable-region-focusable"]}
    opened, wide = visit(width=320), 0
    for name in pages:
        opened.go(name).page.wait_for_load_state("load")
        wide += len(opened.page.query_selector_all("table[tabindex]"))
        assert violations(opened.page, runOnly=rule) == [], name
    assert wide > 0


def test_the_page_does_not_jump(visit, pages, bundles):
    """Cumulative layout shift while explorers are drawn: their height is reserved."""
    for name in (name for name in pages if bundles[name]):
        opened = visit()
        opened.page.add_init_script(
            "window.shift = 0; new PerformanceObserver((list) => list.getEntries().forEach("
            "(e) => { if (!e.hadRecentInput) window.shift += e.value; }))"
            ".observe({ type: 'layout-shift', buffered: true });"
        )
        opened.go(name).draw_all()
        assert opened.page.evaluate("window.shift") < 0.05, name


def test_the_theme_switch_redraws(visit):
    opened = visit(color_scheme="light").go("book/index.html")
    opened.draw_all()
    ink = "document.querySelector('.qx-plot')._fullLayout.font.color"
    seen = {opened.page.evaluate(ink)}
    for _ in range(3):
        opened.page.click(".theme-switch-button:visible")
        opened.page.wait_for_timeout(150)
        seen.add(opened.page.evaluate(ink))
    assert len(seen) == 2


def test_paper_has_the_tables_and_no_controls(visit, pages, bundles):
    opened = visit()
    for name in pages:
        opened.go(name).draw_all()
        opened.page.emulate_media(media="print")
        moving = sum(bool(bundle["controls"]) for bundle in bundles[name])
        shown = opened.page.eval_on_selector_all(
            ".qx-table table", "all => all.filter((t) => t.offsetHeight > 20).length"
        )
        assert shown == moving, name
        controls = opened.page.query_selector_all(".qx-controls, .bd-sidebar-primary")
        assert not any(control.is_visible() for control in controls), name
        opened.page.emulate_media(media="screen")


def test_a_page_without_scripts_still_has_words_and_table(visit, bundles):
    opened = visit(java_script_enabled=False).go("book/index.html")
    figure = opened.page.query_selector("figure.qx")
    assert len(figure.query_selector("figcaption").inner_text()) > 20
    assert len(bundles["book/index.html"]) == 1
    figure.query_selector("summary").click()
    assert figure.query_selector(".qx-table table").is_visible()


class Links(HTMLParser):
    """The addresses on a page, and its description."""

    def __init__(self, text):
        super().__init__()
        self.found, self.description = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        address = given.get("href" if tag in ("a", "link") else "src")
        if address:
            self.found.append((tag, address))
        if tag == "meta" and given.get("name") == "description":
            self.description = given.get("content", "")


def test_every_link_within_the_site_leads_somewhere(site, pages):
    for name in pages:
        page = site / name
        for _, address in Links(page.read_text("utf-8")).found:
            parts = urlparse(address)
            if parts.scheme or parts.netloc or not parts.path:
                continue
            target = (page.parent / unquote(parts.path)).resolve()
            assert target.is_file(), f"{name}: {address}"


def test_launch_buttons_open_files_that_exist(site, sources, pages):
    launched = set()
    for name in pages:
        for _, address in Links((site / name).read_text("utf-8")).found:
            parts = urlparse(address)
            if parts.netloc == "colab.research.google.com":
                path = re.fullmatch(r"/github/[^/]+/[^/]+/blob/main/(.+\.ipynb)", parts.path)
                assert path, f"{name}: {address}"
                launched.add(("colab", path[1]))
            elif parts.netloc == "mybinder.org":
                assert parts.path.endswith("/main"), f"{name}: {address}"
                path = parse_qs(parts.query)["urlpath"][0]
                launched.add(("binder", path.removeprefix("lab/tree/")))
    notebooks = {f"notebooks/{path.name}" for path in (sources / "notebooks").glob("*.ipynb")}
    shown = {path for path in notebooks if (site / path).with_suffix(".html").exists()}
    assert shown
    for button in ("colab", "binder"):
        assert {path for kind, path in launched if kind == button} >= shown
    assert all((sources / path).is_file() for _, path in launched)


def test_every_chapter_and_the_site_can_be_downloaded(site, sources, pages):
    for name in pages:
        page = site / name
        addresses = [address for _, address in Links(page.read_text("utf-8")).found]
        archives = [a for a in addresses if a.endswith("qlearn-site.zip")]
        assert archives, name
        source = (sources / name).with_suffix(".ipynb")
        if source.exists():
            copies = [page.parent / a for a in addresses if a.endswith(f"{source.name}")]
            assert any(c.is_file() and c.read_bytes() == source.read_bytes() for c in copies), name


def test_every_page_describes_itself(site, pages):
    for name in pages:
        description = Links((site / name).read_text("utf-8")).description
        assert 10 <= len(description) <= 170, f"{name}: {description!r}"
