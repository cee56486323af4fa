"""What went wrong in the set-up, in one line with its remedy."""

import re


class TaskError(Exception):
    """A task that can't go on; its text is the one line that the reader sees."""


class CommandError(Exception):
    """A command of the set-up that failed, with all that it printed."""

    def __init__(self, command: list[str], output: str) -> None:
        super().__init__(f"{' '.join(command)} failed")
        self.command = command
        self.output = output


_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|Connection(?:Refused|Reset)Error"
    r"|Max retries exceeded|Name or service not known|Temporary failure in name resolution"
    r"|getaddrinfo failed|nodename nor servname|Network is unreachable|Could not fetch URL"
    r"|ProxyError|connection broken|client error \(Connect\)|dns error|timed out",
    re.IGNORECASE,
)

# pip calls it a conflict, too, when what is asked for and pinned alike is not on the index.
_MISSING = re.compile(
    r"No matching distribution found for (\S+)"
    r"|The user requested (\S+)\n\s+The user requested \(constraint\)"
)
_CONFLICT = re.compile(r"ResolutionImpossible|conflicting dependencies")

# In this order: a full disk can also break a download, never the other way round.
_CAUSES: list[tuple[re.Pattern[str], str]] = [
    (
        re.compile(r"No space left on device|Errno 28|not enough space on the disk"),
        "the disk is full; free some space and run the same command again",
    ),
    (
        _NETWORK,
        (
            "no network: the Python package index could not be reached; connect "
            "(or set pip's proxy or index) and run the same command again"
        ),
    ),
    (
        re.compile(r"Permission denied|Errno 13|Access is denied"),
        "no permission to write; use a folder of your own and don't run it as another user",
    ),
    (
        re.compile(r"do not match the hashes|hash mismatch", re.IGNORECASE),
        (
            "a downloaded file is not the one expected; empty pip's cache with "
            "`python -m pip cache purge` and run the same command again"
        ),
    ),
    (
        _CONFLICT,
        (
            "the packages that the course names exclude each other; "
            "take an unchanged pyproject.toml and constraints.txt"
        ),
    ),
]


def is_network_failure(output: str) -> bool:
    """Tell whether a command's output shows that it could not reach its host.

    >>> is_network_failure("Failed to establish: Temporary failure in name resolution")
    True
    >>> is_network_failure("ERROR: No matching distribution found for torch==9")
    False
    """
    return _NETWORK.search(output) is not None


def diagnose(output: str) -> str:
    """Give one line for a failed command: the known cause, or its own last complaint.

    >>> diagnose("OSError: [Errno 28] No space left on device")
    'the disk is full; free some space and run the same command again'
    """
    missing = _MISSING.search(output)
    for pattern, line in _CAUSES:
        if missing and pattern is _CONFLICT:
            continue
        if pattern.search(output):
            return line
    if missing:
        return (
            f"the package index has no {missing[1] or missing[2]} for this Python and platform; "
            "Python 3.11 on 64-bit Linux, macOS or Windows has all of them"
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    complaints = [line for line in lines if re.match(r"(?i)(error|[\w.]*(Error|Exception)):", line)]
    if complaints:
        return re.sub(r"^\S+:\s*", "", complaints[-1])
    return lines[-1] if lines else "it printed nothing"
