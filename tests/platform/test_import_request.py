"""What a request for an import may say of adapters and pickles: refused at once, before a job is queued."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bedplate.kinds.import_model import KIND
from bedplate_registry.errors import Refused
from rest_server import MODEL, Rest, publish_model, rest_server


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    with rest_server(BEDPLATE_HUB_URL="http://127.0.0.1:1") as rest:
        publish_model(rest.workspace)
        yield rest


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ({"base": "nowhere"}, 404, "There is no model 'nowhere'"),
        ({"base": f"{MODEL}7"}, 404, "has no version 17"),
        ({"base": "../x"}, 422, "is a path"),
        ({"convert_weights": "perhaps"}, 422, "convert_weights"),
        ({"convert_weight": True}, 422, "convert_weights"),
        ({"hub": "http://bob:hunter2@127.0.0.1:9"}, 422, "a user name or a password"),
        ({"hub": "http://bob@127.0.0.1:9"}, 422, "a user name or a password"),
        ({"hub": "http://127.0.0.1:9/x?url="}, 422, "has a '?' or a '#'"),
        ({"hub": "http://127.0.0.1:9/#"}, 422, "has a '?' or a '#'"),
        ({"hub": "http://127.0.0.1:9/\x01"}, 422, "not the address of a Hub"),
        ({"hub": "http://exa mple"}, 422, "not the address of a Hub"),
        ({"hub": "http://xn--\u00e9.com"}, 422, "not the address of a Hub"),
        ({"hub": "http://h/" + "a" * 70_000}, 422, "not the address of a Hub"),
        ({"hub": "http://" + "a" * 300 + ".com"}, 422, "not the address of a Hub"),
        ({"hub": "http://h:99999"}, 422, "not the address of a Hub"),
        ({"hub": "http://[::1"}, 422, "not the address of a Hub"),
        ({"hub": "ftp://127.0.0.1"}, 422, "not the address of a Hub"),
    ],
)
def test_what_cannot_be_meant_is_refused(rest: Rest, options: dict[str, Any], status: int, said: str) -> None:
    answer = rest.call("POST", "/api/v1/jobs", json={"kind": "import", "model_id": "acme/x", **options})
    assert answer.status_code == status and said in answer.text
    assert "hunter2" not in answer.text and len(answer.text) < 1000
    if "hub" in options:
        plan = rest.call("POST", "/api/v1/import-plans", json={"model_id": "acme/x", **options})
        assert (plan.status_code, plan.json()["code"]) == (status, "bad-hub")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433"])
def test_its_own_hub_is_refused_by_whatever_name(rest: Rest, host: str) -> None:
    hub = f"http://{host}:{rest.workspace.settings.port}/hub"
    answer = rest.call("POST", "/api/v1/jobs", json={"kind": "import", "model_id": "acme/x", "hub": hub})
    assert answer.json()["code"] == "own-hub"


@pytest.mark.parametrize(
    "hub", ["http://127.0.0.1:2", "http://169.254.169.254", "http://localhost:2", "http://[::1]:2"]
)
def test_a_caller_from_the_network_names_no_hub_behind_the_server(rest: Rest, hub: str) -> None:
    context = rest.workspace.context
    request = {"model_id": "acme/x", "hub": hub}
    assert KIND.prepare(context, request)["hub"] == hub, "the user of this machine may"
    with pytest.raises(Refused) as caught:
        KIND.prepare(replace(context, is_shared=True), request)
    assert caught.value.code == "private-address"
    own = replace(context, is_shared=True, settings=replace(context.settings, hub_url=hub))
    assert KIND.prepare(own, request)["hub"] == hub


def test_a_base_is_kept_by_its_number(rest: Rest) -> None:
    request = {"kind": "import", "model_id": "acme/x", "base": MODEL.partition(":")[0], "convert_weights": True}
    answer = rest.call("POST", "/api/v1/jobs", json=request)
    spec = rest.workspace.jobs.get(answer.json()["id"]).spec
    assert (spec["base"], spec["convert_weights"]) == (MODEL, True)
