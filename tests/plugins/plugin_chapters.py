"""Each chapter's cells run once, under nbval; two more tests read the same kernel before it ends.

nbval compares a cell's output with the committed one. The tests added here ask what memory the run
took and whether each explorer, computed again, is the committed one. How long a chapter takes is
measured by `make notebooks` on a quiet machine and recorded; no clock is read here.
"""

import pytest
from chapter_bands import band
from nbval.plugin import IPyNbCell

from qlearn.course.notebooks.compare import differences
from qlearn.course.notebooks.run import peak_memory
from qlearn.course.notebooks.structure import MAX_MEMORY
from qlearn.teach.explorer.bundle import MIME
from qlearn.teach.explorer.grid import restore


class Memory(pytest.Item):
    """The chapter stayed within the memory of a free Binder."""

    def runtest(self):
        manager = getattr(self.parent.kernel, "km", None)  # gone where a cell ended the kernel
        assert manager is not None, "the kernel ended before the chapter did"
        pid = manager.provisioner.pid
        peak = peak_memory(pid)
        assert peak <= MAX_MEMORY, f"{peak / 1e9:.2f} GB; {MAX_MEMORY / 1e9} GB are allowed"

    def reportinfo(self):
        return self.path, None, f"{self.path.name}::{self.name}"


class Explorers(pytest.Item):
    """Each explorer, computed again, is the committed one within the band of `chapter_bands`."""

    def runtest(self):
        cells = [cell for cell in self.parent.stash[CELLS] if cell.test_outputs is not None]
        assert cells, "no cell ran"
        found = [f"cell {cell.cell_num}: {line}" for cell in cells for line in changes(cell)]
        assert not found, "\n".join(found[:20])

    def reportinfo(self):
        return self.path, None, f"{self.path.name}::{self.name}"


OUTPUT_TIMEOUT = 600  # seconds until a result is sent; nbval's 5 are too few for a busy machine
CELLS = pytest.StashKey[list]()


def bundles(outputs):
    """Take the explorers out of a cell's outputs, what their positions share written out."""
    found = [output["data"][MIME] for output in outputs if MIME in output.get("data", {})]
    return [
        {key: restore(bundle["pool"], part) for key, part in bundle.items() if key != "pool"}
        for bundle in found
    ]


def changes(cell):
    """A line for each place where the cell's explorers differ from the committed ones."""
    committed, computed = bundles(cell.cell.outputs), bundles(cell.test_outputs)
    if len(committed) != len(computed):
        return [f"{len(committed)} explorers committed, {len(computed)} computed"]
    return [
        line
        for one, other in zip(committed, computed, strict=True)
        for line in differences(one, other, band(one.get("title")))
    ]


def pytest_collection_modifyitems(items):
    """Let the two tests follow a chapter's last cell."""
    cells = {}
    for item in items:
        if isinstance(item, IPyNbCell):
            item.add_marker("notebooks")
            item.output_timeout = OUTPUT_TIMEOUT
            cells.setdefault(item.parent, []).append(item)
    for chapter, own in cells.items():
        # Progress bars and warnings of libraries: the structure test reads the committed ones.
        chapter.skip_compare = (*chapter.skip_compare, "stderr")
        chapter.stash[CELLS] = own
        added = [
            Explorers.from_parent(chapter, name="explorers"),
            Memory.from_parent(chapter, name="memory"),
        ]
        for item in added:
            item.add_marker("notebooks")
        place = items.index(own[-1]) + 1
        items[place:place] = added
