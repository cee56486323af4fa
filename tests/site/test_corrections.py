"""What the site's build corrects, keeps and fetches; no browser needed."""

import gzip
import hashlib
import importlib.util
import io
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXT = ROOT / "book" / "ext"


@pytest.fixture
def load(monkeypatch):
    """Import a module of `book/ext`."""
    monkeypatch.syspath_prepend(str(EXT))

    def load_module(name):
        spec = importlib.util.spec_from_file_location(name, EXT / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load_module


BAD = """<script src="../_static/vendor/fontawesome/6.5.2/js/all.min.js?digest=1"></script>
<div class="bd-sidebar-primary bd-sidebar"></div>
<div role="list"><div class="citation" role="doc-biblioentry"></div></div>
<a href="06_gptq.ipynb#In-qlearn" data-site="06_gptq.html#in-qlearn" title="In qlearn">ch. 6</a>
<script type="text/x-thebe-config">{ requestKernel: true }</script>
<script>kernelName = 'python3'</script><p>kept</p>"""


def test_each_correction_corrects(load):
    access = load("site_access")
    for pattern, _ in access.CORRECTIONS.values():
        assert re.search(pattern, BAD, re.DOTALL)
    good = access.correct(BAD)
    assert "all.min.js" not in good
    assert "kernelName" not in good
    assert '<div role="navigation" aria-label="Site" class="bd-sidebar-primary' in good
    assert '<div class="citation" role="listitem">' in good
    assert '<a href="06_gptq.html#in-qlearn" title="In qlearn">ch. 6</a>' in good
    assert "<p>kept</p>" in good
    assert access.correct(good) == good


def test_the_site_shows_that_the_corrections_ran(site, pages):
    text = (site / "book/index.html").read_text("utf-8")
    assert 'aria-label="Site" class="bd-sidebar-primary' in text
    for name in pages:
        page = (site / name).read_text("utf-8")
        wrong = (
            "doc-biblioentry",
            "THEBE_JS_URL",
            "kernelName",
            "fontawesome/6.5.2/js",
            "data-site=",
        )
        assert [text for text in wrong if text in page] == [], name


def test_archive_holds_the_whole_site(site):
    with zipfile.ZipFile(site / "qlearn-site.zip") as archive:
        assert archive.testzip() is None
        names = {name.removeprefix("qlearn-site/") for name in archive.namelist()}
    for path in site.rglob("*.html"):
        assert path.relative_to(site).as_posix() in names
    assert {
        "_static/plotly.min.js",
        "_static/explorer.js",
        "_static/mathjax/tex-mml-chtml.js",
    } <= names


def test_scripts_are_light(site):
    plotly = (site / "_static/plotly.min.js").read_bytes()
    assert len(gzip.compress(plotly, 9)) <= 500_000
    ours = (site / "_static/explorer.js").read_bytes()
    assert len(gzip.compress(ours, 9)) <= 5_000


def archive_of(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_a_package_is_checked_kept_and_used_again(load, tmp_path, monkeypatch):
    npm = load("npm_assets")
    content = archive_of({"package/a.js": b"a", "package/deep/b.js": b"b", "package/c.js": b"c"})
    package = npm.Package("x", "1", hashlib.sha256(content).hexdigest(), ("a.js", "deep"))
    calls = []

    def pack(_package, folder):
        calls.append(folder)
        (folder / "x.tgz").write_bytes(content)
        return folder / "x.tgz"

    monkeypatch.setattr(npm, "pack", pack)
    folder = npm.fetch(package, tmp_path)
    assert npm.fetch(package, tmp_path) == folder
    assert len(calls) == 1
    kept = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert kept == ["a.js", "deep/b.js"]
    assert [p.name for p in (tmp_path / "site").iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("sha256", "keep", "message"),
    [("0" * 64, ("a.js",), "not the pinned"), (None, ("z.js",), "lacks z.js")],
)
def test_a_wrong_package_is_refused(load, tmp_path, monkeypatch, sha256, keep, message):
    npm = load("npm_assets")
    content = archive_of({"package/a.js": b"a"})
    package = npm.Package("x", "1", sha256 or hashlib.sha256(content).hexdigest(), keep)

    def pack(_package, folder):
        (folder / "x.tgz").write_bytes(content)
        return folder / "x.tgz"

    monkeypatch.setattr(npm, "pack", pack)
    with pytest.raises(OSError, match=message):
        npm.fetch(package, tmp_path)
    assert list((tmp_path / "site").iterdir()) == []


def test_no_network_says_what_to_do(load, tmp_path, monkeypatch):
    npm = load("npm_assets")
    monkeypatch.setattr(
        npm, "npm_command", lambda: [sys.executable, "-c", "raise SystemExit('no way out')"]
    )
    with pytest.raises(OSError, match=r"no way out; connect to the network once"):
        npm.fetch(npm.PLOTLY, tmp_path)


def test_without_npm_the_wheels_own_plotly_is_used(load, tmp_path, monkeypatch):
    assets = load("site_assets")
    mathjax = tmp_path / "cached"
    (mathjax / "es5").mkdir(parents=True)

    def fetch(package):
        if package is assets.PLOTLY:
            raise OSError("no network")
        return mathjax

    monkeypatch.setattr(assets, "fetch", fetch)
    assets.stage(tmp_path / "staged")
    assert (tmp_path / "staged/plotly.min.js").stat().st_size > 3_000_000


def test_description_is_the_first_paragraph_cut_at_a_word(load):
    from docutils.core import publish_doctree

    pages = load("site_pages")
    text = "Title\n=====\n\n" + "word " * 60
    assert pages.describe(publish_doctree(text)) == ("word " * 31).strip() + " ..."
    assert pages.describe(None) == ""
