"""What a report shows of texts that are too long for it."""

from __future__ import annotations

from bedplate_trainers.shown import MOST_CHARACTERS, shown_text


def test_a_text_that_is_cut_says_so_where_it_is_cut() -> None:
    text = "sand " * 200
    assert shown_text(text) == f"{text[: MOST_CHARACTERS - 1]}…"
    assert shown_text(text, 20) == f"…{text[20 : 20 + MOST_CHARACTERS - 2]}…"
    assert shown_text(text, 900) == f"…{text[900:]}"


def test_a_text_that_is_short_enough_is_shown_as_it_is() -> None:
    assert shown_text("s" * MOST_CHARACTERS) == "s" * MOST_CHARACTERS
    assert shown_text("") == ""
