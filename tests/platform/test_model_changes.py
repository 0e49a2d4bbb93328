"""Models over REST: archived, restored, deleted; aliases moved, rolled back and held by gates; lineage both ways."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest

from bedplate.api import registry
from bedplate.api.bodies import Page
from bedplate.api.model_aliases import Gate, PastMove
from bedplate.api.model_bodies import Lineage, Model
from bedplate.compute import Inventory, Lease
from bedplate_registry.errors import BedplateError, NotFound
from bedplate_registry.models import ModelDraft, Source
from bedplate_registry.names import Name
from rest_server import CSV, Rest, publish_model, rest_server

MODELS = "/api/v1/models"


@pytest.fixture
def rest() -> Iterator[Rest]:
    """A server with support-intent in two versions, and the dataset tickets:1."""
    with rest_server() as server:
        first = publish_model(server.workspace)
        publish_again(server, "support-intent", lineage={"base": first})
        sha256 = server.upload(CSV)
        body = {"name": "tickets", "upload": sha256, "filename": "tickets.csv"}
        assert server.call("POST", "/api/v1/datasets", json=body).status_code == 201
        yield server


def publish_again(rest: Rest, name: str, **changes: Any) -> str:
    models = rest.workspace.registry.models
    draft = ModelDraft.from_json(models.get("support-intent:1").to_json() | {"facts": FACTS})
    source = Source("job", f"job-{len(models.versions(Name.parse(name), missing_ok=True))}")
    return models.publish(replace(draft, name=Name.parse(name), source=source, **changes)).ref


FACTS = {
    "task": "text-classification",
    "architecture": "BertModel",
    "model_type": "bert",
    "parameters": 1000,
    "dtype": "float32",
    "size_bytes": 4000,
    "finetunable_tasks": ["text-classification"],
}


def problem(answer: httpx.Response, status: int, code: str) -> str:
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    return str(body["detail"])


def change(rest: Rest, method: str, path: str, *, user: str = "olga", **options: Any) -> httpx.Response:
    return rest.call(method, f"{MODELS}/_/{path}", user=user, **options)


def post(rest: Rest, path: str, **body: Any) -> httpx.Response:
    return change(rest, "POST", path, json=body)


def put(rest: Rest, path: str, **body: Any) -> httpx.Response:
    return change(rest, "PUT", path, json=body)


def listed(rest: Rest, **params: Any) -> list[str]:
    return [item["ref"] for item in rest.call("GET", MODELS, params=params).json()["items"]]


# --- archive, restore, delete


def test_an_archived_version_is_readable_and_in_no_list_and_nothing_new_is_made_of_it(rest: Rest) -> None:
    archived = post(rest, "support-intent:2/archive", why="old").json()
    assert (archived["ref"], archived["state"]) == ("support-intent:2", "archived")
    assert (listed(rest), listed(rest, archived=True)) == (["support-intent:1"], ["support-intent:2"])
    assert change(rest, "GET", "support-intent:2").json()["state"] == "archived"
    deployment = {"name": "support", "model": "support-intent:2"}
    for path in ("endpoints", "batch-endpoints"):
        problem(rest.call("POST", f"/api/v1/{path}", json=deployment), 409, "archived")
    tune = {"kind": "finetune", "model": "support-intent:2", "task": "text-classification", "train": "tickets"}
    problem(rest.call("POST", "/api/v1/jobs", json={**tune, "output": "tuned"}), 409, "archived")
    assert post(rest, "support-intent:2/restore").json()["state"] == "active"
    assert listed(rest) == ["support-intent:2"]


def test_what_changes_a_version_names_it_by_its_number(rest: Rest) -> None:
    for answer in (post(rest, "support-intent/archive"), change(rest, "DELETE", "support-intent")):
        assert "does not say which version" in problem(answer, 422, "no-version")
    problem(change(rest, "DELETE", "support-intent:1", user="ana"), 403, "forbidden")
    assert listed(rest) == ["support-intent:2"]


def test_a_deleted_version_is_gone_and_the_audit_log_says_who_did_it(rest: Rest) -> None:
    assert change(rest, "DELETE", "support-intent:2", params={"why": "wrong"}).status_code == 204
    assert "was deleted by olga" in problem(change(rest, "GET", "support-intent:2"), 404, "not-found")
    assert listed(rest) == ["support-intent:1"]
    assert publish_again(rest, "support-intent") == "support-intent:3"
    entries = rest.call("GET", "/api/v1/audit").json()["items"]
    [entry] = [each for each in entries if each["action"].startswith("DELETE")]
    assert (entry["who"], entry["detail"]["name"], entry["detail"]["version"]) == ("olga", "support-intent:2", 2)


def test_a_version_stays_while_anything_uses_it_and_the_refusal_names_all_of_it(rest: Rest) -> None:
    workspace, ref = rest.workspace, "support-intent:2"
    workspace.endpoints.deploy("support", ref, "text-classification")
    queued = workspace.jobs.submit("evaluate", {"model": "support-intent:1", "against": ref})
    running = workspace.jobs.submit("sweep", {"first": {"model": ref}})
    ended = workspace.jobs.submit("batch", {"model": ref})
    assert workspace.jobs.claim(running, Lease(1, 1 << 30))
    workspace.jobs.ask_cancel(ended.id)
    put(rest, f"{ref}/aliases/production")
    said = problem(change(rest, "DELETE", ref), 409, "in-use")
    assert "deployment 'main' of endpoint 'support' serves it" in said
    assert f"job {queued.id} is queued with it" in said
    assert f"job {running.id} is running with it" in said
    assert ended.id not in said
    workspace.endpoints.delete("support")
    workspace.jobs.ask_cancel(queued.id)
    assert workspace.jobs.move(workspace.jobs.get(running.id), "succeeded", result={})
    assert "the alias 'production' means it" in problem(change(rest, "DELETE", ref), 409, "in-use")
    assert "the alias 'production' means it" in problem(post(rest, f"{ref}/archive"), 409, "in-use")
    assert change(rest, "DELETE", f"{ref}/aliases/production").status_code == 204
    assert change(rest, "DELETE", ref).status_code == 204


def test_a_version_whose_manifest_is_damaged_is_deleted_by_the_same_rules(rest: Rest) -> None:
    manifest = rest.workspace.home.registry / "models" / "_" / "support-intent" / "2" / "manifest.json"
    seen = change(rest, "GET", "support-intent:2").headers["etag"]
    put(rest, "support-intent:2/aliases/production")
    job = rest.workspace.jobs.submit("evaluate", {"model": "support-intent:2"})
    manifest.chmod(0o644)
    manifest.write_text("{")
    assert f"job {job.id} is queued with it" in problem(change(rest, "DELETE", "support-intent:2"), 409, "in-use")
    rest.workspace.jobs.ask_cancel(job.id)
    assert "production" in problem(change(rest, "DELETE", "support-intent:2"), 409, "in-use")
    assert change(rest, "DELETE", "support-intent:2/aliases/production").is_success
    problem(change(rest, "DELETE", "support-intent:2", headers={"If-Match": seen}), 422, "bad-manifest")
    problem(rest.call("POST", "/api/v1/registry/gc", json={}, user="olga"), 409, "unreadable-manifest")
    assert change(rest, "DELETE", "support-intent:2", params={"why": "torn"}).status_code == 204
    problem(change(rest, "DELETE", "support-intent:2"), 404, "not-found")
    assert rest.call("POST", "/api/v1/registry/gc", json={}, user="olga").is_success
    entries = rest.call("GET", "/api/v1/audit").json()["items"]
    told = [each["detail"] for each in entries if each["action"] == "DELETE /api/v1/models/{org}/{name}"]
    assert [detail["damaged"] for detail in told if detail.get("version") == 2] == [True] * 3  # two were refused


@pytest.mark.parametrize(("method", "path"), [("POST", "/archive"), ("POST", "/restore"), ("DELETE", "")])
def test_a_version_is_changed_by_whoever_saw_its_state(rest: Rest, method: str, path: str) -> None:
    old = change(rest, "GET", "support-intent:2").headers["etag"]
    put(rest, "support-intent:1/aliases/production")
    body: dict[str, Any] = {"json": {}} if method == "POST" else {}
    stale = change(rest, method, f"support-intent:2{path}", headers={"If-Match": old}, **body)
    problem(stale, 412, "changed")
    new = change(rest, "GET", "support-intent:2").headers["etag"]
    assert change(rest, method, f"support-intent:2{path}", headers={"If-Match": new}, **body).is_success


def score(rest: Rest) -> object:
    request = {"model": "support-intent:2", "input": "tickets", "output": "rows.csv", "device": "cpu"}
    return rest.workspace.submit("batch", {**request, "columns": {"sentence1": "text"}})


def deploy(rest: Rest) -> object:
    return rest.workspace.deploy_batch("nightly", "support-intent:2")


def rerun(rest: Rest) -> object:
    job = rest.workspace.jobs.submit("batch", {"model": "support-intent:2"})
    rest.workspace.cancel_job(job.id)
    return rest.workspace.rerun_job(job.id)


@pytest.mark.parametrize("use", [score, deploy])
def test_what_was_deleted_while_its_use_was_checked_is_not_used(
    rest: Rest, use: Callable[[Rest], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = rest.workspace
    inventory = workspace.machine.inventory()

    def asked() -> Inventory:  # of the machine: what another call does meanwhile
        with suppress(NotFound):
            workspace.delete_model("support-intent:2", by="olga")
        return inventory

    monkeypatch.setattr(workspace.machine, "inventory", asked)
    with pytest.raises(NotFound, match="was deleted by olga"):
        use(rest)
    assert workspace.endpoints.all() == [] == workspace.jobs.queue()


@pytest.mark.parametrize("use", [score, deploy, rerun])
def test_nothing_comes_to_use_a_version_while_it_is_deleted(
    rest: Rest, use: Callable[[Rest], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, delete = rest.workspace, rest.workspace.registry.models.delete
    refused: list[BedplateError] = []

    def using() -> None:
        try:
            use(rest)
        except BedplateError as exc:
            refused.append(exc)

    user = threading.Thread(target=using)

    def held_up(*version: Any, **who: Any) -> None:
        user.start()
        user.join(0.3)
        delete(*version, **who)

    monkeypatch.setattr(workspace.registry.models, "delete", held_up)
    workspace.delete_model("support-intent:2", by="olga")
    user.join(30)
    assert [type(exc) for exc in refused] == [NotFound]
    assert workspace.endpoints.all() == [] == workspace.jobs.queue()


# --- verify


def test_all_versions_are_verified_in_pages(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("acme/first", "zeta"):
        publish_again(rest, name)
    everything = [("acme/first:1", []), ("support-intent:1", []), ("support-intent:2", []), ("zeta:1", [])]
    assert verified(rest, limit=3) == everything
    monkeypatch.setattr(registry, "PAGE_SECONDS", 0.0)
    assert verified(rest) == everything, "a page ends with its time, and holds one version at least"
    problem(rest.call("GET", "/api/v1/registry/verify", params={"after": "a/b/c"}), 422, "bad-name")


def verified(rest: Rest, **params: Any) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    while True:
        page = rest.call("GET", "/api/v1/registry/verify", params=params).json()
        found += [(each["model"], each["problems"]) for each in page["items"]]
        if not page["next"]:
            return found
        params["after"] = page["next"]


# --- aliases


def test_an_alias_is_rolled_back_and_its_history_says_who_moved_it_why(rest: Rest) -> None:
    for version in (1, 2):
        put(rest, f"support-intent:{version}/aliases/production", why=f"try {version}")
    back = post(rest, "support-intent/aliases/production/rollback", why="worse")
    assert back.json()["ref"] == "support-intent:1"
    shown = change(rest, "GET", "support-intent/aliases/production")
    assert (shown.json()["version"], shown.headers["etag"]) == (1, back.headers["etag"])
    path = "support-intent/aliases/production/history"
    history = change(rest, "GET", path).json()["items"]
    assert [(each["version"], each["by"], each["why"], each["rollback"]) for each in history] == [
        (1, "olga", "try 1", False),
        (2, "olga", "try 2", False),
        (1, "olga", "worse", True),
    ]
    page = change(rest, "GET", path, params={"limit": 2}).json()
    assert page["items"] == history[:2]
    assert change(rest, "GET", path, params={"after": page["next"]}).json() == {"items": history[2:], "next": None}
    problem(post(rest, "support-intent/aliases/production/rollback"), 409, "no-history")
    problem(post(rest, "support-intent/aliases/staging/rollback"), 404, "not-found")


@pytest.mark.parametrize(("method", "path"), [("POST", "/rollback"), ("DELETE", "")])
def test_an_alias_that_moved_meanwhile_stays(rest: Rest, method: str, path: str) -> None:
    old = put(rest, "support-intent:1/aliases/production").headers["etag"]
    put(rest, "support-intent:2/aliases/production")
    body: dict[str, Any] = {"json": {}} if method == "POST" else {}
    alias = f"support-intent/aliases/production{path}"
    problem(change(rest, method, alias, headers={"If-Match": old}, **body), 412, "changed")
    assert change(rest, "GET", "support-intent/aliases/production").json()["version"] == 2


# --- gates

RULE = {"metric": "accuracy", "at_least": 0.9, "dataset": "tickets"}
GATE = "support-intent/gates/production"


def test_an_alias_with_a_gate_moves_only_if_its_rules_hold(rest: Rest) -> None:
    gate = change(rest, "PUT", GATE, user="root", json={"rules": [RULE], "why": "promised"}).json()
    assert (gate["by"], gate["rules"][0]["dataset"], gate["rules"][0]["at_least"]) == ("root", "tickets:1", 0.9)
    assert change(rest, "GET", "support-intent/gates").json()["items"] == [gate]
    refusal = put(rest, "support-intent:2/aliases/production").json()
    assert (refusal["status"], refusal["code"]) == (409, "gate-not-met")
    assert refusal["hint"].startswith("Measure it: bedplate evaluate support-intent:2 --task TASK --data tickets:1 ")
    data = {"dataset": "tickets:1", "sha256": gate["rules"][0]["sha256"]}
    report = {"model": "support-intent:2", "kind": "model", "data": data, "metrics": {"accuracy": 0.95}}
    rest.workspace.registry.evaluations.add(report)
    assert put(rest, "support-intent:2/aliases/production").json()["aliases"] == {"production": 2}


def test_only_an_admin_moves_an_alias_past_its_gate_and_says_why(rest: Rest) -> None:
    change(rest, "PUT", GATE, user="root", json={"rules": [RULE]})
    alias = "support-intent:2/aliases/production"
    problem(put(rest, alias, override=True, why="urgent"), 403, "forbidden")
    problem(change(rest, "PUT", alias, user="root", json={"override": True}), 422, "missing-setting")
    assert change(rest, "PUT", alias, user="root", json={"override": True, "why": "urgent"}).status_code == 200
    [move] = change(rest, "GET", "support-intent/aliases/production/history").json()["items"]
    assert (move["by"], move["why"], move["unmet"]) == ("root", "urgent", ["accuracy was not measured on tickets:1"])


def test_a_gate_is_an_admins_and_is_changed_by_whoever_saw_it(rest: Rest) -> None:
    problem(put(rest, GATE, rules=[RULE]), 403, "forbidden")
    empty = change(rest, "GET", GATE)
    assert empty.json() == {"alias": "production", "rules": [], "by": None, "why": None, "when": None}
    first = {"If-Match": empty.headers["etag"]}
    made = change(rest, "PUT", GATE, user="root", json={"rules": [RULE]}, headers=first)
    assert made.headers["etag"] == change(rest, "GET", GATE).headers["etag"]
    problem(change(rest, "PUT", GATE, user="root", json={"rules": [RULE]}, headers=first), 412, "changed")
    problem(change(rest, "DELETE", GATE, user="root", headers=first), 412, "changed")
    assert change(rest, "DELETE", GATE, user="root", headers={"If-Match": made.headers["etag"]}).status_code == 204
    assert change(rest, "GET", "support-intent/gates").json()["items"] == []


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"metric": "acuracy", "at_least": 0.9}, "unknown-metric"),
        ({"metric": "accuracy", "at_least": 0.9, "columns": {"lable": "x"}}, "unknown-column-key"),
        ({"metric": "accuracy"}, "bad-gate"),
        ({"metric": "accuracy", "at_leats": 0.9}, "unknown-setting"),
        ({"metric": "accuracy", "at_least": "0.9"}, "bad-request"),
    ],
)
def test_a_rule_that_is_none_is_refused(rest: Rest, rule: dict[str, Any], code: str) -> None:
    problem(change(rest, "PUT", GATE, user="root", json={"rules": [rule]}), 422, code)


# --- lineage


def test_lineage_tells_where_a_version_comes_from_and_what_became_of_it(rest: Rest) -> None:
    rest.workspace.endpoints.deploy("support", "support-intent:2", "text-classification")
    put(rest, "support-intent:2/aliases/production")
    report = {"model": "support-intent:2", "data": {"dataset": "tickets:1"}, "metrics": {"accuracy": 0.95}}
    evaluation = rest.workspace.registry.evaluations.add(report)
    base = change(rest, "GET", "support-intent:1/lineage").json()
    assert [(each["ref"], each["relation"]) for each in base["children"]] == [("support-intent:2", "fine-tune")]
    assert (base["parents"], base["deployments"], base["aliases"]) == ([], [], [])
    tuned = change(rest, "GET", "support-intent:2/lineage").json()
    assert [each["ref"] for each in tuned["parents"]] == ["support-intent:1"]
    assert tuned["deployments"] == [{"endpoint": "support", "deployment": "main", "traffic": 100}]
    assert tuned["aliases"] == ["production"]
    [measured] = tuned["evaluations"]
    assert (measured["id"], measured["data"], measured["metrics"]) == (evaluation, "tickets:1", {"accuracy": 0.95})


# --- what is described


def test_the_answers_are_as_they_are_described(rest: Rest) -> None:
    put(rest, "support-intent:1/aliases/production")
    gate = change(rest, "PUT", GATE, user="root", json={"rules": [RULE]})
    Gate.model_validate(gate.json())
    Page[Gate].model_validate(change(rest, "GET", "support-intent/gates").json())
    Page[PastMove].model_validate(change(rest, "GET", "support-intent/aliases/production/history").json())
    Model.model_validate(post(rest, "support-intent:2/archive").json())
    Lineage.model_validate(change(rest, "GET", "support-intent:2/lineage").json())
