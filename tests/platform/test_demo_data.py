"""The sample data: what the demo promises about its messages, and how the split is kept honest."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bedplate.demo_data import EXAMPLE_MESSAGES, LABELS, ROWS, Message, generate, write
from bedplate.demo_intents import INTENTS
from bedplate.demo_templates import CONTRAST_FRAMES, SETTLED_FRAMES

SCRIPT = Path(__file__).resolve().parents[2] / "samples" / "make_support_messages.py"


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return generate()


def _side(messages: list[Message], side: str) -> list[Message]:
    return [message for message in messages if message.side == side]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    first, again, other = (write(tmp_path / name, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4)))
    for name in ("train", "holdout", "incoming"):
        assert getattr(first, name).read_bytes() == getattr(again, name).read_bytes()
        assert getattr(first, name).read_bytes() != getattr(other, name).read_bytes()


def test_there_are_enough_rows_and_intents_and_the_largest_intent_is_about_four_times_the_smallest(
    messages: list[Message],
) -> None:
    counts = Counter(message.intent for message in messages)
    assert len(messages) == ROWS >= 1500
    assert set(counts) == set(LABELS) and len(LABELS) >= 8
    assert 3 <= max(counts.values()) / min(counts.values()) <= 4.5


def test_a_fifth_is_held_back_in_the_same_proportions(messages: list[Message]) -> None:
    train, holdout = _side(messages, "train"), _side(messages, "holdout")
    assert len(holdout) == round(ROWS / 5)
    for label in LABELS:
        share = [sum(m.intent == label for m in side) / len(side) for side in (train, holdout)]
        assert share[0] == pytest.approx(share[1], abs=0.01)


def _wordings(messages: list[Message]) -> set[str]:
    return {message.group for message in messages}


def _pattern(group: str) -> re.Pattern[str]:
    """What the wording of a clause looks like in a text, whatever its values and tense."""
    intent, number, option = re.fullmatch(r"(\w+)/clause-(\d+)\.(\d+)", group).groups()  # type: ignore[union-attr]
    phrase = next(i for i in INTENTS if i.name == intent).clauses[int(number) - 1]
    before, options, after = re.split(r"[()]", phrase)
    text = before + options.split(" / ")[int(option) - 1] + after
    text = re.sub(r"<([^/]*)/([^>]*)>", r"(\1~\2)", text)
    text = re.sub(r"\{\w+\}", "@", text)
    text = re.sub(r"\[([^]]*)\]", lambda m: "(" + m[1].replace("|", "~") + ")", text)
    return re.compile(text.lower().replace("~", "|").replace("@", r"[\w $#./'-]{1,30}?"))


def test_no_wording_stands_on_both_sides(messages: list[Message]) -> None:
    assert not _wordings(_side(messages, "train")) & _wordings(_side(messages, "holdout"))


def test_a_wording_of_the_holdout_is_not_even_a_side_remark_in_training(messages: list[Message]) -> None:
    kept = [group for group in sorted(_wordings(_side(messages, "holdout"))) if "/clause-" in group]
    train = "\n".join(message.text.lower() for message in _side(messages, "train"))
    holdout = "\n".join(message.text.lower() for message in _side(messages, "holdout"))
    assert len(kept) > 60
    assert sum(bool(_pattern(group).search(holdout)) for group in kept) > 60  # the patterns do find wordings
    assert [group for group in kept if _pattern(group).search(train)] == []


def test_all_texts_differ_and_ids_are_unique(messages: list[Message]) -> None:
    assert len({m.text for m in messages}) == len({m.id for m in messages}) == len(messages)


def test_near_duplicates_stay_on_the_side_of_their_original(messages: list[Message]) -> None:
    def skeleton(message: Message) -> str:
        return re.sub(r"[^a-z0-9]", "", message.text.lower())

    train, holdout = (Counter(skeleton(m) for m in _side(messages, side)) for side in ("train", "holdout"))
    assert sum(count > 1 for count in train.values()) > 10
    assert not set(train) & set(holdout)


def test_messages_are_of_very_different_length_and_leave_no_template_marks(messages: list[Message]) -> None:
    words = [len(message.text.split()) for message in messages]
    assert min(words) <= 4
    assert max(words) >= 35
    for message in messages:
        assert not re.search(r"[{}<>\[\]|]| / |  ", message.text), message.text


def test_every_phrase_has_wordings_to_deal_and_frames_know_their_places() -> None:
    for intent in INTENTS:
        for phrase in (*intent.clauses, *intent.asks, *intent.fine):
            assert phrase.count("(") == phrase.count(")") == 1, phrase
            assert len(phrase[phrase.index("(") : phrase.index(")")].split(" / ")) >= 3, phrase
    for frame in SETTLED_FRAMES:
        assert frame.count("{L}") == 1 == frame.count("{S}") + frame.count("{P}"), frame
    for frame in CONTRAST_FRAMES:
        assert frame.count("{L}") == frame.count("{F}") == 1, frame


def test_files_have_the_columns_that_the_demo_maps(tmp_path: Path) -> None:
    files = write(tmp_path / "new" / "folder")
    assert list(_read(files.train)[0]) == list(_read(files.holdout)[0]) == ["id", "text", "intent"]
    assert len(_read(files.train)) + len(_read(files.holdout)) == ROWS


def test_incoming_has_no_labels_and_one_empty_and_one_endless_message(tmp_path: Path) -> None:
    rows = _read(write(tmp_path).incoming)
    assert list(rows[0]) == ["id", "text"]
    assert len(rows) == 200
    assert sum(row["text"] == "" for row in rows) == 1
    assert sum(len(row["text"]) > 5000 for row in rows) == 1


def test_incoming_mail_is_not_in_the_labeled_files(tmp_path: Path, messages: list[Message]) -> None:
    labeled = {message.text for message in messages}
    assert sum(row["text"] in labeled for row in _read(write(tmp_path).incoming)) <= 5  # short ones may come again


def test_too_few_rows_are_refused_with_the_number() -> None:
    with pytest.raises(ValueError, match="9 rows are too few"):
        generate(rows=9)


def test_there_are_three_messages_to_score_live() -> None:
    assert len(EXAMPLE_MESSAGES) == 3


def test_the_sample_script_writes_the_same_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(SCRIPT), str(tmp_path / "script"), "--seed", "5"], check=True)
    direct = write(tmp_path / "direct", seed=5)
    assert (tmp_path / "script" / "train.csv").read_bytes() == direct.train.read_bytes()
