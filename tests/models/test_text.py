"""Corpora: the exact text, and splits that never share a token."""

import hashlib
import sys
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qlearn.models import text as corpora
from qlearn.models.text import load_reviews, load_text, load_tokens, take


def numbered(count: int) -> torch.Tensor:
    """Rows whose every token differs, so that a shared one shows."""
    return torch.arange(count * 512).view(count, 512)


class Letters:
    """A tokenizer that gives each character its code."""

    def __call__(self, text, **options):
        assert options["add_special_tokens"] is False
        return {"input_ids": [ord(letter) for letter in text]}


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(21, 300),
    calibration=st.integers(2, 512),
    evaluation=st.integers(2, 512),
    data=st.data(),
)
def test_the_splits_share_no_token_at_any_length(count, calibration, evaluation, data):
    rows = numbered(count)
    most = (count - 20) * (512 // calibration)
    wanted = data.draw(st.integers(1, most))
    seen = take(rows, "calibration", wanted, calibration)
    held_out = take(rows, "evaluation", 20 * (512 // evaluation), evaluation)
    assert seen.shape == (wanted, calibration)
    assert held_out.shape == (20 * (512 // evaluation), evaluation)
    assert not torch.isin(seen, held_out).any()
    assert seen.unique().numel() == seen.numel()
    # Each sequence is a run of the text inside one row.
    assert torch.equal(seen, seen[:, :1] + torch.arange(calibration))
    assert bool((seen[:, 0] // 512 == seen[:, -1] // 512).all())


def test_the_split_is_the_published_one():
    rows = numbered(233)
    order = torch.randperm(233, generator=torch.Generator().manual_seed(0))
    assert torch.equal(take(rows, "evaluation"), rows[order[:20]])
    assert torch.equal(take(rows, "calibration"), rows[order[100:132]])
    everything = take(rows, "calibration", 213)
    assert torch.equal(everything, rows[torch.cat([order[100:], order[20:100]])])


def test_shorter_sequences_are_cut_out_of_the_same_rows():
    rows = numbered(233)
    whole = take(rows, "evaluation", 3)
    assert torch.equal(take(rows, "evaluation", 12, 128), whole.view(12, 128))
    assert torch.equal(
        take(rows, "evaluation", 3, 200),
        torch.stack([whole[0, :200], whole[0, 200:400], whole[1, :200]]),
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"split": "test"}, ["split='test'", "'calibration' or 'evaluation'"]),
        ({"length": 1}, ["length=1", "2 to 512"]),
        ({"length": 513}, ["length=513", "choose 512, 256 or 128"]),
        ({"length": 12.5}, ["length=12.5", "whole number"]),
        ({"length": True}, ["length=True", "whole number"]),
        ({"sequences": 0}, ["sequences=0", "1 or more"]),
        ({"sequences": -3}, ["sequences=-3", "1 or more"]),
        ({"sequences": 2.0}, ["sequences=2.0", "whole number"]),
        ({"sequences": 11}, ["sequences=11", "the 10 of length=512", "choose 10 or fewer"]),
        ({"sequences": 41, "length": 128}, ["sequences=41", "the 40 of length=128"]),
        ({"sequences": 21, "split": "evaluation"}, ["sequences=21", "evaluation", "20 or fewer"]),
        ({"corpus": "bible"}, ["corpus='bible'", "editorials, movie-reviews"]),
        ({"corpus": "short"}, ["20 rows of 512", "longer corpus"]),
        ({"tokenizer": "smollm2-135m"}, ["tokenizer='smollm2-135m'", "load_tokenizer("]),
        ({"tokenizer": None}, ["tokenizer=None", "load_tokenizer("]),
    ],
)
def test_bad_input(monkeypatch, arguments, parts):
    loaders = {"plain": lambda: "a" * 512 * 30, "short": lambda: "a" * (512 * 21 - 1)}
    monkeypatch.setattr(corpora, "_LOADERS", {**corpora._LOADERS, **loaders})
    call = {"tokenizer": Letters(), "corpus": "plain", **arguments}
    with pytest.raises(ValueError, match=r".+") as caught:
        load_tokens(**call)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.model
def test_the_editorials_are_the_published_text(tokenizer):
    text = load_text("editorials")
    assert len(text) == 546_668
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "eba6644461bdbd9dc89e57e8e90704a82064b2567384d35a94e5fb8be5a72697"
    )
    codes = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert len(codes) // 512 == 233
    everything = load_tokens(tokenizer, split="calibration", sequences=213)
    assert everything.shape == (213, 512)
    assert everything.dtype == torch.int64
    with pytest.raises(ValueError, match="213 or fewer"):
        load_tokens(tokenizer, split="calibration", sequences=214)


@pytest.mark.model
def test_the_defaults_are_those_of_the_published_figures(tokenizer):
    assert load_tokens(tokenizer).shape == (32, 512)
    held_out = load_tokens(tokenizer, split="evaluation")
    assert held_out.shape == (20, 512)
    assert torch.equal(held_out, load_tokens(tokenizer, "editorials", "evaluation", 20, 512))


@pytest.mark.model
def test_the_reviews_have_ratings():
    texts, ratings = load_reviews()
    assert len(texts) == len(ratings) == 10_605
    assert texts[2] == "Effective but too tepid biopic"
    assert ratings[2] == -0.6
    assert min(ratings) >= -4
    assert max(ratings) <= 4
    assert all(text == text.strip() and text for text in texts)
    assert load_text("movie-reviews").split("\n") == texts


def test_the_reference_topics_come_with_python():
    from pydoc_data.topics import topics

    assert load_text("python-docs").startswith(topics[min(topics)])


def test_the_reference_topics_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(OSError, match=r"python-docs.*pydoc_data"):
        load_text("python-docs")


def test_wikitext_offline_is_one_clear_line(monkeypatch):
    import huggingface_hub

    def out_of_reach(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", out_of_reach)
    with pytest.raises(OSError, match="corpus='wikitext-2' is out of reach") as caught:
        load_text("wikitext-2")
    assert "\n" not in str(caught.value)


def test_wikitext_online(monkeypatch, tmp_path):
    import huggingface_hub

    path = tmp_path / "wikitext-2-raw-v1.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("wikitext-2-raw/wiki.test.raw", " \n = Title = \n \n Words . \n")

    def hub(name, dry_run=False, **wanted):
        assert (name, wanted["repo_type"]) == ("ggml-org/ci", "dataset")
        return [] if dry_run else str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert load_text("wikitext-2") == "\n\n = Title = \n\n\n\n\n Words . \n"
    path.write_bytes(b"no archive")
    with pytest.raises(OSError, match="is damaged"):
        load_text("wikitext-2")
