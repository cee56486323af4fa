"""Packages beyond torch and safetensors: which extra brings them, said where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needs"]

COMMAND = "pip install -c constraints.txt -e '.[{}]'"


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import, inside the block, packages that an extra of `pyproject.toml` installs.

    Args:
        extra: its name: `"course"`, `"toolbox"`, `"classroom"` or `"dev"`.

    Raises:
        ModuleNotFoundError: a package is missing; one sentence says which, and what installs it.

    >>> with needs("course"):
    ...     import no_such_package
    Traceback (most recent call last):
    ModuleNotFoundError: no_such_package is missing: it comes with qlearn's extra 'course'; run \
`pip install -c constraints.txt -e '.[course]'` in a clone of the course
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        raise ModuleNotFoundError(
            f"{package} is missing: it comes with qlearn's extra {extra!r}; run "
            f"`{COMMAND.format(extra)}` in a clone of the course",
            name=error.name,
        ) from error
