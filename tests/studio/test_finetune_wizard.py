"""The fine-tune wizard: six steps that make a job, and four texts that make the same one."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bedplate.studio.parts.finetune_draft import blank, body_of, draft_of_job, fill_output, settings_for
from bedplate.studio.parts.task_choice import can_learn, why_not
from bedplate_registry.tasks import get_task
from bedplate_trainers.parsing import of_task
from bedplate_trainers.settings import EvaluateSettings, FinetuneSettings
from harness import wait_for, write_messages
from shown_texts import failed, running, shown_texts
from studio_browser import House, Window

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCRIPT = "<img src=x onerror=\"document.title='run'\">"
CODE = f"x'] + (document.title='run') + props.row['x {SCRIPT}"  # in a template, in a page
WIZARD = "/finetune?model=acme/tiny-encoder&train="


@pytest.fixture(scope="module")
def messages(house: House, tmp_path_factory: pytest.TempPathFactory) -> str:
    """120 easy messages with their intent, as a dataset."""
    file = write_messages(tmp_path_factory.mktemp("data") / "messages.csv", 120)
    return str(house.ws.datasets.add("wizard-messages", file).ref)


@pytest.fixture
def jobs_end(house: House) -> Iterator[None]:
    """What a test started is not run to its end."""
    yield
    cancel_all(house)


def test_the_job_is_the_one_that_each_shown_text_makes(
    house: House, window: Window, messages: str, jobs_end: None
) -> None:
    page = window.open(f"{WIZARD}{messages}")
    page.get_by_role("radio", name="Text classification").check()
    go_on(page, "First rows of")
    go_on(page, "Is the data in order?")
    go_on(page, "Basic")
    page.get_by_role("textbox", name="num_train_epochs").fill("1")
    page.get_by_role("textbox", name="learning_rate").fill("3e-4")
    go_on(page, "Name of the result")
    page.get_by_label("Name of the result").fill("acme/wizard-made")
    page.get_by_label("Device").click()
    page.get_by_role("option", name="CPU", exact=True).click()
    go_on(page, "The same as code")
    texts = shown_texts(page)
    page.get_by_role("button", name="Start the fine-tune").click()
    page.wait_for_url("**/studio/jobs/finetune-*")
    with running(house, texts, "finetune") as programs:
        wait_for(lambda: len(made_as(house, "acme/wizard-made")) == 5 or failed(programs), seconds=240)
        assert failed(programs) == {}
    specs = {json.dumps(job.data["spec"]) for job in made_as(house, "acme/wizard-made")}
    assert len(specs) == 1
    settings = json.loads(specs.pop())["settings"]
    assert (settings["num_train_epochs"], settings["learning_rate"]) == (1.0, 3e-4)


def test_what_is_filled_in_is_there_after_a_reload_and_a_refusal_stands_at_its_setting(
    window: Window, messages: str
) -> None:
    page = window.open(f"{WIZARD}{messages}&from=reload")
    page.get_by_role("radio", name="Text classification").check()
    for found in ("First rows of", "Is the data in order?", "Basic"):
        go_on(page, found)
    assert page.locator(".bp-setting").count() == len(of_task(FinetuneSettings, "text-classification")) - 1
    page.get_by_text("300 rows: small batches").or_(page.get_by_text("120 rows: small batches")).wait_for()
    page.get_by_label("Search the settings").fill("rank of the adapter")
    page.get_by_role("textbox", name="seed").wait_for(state="hidden")
    page.get_by_role("textbox", name="lora_r").fill("4")
    page.get_by_text("The setting lora_r has no effect").wait_for()
    page.wait_for_timeout(1500)  # the draft is kept each second
    page.reload()
    page.locator(".bp-setting", has_text="lora_r").get_by_text("has no effect").wait_for()
    assert page.get_by_role("textbox", name="lora_r").input_value() == "4"
    page.get_by_role("button", name="Reset lora_r").click()
    page.get_by_role("textbox", name="num_train_epochs").fill("many")
    page.get_by_text("it must be a number from 0.01 to 10000, or auto").wait_for()


def test_a_step_is_refused_only_for_what_it_asks_for(window: Window, tmp_path: Path) -> None:
    page = at_settings(window, "wizard-named", tmp_path)
    page.get_by_label("Search the settings").fill("fsdp")
    page.get_by_role("combobox", name="fsdp").click()
    page.get_by_role("option", name="true", exact=True).click()
    page.get_by_text("fsdp=true needs a GPU").or_(page.get_by_text("there is one process")).first.wait_for()
    for name, refusal in (("y" * 200, "is not a name"), ("", "is not a name")):
        go_on(page, "Name of the result")
        page.get_by_label("Name of the result").fill(name)
        page.get_by_role("button", name="Next").click()
        page.locator(".bp-problem", has_text=refusal).wait_for()
        page.get_by_role("button", name="Back").click()
        page.get_by_label("Search the settings").wait_for()
    page.get_by_role("button", name="Back").click()
    page.get_by_text("Is the data in order?").wait_for()
    go_on(page, "Basic")
    go_on(page, "Name of the result")
    assert page.get_by_label("Name of the result").input_value() == ""
    page.get_by_label("Name of the result").fill("acme/wizard-named")
    page.get_by_label("Priority").fill("500")
    page.get_by_label("GPUs, or processes").fill("900")
    page.get_by_role("button", name="Next").click()
    page.locator(".bp-problem").wait_for()
    page.get_by_role("button", name="Back").click()
    page.get_by_label("Search the settings").wait_for()
    page.get_by_role("button", name="Reset fsdp").click()
    go_on(page, "Name of the result")
    page.get_by_label("GPUs, or processes").fill("1")
    page.get_by_label("Priority").fill("0")
    go_on(page, "The same as code")


def test_what_was_written_stays_though_it_is_wrong(window: Window, tmp_path: Path) -> None:
    page = at_settings(window, "wizard-written", tmp_path)
    written = {"num_train_epochs": "1,5", "learning_rate": "0.002", "seed": "7"}
    for name, text in written.items():
        page.get_by_role("textbox", name=name, exact=True).fill(text)
    page.get_by_role("button", name="Next").click()
    page.locator(".bp-problem", has_text="num_train_epochs").wait_for()
    page.get_by_role("button", name="Back").click()
    page.get_by_text("Is the data in order?").wait_for()
    go_on(page, "Basic")
    assert written_in(page, written) == written
    page.reload()
    page.wait_for_function("() => window.did_handshake")
    page.get_by_text("it must be a number from 0.01 to 10000").wait_for()
    assert written_in(page, written) == written
    page.get_by_role("textbox", name="num_train_epochs").fill("1.5")
    page.get_by_role("button", name="Reset seed").click()
    page.get_by_role("button", name="Back").click()
    page.get_by_text("Is the data in order?").wait_for()
    go_on(page, "Basic")
    assert written_in(page, written) == {"num_train_epochs": "1.5", "learning_rate": "0.002", "seed": ""}
    go_on(page, "Name of the result")
    go_on(page, "The same as code")
    page.get_by_text("learning_rate=0.002").first.wait_for()


def test_settings_of_an_evaluation_stay_on_the_way_back(window: Window, tmp_path: Path) -> None:
    ref = window.house.ws.datasets.add("wizard-judged", write_messages(tmp_path / "rows.csv", 20)).ref
    page = window.open(f"/evaluate?model=acme/tiny-classifier&data={ref}")
    for found in ("Rows with the right answers.", "Is the data in order?", "All that apply"):
        go_on(page, found)
    for text in ("7", "many"):
        page.get_by_role("textbox", name="seed", exact=True).fill(text)
        page.get_by_role("button", name="Back").click()
        page.get_by_text("Is the data in order?").wait_for()
        go_on(page, "All that apply")
        assert written_in(page, ["seed"]) == {"seed": text}


def test_of_two_windows_the_second_is_told_and_writes_over_nothing(window: Window, tmp_path: Path) -> None:
    first = at_settings(window, "wizard-windows", tmp_path)
    second = window.context.new_page()
    second.goto(first.url)
    second.wait_for_function("() => window.did_handshake")
    for page, text in ((first, "7"), (second, "8")):
        page.get_by_role("textbox", name="seed", exact=True).fill(text)
        page.get_by_role("button", name="Back").click()
        page.get_by_text("Is the data in order?").wait_for()
        go_on(page, "Basic")
    told = second.get_by_text("This form was changed or sent in another window.")
    told.wait_for()
    second.wait_for_timeout(1500)  # a draft is kept each second
    assert (told.count(), written_in(second, ["seed"])) == (1, {"seed": "8"})
    second.reload()
    second.wait_for_function("() => window.did_handshake")
    second.get_by_text("Basic").first.wait_for()
    assert written_in(second, ["seed"]) == {"seed": "7"}
    assert told.count() == 0
    second.close()


def test_findings_name_rows_and_hostile_cells_and_columns_are_text(window: Window, tmp_path: Path) -> None:
    rows = [[f"my card {number} is lost", "card"] for number in range(20)] + [["", "login"], [SCRIPT, "login"]]
    file = tmp_path / "hostile.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([[CODE, "intent"], *rows])
    ref = window.house.ws.datasets.add("wizard-hostile", file).ref
    page = window.open(f"{WIZARD}{ref}")
    page.get_by_role("radio", name="Text classification").check()
    go_on(page, "First rows of")
    go_on(page, "Is the data in order?")
    page.get_by_role("combobox", name="sentence1").click()
    page.get_by_role("option", name=CODE).click()
    page.get_by_role("button", name="Check the data").click()
    page.get_by_text("train: row 21").wait_for()
    assert (page.locator("main img").count(), "run" in page.title()) == (0, False)


def test_a_viewer_is_told_at_once_that_the_wizard_is_not_for_them(
    house: House, browser: Browser, messages: str
) -> None:
    context = browser.new_context()
    window = Window(house, context, "vic")
    page = window.open(f"{WIZARD}{messages}")
    page.get_by_text("The role 'viewer' fine-tunes nothing.").wait_for()
    assert page.get_by_role("button", name="Next").count() == 0
    assert [each.partition(" ")[0] for each in window.failed] == ["403"]
    context.close()


def test_a_job_that_is_made_again_has_the_same_spec(house: House, messages: str, jobs_end: None) -> None:
    settings = {"learning_rate": 1e-4, "class_names": ["a", "b"], "eval_strategy": "no", "merge_lora_weights": True}
    columns = {"sentence1": "text", "label": "intent"}
    upload = house.ws.upload(write_messages(house.home / "uploaded.csv", 30))
    body: dict[str, Any] = {"model": "acme/tiny-encoder", "task": "text-classification", "train": messages}
    body |= {"test": upload, "columns": columns, "settings": settings, "output": "acme/wizard-again", "priority": 3}
    job = house.ws.submit("finetune", body)
    again = body_of(draft_of_job(job.data))
    plan = house.ws.plan("finetune", again)
    assert (plan["spec"] | {"forecast": None}) == (job.data["spec"] | {"forecast": None})
    assert (again["priority"], again["settings"]["class_names"]) == (3, ["a", "b"])


def test_a_proposed_name_is_a_name_and_a_chosen_one_stays() -> None:
    draft = blank("acme/tiny--encoder:3", "team/of--rows:2")
    fill_output(draft)
    assert draft["output"] == "acme/tiny-encoder-of-rows"
    draft |= {"output": "mine", "is_proposed": False}
    fill_output(draft)
    assert draft["output"] == "mine"


def test_a_model_learns_what_it_can_and_the_others_say_why() -> None:
    encoder = {"model_type": "bert", "architecture": "BertModel", "finetunable_tasks": ["text-classification"]}
    picture = {"model_type": "vit", "architecture": "ViTForImageClassification", "finetunable_tasks": []}
    assert can_learn(encoder) == ["text-classification", "summarization", "translation"]
    assert can_learn(picture) == []
    assert why_not(picture, get_task("translation")) == "Models of the kind vit learn nothing here."


def test_settings_of_another_task_are_left_behind() -> None:
    given = {"seed": 1, "class_names": ["a"], "metric_for_best_model": "accuracy", "num_beams": 2}
    assert settings_for("translation", given) == {"seed": 1, "num_beams": 2}
    assert set(settings_for("text-classification", given)) == {"seed", "class_names", "metric_for_best_model"}
    of_report = {"metrics": ["rouge"], "n_best_size": 5, "seed": 1}
    assert settings_for("text-classification", of_report, EvaluateSettings.from_mapping) == {"seed": 1}


def test_every_setting_has_what_a_form_says_of_it() -> None:
    assert all({"kind", "doc", "tasks"} <= set(field.metadata) for field in fields(FinetuneSettings))


# --- helpers ---


def at_settings(window: Window, name: str, folder: Path) -> Page:
    """The wizard at its settings, for rows of its own: a draft is kept by what the address says."""
    ref = window.house.ws.datasets.add(name, write_messages(folder / "messages.csv", 40)).ref
    page = window.open(f"{WIZARD}{ref}")
    page.get_by_role("radio", name="Text classification").check()
    for found in ("First rows of", "Is the data in order?", "Basic"):
        go_on(page, found)
    return page


def written_in(page: Page, names: Iterable[str]) -> dict[str, str]:
    """What stands in the fields of these settings."""
    return {name: page.get_by_role("textbox", name=name, exact=True).input_value() for name in names}


def go_on(page: Page, then: str) -> None:
    """To the next step, which has this text or field."""
    page.get_by_role("button", name="Next").click()
    page.get_by_text(then).or_(page.get_by_label(then)).first.wait_for()


def cancel_all(house: House) -> None:
    for job in house.ws.jobs.list(kind="finetune"):
        if not job.is_final:
            job.cancel()


def made_as(house: House, output: str) -> list[Any]:
    """The fine-tunes whose model gets this name."""
    return [job for job in house.ws.jobs.list(kind="finetune") if job.data["spec"]["output"] == output]
