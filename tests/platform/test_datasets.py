"""Datasets over REST and on the command line: versions and their states, what uses one, folders of images, what columns
hold, every byte verified."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from typer.testing import CliRunner

from bedplate import workspace
from bedplate.api.app import MAX_BODY_BYTES
from bedplate.api.bodies import Page
from bedplate.api.dataset_bodies import MOST_FILES, Dataset, DatasetVerification
from bedplate.api.model_bodies import FileOfModel
from bedplate.cli.app import app
from bedplate.cli.output import WrongUse
from bedplate.compute import Lease
from bedplate.data_refs import DataRef
from bedplate.kinds import KINDS
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError, Conflict, NotFound, Refused
from bedplate_registry.gates import parse_rules
from light_server import light_server
from rest_server import CSV, Rest, publish_model, rest_server

DATASETS = "/api/v1/datasets"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    with rest_server() as server:
        publish_model(server.workspace)
        publish_model(server.workspace, "vit", "image-classification")
        yield server


@pytest.fixture
def name(rest: Rest, request: pytest.FixtureRequest) -> str:
    """A dataset of its own for each test, in two versions."""
    name = request.node.name.removeprefix("test_")[:40].strip("_")
    assert add(rest, name, CSV) == f"{name}:1"
    assert add(rest, name, CSV + b"one more,card\n") == f"{name}:2"
    return name


def add(rest: Rest, name: str, data: bytes) -> str:
    body = {"name": name, "upload": rest.upload(data), "filename": "t.csv"}
    return str(rest.call("POST", DATASETS, json=body).json()["ref"])


def ask(rest: Rest, method: str, path: str, *, user: str = "olga", **options: Any) -> httpx.Response:
    return rest.call(method, f"{DATASETS}/{path}", user=user, **options)


def problem(answer: httpx.Response, status: int, code: str) -> str:
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    return str(body["detail"])


def listed(rest: Rest, name: str, **params: Any) -> list[str]:
    items = rest.call("GET", DATASETS, params=params).json()["items"]
    return [item["ref"] for item in items if item["name"] == name]


# --- versions and their states


def test_an_archived_version_is_in_no_list_and_its_name_means_the_one_before(rest: Rest, name: str) -> None:
    archived = ask(rest, "POST", f"{name}:2/archive", json={"why": "wrong labels"})
    assert archived.json()["state"] == "archived"
    assert listed(rest, name) == [f"{name}:1"]
    assert listed(rest, name, archived=True) == [f"{name}:2"]
    assert listed(rest, name, all=True) == [f"{name}:1", f"{name}:2"]
    assert ask(rest, "GET", name).json()["ref"] == f"{name}:1"
    resolved = DataRef.resolve(rest.workspace.registry, f"{name}:2", "train")
    assert resolved.dataset == f"{name}:2", "whoever names it by its number uses it as before"
    assert [one["state"] for one in ask(rest, "GET", f"{name}/versions").json()["items"]] == ["active", "archived"]
    assert ask(rest, "POST", f"{name}:2/restore", json={}).json()["state"] == "active"
    assert listed(rest, name) == [f"{name}:2"]


def test_all_versions_come_in_pages(rest: Rest, name: str) -> None:
    add(rest, name, CSV)
    found: list[str] = []
    params: dict[str, Any] = {"all": True, "limit": 2}
    while True:
        page = rest.call("GET", DATASETS, params=params).json()
        found += [item["ref"] for item in page["items"]]
        if not page["next"]:
            break
        params["after"] = page["next"]
    assert [ref for ref in found if ref.startswith(name)] == [f"{name}:{number}" for number in (1, 2, 3)]
    first = ask(rest, "GET", f"{name}/versions", params={"limit": 2}).json()
    rest_of_them = ask(rest, "GET", f"{name}/versions", params={"after": first["next"]}).json()
    assert [one["version"] for one in (*first["items"], *rest_of_them["items"])] == [1, 2, 3]


def test_an_earlier_version_with_the_same_rows_is_the_answer_where_that_is_asked_for(rest: Rest, name: str) -> None:
    body = {"name": name, "upload": rest.upload(CSV), "filename": "t.csv"}
    assert rest.call("POST", DATASETS, json={**body, "reuse": True}).json()["ref"] == f"{name}:1"
    assert rest.call("POST", DATASETS, json=body).json()["ref"] == f"{name}:3"


def test_what_changes_a_version_names_it_and_is_an_operators(rest: Rest, name: str) -> None:
    for answer in (ask(rest, "POST", f"{name}/archive", json={}), ask(rest, "DELETE", name)):
        assert "does not say which version" in problem(answer, 422, "no-version")
    problem(ask(rest, "DELETE", f"{name}:1", user="ana"), 403, "forbidden")
    old = ask(rest, "GET", f"{name}:2").headers["etag"]
    ask(rest, "POST", f"{name}:2/archive", json={})
    problem(ask(rest, "DELETE", f"{name}:2", headers={"If-Match": old}), 412, "changed")
    new = ask(rest, "GET", f"{name}:2").headers["etag"]
    assert ask(rest, "DELETE", f"{name}:2", headers={"If-Match": new}, params={"why": "wrong"}).status_code == 204
    assert "was deleted by olga" in problem(ask(rest, "GET", f"{name}:2"), 404, "not-found")
    entries = rest.call("GET", "/api/v1/audit").json()["items"]
    entry = next(each for each in entries if each["action"].startswith("DELETE"))
    assert (entry["who"], entry["detail"]["name"], entry["detail"]["version"]) == ("olga", f"{name}:2", 2)
    assert add(rest, name, b"text,intent\nhello,hi\n") == f"{name}:3", "its number is not given again"


def test_a_version_stays_while_a_job_or_a_gate_names_it(rest: Rest, name: str) -> None:
    jobs, ref = rest.workspace.jobs, f"{name}:2"
    data = DataRef.resolve(rest.workspace.registry, ref, "train").to_json()
    queued = jobs.submit("sweep", {"first": {"train": data}})
    running = jobs.submit("check", {"splits": [data]})
    ended = jobs.submit("batch", {"input": data})
    other = jobs.submit("batch", {"input": {**data, "dataset": f"{name}:1"}})
    assert jobs.claim(running, Lease(1, 1 << 30))
    jobs.ask_cancel(ended.id)
    rule = {"metric": "accuracy", "at_least": 0.9, "dataset": ref}
    gate = "/api/v1/models/_/support-intent/gates/production"
    assert rest.call("PUT", gate, json={"rules": [rule]}).status_code == 200
    said = problem(ask(rest, "DELETE", ref), 409, "in-use")
    assert f"job {queued.id} is queued with it" in said and f"job {running.id} is running with it" in said
    assert "the gate of 'production' of support-intent asks for it" in said
    assert ended.id not in said and other.id not in said
    assert ask(rest, "POST", f"{ref}/archive", json={}).status_code == 200
    for job in (queued, other):
        jobs.ask_cancel(job.id)
    assert jobs.move(jobs.get(running.id), "succeeded", result={})
    assert rest.call("DELETE", gate).status_code == 204
    assert ask(rest, "DELETE", ref).status_code == 204
    with pytest.raises(NotFound, match="was deleted by olga"):
        rest.workspace.rerun_job(ended.id)


def test_a_damaged_version_is_found_and_can_be_deleted(rest: Rest, name: str) -> None:
    manifest = rest.workspace.registry.root / f"datasets/_/{name}/2/manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    [said] = ask(rest, "GET", f"{name}:2/verify").json()["problems"]
    assert f"{name}:2" in said and "damaged" in said
    found = {each["dataset"]: each["problems"] for each in pages_of(rest, "/api/v1/registry/verify/datasets")}
    assert found[f"{name}:1"] == [] and len(found[f"{name}:2"]) == 1
    assert ask(rest, "DELETE", f"{name}:2").status_code == 204
    assert ask(rest, "GET", name).json()["ref"] == f"{name}:1"


def pages_of(rest: Rest, path: str) -> Iterator[dict[str, Any]]:
    params: dict[str, Any] = {"limit": 3}
    while True:
        page = rest.call("GET", path, params=params).json()
        yield from page["items"]
        if not page["next"]:
            return
        params["after"] = page["next"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "acme/files", "upload": "0" * 64, "filename": "t.csv"}, "bad-name"),
        ({"name": "x", "upload": "0" * 64}, "refused"),
        ({"name": "x", "upload": "0" * 64, "filename": "t.csv", "files": []}, "refused"),
        ({"name": "x", "files": []}, "bad-image-folder"),
        ({"name": "x", "files": [{"path": "1.png", "sha256": "0", "size_bytes": 1}]}, "bad-request"),
    ],
)
def test_a_dataset_that_is_none_is_refused(rest: Rest, body: dict[str, Any], code: str) -> None:
    problem(rest.call("POST", DATASETS, json=body), 422, code)


# --- folders of images


def picture(color: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (4, 4), color).save(file, "PNG")
    return file.getvalue()


def add_images(rest: Rest, name: str) -> httpx.Response:
    files = []
    for path, color in (("cat/1.png", "red"), ("dog/2.png", "blue")):
        data = picture(color)
        files.append({"path": path, "sha256": rest.upload(data), "size_bytes": len(data)})
    return rest.call("POST", DATASETS, json={"name": name, "files": files})


def test_a_folder_of_images_is_a_dataset_whose_files_are_listed(rest: Rest) -> None:
    added = add_images(rest, "acme/pets")
    assert added.status_code == 201
    assert (added.json()["ref"], added.json()["rows"], added.json()["images"]) == ("acme/pets:1", 2, 2)
    page = ask(rest, "GET", "acme/pets/files", params={"limit": 1}).json()
    following = ask(rest, "GET", "acme/pets/files", params={"after": page["next"]}).json()
    files = [*page["items"], *following["items"]]
    assert [(file["path"], file["sha256"]) for file in files] == [
        ("cat/1.png", hashlib.sha256(picture("red")).hexdigest()),
        ("dog/2.png", hashlib.sha256(picture("blue")).hexdigest()),
    ]
    rows = ask(rest, "GET", "acme/pets/preview").json()["items"]
    assert [(row["image"], row["label"]) for row in rows] == [("cat/1.png", "cat"), ("dog/2.png", "dog")]


def test_a_folder_of_more_than_a_thousand_images_is_a_dataset(rest: Rest) -> None:
    data = picture("red")
    one = {"sha256": rest.upload(data), "size_bytes": len(data)}
    files = [{"path": f"cat/{number}.png", **one} for number in range(1001)]
    added = rest.call("POST", DATASETS, json={"name": "acme/many", "files": files})
    assert (added.status_code, added.json().get("images")) == (201, 1001), added.text
    listed = ask(rest, "GET", "acme/many/files").json()
    assert (len(listed["items"]), listed["next"]) == (1001, None)


def test_a_folder_of_more_images_than_a_request_holds_is_refused(rest: Rest) -> None:
    files = [{"path": "p", "sha256": "", "size_bytes": 0}] * (MOST_FILES + 1)
    body = {"name": "acme/many", "files": files}
    assert "50002 items" in problem(rest.call("POST", DATASETS, json=body), 422, "bad-request")
    most = [{"path": f"{number:055}", "sha256": "0" * 64, "size_bytes": 1 << 20} for number in range(MOST_FILES)]
    assert len(json.dumps({"name": "many", "files": most}, separators=(",", ":"))) < MAX_BODY_BYTES
    assert "sha256" in problem(rest.call("POST", DATASETS, json={**body, "files": files[:2]}), 422, "bad-request")


def test_rows_of_a_damaged_table_are_not_shown(rest: Rest, name: str) -> None:
    datasets = rest.workspace.registry.datasets
    datasets.path(datasets.get(f"{name}:2")).unlink()
    assert f"{name}:2 is not whole" in problem(ask(rest, "GET", f"{name}:2/preview"), 503, "damaged-dataset")
    assert len(ask(rest, "GET", f"{name}:1/preview").json()["items"]) == 2


def test_a_dataset_whose_versions_are_all_archived_says_how_to_bring_one_back(rest: Rest, name: str) -> None:
    for number in (1, 2):
        assert ask(rest, "POST", f"{name}:{number}/archive", json={}).status_code == 200
    refused = ask(rest, "GET", name)
    assert "Every version" in problem(refused, 409, "archived")
    assert f"datasets restore {name}:2" in refused.json()["hint"]
    assert len(ask(rest, "GET", f"{name}/versions").json()["items"]) == 2


def test_no_dataset_is_deleted_while_a_gate_comes_to_name_it(
    rest: Rest, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    def noted(*values: Any) -> Any:
        held.append(rest.workspace._deletions.locked())
        return parse_rules(*values)

    monkeypatch.setattr(workspace, "parse_rules", noted)
    gate = "/api/v1/models/_/support-intent/gates/staging"
    rules = [{"metric": "accuracy", "at_least": 0.9, "dataset": f"{name}:1"}]
    assert rest.call("PUT", gate, json={"rules": rules}).status_code == 200
    assert rest.call("DELETE", gate).status_code == 204
    assert held == [True, True]


def test_a_batch_job_finds_the_images_of_its_dataset(rest: Rest, tmp_path: Path) -> None:
    add_images(rest, "pets")
    workspace = rest.workspace
    plan = workspace.plan("batch", {"model": "vit", "input": "pets", "output": "o.jsonl", "device": "cpu"})
    assert plan.spec["input"]["has_images"] and plan.spec["input"]["dataset"] == "pets:1"
    folder = workspace.registry.root / "datasets/_/pets/1/files"
    command = KINDS["batch"].command
    assert command is not None
    command(workspace.context, plan.spec, tmp_path, 1, Lease(1, 1 << 30))
    assert (folder / "dog/2.png").read_bytes() == picture("blue")
    assert DataRef.from_json(plan.spec["input"]).images(workspace.registry) == folder


def test_paths_of_images_that_stayed_with_the_caller_are_refused_before_a_job_is_made(rest: Rest) -> None:
    for name, column in (("local-1", "image"), ("local-2", "photo")):
        add(rest, name, f"{column}\ncat/1.png\n".encode())
        request = {"model": "vit", "input": name, "output": "o.csv", "columns": {"image": column}, "device": "cpu"}
        with pytest.raises(Refused, match=f"the column '{column}' holds paths of images") as caught:
            rest.workspace.plan("batch", request)
        assert "bedplate datasets add NAME FOLDER" in caught.value.hint


# --- what is described


def test_the_answers_are_as_they_are_described(rest: Rest, name: str) -> None:
    add_images(rest, "described")
    for path in (name, "described"):
        Dataset.model_validate(ask(rest, "GET", path).json())
    Page[Dataset].model_validate(ask(rest, "GET", f"{name}/versions").json())
    Page[FileOfModel].model_validate(ask(rest, "GET", "described/files").json())
    DatasetVerification.model_validate(ask(rest, "GET", f"{name}/verify").json())


# --- on the command line


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server() as workspace:
        yield workspace


@pytest.fixture
def run(server: Workspace) -> Iterator[Run]:
    """A command in this process; its stdout. Raises what it refuses."""

    def invoke(*arguments: object) -> str:
        done = CliRunner().invoke(app, ["datasets", *map(str, arguments), "--home", str(server.home.path)])
        if isinstance(done.exception, BedplateError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    yield invoke
    gc.collect()  # a connection that a command left open is a warning, and so an error


def test_a_table_is_added_shown_archived_and_deleted_by_commands(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(f"text,n\n{'long ' * 100},1\nshort,2\n")
    assert "integer" in run("add", "tickets", file)
    shown = run("show", "tickets:1").splitlines()
    [line] = [line for line in shown if line.startswith("n ")]
    assert line.split()[:6] == ["n", "text", "integer", "0", "0", "2"]
    assert max(map(len, run("preview", "tickets").splitlines())) < 80
    assert len(json.loads(run("preview", "tickets", "--format", "json"))[0]["text"]) == 500
    assert "archived" in run("archive", "tickets:1", "--why", "old")
    assert json.loads(run("list", "--format", "json")) == []
    for question in (("list", "--all"), ("list", "--archived"), ("versions", "tickets")):
        assert "tickets:1" in run(*question)
    assert json.loads(run("verify", "tickets:1", "--format", "json")) == {"dataset": "tickets:1", "problems": []}
    assert len(json.loads(run("verify", "--format", "json"))) >= 1
    assert "active" in run("restore", "tickets:1")
    with pytest.raises(WrongUse):
        run("delete", "tickets")
    run("delete", "tickets:1")
    with pytest.raises(NotFound, match="was deleted"):
        run("show", "tickets:1")


def test_a_folder_of_images_is_added_by_a_command_and_one_in_no_layout_stays(run: Run, tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        (tmp_path / "pets" / label / "1.png").write_bytes(picture("red" if label == "cat" else "blue"))
    (tmp_path / "pets" / ".DS_Store").write_bytes(b"hidden")
    assert json.loads(run("add", "pets", tmp_path / "pets", "--format", "json"))["images"] == 2
    assert [file["path"] for file in json.loads(run("files", "pets", "--format", "json"))] == ["cat/1.png", "dog/1.png"]
    (tmp_path / "pets" / "cat" / "notes.txt").write_bytes(b"secret")
    with pytest.raises(Refused, match=r"cat/notes\.txt is neither"):
        run("add", "pets", tmp_path / "pets")
    (tmp_path / "pets" / "cat" / "notes.txt").unlink()
    (tmp_path / "out.png").write_bytes(picture("red"))
    (tmp_path / "pets" / "cat" / "2.png").symlink_to(tmp_path / "out.png")
    with pytest.raises(Refused, match=r"cat/2\.png is a link that leads out"):
        run("add", "pets", tmp_path / "pets")


def test_a_preview_of_no_rows_is_refused(run: Run) -> None:
    with pytest.raises(WrongUse, match="--limit 0"):
        run("preview", "tickets", "--limit", 0)


def test_a_damaged_file_makes_verify_fail(run: Run, server: Workspace, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\nonly here\n")
    run("add", "damaged", tmp_path / "t.csv")
    blob = server.registry.datasets.path(server.registry.datasets.get("damaged"))
    blob.chmod(0o644)
    blob.write_bytes(b"?")
    with pytest.raises(BedplateError, match="1 of 1 versions are damaged"):
        run("verify", "damaged")
    run("delete", "damaged:1")


def test_what_is_in_use_is_not_deleted_by_a_command(run: Run, server: Workspace, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\nheld\n")
    run("add", "held", tmp_path / "t.csv")
    data = DataRef.resolve(server.registry, "held", "input").to_json()
    job = server.jobs.submit("script", {"input": data, "code": "import time; time.sleep(60)"})
    with pytest.raises(Conflict, match=job.id):
        run("delete", "held:1")
    server.cancel_job(job.id)
