"""What changes models on the command line: archive, restore, delete, aliases back and forth, gates, lineage."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from bedplate.cli.app import app
from bedplate.cli.output import WrongUse
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError, Conflict, NotFound
from bedplate_registry.models import ModelDraft, Source
from bedplate_registry.names import Name
from light_server import light_server
from rest_server import publish_model

Run = Callable[..., str]


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server() as workspace:
        yield workspace


@pytest.fixture
def run(server: Workspace) -> Iterator[Run]:
    """A command in this process; its stdout. Raises what it refuses."""

    def invoke(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--home", str(server.home.path)])
        if isinstance(done.exception, BedplateError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    yield invoke
    gc.collect()  # a connection that a command left open is a warning, and so an error


@pytest.fixture
def name(server: Workspace, request: pytest.FixtureRequest) -> str:
    """A model of its own for each test, in two versions, the second one made from the first."""
    name = request.node.name.removeprefix("test_")[:30].strip("_")
    models = server.registry.models
    first = models.get(publish_model(server, name))
    draft = ModelDraft(Name.parse(name), first.files, first.facts, Source("job", "job-1"))
    models.publish(replace(draft, lineage={"base": first.ref}))
    return name


def rows(run: Run, *arguments: str) -> Any:
    return json.loads(run(*arguments, "--format", "json"))


def test_a_version_is_archived_restored_and_deleted(run: Run, name: str) -> None:
    assert "archived" in run("models", "archive", f"{name}:2", "--why", "old")
    assert [row["ref"] for row in rows(run, "models", "list", "--query", name)] == [f"{name}:1"]
    assert [row["ref"] for row in rows(run, "models", "list", "--archived", "--query", name)] == [f"{name}:2"]
    assert rows(run, "models", "restore", f"{name}:2")["state"] == "active"
    with pytest.raises(WrongUse, match="which version"):
        run("models", "delete", name)
    assert rows(run, "models", "delete", f"{name}:2") == {"model": f"{name}:2", "deleted": True}
    with pytest.raises(NotFound, match="was deleted by local"):
        run("models", "show", f"{name}:2")


def test_verify_goes_through_archived_and_damaged_versions_and_its_code_says_that_something_is_wrong() -> None:
    with light_server() as workspace:
        models, blobs = workspace.registry.models, workspace.registry.blobs
        for name in ("whole", "acme/torn", "worn"):
            publish_model(workspace, name)
        worn = blobs.path(models.get("worn:1").files[0].sha256)
        worn.chmod(0o644)
        worn.write_bytes(b"other bytes")
        models.archive("worn:1", by="ana")
        manifest = workspace.home.registry / "models" / "acme" / "torn" / "1" / "manifest.json"
        manifest.chmod(0o644)
        manifest.write_text("{")
        done = CliRunner().invoke(app, ["models", "verify", "--format", "json", "--home", str(workspace.home.path)])
        assert isinstance(done.exception, BedplateError) and "2 of 3 versions" in str(done.exception)
        found = {each["model"]: each["problems"] for each in json.loads(done.stdout)}
        assert (len(found), found["whole:1"]) == (3, [])
        assert "manifest of model 'acme/torn:1' is damaged" in found["acme/torn:1"][0]
        assert "config.json is damaged" in found["worn:1"][0]
        assert "models delete" in done.exception.hint
        done = CliRunner().invoke(app, ["models", "delete", "acme/torn:1", "--home", str(workspace.home.path)])
        assert done.exit_code == 0
        assert models.readable(Name.parse("acme/torn")) == []
        gc.collect()


def test_lists_are_filtered_by_size_in_human_units_and_come_in_pages(run: Run, server: Workspace) -> None:
    for name in ("paged-a", "paged-b", "paged-c"):
        publish_model(server, name)
    size, parameters = (rows(run, "models", "show", "paged-a")[key] for key in ("size_bytes", "parameters"))

    def found(*options: str) -> list[str]:
        return [row["name"] for row in rows(run, "models", "list", "--query", "paged", "--sort", "name", *options)]

    assert found("--limit", "2") == ["paged-a", "paged-b"] and found("--limit", "2", "--page", "2") == ["paged-c"]
    assert "--page 2" in told(server, "list", "--query", "paged", "--limit", "2")
    assert "no page 9" in told(server, "list", "--query", "paged", "--page", "9")
    assert found("--min-size", "1TB") == found("--min-parameters", "5B") == []
    assert len(found("--min-size", str(size), "--max-size", "500MB", "--max-parameters", str(parameters))) == 3
    for option, text in (("--min-size", "big"), ("--max-parameters", "2GiB")):
        with pytest.raises(WrongUse, match=text):
            run("models", "list", option, text)
    with pytest.raises(WrongUse, match="fits nothing"):
        run("models", "list", "--min-size", "2GB", "--max-size", "1GB")


def test_a_filter_whose_value_no_model_has_is_told_with_the_values_that_there_are(
    server: Workspace, run: Run, name: str
) -> None:
    run("models", "alias", f"{name}:1", "production")
    assert "No model has the license 'unknwn'. Did you mean 'unknown'?" in told(server, "list", "--license", "unknwn")
    assert "No model has the alias 'prodution'. Did you mean 'production'?" in told(
        server, "list", "--alias", "prodution"
    )
    assert told(server, "list", "--alias", "production", "--query", "nothing-is-called-so") == ""


def test_show_tells_what_people_ask_for(server: Workspace, run: Run, name: str) -> None:
    shown = dict(line.split("  ", 1) for line in run("models", "show", name).splitlines())
    data = rows(run, "models", "show", name)
    assert shown["digest"].strip() == data["digest"] and shown["size"].strip().endswith("B")
    assert shown["fine-tunable for"].strip() == (", ".join(data["finetunable_tasks"]) or "-")
    model = server.registry.models.get(name)
    server.registry.models.licenses.accept(model.name, model.source.id, "mit", by="ana", where="job-1")
    assert "mit, accepted by ana 20" in run("models", "show", name)


def told(server: Workspace, *arguments: str) -> str:
    """What a command says beside its answer."""
    return str(CliRunner().invoke(app, ["models", *arguments, "--home", str(server.home.path)]).stderr)


def test_an_alias_goes_forth_and_back_and_away(run: Run, name: str) -> None:
    for version in (1, 2):
        run("models", "alias", f"{name}:{version}", "production", "--why", f"try {version}")
    assert rows(run, "models", "alias", name, "production", "--rollback", "--why", "worse")["version"] == 1
    history = run("models", "alias", name, "production", "--history").splitlines()
    assert history[0].split() == ["when", "version", "by", "why", "rollback"]
    assert [line.split()[1:3] for line in history[1:]] == [["1", "local"], ["2", "local"], ["1", "local"]]
    assert rows(run, "models", "alias", name, "production", "--remove") == {"alias": "production", "version": None}
    with pytest.raises(NotFound):
        run("models", "show", f"{name}@production")
    with pytest.raises(WrongUse, match="four things"):
        run("models", "alias", name, "production", "--remove", "--rollback")


def test_a_gate_is_set_metric_by_metric_shown_and_taken_away(run: Run, name: str) -> None:
    run("models", "gate", name, "production", "--metric", "accuracy", "--at-least", "0.8", "--why", "promised")
    run("models", "gate", name, "production", "--metric", "log_loss", "--at-most", "0.5")
    table = run("models", "gate", name, "production", "--metric", "accuracy", "--at-least", "0.9", "--not-worse")
    assert [line.split()[:4] for line in table.splitlines()[1:]] == [
        ["production", "log_loss", "-", "0.5"],
        ["production", "accuracy", "0.9", "-"],
    ]
    with pytest.raises(Conflict, match="does not pass the gate") as caught:
        run("models", "alias", f"{name}:1", "production")
    assert f"bedplate evaluate {name}:1" in caught.value.hint
    run("models", "alias", f"{name}:1", "production", "--override", "--why", "urgent")
    assert len(rows(run, "models", "gate", name)[0]["rules"]) == 2
    [left] = rows(run, "models", "gate", name, "production", "--metric", "accuracy", "--remove")[0]["rules"]
    assert left["metric"] == "log_loss"
    with pytest.raises(NotFound, match="no rule about 'accuracy'"):
        run("models", "gate", name, "production", "--metric", "accuracy", "--remove")
    assert rows(run, "models", "gate", name, "production", "--metric", "log_loss", "--remove") == []
    mapped = ("--at-least", "0.9", "--map", "label=verdict", "--map", "sentence1=text")
    [gate] = rows(run, "models", "gate", name, "production", "--metric", "accuracy", *mapped)
    assert gate["rules"][0]["columns"] == {"label": "verdict", "sentence1": "text"}
    assert rows(run, "models", "gate", name, "production", "--remove") == []
    run("models", "alias", f"{name}:2", "production")
    with pytest.raises(WrongUse):
        run("models", "gate", name, "--metric", "accuracy")


@pytest.mark.parametrize(
    "given",
    [["--at-least", "0.9"], ["--at-most", "0"], ["--dataset", "tickets"], ["--map", "label=x"], ["--not-worse"]],
)
@pytest.mark.parametrize("about", [[], ["--remove"], ["--remove", "--metric", "accuracy"]])
def test_a_bound_is_said_with_its_metric_and_not_of_what_is_taken_away(
    run: Run, name: str, given: list[str], about: list[str]
) -> None:
    with pytest.raises(WrongUse):
        run("models", "gate", name, "production", *given, *about)


def test_lineage_is_a_table_of_what_a_version_has_to_do_with(run: Run, name: str) -> None:
    run("models", "alias", f"{name}:2", "production")
    table = [line.split()[:2] for line in run("models", "lineage", f"{name}:2").splitlines()]
    assert table == [["what", "which"], ["source", "job"], ["parent", f"{name}:1"], ["alias", "production"]]
    assert ["child", f"{name}:2"] in [line.split()[:2] for line in run("models", "lineage", f"{name}:1").splitlines()]
    assert rows(run, "models", "lineage", f"{name}:2")["lineage"] == {"base": f"{name}:1"}
