"""One suite over every way to a server: the home's socket and TCP, by the client that blocks and by that for asyncio.

The server is real; its machine is simulated, and its jobs are light.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pandas
import pytest
from PIL import Image

import bedplate
from awaited import Awaited
from bedplate.machine import simulated
from bedplate.tables import Table
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError, Changed, Conflict, Forbidden, NotFound, Refused
from harness import free_port, wait_for, write_messages
from light_server import light_server
from rest_server import publish_model

SLEEP = "import time; time.sleep(60)"
FAIL = """
import json, sys
json.dump({'code': 'no', 'message': 'No.', 'hint': 'Never.'}, open(f'error-{sys.argv[1]}.json', 'w'))
sys.exit(1)
"""
TALK = """
import json
print('one é')
print(json.dumps({'seq': 1, 'epoch': 1, 'type': 'message', 'text': 'hello'}), file=open('events.jsonl', 'a'))
print(json.dumps({'epoch': 1, 'attempt': 1, 'step': 1, 'loss': 0.5}), file=open('metrics.jsonl', 'a'))
open('outputs/rows.csv', 'w').write('a,b\\n')
print('two', end='')
"""
numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server(simulated("1xV100-32GB", cores=4, memory_gb=8), port=free_port()) as workspace:
        publish_model(workspace)
        publish_model(workspace, "acme/other-intent")
        wait_for(lambda: _answers(f"{workspace.address.url}/livez"))
        yield workspace


@pytest.fixture(params=["socket", "tcp", "socket, asyncio", "tcp, asyncio"])
def ws(request: pytest.FixtureRequest, server: Workspace) -> Iterator[Any]:
    """A workspace of the server, by each way in turn."""
    way: str = request.param
    where: dict[str, Any] = {"home": server.home.path}
    if way.startswith("tcp"):
        where = {"url": server.address.url, "token": server.home.token()}
    with asyncio.Runner() as runner:
        found = Awaited(bedplate.aconnect(**where), runner) if way.endswith("asyncio") else bedplate.connect(**where)
        with found as workspace:
            yield workspace
            for job in workspace.jobs.list(archived=None):
                if not job.is_final:
                    job.cancel()
    wait_for(lambda: not any(server.jobs.counts().values()), seconds=60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def new_name(stem: str) -> str:
    return f"{stem}-{next(numbers)}"


# --- jobs ---


def test_a_job_is_submitted_waited_for_and_told_of(ws: Any, tmp_path: Path) -> None:
    job = ws.submit("script", {"code": TALK})
    seen: list[str] = []
    assert job.wait(watch=lambda watched: seen.append(watched.state)).result == {"value": 0}
    assert seen[-1] == job.state == "succeeded"
    assert job.logs() == "one é\ntwo"
    assert list(job.logs(follow=True)) == ["one é", "two"]
    assert [line["loss"] for line in job.metrics()] == [0.5]
    ws.connection.download(f"/api/v1/jobs/{job.id}/outputs/rows.csv", tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text() == "a,b\n"
    assert ws.jobs.get(job.id).owner == "local"
    assert job.id in [listed.id for listed in ws.jobs.list(kind="script")]


def test_events_come_as_they_happen_and_end_with_the_job(ws: Any) -> None:
    job = ws.submit("script", {"code": TALK})
    events = list(job.events())
    assert [event.data["text"] for event in events if event.type == "message"] == ["hello"]
    assert events[-1].type == "state"
    assert events[-1].data["state"] == "succeeded"
    assert [event.type for event in job.events(after=1)] == ["state"]


def test_what_a_job_failed_with_is_raised_with_code_and_hint(ws: Any) -> None:
    with pytest.raises(BedplateError) as failed:
        ws.submit("script", {"code": FAIL, "bare": True}).wait()
    assert (failed.value.code, failed.value.message, failed.value.hint) == ("no", "No.", "Never.")


def test_a_job_is_cancelled_retried_rerun_and_archived(ws: Any) -> None:
    job = ws.submit("script", {"code": SLEEP, "needs": {"cores": 4}})
    with pytest.raises(TimeoutError, match=job.id):
        job.wait(timeout_seconds=0)
    with pytest.raises(Conflict, match="was cancelled"):
        job.cancel().wait()
    assert job.retry().state == "queued"
    again = job.rerun()
    assert again.id != job.id
    for one in (job, again):
        with pytest.raises(Conflict):
            one.cancel().wait()
    assert job.archive().data["archived"]
    assert job.id in [listed.id for listed in ws.jobs.list(archived=True)]


def test_each_submission_is_a_job_of_its_own_unless_they_have_one_key(ws: Any) -> None:
    request = {"code": SLEEP, "needs": {"cores": 4}}
    first, second = ws.submit("script", request), ws.submit("script", request)
    assert first.id != second.id
    key = new_name("key")
    assert ws.submit("script", request, client_key=key).id == ws.submit("script", request, client_key=key).id
    with pytest.raises(Refused) as refused:
        ws.submit("script", {"code": ""}, client_key=key)
    assert refused.value.code == "idempotency-mismatch"


def test_a_job_that_made_nothing_says_so(ws: Any, tmp_path: Path) -> None:
    job = ws.submit("script", {}).wait()
    for ask in (lambda: job.model, lambda: job.report, lambda: job.fetch_output(tmp_path / "rows.csv")):
        with pytest.raises(Conflict, match=job.id):
            ask()


def test_a_plan_starts_nothing(ws: Any) -> None:
    before = [job.id for job in ws.jobs.list(kind="script")]
    assert ws.plan("script", {"code": SLEEP, "needs": {"cores": 2}})["demand"]["cores"] == 2
    assert [job.id for job in ws.jobs.list(kind="script")] == before


# --- what is kept ---


def test_a_file_is_uploaded_once_and_becomes_a_dataset(ws: Any, server: Workspace, tmp_path: Path) -> None:
    file = write_messages(tmp_path / "rows.csv", 3, seed=next(numbers))
    name = new_name("acme/tickets")
    added = ws.datasets.add(name, file)
    assert (added.name, added.ref, added.rows, added.format) == (name, f"{name}:1", 3, "csv")
    assert added.size_bytes == file.stat().st_size
    assert server.registry.blobs.has(hashlib.sha256(file.read_bytes()).hexdigest())
    assert ws.datasets.add(name, str(file)) == added
    assert ws.datasets.get(f"{name}:1").data["filename"] == "rows.csv"
    assert [row["id"] for row in ws.datasets.preview(name, 2)] == ["0", "1"]
    assert name in [dataset.name for dataset in ws.datasets.list()]


def test_rows_in_memory_are_refused_where_a_file_or_a_dataset_is_meant(ws: Any) -> None:
    frame, given = pandas.DataFrame({"sentence1": ["my card"]}), {"task": "text-classification", "output": "mine"}
    calls = [
        ("data", lambda rows: ws.evaluate("support-intent", data=rows)),
        ("train", lambda rows: ws.finetune("support-intent", train=rows, **given)),
        ("validation", lambda rows: ws.finetune("support-intent", train="tickets", validation=rows, **given)),
        ("data", lambda rows: ws.evaluations.leaderboard("text-classification", rows)),
        ("path", lambda rows: ws.datasets.add("rows", rows)),
    ]
    for what, call in calls:
        with pytest.raises(Refused) as caught:
            call(frame)
        assert caught.value.message == f"{what} is a DataFrame."
        assert caught.value.hint.endswith("the name of a dataset: df.to_parquet('rows.parquet') first.")
        with pytest.raises(Refused, match=f"{what} is a list"):
            call([{"sentence1": "my card"}])


def test_a_dataset_is_archived_restored_verified_and_deleted(ws: Any, tmp_path: Path) -> None:
    name = new_name("old")
    for rows in (2, 3):
        added = ws.datasets.add(name, write_messages(tmp_path / "rows.csv", rows, seed=next(numbers)))
    assert [column["name"] for column in added.schema] == added.columns
    assert ws.datasets.archive(f"{name}:2", why="wrong").state == "archived"
    assert ws.datasets.get(name).ref == f"{name}:1"
    assert f"{name}:2" in [found.ref for found in ws.datasets.list(archived=True)]
    assert [found.ref for found in ws.datasets.versions(name)] == [f"{name}:1", f"{name}:2"]
    assert ws.datasets.restore(f"{name}:2").state == "active"
    assert list(ws.datasets.verify(name)) == [{"dataset": f"{name}:2", "problems": []}]
    assert {"dataset": f"{name}:1", "problems": []} in ws.datasets.verify()
    ws.datasets.delete(f"{name}:2")
    with pytest.raises(NotFound, match="was deleted"):
        ws.datasets.get(f"{name}:2")


def test_a_folder_of_images_becomes_a_dataset(ws: Any, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "cat" / "1.png")
    added = ws.datasets.add(new_name("pets"), tmp_path)
    assert (added.rows, added.images, added.columns[:2]) == (1, 1, ["image", "label"])
    assert [file["path"] for file in added.files()] == ["cat/1.png"]


def test_models_are_found_read_and_named(ws: Any) -> None:
    model = ws.models.get("support-intent")
    assert (model.ref, model.task, model.parameters) == ("support-intent:1", "text-classification", 1000)
    assert model in ws.models.list(task="text-classification")
    assert [found.ref for found in ws.models.list(query="other")] == ["acme/other-intent:1"]
    assert ws.models.list(license="mit") == []
    assert model.card(source=True) == "# A card" and model.card().startswith("# support-intent:1")
    assert model.estimates()["recommended"]["batch_size"] >= 1 and model.license_texts()["files"] == []
    assert [file["path"] for file in model.files()] == ["README.md", "config.json"]
    assert [version.ref for version in model.versions()] == [model.ref]
    assert model.lineage()["source"]["kind"] == "folder"
    assert model.verify() == []
    alias = new_name("stage")
    assert model.set_alias(alias, why="it is the best").aliases[alias] == 1
    assert ws.models.get(f"support-intent@{alias}") == model.refresh()


def test_models_are_archived_deleted_and_promoted_and_come_back(ws: Any, server: Workspace) -> None:
    name, alias = new_name("promoted"), "production"
    model = ws.models.get(publish_model(server, name))
    assert (model.archive(why="old").state, ws.models.list(archived=True, query=name)) == ("archived", [model])
    assert model.restore().state == "active"
    assert ws.models.set_gate(name, alias, [{"metric": "accuracy", "at_least": 0.9}])["alias"] == alias
    with pytest.raises(Conflict, match="does not pass the gate"):
        model.set_alias(alias)
    assert model.set_alias(alias, override=True, why="urgent").aliases == {alias: 1}
    assert [gate["alias"] for gate in ws.models.gates(name)] == [alias]
    ws.models.remove_gate(name, alias)
    ws.models.remove_alias(name, alias, why="withdrawn")
    assert ws.models.roll_back(name, alias) == model
    assert [move["version"] for move in ws.models.alias_history(name, alias)] == [1, None, 1]
    ws.models.remove_alias(name, alias)
    model.delete(why="wrong")
    with pytest.raises(NotFound, match="was deleted by local"):
        ws.models.get(model.ref)


def test_evaluations_are_listed_by_model(ws: Any, server: Workspace) -> None:
    values = {"model": "support-intent:1", "task": "text-classification", "metrics": {"accuracy": 0.9}}
    made = server.registry.evaluations.add(values)
    report = ws.evaluations.get(made)
    assert (report.id, report.model, report.metrics) == (made, "support-intent:1", {"accuracy": 0.9})
    assert made in [listed.id for listed in ws.evaluations.list(model="support-intent:1")]
    assert ws.evaluations.list(model="acme/other-intent:1") == []


# --- endpoints ---


def test_a_batch_endpoint_is_deployed_shared_and_asked_for_a_job(ws: Any, tmp_path: Path) -> None:
    name = new_name("nightly")
    endpoint = ws.deploy("support-intent", endpoint=name, batch=True)
    assert (endpoint.name, endpoint.task, endpoint.traffic) == (name, "text-classification", {"main": 100})
    stale = ws.batch_endpoints.get(name)
    endpoint = ws.deploy("acme/other-intent", endpoint=name, batch=True, deployment="other")
    assert endpoint.update(traffic={"main": 20, "other": 80}).traffic == {"main": 20, "other": 80}
    with pytest.raises(Changed):
        stale.update(traffic={"main": 100}, unless_changed=True)
    assert stale.refresh().update(traffic={"other": 100}, unless_changed=True).traffic["other"] == 100
    rows = write_messages(tmp_path / "rows.csv", 3)
    wishes: dict[str, Any] = {"columns": {"sentence1": "text"}, "needs": {"memory_gb": 7.9, "cores": 4}, "priority": -1}
    blocker = ws.submit("script", {"code": SLEEP, "needs": {"cores": 4}})
    wait_for(lambda: blocker.refresh().state == "running")
    for job in (
        endpoint.submit(input=rows, output=tmp_path / "out.csv", **wishes),
        ws.batch(endpoint, input=rows, output=tmp_path / "out.csv", **wishes),
        ws.batch("support-intent", input=rows, output=tmp_path / "out.csv", **wishes),
    ):
        assert (job.kind, job.output) == ("batch", tmp_path / "out.csv")
        job.cancel()
    assert name in [listed.name for listed in ws.batch_endpoints.list()]
    endpoint.delete()
    with pytest.raises(NotFound):
        endpoint.refresh()


def test_an_endpoint_is_updated_and_its_keys_are_changed_one_by_one(ws: Any) -> None:
    blocker = ws.submit("script", {"code": SLEEP, "demand": {"gpus": 1}, "priority": 100})
    wait_for(lambda: blocker.refresh().state == "running")
    name = new_name("support")
    options: dict[str, Any] = {"endpoint": name, "device": "cuda", "wait": False}
    endpoint = ws.deploy("support-intent", **options)
    assert endpoint.key.startswith("bp_")
    assert endpoint.url.endswith(f"/endpoints/{name}")
    stale = ws.endpoints.get(name)
    assert stale.key is None
    ws.deploy("acme/other-intent", deployment="other", **options)
    endpoint.update(traffic={"main": 70, "other": 30}, instances={"other": 2})
    assert endpoint.traffic == {"main": 70, "other": 30}
    assert [row["instances"] for row in endpoint.deployments] == [1, 2]
    with pytest.raises(Changed) as changed:
        stale.update(traffic={"main": 100}, unless_changed=True)
    assert changed.value.code == "changed"
    with pytest.raises(Conflict) as held:
        endpoint.remove_deployment("other")
    assert held.value.code == "has-traffic"
    endpoint.update(traffic={"main": 100})
    assert endpoint.remove_deployment("other").traffic == {"main": 100}
    first, second = endpoint.key, endpoint.rotate_key("secondary")
    assert second.text.startswith("bp_")
    assert endpoint.key == first
    assert endpoint.rotate_key("primary").text == endpoint.key != first
    stale.rotate_key("primary")
    assert stale.key is None  # it scores by what the workspace has
    slots = endpoint.keys()
    assert [(key.slot, key.text) for key in slots] == [("primary", None), ("secondary", None)]
    with pytest.raises(TimeoutError):
        endpoint.wait(timeout_seconds=0)
    assert "main" in endpoint.logs()
    assert name in [listed.name for listed in ws.endpoints.list()]
    endpoint.delete()


# --- who may ---


def test_keys_are_shown_once_limited_and_revoked(ws: Any, server: Workspace) -> None:
    key = ws.keys.create("ci", ["batch"], days=1, rate=50, concurrency=4)
    assert (key.owner, key.scopes, key.endpoints, key.slot) == ("local", ["batch"], None, None)
    assert key.text not in repr(key) + key._repr_html_()
    [listed] = [one for one in ws.keys.list() if one.id == key.id]
    assert (listed.text, listed.revoked) == (None, None)
    with bedplate.connect(server.address.url, token=key.text) as theirs:
        assert theirs.users.me().permissions == ["batch", "read"]
        with pytest.raises(Forbidden):
            theirs.users.list()
        key.revoke()
        assert key.revoked == pytest.approx(time.time(), abs=60)
        with pytest.raises(Forbidden) as refused:
            theirs.jobs.list()
    assert refused.value.code == "unauthorized"
    with pytest.raises(NotFound):
        ws.keys.revoke("key-none")


def test_users_are_made_changed_and_shut_out_and_the_audit_log_tells(ws: Any, server: Workspace) -> None:
    name = new_name("ana")
    user = ws.users.create(name, role="viewer")
    assert (user.role, user.disabled) == ("viewer", False)
    with pytest.raises(Conflict):
        ws.users.create(name)
    assert user.change(role="operator").role == "operator"
    assert ws.users.get(name).change(disabled=True).disabled
    assert name in [listed.name for listed in ws.users.list()]
    assert ws.users.me().name == "local"
    assert ws.users.link()["url"].startswith(f"{server.address.url}/login#")
    with pytest.raises(Conflict, match="disabled"):
        ws.users.link(name)
    newest = ws.audit.list(limit=2)
    assert [entry.action for entry in newest] == ["POST /api/v1/session/links"] * 2
    assert (newest[0].who, newest[0].seq) == ("local", newest[1].seq + 1)
    verdict = ws.audit.verify()
    assert verdict.intact
    assert verdict.entries >= newest[0].seq


# --- the server ---


def test_every_time_is_in_seconds_and_every_list_is_a_table(ws: Any, server: Workspace, tmp_path: Path) -> None:
    """Of real answers, in which some times are ISO texts."""
    values = {"model": "support-intent:1", "task": "text-classification", "metrics": {"accuracy": 0.9}}
    server.registry.evaluations.add(values)
    ws.datasets.add(new_name("tickets"), write_messages(tmp_path / "rows.csv", 3, seed=next(numbers)))
    ws.submit("script", {}).wait()
    ws.keys.create("ci", ["infer"])
    now = time.time()
    for part in (ws.models, ws.evaluations, ws.datasets, ws.jobs, ws.keys):
        found = part.list()
        assert now - 300 < found[0].created <= max(item.created for item in found) < now + 60
        shown = Table(found)._repr_html_()
        assert shown.count("<tr>") == len(found) + 1
        assert time.strftime("<td>%Y-%m-%d ", time.localtime(now)) in shown
        assert "T" not in shown.partition("<td>2")[2][:20]


def test_the_server_tells_of_itself_and_its_machine(ws: Any, server: Workspace) -> None:
    assert ws.status()["home"] == str(server.home.path)
    assert ws.compute()["cores"] == 4


def test_what_is_not_there_and_what_is_wrong_have_codes_and_hints(ws: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as missing:
        ws.jobs.get("finetune-none")
    assert missing.value.hint
    with pytest.raises(Refused) as unknown:
        ws.submit("scrpt", {})
    assert "script" in unknown.value.hint
    with pytest.raises(NotFound, match="no file"):
        ws.datasets.add("tickets", tmp_path / "none.csv")
    with pytest.raises(Refused, match="cannot be read"):
        ws.connection.upload(tmp_path)
