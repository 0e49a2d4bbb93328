"""The deploy wizard: what it proposes, what it refuses before anything is sent, and what it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bedplate.endpoints import NAME
from bedplate.studio.parts.deploy_draft import (
    asked_of,
    blank,
    propose,
    propose_deployment,
    target,
)

if TYPE_CHECKING:
    from studio_browser import Window

MODEL = {"ref": "acme/support:2", "task": "text-classification"}


def endpoint(
    name: str = "support", *, kind: str = "real-time", task: str = "text-classification", **models: str
) -> dict[str, Any]:
    rows = [
        {"name": each, "model": ref, "traffic": 100 if not at else 0} for at, (each, ref) in enumerate(models.items())
    ]
    return {"name": name, "kind": kind, "task": task, "deployments": rows}


def filled_in(there: dict[str, Any] | None = None, model: dict[str, Any] = MODEL, **more: Any) -> dict[str, Any]:
    draft = blank(model["ref"], "") | more
    propose(draft, model, {there["name"]: there} if there else {})
    return draft


def test_a_proposed_name_goes_with_its_model_and_a_chosen_one_stays() -> None:
    draft = filled_in()
    assert draft["name"] == "support"
    propose(draft, {"ref": "acme/Tiny.Encoder:1", "task": "text-classification"}, {})
    assert draft["name"] == "tiny-encoder"
    draft |= {"name": "mine", "is_name_proposed": False}
    propose(draft, MODEL, {})
    assert draft["name"] == "mine"


def test_a_proposed_endpoint_is_none_that_does_something_else() -> None:
    assert filled_in(endpoint(task="translation"))["name"] == "support-2"
    assert filled_in(endpoint(kind="batch"))["name"] == "support-2"
    assert filled_in(endpoint())["name"] == "support"
    long = {"ref": f"acme/{'a' * 40}:1", "task": "text-classification"}
    assert filled_in(endpoint("a" * 32, task="translation"), long)["name"] == f"{'a' * 30}-2"


def test_a_model_of_two_letters_gets_a_name_that_an_endpoint_may_have() -> None:
    for name in ("t5", "7b", "x"):
        draft = filled_in(model={"ref": f"acme/{name}:1", "task": "translation"})
        assert NAME.fullmatch(draft["name"]) and NAME.fullmatch(draft["deployment"])


def test_a_proposed_deployment_is_free_or_serves_the_version_already() -> None:
    assert filled_in()["deployment"] == "main"
    assert filled_in(endpoint(main="acme/support:1"))["deployment"] == "version-2"
    both = {"main": "acme/support:1", "version-2": "acme/other:2"}
    assert filled_in(endpoint(**both))["deployment"] == "main-2"
    assert filled_in(endpoint(canary="acme/support:2", main="acme/support:1"))["deployment"] == "canary"
    draft = filled_in(endpoint(main="acme/support:1"), deployment="mine", is_deployment_proposed=False)
    propose_deployment(draft, MODEL, {})
    assert draft["deployment"] == "mine"


def test_three_cases_are_told_apart() -> None:
    draft = blank("acme/support:2", "support")
    assert target(draft, None) == "support, which is made now"
    beside = endpoint(stable="acme/support:1")
    assert target(draft, beside) == "support, where it stands beside stable (acme/support:1)"
    assert "serves this version already" in target(draft, endpoint(main="acme/support:2"))


def test_a_deployment_that_is_set_anew_keeps_its_share_beside_others() -> None:
    draft = blank("acme/support:2", "support")
    there = endpoint(main="acme/support:2", stable="acme/support:1")
    assert asked_of(draft, there).given["traffic"] == 100
    assert asked_of(draft | {"traffic": 10}, there).given["traffic"] == 10
    assert "traffic" not in asked_of(draft, endpoint(main="acme/support:2")).given
    assert "traffic" not in asked_of(draft, None).given


def test_a_batch_endpoint_is_asked_for_without_what_it_has_not() -> None:
    draft = blank("acme/support:2", "support") | {"kind": "batch", "instances": 3, "device": "cpu"}
    asked = asked_of(draft, None)
    assert (asked.kind, asked.given) == ("deploy-batch", {"model": "acme/support:2", "name": "support"})


def test_what_the_server_would_refuse_is_refused_at_its_step(window: Window) -> None:
    page = window.open("/deploy?model=acme/tiny-classifier")  # not :1, whose draft is another test's
    page.get_by_role("button", name="Next").locator("visible=true").click()
    name, following = page.get_by_label("Name of the endpoint"), page.get_by_role("button", name="Next")
    proposed = name.input_value()
    name.fill("Support")
    following.locator("visible=true").click()
    page.get_by_text("'Support' is not a name for an endpoint").wait_for()
    name.fill(proposed)
    following.locator("visible=true").click()
    page.get_by_text(f"{proposed}, which is made now").wait_for()
    page.get_by_text("main 100 %").wait_for()
    assert proposed not in [one.name for one in window.house.ws.endpoints.list()]


def test_a_model_deployed_as_batch_leads_to_where_its_endpoint_stands(window: Window) -> None:
    page = window.open("/deploy?model=acme/tiny-classifier:1")
    page.get_by_role("radio", name="Batch: scores files").click()
    page.get_by_role("button", name="Next").locator("visible=true").click()
    page.get_by_label("Name of the endpoint").fill("wizard-batch")
    page.get_by_role("button", name="Next").locator("visible=true").click()
    page.get_by_text("wizard-batch, which is made now").wait_for()
    page.get_by_role("button", name="Deploy", exact=True).locator("visible=true").last.click()
    page.wait_for_url("**/studio/endpoints")
    page.get_by_role("article", name="Batch endpoint wizard-batch").wait_for()
    window.house.ws.batch_endpoints.get("wizard-batch").delete()
