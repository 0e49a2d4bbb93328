"""The card of a model: true, whole, quick to make, harmless; and its samples are commands that there are."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from bedplate.api.endpoints import NewDeployment
from bedplate.cli.app import app
from bedplate.cli.output import pairs, parse_values
from bedplate.kinds.batch import BatchRequest
from bedplate.kinds.finetune import FinetuneRequest
from bedplate.model_card import card_of
from bedplate.model_samples import endpoint_name, samples
from bedplate.workspace import Workspace
from bedplate_registry.columns import map_columns
from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, ModelVersion, Source
from bedplate_registry.names import Name
from bedplate_registry.store import ARCHIVED
from bedplate_registry.tables import columns_of, format_of
from bedplate_registry.tasks import TASKS, finetunable_tasks
from bedplate_serving.predictors.fill_mask import MaskParameters
from bedplate_serving.predictors.generation.parameters import GenerationParameters
from bedplate_serving.predictors.question_answering import QuestionParameters
from bedplate_serving.predictors.text_classification import ClassificationParameters
from bedplate_serving.predictors.token_classification import TokenParameters
from light_server import light_server
from rest_server import MODEL, Rest, fill, rest_server

URL = "http://127.0.0.1:8686"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    with rest_server() as started:
        fill(started)
        yield started


def version_of(task: str | None, **more: Any) -> ModelVersion:
    facts = ModelFacts(task, "Some", "bert", 1000, "float32", 4000, finetunable_tasks=finetunable_tasks("bert"))
    given = {"name": Name.parse("acme/Its_a.Model"), "files": (), "facts": facts, "version": 3}
    return ModelVersion(**{**given, "source": Source("folder", "0" * 64), **more})


@cache
def program() -> Any:
    return typer.main.get_command(app)


def arguments_of(line: list[str]) -> dict[str, Any]:
    """What the real command line reads in a command."""
    assert line[0] == "bedplate"
    group = program()
    name, command, rest = group.resolve_command(group.make_context("bedplate", ["doctor"]), line[1:])
    parameters: dict[str, Any] = command.make_context(name, rest).params
    return parameters


PARAMETERS = {
    "text-classification": ClassificationParameters,
    "token-classification": TokenParameters,
    "question-answering": QuestionParameters,
    "fill-mask": MaskParameters,
    "text-generation": GenerationParameters,
}
ASKED: dict[str | None, Any] = {
    None: "a $(touch x) `b` 'c'",
    "fill-mask": '<mask> isn\'t "$HOME"; [MASK]',
    "token-classification": '["a"]',
    "translation": {"source": "x", "src_lang": "eng_Latn", "tgt_lang": "fra_Latn"},
    "image-classification": PIXEL,
}


@pytest.mark.parametrize("task", [*TASKS, None])
@pytest.mark.parametrize("is_checked", [True, False])
def test_the_samples_of_each_task_are_commands_and_requests_that_there_are(
    task: str | None, is_checked: bool, tmp_path: Path
) -> None:
    sample = {"request": ASKED.get(task, "{a} 'b'\n$(touch x)"), "answer": []}
    version = version_of(task, sample=sample if is_checked else None)
    found = {sample.title: sample for sample in samples(version, URL)}
    for title, block in found.items():
        if block.language == "python":
            compile(block.code, title, "exec")
    for wanted in version.facts.finetunable_tasks:
        given = arguments_of(shlex.split(found[f"Fine-tune for {wanted}"].code))
        assert (given["model"], given["task"]) == (version.ref, wanted)
        request = {key: given[key] for key in ("model", "task", "output")}
        FinetuneRequest.model_validate({"kind": "finetune", **request, "train": "rows"})
        Name.parse(given["output"])
    if task is None:
        assert len(found) == 3
        return
    deploying, _, scoring = found["Deploy and score"].code.partition("\nbedplate score ")
    deployed, asked = arguments_of(shlex.split(deploying)[:5]), arguments_of(shlex.split(f"bedplate score {scoring}"))
    NewDeployment.model_validate({"name": deployed["endpoint"], "model": deployed["model"]})
    if task in PARAMETERS:
        PARAMETERS[task].model_validate(parse_values(pairs(asked["set"] or (), "--set")))
    assert asked["endpoint"] == deployed["endpoint"] == endpoint_name(version)
    *writing, batch = found["Score a file"].code.split("\nbedplate ")
    (tmp_path / "photo.png").write_bytes(b"pixels")
    subprocess.run(["bash", "-euc", "\n".join(writing)], cwd=tmp_path, check=True)
    rows = tmp_path / "rows.jsonl"
    columns = map_columns(task, columns_of(rows, format_of("rows.jsonl")), need_label=False)
    columns.pick(json.loads(rows.read_text()))
    done = arguments_of(shlex.split(f"bedplate {batch}"))
    BatchRequest.model_validate(
        {"kind": "batch", "model": done["model"], "input": "rows", "output": str(done["output"])}
    )
    assert not (tmp_path / "x").exists(), "nothing that a model says of itself is run"


def test_an_endpoints_name_is_made_of_any_models_name() -> None:
    names = ("Llama-3.1_8B", "7b", "x", "a" * 90, "Q--", "A.B-" + "c" * 27 + "-.d")
    made = [endpoint_name(version_of(None, name=Name(None, name))) for name in names]
    assert made == ["llama-3-1-8b", "model-7b", "model-x", "a" * 32, "model-q", "a-b-" + "c" * 27]


def test_the_card_says_what_the_model_is_how_it_is_used_and_what_was_measured(rest: Rest) -> None:
    answer = rest.call("GET", f"/api/v1/models/_/{MODEL}/card")
    assert answer.headers["content-type"].startswith("text/markdown")
    for part in (
        f"# {MODEL}",
        "| task | text-classification |",
        f"bedplate deploy {MODEL} --endpoint support-intent",
        "## License\n\nIts card and its Hub name no license.",
        "| data | accuracy | on | report |",
        "| production |",
        "root | the first |",
        "| serve on a CPU | 1.0 GiB |",
        "batches of 256 (no GPU that can be used was found: on the CPU)",
    ):
        assert part in answer.text, part
    assert answer.text.endswith("## From the author's card\n\n### A card\n")
    assert rest.call("GET", f"/api/v1/models/_/{MODEL}/card?source=true").text == "# A card"


def publish(
    workspace: Workspace, name: str, card: bytes = b"", *, lineage: dict[str, Any] | None = None, **facts: Any
) -> str:
    """A model with a license, a card, and facts that somebody made up."""
    registry = workspace.registry
    blobs = [(path, registry.blobs.put_bytes(data)) for path, data in (("README.md", card), ("LICENSE", b"Take it."))]
    files = tuple(FileEntry(path, blob.size_bytes, blob.sha256) for path, blob in blobs)
    given = {"task": "text-classification", "architecture": "Some", "model_type": "bert", "dtype": "float32", **facts}
    known = ModelFacts(parameters=1000, size_bytes=4000, finetunable_tasks=("text-classification",), **given)
    sample = {"request": "`x` ``` <b>", "answer": {"image": PIXEL}}
    made = ModelDraft(Name.parse(name), files, known, Source("job", f"job-{name}"), lineage or {}, sample)
    return registry.models.publish(made).ref


def test_whatever_a_model_says_of_itself_nothing_of_its_card_acts(rest: Rest) -> None:
    evil = "<script>alert(1)</script>|[x](javascript:x)\n# h\n```"
    card = f"---\nlicense: mit\n---\n{evil}\n\n![p](http://t/p.png) <img src=x onerror=y>".encode()
    facts = dict.fromkeys(("architecture", "model_type", "author", "license", "dtype", "library"), evil)
    facts |= dict.fromkeys(("labels", "languages", "datasets", "base_model"), (evil, evil))
    ref = publish(rest.workspace, "evil", card, lineage={"base": evil, "data": {evil: {"filename": evil}}}, **facts)
    rest.workspace.registry.evaluations.add({"model": ref, "metrics": {evil: 1.0}, "data": {"filename": evil}})
    rest.workspace.registry.models.set_alias(ref, "bad", by=evil, why=evil)
    text = rest.call("GET", f"/api/v1/models/_/{ref}/card").text
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert not {part for part in ("<script", "<img", 'href="j', "<b>") if part in html}
    assert html.count("<h1") == 1 and '"(an image)"' in text


def test_an_archived_version_says_so_and_has_no_samples_and_kin_and_license_are_named(rest: Rest) -> None:
    base = publish(rest.workspace, "old-base", license="apache-2.0")
    child = publish(rest.workspace, "its-child", lineage={"base": base}, license="llama3")
    rest.workspace.registry.models.archive(base, by="root")
    card = rest.call("GET", f"/api/v1/models/_/{base}/card").text
    assert f"`bedplate models restore {base}`" in card and "bedplate deploy" not in card
    assert f"| made of it | `{child}` | fine-tune |" in card and "Apache-2.0, on the Hub spelled `apache-2.0`" in card
    of_child = rest.call("GET", f"/api/v1/models/_/{child}/card").text
    assert f"| base | `{base}` | fine-tune, archived |" in of_child
    assert f"`bedplate models license {child}`" in of_child
    found = rest.call("GET", f"/api/v1/models/_/{child}/license").json()
    assert found["files"] == [{"path": "LICENSE", "text": "Take it."}]
    assert (found["license"], found["license_spdx"]) == ("llama3", "LicenseRef-llama3")


def test_a_card_whose_file_is_damaged_says_so_and_the_rest_stays(rest: Rest) -> None:
    ref = publish(rest.workspace, "worn", b"# Worn out")
    registry = rest.workspace.registry
    file = registry.blobs.path(registry.models.get(ref).files[0].sha256)
    file.chmod(0o644)
    file.write_bytes(b"# Other")
    card = rest.call("GET", f"/api/v1/models/_/{ref}/card").text
    assert "## How to use it" in card and "has no sound file" in card and "# Other" not in card


def test_estimates_are_for_the_devices_of_the_server(rest: Rest) -> None:
    found = rest.call("GET", f"/api/v1/models/_/{MODEL}/estimates").json()
    assert found["recommended"]["device"] == "cpu" and found["estimates"]["serve_cpu"]["size_bytes"] > 1 << 30


def test_the_command_line_shows_card_license_and_needs() -> None:
    with light_server() as workspace:
        ref = publish(workspace, "shown", b"# By me", license="mit", author="Ada", datasets=("glue",))

        def run(*arguments: str) -> str:
            done = CliRunner().invoke(app, ["models", *arguments, "--home", str(workspace.home.path)])
            assert done.exit_code == 0, done.output
            return done.output

        assert run("card", ref).startswith(f"# {ref}\n") and run("card", ref, "--source") == "# By me\n"
        assert json.loads(run("card", ref, "--format", "json"))["card"] == card_of(
            workspace, workspace.registry.models.get(ref)
        )
        assert "Take it." in run("license", ref) and "MIT" in run("license", ref)
        table, shown = run("show", ref), json.loads(run("show", ref, "--format", "json"))
        assert "1.0 GiB (CPU)" in table and '"(an image)"' in table and "cpu, fp32, batches of" in table
        assert {"estimates", "recommended", "sample", "license_spdx"} <= shown.keys()
        assert shown["sample"]["answer"]["image"] == PIXEL
        assert [
            row["ref"] for row in json.loads(run("list", "--dataset", "GLUE", "--author", "ada", "--format", "json"))
        ] == [ref]
        assert "no license" not in run("license", ref)


def test_an_archived_model_has_no_samples() -> None:
    assert samples(version_of("fill-mask", state=ARCHIVED), URL) == []


def test_an_adapter_is_fine_tuned_as_any_model() -> None:
    files = (FileEntry("adapter/adapter_config.json", 2, "0" * 64),)
    found = samples(version_of("text-classification", files=files, lineage={"adapter_base": "acme/base:1"}), URL)
    assert "Fine-tune for text-classification" in [sample.title for sample in found]
