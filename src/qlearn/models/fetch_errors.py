"""What went wrong with a download, in one line with its remedy."""

import os
from pathlib import Path


def explain(title: str, requirement: str, cache: Path, output: str) -> str:
    """Put a failed download in one line: what is missing, from where, and the remedy.

    Args:
        title: what was wanted, in words.
        requirement: the package that holds it, as pip names it.
        cache: the folder where it was looked for.
        output: all that pip printed.
    """
    if "No module named pip" in output:
        cause, remedy = "this Python has no pip", "run `python -m ensurepip --upgrade`"
    elif "DO NOT MATCH THE HASHES" in output:
        cause = "the file offered there is not the pinned one"
        remedy = "run `python -m pip cache purge`, and check the mirror or proxy in use"
    elif "No space left" in output or "Errno 28" in output:
        cause, remedy = "the disk is full", "free some space, or set QLEARN_CACHE to another disk"
    elif "metadata-generation-failed" in output or "build dependencies" in output:
        cause = "pip could not read the source package"
        remedy = "run `python -m pip install --upgrade pip setuptools`"
    else:
        cause = "no network, or the index in use does not have it"
        remedy = (
            "connect, or set PIP_INDEX_URL to a mirror, or set QLEARN_CACHE to a copy of a "
            "cache that was filled elsewhere"
        )
    return (
        f"can't find {title} in the cache ({cache}), nor fetch {requirement} from the Python "
        f"package index: {cause}; {remedy}, then run the same again"
    )


def hub_failure(name: str, error: Exception) -> OSError:
    """Put a failed download from the Hugging Face hub in one line, with its remedy."""
    kind = type(error).__name__
    if kind == "GatedRepoError":
        cause = "its owner asks for consent"
        remedy = "accept its terms on its page and run `hf auth login`"
    elif kind in {"RepositoryNotFoundError", "HFValidationError"}:
        cause, remedy = "the hub has no such repository", "check the spelling"
    elif isinstance(error, OSError) and error.errno == 28:
        cause, remedy = "the disk is full", "free some space, or set HF_HOME to another disk"
    else:
        cause = "it is not in the local hub cache, and the hub can't be reached"
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            cause = "it is not in the local hub cache, and HF_HUB_OFFLINE forbids the network"
        remedy = "connect and run the same again, or take what is packaged, which needs no hub"
    return OSError(
        f"name={name!r} is no folder here and can't be fetched from the Hugging Face hub: "
        f"{cause}; {remedy}"
    )
