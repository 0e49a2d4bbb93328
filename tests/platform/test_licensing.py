"""The license policy acts: on what is imported, before a byte is fetched, and on what is deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bedplate.job_folder import JobFolder, JobReporter
from bedplate.jobs import Job
from bedplate.kinds import KINDS
from bedplate.workers.import_model import work
from bedplate_registry.errors import BedplateError, Conflict
from bedplate_registry.models import ModelDraft
from bedplate_registry.names import Name
from hub_server import serve_folders
from rest_server import MODEL, Rest, publish_model, rest_server

DEPLOYMENTS = ("/api/v1/endpoints", "/api/v1/batch-endpoints")


@contextmanager
def server(**env: str) -> Iterator[Rest]:
    with rest_server(**env) as rest:
        publish_model(rest.workspace)
        yield rest


def acceptances(rest: Rest, name: str = "support-intent") -> list[tuple[str, str, str]]:
    found = rest.workspace.registry.models.licenses.all(Name.parse(name))
    return [(each.license, each.by, each.where) for each in found]


def deploy(rest: Rest, path: str, name: str = "support", **body: Any) -> tuple[int, str]:
    answer = rest.call("POST", path, user="olga", json={"name": name, "model": MODEL, **body})
    return answer.status_code, answer.json().get("code", "")


# --- deploy


@pytest.mark.parametrize("path", DEPLOYMENTS)
def test_a_denied_license_is_not_deployed_whatever_the_caller_accepts(path: str) -> None:
    with server(BEDPLATE_LICENSE_ALLOW="apache-2.0, mit") as rest:
        assert deploy(rest, path, accept_license=True) == (409, "license-denied")
        assert acceptances(rest) == [] == rest.workspace.endpoints.all()


def test_an_asked_for_license_is_deployed_once_somebody_accepts_it_by_name() -> None:
    with server(BEDPLATE_LICENSE_ASK="*") as rest:
        batch = DEPLOYMENTS[1]
        assert deploy(rest, batch) == (409, "license-not-accepted")
        assert deploy(rest, f"{batch}?dry_run=true", accept_license=True) == (200, "")
        assert acceptances(rest) == [], "it was only tried out"
        assert deploy(rest, batch, accept_license=True) == (201, "")
        assert acceptances(rest) == [("unknown", "olga", "endpoint support")]
        assert deploy(rest, batch, name="nightly") == (201, ""), "it is accepted for all that follows"
        [shown] = rest.call("GET", f"/api/v1/models/_/{MODEL}/lineage").json()["license_acceptances"]
        assert (shown["license"], shown["by"], bool(shown["when"])) == ("unknown", "olga", True)


def test_a_fine_tune_has_the_acceptance_of_its_base() -> None:
    with server(BEDPLATE_LICENSE_ASK="unknown") as rest:
        models = rest.workspace.registry.models
        draft = draft_of(rest)
        tuned = models.publish(replace(draft, name=Name.parse("tuned"), lineage={"base": MODEL}))
        body = {"name": "support", "model": tuned.ref}
        assert rest.call("POST", DEPLOYMENTS[1], json=body).json()["code"] == "license-not-accepted"
        base = models.get(MODEL)
        models.licenses.accept(base.name, base.source.id, None, by="ana", where="import-1a2b3c4d")
        assert rest.call("POST", DEPLOYMENTS[1], json=body).status_code == 201


def test_without_a_policy_every_license_is_taken() -> None:
    with server() as rest:
        assert deploy(rest, DEPLOYMENTS[1]) == (201, "")


# --- import


def draft_of(rest: Rest) -> ModelDraft:
    version = rest.workspace.registry.models.get(MODEL)
    return ModelDraft(version.name, version.files, version.facts, version.source)


def submit(rest: Rest, **request: Any) -> Job:
    response = rest.call("POST", "/api/v1/jobs", user="ana", json={"kind": "import", **request})
    assert response.status_code == 202, response.text
    return rest.workspace.jobs.get(response.json()["id"])


def finish(rest: Rest, job: Job, draft: ModelDraft) -> dict[str, Any]:
    return KINDS["import"].finish(rest.workspace.context, job.id, job.spec, {"draft": draft.to_json()})


def test_what_a_worker_made_of_a_folder_is_not_published_with_a_license_that_nobody_accepted() -> None:
    with server(BEDPLATE_LICENSE_ASK="gemma") as rest:
        draft = draft_of(rest)
        draft = replace(draft, name=Name.parse("mine"), facts=replace(draft.facts, license="gemma"))
        files = [vars(file) for file in draft.files]
        with pytest.raises(Conflict) as caught:
            finish(rest, submit(rest, files=files, name="mine"), draft)
        assert caught.value.code == "license-not-accepted"
        job = submit(rest, files=files, name="mine", accept_license=True)
        for _ in range(2):
            assert finish(rest, job, draft)["model"] == "mine:1"
        assert acceptances(rest, "mine") == [("gemma", "ana", job.id)]


def test_who_accepts_the_license_of_an_adapter_does_not_accept_that_of_its_base() -> None:
    with server(BEDPLATE_LICENSE_ASK="gemma") as rest:
        models = rest.workspace.registry.models
        own = replace(draft_of(rest), name=Name.parse("mine"))
        base = replace(own, name=Name.parse("acme/base"), facts=replace(own.facts, license="gemma"))
        base = replace(base, source=replace(base.source, kind="hub", id="acme/base"))
        draft = replace(own, facts=replace(own.facts, license="mit, gemma"), base_draft=base)
        job = submit(rest, files=[vars(file) for file in own.files], name="mine", accept_license=True)
        with pytest.raises(Conflict, match="the base acme/base is 'gemma'") as caught:
            finish(rest, job, draft)
        assert caught.value.code == "license-not-accepted"
        assert "bedplate import acme/base --accept-license" in caught.value.hint
        assert acceptances(rest, "mine") == [] == acceptances(rest, "acme/base")
        here = models.publish(base)
        draft = replace(draft, base_draft=None, lineage={"adapter_base": here.ref})
        with pytest.raises(Conflict, match="the base acme/base is 'gemma'"):
            finish(rest, job, draft)
        models.licenses.accept(here.name, "acme/base", "gemma", by="ana", where="import-1a2b3c4d")
        assert finish(rest, job, draft)["model"] == "mine:1"


def test_an_acceptance_holds_for_the_model_it_was_given_for_and_not_for_the_next_one_of_its_name() -> None:
    with server(BEDPLATE_LICENSE_ASK="gemma") as rest:
        first = draft_of(rest)
        first = replace(first, name=Name.parse("mine"), facts=replace(first.facts, license="gemma"))
        files = [vars(file) for file in first.files]
        finish(rest, submit(rest, files=files, name="mine", accept_license=True), first)
        again = submit(rest, files=files, name="mine")
        assert finish(rest, again, first)["model"] == "mine:1"
        with pytest.raises(Conflict) as caught:
            finish(rest, again, replace(first, source=replace(first.source, id="another")))
        assert caught.value.code == "license-not-accepted"


def test_accepting_takes_true_or_false() -> None:
    with server() as rest:
        body = {"kind": "import", "model_id": "acme/model", "accept_license": "yes"}
        answer = rest.call("POST", "/api/v1/jobs", json=body)
        assert (answer.status_code, "accept_license" in answer.json()["detail"]) == (422, True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model at a Hub whose weights would not load: whoever gets so far fails by another error."""
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    (folder / "model.safetensors").write_bytes(b"nothing")
    (folder / "README.md").write_text("---\nlicense: Gemma\n---\n# A model\n")
    return folder


@pytest.mark.parametrize(
    ("lists", "accepts", "code"),
    [
        ({"DENY": "gemma"}, True, "license-denied"),
        ({"ASK": "gemma"}, False, "license-not-accepted"),
        ({"ASK": "gemma"}, True, None),
        ({"DENY": "mit"}, False, None),
    ],
)
def test_a_license_is_looked_at_before_anything_is_fetched(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lists: dict[str, str],
    accepts: bool,
    code: str | None,
) -> None:
    with serve_folders({"acme/model": folder}) as url, server(BEDPLATE_HUB_URL=url) as rest:
        job = submit(rest, model_id="acme/model", accept_license=accepts)
        place = JobFolder(tmp_path / "job")
        place.create(job.spec)
        monkeypatch.setenv("BEDPLATE_HOME", str(tmp_path / "home"))
        for name, entries in lists.items():
            monkeypatch.setenv(f"BEDPLATE_LICENSE_{name}", entries)
        with pytest.raises(BedplateError) as caught:
            work(place, JobReporter(place, 1), {})
        if code is None:
            assert not caught.value.code.startswith("license"), "it got as far as to the files"
        else:
            assert caught.value.code == code
        was_fetched = any((tmp_path / "home" / "registry" / "blobs").rglob("*"))
        assert was_fetched == (code is None)


def test_the_worker_of_an_import_is_told_the_policy_of_its_server() -> None:
    with server(BEDPLATE_LICENSE_ASK="gemma, *", BEDPLATE_LICENSE_DENY="cc-by-nc-*") as rest:
        job = submit(rest, model_id="acme/model", hub="http://127.0.0.1:9")
        command = KINDS["import"].command
        assert command is not None
        env = command(rest.workspace.context, job.spec, Path("job"), 1, job.demand).env  # type: ignore[arg-type]
        assert env["BEDPLATE_LICENSE_ASK"] == "gemma,*"
        assert (env["BEDPLATE_LICENSE_DENY"], env["BEDPLATE_LICENSE_ALLOW"]) == ("cc-by-nc-*", "")
