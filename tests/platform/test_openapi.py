"""The description of the API: complete, true of what is answered, and nothing that it allows makes the server fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks

from bedplate.api.openapi import operations
from bedplate.kinds import KINDS
from bedplate.kinds.requests import COMMON
from bedplate.server_process import socket_client
from light_server import light_server
from rest_server import Rest, fill, rest_server

CHECKED = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
}
EXAMPLES = 5  # of valid and of broken requests to each operation: some 20 s for all
POSTED = ("/api/v1/jobs", "/api/v1/datasets", "/api/v1/endpoints", "/api/v1/batch-endpoints")
NOT_FUZZED = {"/api/v1/server/stop", "/api/v1/server/doctor"}  # the latter takes seconds, and nothing of the caller's
NOT_FUZZED |= {"/api/v1/catalog/hub", "/api/v1/import-plans"}  # these two ask a Hub elsewhere
SEED = 4


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    with rest_server() as started:
        yield started


@pytest.fixture(scope="module")
def ids(rest: Rest) -> dict[str, str]:
    return fill(rest)


@pytest.fixture(scope="module")
def document(rest: Rest) -> dict[str, Any]:
    found: dict[str, Any] = rest.client.get("/openapi.json").json()
    return found


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


def json_media(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    media = body.get("content", {}).get("application/json")
    if media is not None:
        yield media


def test_every_operation_says_what_it_does_who_may_and_how_it_fails(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"][:1].isupper(), where
        assert operation["description"].endswith((".", "?")), where
        assert operation["x-policy"], where
        assert (operation["x-policy"] == "open") != ("security" in operation), where
        refused = operation["responses"]["default"]
        assert refused["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert refused["x-codes"], where
        assert "422" not in operation["responses"], where
        successes = [status for status in operation["responses"] if status.startswith("2")]
        assert successes, where
        for status in successes:
            assert status == "204" or method == "HEAD" or operation["responses"][status].get("content"), where


def test_every_json_body_has_an_example_that_fits_its_schema(document: dict[str, Any]) -> None:
    seen = 0
    for path, method, operation in operations(document):
        for body in (operation.get("requestBody", {}), *operation["responses"].values()):
            for media in json_media(body):
                examples = [each["value"] for each in media.get("examples", {}).values()] or [media["example"]]
                for example in examples:
                    problems = [error.message for error in validator(document, media["schema"]).iter_errors(example)]
                    assert not problems, (method, path, problems)
                    seen += 1
    assert seen > 60


RUN = ("uploads", "datasets", "users", "keys", "audit")  # what needs neither a model nor the code of a link
OF_THE_MOMENT = {"created", "expires", "owner", "id", "key"}


def test_the_examples_work_as_they_stand_one_after_the_other(document: dict[str, Any]) -> None:
    made: dict[str, str] = {}
    with light_server() as workspace, socket_client(workspace.home) as client:
        found = [one for tag in RUN for one in operations(document) if one[2]["tags"] == [tag]]
        for path, method, operation in found:
            for part in operation.get("parameters", ()):
                if part["in"] == "path":
                    example = part["schema"]["examples"][0]
                    path = path.replace(f"{{{part['name']}}}", made.get(part["name"], example))
            content = operation.get("requestBody", {}).get("content", {})
            options: dict[str, Any] = {}
            if "application/json" in content:
                options["json"] = content["application/json"]["example"]
            elif content:
                options["content"] = content["application/octet-stream"]["example"].encode()
            answer = client.request(method, path, **options)
            expected = ["404"] if method == "HEAD" else [*operation["responses"]]
            assert str(answer.status_code) in expected, (method, path, answer.text)
            if method == "POST" and "201" in operation["responses"]:
                body = answer.json()
                made |= {"key_id": body["id"]} if path == "/api/v1/keys" else {}
                shown = operation["responses"]["201"]["content"]["application/json"]["example"]
                assert {**shown, **{name: body[name] for name in OF_THE_MOMENT & body.keys()}} == body


def test_the_examples_agree_on_names(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for part in operation.get("parameters", ()):
            if part["in"] == "path":
                assert part["schema"]["examples"], (method, path, part["name"])
    shown = {path: document["paths"][path]["post"]["requestBody"]["content"]["application/json"] for path in POSTED}
    for path in ("/api/v1/endpoints", "/api/v1/batch-endpoints"):
        one = document["paths"][f"{path}/{{name}}"]
        assert shown[path]["example"]["name"] == one["get"]["parameters"][0]["schema"]["examples"][0]
        change = one["patch"]["requestBody"]["content"]["application/json"]["example"]
        assert {name for part in change.values() for name in part} == {"main"}
        assert shown[path]["example"]["model"] == "support-intent:1"
    jobs = {kind: example["value"] for kind, example in shown["/api/v1/jobs"]["examples"].items()}
    assert jobs["import"]["model_id"] == jobs["finetune"]["model"] == jobs["sweep"]["model"]
    assert f"{jobs['finetune']['output']}:1" == jobs["batch"]["model"] == jobs["evaluate"]["model"]
    tables = {jobs["finetune"]["train"], jobs["sweep"]["train"], jobs["batch"]["input"], jobs["evaluate"]["data"]}
    assert tables == {shown["/api/v1/datasets"]["example"]["name"]}
    output = document["paths"]["/api/v1/jobs/{job_id}/outputs/{name}"]["get"]["parameters"][1]
    assert output["schema"]["examples"] == [jobs["batch"]["output"]]


def test_a_job_is_one_of_its_kinds_and_each_has_the_settings_that_its_kind_takes(document: dict[str, Any]) -> None:
    media = document["paths"]["/api/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    mapping = media["schema"]["discriminator"]["mapping"]
    assert set(mapping) == set(KINDS) - {"graph"} == set(media["examples"])
    assert [option["$ref"] for option in media["schema"]["oneOf"]] == list(mapping.values())
    for kind, ref in mapping.items():
        schema = document["components"]["schemas"][ref.rpartition("/")[2]]
        request = KINDS[kind].request
        assert request is not None
        assert set(schema["properties"]) == set(request.model_fields)
        assert set(schema["properties"]) > COMMON
        assert schema["additionalProperties"] is False


ANSWERS = [
    "/api/v1/server",
    "/api/v1/server/licenses",
    "/api/v1/compute",
    "/api/v1/jobs",
    "/api/v1/jobs/{job_id}",
    "/api/v1/jobs/{job_id}/metrics",
    "/api/v1/catalog",
    "/api/v1/models",
    "/api/v1/models/{name=model}",
    "/api/v1/models/{org}/{name=model}",
    "/api/v1/models/{org}/{name=model}/files",
    "/api/v1/models/{org}/{name=model}/versions",
    "/api/v1/models/{org}/{name=model}/lineage",
    "/api/v1/models/{org}/{name=model}/verify",
    "/api/v1/models/{org}/{name=model}/aliases",
    "/api/v1/models/{org}/{name=model}/aliases/{alias}",
    "/api/v1/datasets",
    "/api/v1/datasets/{name=dataset}",
    "/api/v1/datasets/{name=dataset}/preview",
    "/api/v1/datasets/{name=dataset}/versions",
    "/api/v1/datasets/{name=dataset}/verify",
    "/api/v1/registry/verify/datasets",
    "/api/v1/evaluations",
    "/api/v1/evaluations/{evaluation_id}",
    "/api/v1/endpoints",
    "/api/v1/endpoints/{name=endpoint}",
    "/api/v1/endpoints/{name=endpoint}/keys",
    "/api/v1/batch-endpoints",
    "/api/v1/batch-endpoints/{name=batch_endpoint}",
    "/api/v1/users",
    "/api/v1/users/me",
    "/api/v1/keys",
    "/api/v1/audit",
    "/api/v1/audit/verify",
]


@pytest.mark.parametrize("path", ANSWERS)
def test_what_is_answered_fits_what_is_described(
    rest: Rest, ids: dict[str, str], document: dict[str, Any], path: str
) -> None:
    described, called = path, path
    for part in path.split("/"):
        if part.startswith("{"):
            name, _, key = part.strip("{}").partition("=")
            described = described.replace(part, f"{{{name}}}")
            called = called.replace(part, ids[key or name])
    answer = rest.call("GET", called)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    schema = document["paths"][described]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert [error.message for error in validator(document, schema).iter_errors(body)] == []
    if isinstance(body.get("items"), list):
        assert body["items"], "an empty list shows nothing"


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_no_request_that_the_schema_gives_rise_to_makes_the_server_fail(
    rest: Rest, ids: dict[str, str], mode: str
) -> None:
    load_all_checks()
    checks = [check for check in CHECKS.get_all() if check.__name__ in CHECKED]
    assert len(checks) == len(CHECKED)
    generation = {"positive": schemathesis.GenerationMode.POSITIVE, "negative": schemathesis.GenerationMode.NEGATIVE}
    headers = {"Authorization": f"Bearer {rest.keys['root']}"}
    tried = set()
    for result in schemathesis.openapi.from_asgi("/openapi.json", rest.app).get_all_operations():
        operation = result.ok()
        if operation.path in NOT_FUZZED:
            continue

        @seed(SEED)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=generation[mode]))
        def hold(case: Any) -> None:
            answer = case.call(headers=headers)
            case.validate_response(answer, checks=checks)
            assert answer.status_code < 500
            if answer.status_code >= 400 and answer.content:
                problem = json.loads(answer.content)
                assert {"type", "title", "status", "code", "detail", "hint", "request_id"} <= set(problem)
                assert str(rest.workspace.home.path) not in answer.text
                assert "Traceback" not in answer.text

        with suppress(Unsatisfiable):  # nothing can be wrong with a request that holds nothing
            hold()
        tried.add((operation.method, operation.path))
    assert len(tried) > 50
