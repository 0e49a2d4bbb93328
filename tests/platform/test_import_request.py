"""What a request for an import may say of adapters and pickles: refused at once, before a job is queued."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

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
    ],
)
def test_what_cannot_be_meant_is_refused(rest: Rest, options: dict[str, Any], status: int, said: str) -> None:
    answer = rest.call("POST", "/api/v1/jobs", json={"kind": "import", "model_id": "acme/x", **options})
    assert answer.status_code == status and said in answer.text


def test_a_base_is_kept_by_its_number(rest: Rest) -> None:
    request = {"kind": "import", "model_id": "acme/x", "base": MODEL.partition(":")[0], "convert_weights": True}
    answer = rest.call("POST", "/api/v1/jobs", json=request)
    spec = rest.workspace.jobs.get(answer.json()["id"]).spec
    assert (spec["base"], spec["convert_weights"]) == (MODEL, True)
