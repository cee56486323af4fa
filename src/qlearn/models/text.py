"""Calibration and evaluation text, from three domains, in splits that never share a token.

The editorials and the movie reviews come out of the dataset of Hutto and Gilbert, "VADER: A
Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text" (ICWSM 2014).
"""

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from qlearn.models.fetch import Artifact, Member, fetch
from qlearn.models.load import from_hub

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROW = 512  # tokens in a row; a split is a set of rows
EVALUATION_ROWS = 20
DEFAULT_SEQUENCES = {"calibration": 32, "evaluation": EVALUATION_ROWS}
CALIBRATION_START = 100  # the default calibration rows begin here, as in the published figures

_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
EDITORIALS = Member(
    (_INNER, "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt"),
    "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e",
    607_629,
)
REVIEWS = Member(
    (_INNER, "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"),
    "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
    1_383_098,
)
TEXTS = Artifact(
    title="the newspaper editorials and movie reviews",
    package="vaderSentiment",
    version="3.3.2",
    kind="sdist",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    size=2_466_783,
    members=(EDITORIALS, REVIEWS),
)
EDITORIALS_SHA256 = "eba6644461bdbd9dc89e57e8e90704a82064b2567384d35a94e5fb8be5a72697"


def load_text(name: str = "editorials") -> str:
    """Load a corpus as one text.

    Args:
        name: "editorials": 498 newspaper editorials, 546,668 characters;
            "movie-reviews": 10,605 snippets, a line each;
            "python-docs": the reference topics of the running Python, so it varies with it;
            "wikitext-2": the test split of WikiText-2 raw, from the hub.

    Raises:
        ValueError: another name.
        OSError: the text is neither in the cache nor within reach.
    """
    if name not in _LOADERS:
        raise ValueError(f"corpus={name!r} is unknown; choose one of {', '.join(_LOADERS)}")
    return _LOADERS[name]()


def load_reviews() -> tuple[list[str], list[float]]:
    """Load the movie-review snippets and how people rated them.

    Returns:
        10,605 texts, and for each the mean of human ratings from -4 (most negative) to 4.
    """
    snippets = read_snippets(fetch(TEXTS, REVIEWS.name))
    return [text for _, _, text in snippets], [rating for _, rating, _ in snippets]


def load_tokens(
    tokenizer: "PreTrainedTokenizerBase",
    corpus: str = "editorials",
    split: str = "calibration",
    sequences: int | None = None,
    length: int = ROW,
) -> torch.Tensor:
    """Tokenize a corpus and take sequences out of one of its two splits.

    The whole text is tokenized without special tokens and cut into rows of 512, which a seeded
    permutation shuffles. The first 20 rows are for evaluation and the others for calibration.
    Shorter sequences are cut out of these rows, so the splits are disjoint at any length.

    Args:
        tokenizer: the model's own, from `load_tokenizer`.
        corpus: as `load_text` takes it.
        split: "calibration" or "evaluation".
        sequences: how many; by default 32 for calibration and 20 for evaluation.
        length: tokens in each, from 2 to 512.

    Returns:
        int64 [sequences, length]. The same arguments give the same tokens.

    Raises:
        ValueError: an argument out of its range, with the range.
        OSError: the text is neither in the cache nor within reach.
    """
    if isinstance(tokenizer, str) or not callable(tokenizer):
        raise ValueError(
            f"tokenizer={tokenizer!r} is not a tokenizer; pass load_tokenizer('smollm2-135m')"
        )
    check_request(split, sequences, length)
    text = load_text(corpus)
    # verbose=False: a text longer than the model's context is no mistake here.
    codes = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    rows = torch.tensor(codes[: len(codes) // ROW * ROW], dtype=torch.int64).view(-1, ROW)
    return take(rows, split, sequences, length)


def check_request(split: str, sequences: int | None, length: int) -> None:
    """Raise a ValueError where what is asked for can't be, whatever the corpus."""
    if split not in DEFAULT_SEQUENCES:
        raise ValueError(f"split={split!r} is unknown; choose 'calibration' or 'evaluation'")
    if not isinstance(length, int) or isinstance(length, bool) or not 2 <= length <= ROW:
        raise ValueError(
            f"length={length!r} is not a whole number from 2 to {ROW}: sequences are cut out of "
            f"rows of {ROW} tokens, and one token predicts nothing; choose {ROW}, 256 or 128"
        )
    if sequences is not None and (
        not isinstance(sequences, int) or isinstance(sequences, bool) or sequences < 1
    ):
        raise ValueError(f"sequences={sequences!r} is not a whole number above 0; choose 1 or more")


def take(
    rows: torch.Tensor, split: str, sequences: int | None = None, length: int = ROW
) -> torch.Tensor:
    """Take sequences out of a corpus that is cut into rows.

    Args:
        rows: [count, 512], in the order of the text.
        split: "calibration" or "evaluation".
        sequences: how many; None for the split's default.
        length: tokens in each, from 2 to 512; a row gives `512 // length` of them.

    Returns:
        [sequences, length]
    """
    check_request(split, sequences, length)
    count = len(rows)
    if count <= EVALUATION_ROWS:
        raise ValueError(
            f"the text has {count} rows of {ROW} tokens, more than {EVALUATION_ROWS} are needed "
            "to leave some for calibration; choose a longer corpus"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    if split == "evaluation":
        chosen = order[:EVALUATION_ROWS]
    else:
        rest = order[EVALUATION_ROWS:]
        start = min(CALIBRATION_START, count) - EVALUATION_ROWS
        chosen = torch.cat([rest[start:], rest[:start]])
    pieces = ROW // length
    wanted = DEFAULT_SEQUENCES[split] if sequences is None else sequences
    most = len(chosen) * pieces
    if wanted > most:
        raise ValueError(
            f"sequences={wanted} is more than the {most} of length={length} that the {split} "
            f"split holds; choose {most} or fewer"
        )
    cut = rows[chosen[: -(-wanted // pieces)], : pieces * length]
    return cut.reshape(-1, length)[:wanted].contiguous()


def read_snippets(path: Path) -> list[tuple[str, float, str]]:
    """Read a ground-truth file: on each line a number, a mean rating and a snippet, by tabs.

    Returns:
        (number, rating, text) a line, in the file's order; the texts are stripped.
    """
    found = []
    # The lines end in CR LF; the text is UTF-8.
    for line in path.read_text(encoding="utf-8").split("\n"):
        number, rating, text = line.split("\t")
        found.append((number, float(rating), text.strip()))
    return found


def _editorials() -> str:
    articles: dict[str, list[str]] = {}
    for number, _, text in read_snippets(fetch(TEXTS, EDITORIALS.name)):
        articles.setdefault(number.split("_")[0], []).append(text)
    whole = "\n\n".join(" ".join(sentences) for sentences in articles.values())
    assert hashlib.sha256(whole.encode()).hexdigest() == EDITORIALS_SHA256
    return whole


def _movie_reviews() -> str:
    return "\n".join(load_reviews()[0])


def _python_docs() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise OSError(
            "corpus='python-docs' is not in this Python, which lacks pydoc_data; install the "
            "whole standard library (python3-doc or a python.org build), or take 'editorials'"
        ) from error
    return "\n\n".join(topics[name] for name in sorted(topics))


def _wikitext() -> str:
    archive = "wikitext-2-raw-v1.zip"
    try:
        path = from_hub("ggml-org/ci", [archive], kind="dataset") / archive
    except OSError as error:
        raise OSError(f"corpus='wikitext-2' is out of reach: {error}") from error
    try:
        with zipfile.ZipFile(path) as zipped:
            raw = zipped.read("wikitext-2-raw/wiki.test.raw").decode("utf-8")
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise OSError(f"{path} is damaged ({error}); delete it and run the same again") from error
    return join_wikitext(raw)


def join_wikitext(raw: str) -> str:
    r"""Join lines as the papers on GPTQ and AWQ do, so that perplexities can be compared.

    Their dataset has one entry a line, its newline included, with blank lines as empty entries,
    and they join the entries by two newlines.

    >>> join_wikitext(" \n = Title = \n \n Words . \n")
    '\n\n = Title = \n\n\n\n\n Words . \n'
    """
    lines = io.StringIO(raw, newline="\n")
    return "\n\n".join(line if line.strip() else "" for line in lines)


_LOADERS: dict[str, Callable[[], str]] = {
    "editorials": _editorials,
    "movie-reviews": _movie_reviews,
    "python-docs": _python_docs,
    "wikitext-2": _wikitext,
}
