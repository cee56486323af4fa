"""How PyTorch is installed: the CPU build where no NVIDIA GPU would use the large one."""

import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tools.errors import CommandError, TaskError, diagnose, is_network_failure

CUDA_BUILD_BYTES = 9_000_000_000  # torch with CUDA's libraries, unpacked, and the rest
PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input"]

Runner = Callable[[list[str]], str]


def has_nvidia_gpu() -> bool:
    """Tell whether the driver's own tool lists a GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def pinned_torch(constraints: str) -> str:
    r"""Read torch's version from the text of constraints.txt.

    >>> pinned_torch("numpy==2.2.6\ntorch==2.13.0\n")
    '2.13.0'
    """
    for line in constraints.splitlines():
        name, separator, version = line.partition("==")
        if name.strip() == "torch" and separator:
            return version.strip()
    raise ValueError("constraints.txt does not pin torch; add a line torch==VERSION")


def attempts(
    python: str, version: str | None, constraints: list[str], system: str, gpu: bool
) -> list[list[list[str]]]:
    """List the ways to install torch, best first; each is a list of commands.

    Args:
        python: the interpreter of the virtual environment.
        version: the pinned version, or None for the newest that is allowed.
        constraints: `["-c", path]`, or nothing.
        system: `platform.system()`.
        gpu: whether an NVIDIA GPU is there.

    Only on Linux (and without a GPU) does the index's default build carry CUDA's libraries. Its
    CPU build has a local version, `+cpu`, which pip finds where the user's own configuration
    offers one; uv knows the place by itself.
    """
    wanted = "torch" if version is None else f"torch=={version}"
    pip = [python, *PIP, "install"]
    plain = [[*pip, wanted, *constraints]]
    if system != "Linux" or gpu:
        return [plain]
    uv = [
        [*pip, "uv"],
        [
            *(python, "-m", "uv", "pip", "install", "--python", python),
            *("--torch-backend=cpu", wanted, *constraints),
        ],
    ]
    if version is None:
        return [uv, plain]
    local = [[*pip, "--retries", "2", f"{wanted}+cpu", *constraints]]
    return [local, uv, plain]


def install_torch(
    python: Path,
    version: str | None,
    constraints: list[str],
    run: Runner,
    say: Callable[[str], None],
) -> None:
    """Install torch by the first way that works.

    Raises:
        TaskError: no network, or a disk too small for the build that is left.
        CommandError: the last way failed too.
    """
    ways = attempts(str(python), version, constraints, platform.system(), has_nvidia_gpu())
    for number, way in enumerate(ways):
        if number and number == len(ways) - 1:
            free = shutil.disk_usage(python.parent).free
            if free < CUDA_BUILD_BYTES:
                raise TaskError(
                    f"PyTorch's CPU build was not found and the default one needs "
                    f"{CUDA_BUILD_BYTES / 1e9:.0f} GB of disk, {free / 1e9:.1f} GB are free; "
                    "free some space, or install the CPU build into .venv as README.md says"
                )
            say("PyTorch's CPU build was not found: taking the default one (several GB).")
        try:
            for command in way:
                run(command)
            return
        except CommandError as error:
            if number == 0 and is_network_failure(error.output):
                raise TaskError(diagnose(error.output)) from error
            if number == len(ways) - 1:
                raise
