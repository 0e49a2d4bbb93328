"""Trying endpoints in the browser: a form for each task, answers as people read them, the same as code."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bedplate.studio.parts.try_call import Call
from bedplate.studio.parts.try_code import codes_of
from bedplate.studio.parts.try_form import EXAMPLES
from bedplate.studio.parts.try_settings import MAIN, settings_of
from bedplate_registry.tasks import TASKS
from bedplate_serving.unix_sockets import short_path
from harness import environment, run_cli
from studio_browser import House, Window

ORIGIN = "http://127.0.0.1:8686"
HOSTILE = '<img src=x onerror="alert(1)"> Sarah ' + "long" * 50
BUILD = """
import sys
from pathlib import Path
from bedplate_serving.testing import causal, encoders
root = Path(sys.argv[1])
encoders.tiny_token_classifier(root / "people")
causal.tiny_llama(root / "writer")
"""


@pytest.fixture(scope="module")
def served(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An endpoint that finds names and one that writes, by task."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], check=True, capture_output=True)
    names = {"token-classification": "people", "text-generation": "writer"}
    jobs = [house.ws.submit_import_folder(folder / name, f"acme/try-{name}") for name in names.values()]
    for job in jobs:
        job.wait(timeout_seconds=240)
    made = [house.ws.deploy(f"acme/try-{name}", endpoint=f"try-{name}", wait=False) for name in names.values()]
    for endpoint in made:
        endpoint.wait(timeout_seconds=240)
    yield {task: f"try-{name}" for task, name in names.items()}
    for endpoint in made:
        endpoint.delete()


def _document(house: House, name: str) -> Any:
    transport = httpx.HTTPTransport(uds=short_path(house.home / "run" / "scoring.sock"))
    with httpx.Client(transport=transport, base_url="http://gateway", timeout=60) as client:
        return client.get(f"/endpoints/{name}/openapi.json").json()


# --- in words ---


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_an_example_unless_it_is_of_images(task: str) -> None:
    inputs = {key.name for key in TASKS[task].inputs if key.kind != "image"}
    assert set(EXAMPLES.get(task, {})) <= inputs
    assert bool(EXAMPLES.get(task)) == bool(inputs)


@pytest.mark.parametrize("task", TASKS)
def test_the_same_request_is_shown_in_three_ways_that_can_be_run(task: str) -> None:
    body = {"inputs": 'it\'s "quoted" $HOME `x` \\ é\n', "parameters": {"seed": 7, "stop": ["a b"], "do_sample": True}}
    codes = codes_of(Call("support", body), task, ORIGIN)
    assert list(codes) == ["Command", "Python", "curl"]
    compile(codes["Python"], "shown", "exec")
    for shown in (codes["Command"], codes["curl"]):
        assert subprocess.run(["bash", "-n"], input=shown, text=True, check=False).returncode == 0


def test_a_chosen_deployment_is_in_the_header_of_what_can_name_one() -> None:
    codes = codes_of(Call("support", {"inputs": "a"}, "blue"), "text-classification", ORIGIN)
    assert list(codes) == ["Python", "curl"]
    assert all("X-Bedplate-Deployment" in code and "blue" in code for code in codes.values())
    compile(codes["Python"], "shown", "exec")


def test_the_inputs_asked_for_first_are_parameters_of_the_task(house: House, served: dict[str, str]) -> None:
    for task, name in served.items():
        schemas = _document(house, name)["components"]["schemas"]
        kinds = {one.name: one.kind for one in settings_of(schemas["Parameters"], but=set())}
        assert {one.name: one.kind for one in MAIN[task]}.items() <= kinds.items()


# --- in the browser ---


def test_names_are_marked_in_their_text_which_is_shown_as_it_is(window: Window, served: dict[str, str]) -> None:
    page = window.open(f"/endpoints/{served['token-classification']}")
    page.get_by_label("Text", exact=True).fill(HOSTILE)
    page.get_by_role("button", name="Ask", exact=True).click()
    answer = page.get_by_role("region", name="Answer")
    answer.get_by_text("Raw answer").wait_for()
    assert HOSTILE[:30] in answer.locator(".bp-marked").evaluate(
        "(e) => { for (const s of e.querySelectorAll('small')) s.remove(); return e.textContent }"
    )
    assert answer.locator("mark").count() >= 1
    assert answer.get_by_label("Legend").get_by_role("listitem").count() >= 1
    assert page.locator("img[src=x]").count() == 0


def test_a_text_is_shown_as_it_is_written(window: Window, served: dict[str, str]) -> None:
    page = window.open(f"/endpoints/{served['text-generation']}")
    page.get_by_label("Temperature").fill("1.5")
    page.get_by_label("Seed").fill("3")
    page.get_by_label("Seed").blur()
    page.get_by_role("button", name="Ask", exact=True).click()
    answer = page.get_by_role("region", name="Answer")
    answer.get_by_text("tokens a second").wait_for()
    whole = window.house.ws.endpoints.get(served["text-generation"]).score(
        "Once upon a time", max_new_tokens=60, temperature=1.5, seed=3
    )
    assert answer.locator(".bp-inline").text_content() == whole["generated_text"]


def test_what_is_refused_is_said_where_the_answer_would_be(window: Window, served: dict[str, str]) -> None:
    page = window.open(f"/endpoints/{served['text-generation']}")
    answer = page.get_by_role("region", name="Answer")
    page.get_by_label("Top p").fill("7")
    page.get_by_label("Top p").blur()
    page.get_by_role("button", name="Ask", exact=True).click()
    answer.get_by_role("alert").get_by_text("top_p is 7").wait_for()
    page.get_by_label("Prompt").fill("")
    page.get_by_role("button", name="Ask", exact=True).click()
    answer.get_by_role("alert").get_by_text("Prompt is empty").wait_for()


def test_the_shown_command_says_what_the_page_said(window: Window, served: dict[str, str], tmp_path: Path) -> None:
    house, name = window.house, served["token-classification"]
    page = window.open(f"/endpoints/{name}")
    page.get_by_text("The same as a command").click()
    code = page.locator(".bp-try ~ * pre").first
    command = shlex.split(code.text_content() or "")
    assert command[:3] == ["bedplate", "score", name]
    said = run_cli(*command[1:], home=house.home).stdout
    page.get_by_role("tab", name="Python").click()
    shown = page.get_by_role("region", name="Python", exact=True).text_content()
    done = subprocess.run(
        [sys.executable, "-c", shown or ""],
        env={**environment(house.home), "PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (said.count("entity_group"), done.stdout.count("entity_group")) == (said.count("score"),) * 2
