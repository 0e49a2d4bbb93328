"""What all wizards share: one thing at a time, one job of one draft, columns and names of data in words."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from nicegui import html, ui
from nicegui.testing import User, user_simulation

from bedplate.studio.drafts import KEEP_SECONDS, MOST_BYTES, MOST_DRAFTS, Drafts, stamp
from bedplate.studio.parts.headings import action
from bedplate.studio.parts.mapping import guess, mapping
from bedplate.studio.parts.task_words import column_title, input_title
from bedplate.studio.parts.uploads import dataset_name
from bedplate.studio.parts.wizard import Step, wizard
from bedplate_registry.errors import Refused
from studio_browser import run_apart

# --- drafts ---


def test_the_key_of_a_draft_stays_while_it_says_the_same() -> None:
    draft: dict[str, Any] = {"model": "a", "step": 4}
    stamp(draft)
    first = draft["key"]
    draft["step"] = 5
    stamp(draft)
    assert draft["key"] == first
    draft["model"] = "b"
    stamp(draft)
    assert draft["key"] != first
    other: dict[str, Any] = {"model": "b"}
    stamp(other)
    assert other["key"] != draft["key"]  # somebody who wants the same again makes another draft


def test_a_user_has_so_many_drafts_and_none_that_is_old(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path, "ana")
    drafts.write("old", {"n": 0})
    for file in tmp_path.rglob("*.json"):
        os.utime(file, (time.time() - KEEP_SECONDS - 60,) * 2)
    for number in range(MOST_DRAFTS + 5):
        drafts.write(str(number), {"n": number})
    assert len(list(tmp_path.rglob("*.json"))) == MOST_DRAFTS
    assert drafts.read("old") == {}
    assert drafts.read(str(MOST_DRAFTS + 4)) == {"n": MOST_DRAFTS + 4}


def test_a_draft_is_updated_by_whoever_read_it_last_and_by_nobody_else(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path, "ana")
    first: dict[str, Any] = {"word": "a"}
    other: dict[str, Any] = {"word": "b"}
    assert drafts.update("test", first)
    assert not drafts.update("test", other)
    other = drafts.read("test") | {"word": "c"}
    assert drafts.update("test", other)
    assert not drafts.update("test", first)
    assert drafts.read("test")["word"] == "c"
    drafts.drop("test")
    assert not drafts.update("test", other)  # it was sent elsewhere


def test_a_draft_for_which_there_is_no_room_is_nobody_elses(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path, "ana")
    draft: dict[str, Any] = {"word": "a" * MOST_BYTES}
    assert drafts.update("test", draft)
    assert drafts.update("test", draft | {"word": "b"})
    assert drafts.read("test")["word"] == "b"


# --- the wizard ---


def test_two_clicks_send_once_and_what_was_sent_cannot_be_sent_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with shown(tmp_path, {"step": 1}) as (user, made):
            send = user.find("Send it")
            send.click()
            send.click()
            await until(lambda: made.sent == 1)
            made.go_on.set()
            await until(lambda: not Drafts(tmp_path, "ana").read("test"))
            send.click()
            await asyncio.sleep(0.2)
            assert (made.sent, made.keys[0] != "") == (1, True)

    run_apart(story())


def test_a_refused_draft_is_sent_again_with_its_key_and_with_another_once_it_changed(tmp_path: Path) -> None:
    async def story() -> None:
        async with shown(tmp_path, {"step": 1}) as (user, made):
            made.go_on.set()
            made.refusal = Refused("Not now.", hint="Later.")
            for word in ("a", "a", "b"):
                made.draft["word"] = word
                user.find("Send it").click()
                await until(partial(made.is_refused, user, len(made.keys) + 1))
            assert made.keys[0] == made.keys[1] != made.keys[2]

    run_apart(story())


def test_to_look_at_a_wizard_keeps_nothing_and_to_change_it_does(tmp_path: Path) -> None:
    async def story() -> None:
        async with shown(tmp_path, {"word": "a"}) as (_, made):
            await asyncio.sleep(1.5)
            assert list(tmp_path.rglob("*.json")) == []
            made.draft["word"] = "b"
            await until(lambda: [json.loads(file.read_text())["word"] for file in tmp_path.rglob("*.json")] == ["b"])

    run_apart(story())


def test_a_draft_is_read_with_what_was_typed_right_before(tmp_path: Path) -> None:
    async def story() -> None:
        async with shown(tmp_path, {"word": "a"}) as (_, made):
            for word in ("b", "c"):
                made.draft["word"] = word
                assert Drafts(tmp_path, "ana").read("test")["word"] == word

    run_apart(story())


def test_back_waits_for_the_check_of_its_step(tmp_path: Path) -> None:
    async def story() -> None:
        async with shown(tmp_path, {"step": 1}) as (user, made):
            user.find("Send it").click()
            await until(lambda: made.sent == 1)
            user.find("Back").click()
            await asyncio.sleep(0.2)
            assert made.draft["step"] == 1

    run_apart(story())


def test_a_button_does_one_thing_at_a_time() -> None:
    async def story() -> None:
        done: list[int] = []
        go_on = asyncio.Event()

        async def slow() -> None:
            done.append(1)
            await go_on.wait()

        async with user_simulation(lambda: action("Do it", slow)) as user:
            await user.open("/")
            button = user.find(html.button)
            button.click()
            button.click()
            await until(lambda: len(done) == 1)
            await asyncio.sleep(0.1)
            assert len(done) == 1
            go_on.set()
            await asyncio.sleep(0.1)
            button.click()
            await until(lambda: len(done) == 2)

    run_apart(story())


# --- columns and names ---


def test_a_column_is_asked_for_in_words_and_shows_what_it_holds() -> None:
    chosen: dict[str, Any] = {}

    def page() -> None:
        mapping("text-classification", ["body", "intent", "id"], chosen, samples={"body": "Hello", "intent": "greet"})

    async def story() -> None:
        async with user_simulation(page) as user:
            await user.open("/")
            await user.should_see("Text (sentence1)")
            await user.should_see("First row: greet")
            await user.should_see("No column is chosen.")
            field = next(each for each in user.find(ui.select).elements if "sentence1" in str(each.props["label"]))
            field.set_value("body")
            await user.should_see("First row: Hello")
            field.set_value("typed")
            await user.should_see("The data has no such column.")

    run_apart(story())
    assert chosen == {"label": "intent", "sentence1": "typed"}


def test_several_right_texts_are_found_by_their_numbers_or_named() -> None:
    assert guess("summarization", ["dialogue", "Summary1", "summary2", "summary4"])["summary"] == "Summary1,summary2"
    assert guess("translation", ["source", "target", "target1"])["target"] == "target"
    chosen: dict[str, Any] = {"target": "more.de,b"}
    samples = {"source": "good morning", "more": "{...}", "b": "guten Tag", "target": "x"}

    def page() -> None:
        mapping("translation", [*samples], chosen, samples=samples)

    async def story() -> None:
        async with user_simulation(page) as user:
            await user.open("/")
            await user.should_see("First row: {...} | guten Tag")
            await user.should_see("Several right ones: a list in the column, or columns with commas between")
            field = next(each for each in user.find(ui.select).elements if "target" in str(each.props["label"]))
            field.set_value("b,gone")
            await user.should_see("The data has no such column.")

    run_apart(story())
    assert chosen == {"source": "source", "target": "b,gone"}


def test_keys_have_titles() -> None:
    assert column_title("sentence2") == "Second text (sentence2)"
    assert column_title("label") == "Label (label)"
    assert (input_title("tokens"), input_title("question")) == ("Text", "Question")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Tickets 2024.CSV", "tickets-2024"),
        ("Übersicht Straße.csv", "ubersicht-strasse"),
        ("café.jsonl", "cafe"),
        ("数据.csv", "rows"),
        ("../../etc/passwd.csv", "passwd"),
    ],
)
def test_a_file_proposes_a_name_that_keeps_its_letters(file: str, name: str) -> None:
    assert dataset_name(file) == name


# --- helpers ---


class Made:
    """A wizard of two steps, whose sending waits for `go_on`, and is refused with `refusal`."""

    def __init__(self, draft: dict[str, Any]) -> None:
        self.draft, self.sent, self.keys = draft, 0, list[str]()
        self.go_on = asyncio.Event()
        self.refusal: Refused | None = None

    async def send(self) -> None:
        self.sent += 1
        self.keys.append(self.draft.get("key", ""))
        await self.go_on.wait()
        if self.refusal is not None:
            raise self.refusal

    def is_refused(self, user: User, times: int) -> bool:
        """So many times, the button being there for another one."""
        return self.sent == times and all(button.enabled for button in user.find(ui.button).elements)


@asynccontextmanager
async def shown(folder: Path, draft: dict[str, Any]) -> AsyncIterator[tuple[User, Made]]:
    """The wizard, in a page that somebody looks at."""
    made = Made(draft)

    async def nothing() -> None:
        ui.label("a step")

    async def page() -> None:
        steps = (Step("First", nothing), Step("Last", nothing))
        drafts = Drafts(folder, "ana")
        await wizard(steps, draft, drafts=drafts, name="test", done="Send it", send=made.send)

    async with user_simulation(page) as user:
        await user.open("/")
        await user.should_see("Send it" if draft.get("step") else "Next")
        yield user, made


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(200):
        if is_so():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came to be")
