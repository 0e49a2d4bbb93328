"""Parts of pages, made without a browser: what they take, what they cut, and when they stop asking."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from nicegui import Client, core, html, ui
from nicegui.elements.upload import Upload
from nicegui.elements.upload_files import SmallFileUpload
from nicegui.events import UploadEventArguments

from bedplate.studio.parts.job_actions import wizard_of
from bedplate.studio.parts.job_result import main_metrics
from bedplate.studio.parts.live import every, later
from bedplate.studio.parts.preview import MOST_OF_A_PAGE, rounded, rows_sheet
from bedplate.studio.parts.try_form import MOST_IMAGE_BYTES, TryForm
from bedplate_registry.errors import Refused
from bedplate_registry.tasks import TASKS
from studio_browser import run_apart


def on_a_page(work: Callable[[Client], Awaitable[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do `work` on a page that is open."""

    async def do() -> None:
        monkeypatch.setattr(core, "loop", asyncio.get_running_loop())
        monkeypatch.setattr(Client, "has_socket_connection", True)
        with Client(ui.page("/parts", reconnect_timeout=1.0)) as client:
            await work(client)
        client.delete()

    run_apart(do())


def uploads(client: Client) -> list[Upload]:
    return [element for element in client.elements.values() if isinstance(element, Upload)]


def test_an_image_that_is_too_large_is_not_read_and_the_one_before_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(client: Client) -> None:
        form = TryForm("image-classification", {}, lambda: None)
        [upload], before = uploads(client), form.body()
        for content in (b"\x89PNG" + b"0" * MOST_IMAGE_BYTES, b"\x89PNG small"):
            file = SmallFileUpload("a.png", "image/png", content)
            for take in upload._upload_handlers:
                await take(UploadEventArguments(sender=upload, client=client, file=file))  # type: ignore[call-arg]
            assert (form.body() == before) == (len(content) > MOST_IMAGE_BYTES)

    on_a_page(work, monkeypatch)


def test_who_may_not_score_uploads_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(client: Client) -> None:
        TryForm("image-classification", {}, lambda: None, may_send=False)
        assert uploads(client) == []

    on_a_page(work, monkeypatch)


def test_what_fails_unexpectedly_is_told_and_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look() -> bool:
        raise ValueError("not of ours")

    async def work(client: Client) -> None:
        timer: Any = every(60, look)
        with pytest.raises(ValueError, match="not of ours"):
            await timer.callback()
        with pytest.raises(AssertionError, match="canceled"):
            timer.activate()

    on_a_page(work, monkeypatch)


def test_what_comes_after_the_page_was_sent_is_made_in_its_place_and_so_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fine() -> None:
        ui.label("It is here.")

    async def refused() -> None:
        raise Refused("It is not here.", hint="Look elsewhere.", code="absent")

    async def work(client: Client) -> None:
        for build in (fine, refused):
            with html.div() as place:
                later(build)
            [timer] = [found for found in place.descendants() if isinstance(found, ui.timer)]
            await timer.callback()  # type: ignore[misc]
            shown = [found.text for found in place.descendants() if isinstance(found, ui.label)]
            assert shown == (["It is here."] if build is fine else ["It is not here.", "Look elsewhere."])

    on_a_page(work, monkeypatch)


def test_a_page_of_rows_sends_a_mebibyte_of_their_text_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(client: Client) -> None:
        columns = [f"column {number}" for number in range(40)]
        rows_sheet(columns, enumerate([dict.fromkeys(columns, "x" * 100_000)] * 20, 1), name="Rows")
        sent = sum(len(str(element._text)) for element in client.elements.values() if getattr(element, "_text", None))
        assert MOST_OF_A_PAGE <= sent < 1.5 * MOST_OF_A_PAGE

    on_a_page(work, monkeypatch)


def test_numbers_that_were_worked_out_are_shown_in_six_digits() -> None:
    assert rounded([{"label": "a", "score": 0.12345678901}, 3, True, None]) == [
        {"label": "a", "score": 0.123457},
        3,
        True,
        None,
    ]


@pytest.mark.parametrize(
    ("kind", "spec", "leads_to"),
    [
        ("finetune", {}, "/studio/finetune?from_job=job-1"),
        ("import", {"model_id": "org/name"}, "/studio/import?model_id=org%2Fname"),
        ("import", {"files": []}, None),
        ("batch", {"model": "a:1", "input": {"sha256": "0"}}, "/studio/batch/new?model=a%3A1"),
        ("data-check", {}, None),
    ],
)
def test_a_job_is_made_again_with_changes_where_there_is_a_page_for_it(
    kind: str, spec: dict[str, Any], leads_to: str | None
) -> None:
    assert wizard_of(kind, "job-1", spec) == leads_to


def test_main_metrics_are_those_of_the_task_on_its_test_rows() -> None:
    job = {"spec": {"task": "text-classification"}}
    every_one = dict.fromkeys(("loss", *TASKS["text-classification"].metrics), 0.5)
    found = main_metrics(job, {"metrics": {"loss": 1.0}, "test_metrics": every_one})
    assert list(found) == ["accuracy", "f1_score_macro", "AUC_macro"]
    assert main_metrics({}, {"metrics": {"loss": 1.0}}) == {"loss": 1.0}
