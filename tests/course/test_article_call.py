"""The article's call meets today's transformers; today's form loads."""

import pytest

from qlearn.course.article.call import article_calls, article_folders, attempt


def test_the_keyword_and_the_mixed_configuration_are_refused():
    with article_folders() as (codes, full):
        assert (codes / "config.json").is_file() and (full / "config.json").is_file()
        keyword, config, today = article_calls(codes, full)
    assert not codes.exists()
    assert (keyword.raises, config.raises, today.raises) == ("TypeError", "ValueError", None)
    assert "load_in_4bit" in keyword.message
    assert "GPTQ" in config.message and "BitsAndBytes" in config.message
    assert [call.loads for call in (keyword, config, today)] == [False, False, True]
    assert int(today.message.split()[0]) < 100_000 * 4  # fewer bytes than in floats


def test_an_attempt_reports_and_passes_on_what_is_no_answer():
    def refuse():
        raise ValueError("no such folder\nmore")

    assert attempt("x", "load()", refuse).message == "no such folder"

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt("x", "load()", stop)
