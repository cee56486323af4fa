"""Executes a chapter in a kernel of its own and measures what it takes."""

import platform
import time
from pathlib import Path
from typing import Any

from qlearn import needs

with needs("dev"):
    import nbformat

CELL_TIMEOUT = 300  # seconds: no cell of a 90-second chapter comes near


def peak_memory(pid: int) -> int:
    """Give the most bytes of memory that a process has held resident so far.

    Linux and Windows keep that peak themselves; elsewhere it is what is held now, so call it
    after every cell.
    """
    if platform.system() == "Linux":
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with needs("course"):
        import psutil

    memory = psutil.Process(pid).memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


def execute(path: Path) -> tuple[Any, float, int]:
    """Execute a notebook from top to bottom in a fresh kernel, in its own folder.

    Args:
        path: the notebook; the file is not changed.

    Returns:
        The notebook with its outputs, the seconds that it took (the kernel's start counted), and
        the kernel's peak resident memory in bytes.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised; the message holds its traceback.
    """
    with needs("dev"):
        from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=CELL_TIMEOUT,
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        coalesce_streams=True,
    )
    peak = 0
    begun = time.monotonic()
    with client.setup_kernel():
        manager: Any = client.km
        pid = manager.provisioner.pid
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type == "code":
                client.execute_cell(cell, index)
                peak = max(peak, peak_memory(pid))
        seconds = time.monotonic() - begun
    return notebook, seconds, peak
