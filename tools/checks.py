"""The commands that check: lint, the fast lane, all tests, and the libraries that load our files.

Standard library only: they run before anything is installed.
"""

import os
import platform

from tools.environment import Environment
from tools.loaders import FILES, layer

MEMORY_A_PROCESS = 4_000_000_000  # bytes: a chapter's kernel, beside a test that holds two models
MOST_PROCESSES = 8
LINT = [
    ["ruff", "check", "."],
    ["ruff", "format", "--check", "."],
    ["lint-imports"],
    ["python", "-m", "qlearn.course.notebooks", "--check"],
    ["mypy"],
]
FAST = "not model and not browser and not notebooks and not slow"


def memory_bytes() -> int | None:
    """Give the machine's memory, or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def cores() -> int:
    """Count the cores that this process may use."""
    if platform.system() == "Linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes(cores: int, memory: int | None) -> int:
    """Say how many processes test side by side: one a core, as far as the memory holds them.

    >>> processes(2, 24_000_000_000), processes(16, 24_000_000_000), processes(2, 2_000_000_000)
    (2, 6, 1)
    """
    held = MOST_PROCESSES if memory is None else memory // MEMORY_A_PROCESS
    return max(1, min(cores, held, MOST_PROCESSES))


def run_tests(environment: Environment, more: list[str]) -> int:
    """Run all tests: the package, the notebooks, the site.

    Side by side, as many as there are cores, each with its share of the threads.
    `tests/plugins/plugin_groups.py` says which tests stay together and which begin first.
    """
    count = processes(cores(), memory_bytes())
    command = ["-m", "pytest", *(["-n", str(count)] if count > 1 else []), *more]
    share = one_share(cores(), count).items()
    return environment.run(command, **{k: v for k, v in share if k not in os.environ})


def one_share(cores: int, processes: int) -> dict[str, str]:
    """Give the variables that let each of so many processes use its share of the cores.

    A chapter's kernel asks for two threads all the same, so those that wait sleep: by default they
    spin, and take the other process's core. (`OMP_THREAD_LIMIT` would hold for kernels too, but
    MKL's factorizations count on the threads that they asked for, and give wrong results.)

    >>> one_share(2, 2)
    {'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'passive'}
    """
    return {"OMP_NUM_THREADS": str(max(1, cores // processes)), "OMP_WAIT_POLICY": "passive"}


def lint(environment: Environment, more: list[str]) -> int:
    """Check style, layers, the notebooks' form and types; execute nothing of the course."""
    for program, *arguments in LINT:
        if status := environment.run([*arguments, *more], program=program):
            return status
    return 0


def check(environment: Environment, more: list[str]) -> int:
    """Run the fast lane: lint, then the tests that need no model and no browser."""
    return lint(environment, []) or run_tests(environment, ["-m", FAST, *more])


def loaders(environment: Environment, more: list[str]) -> int:
    """Test what the course saves in GPTQModel and torchao, in an environment of their own."""
    layered = layer(environment)
    return layered.run(["-m", "pytest", *FILES, *more], QLEARN_LOADERS="required")
