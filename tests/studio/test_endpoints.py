"""Endpoints in the browser: how they are doing, their traffic, their keys, their figures, their end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import bedplate
from harness import wait_for
from studio_browser import House, Window

NAME = "busy-desk"


@pytest.fixture(scope="module")
def busy(house: House) -> Iterator[bedplate.remote.endpoints.Endpoint]:
    """An endpoint of two deployments, the first of which answers."""
    endpoint = house.ws.deploy("acme/tiny-classifier", endpoint=NAME)
    house.ws.deploy("acme/tiny-classifier", endpoint=NAME, deployment="blue", wait=False)
    yield endpoint.refresh()
    if NAME in [one.name for one in house.ws.endpoints.list()]:
        endpoint.delete()


def test_the_list_leads_to_each_endpoint(window: Window, busy: bedplate.remote.endpoints.Endpoint) -> None:
    page = window.open("/endpoints")
    page.get_by_role("link", name=NAME).click()
    page.get_by_role("heading", name=NAME).wait_for()


def test_an_answer_is_bars_and_names_who_gave_it(window: Window, busy: bedplate.remote.endpoints.Endpoint) -> None:
    page = window.open(f"/endpoints/{NAME}")
    page.get_by_label("Deployment", exact=True).click()
    page.get_by_role("option", name="main").click()
    page.get_by_label("Text", exact=True).fill("my card is lost")
    page.get_by_label("Text", exact=True).press("Control+Enter")
    answer = page.get_by_role("region", name="Answer")
    answer.get_by_text("deployment main").wait_for()
    assert answer.get_by_label("Labels").get_by_role("listitem").count() == 3
    told = page.get_by_text("since the gateway started")
    wait_for(lambda: "Nobody" not in (told.text_content() or "Nobody"), seconds=30)


def test_shares_that_are_not_a_hundred_cannot_be_set(window: Window, busy: bedplate.remote.endpoints.Endpoint) -> None:
    page = window.open(f"/endpoints/{NAME}")
    share = page.get_by_role("button", name="Share the traffic")
    page.get_by_label("main", exact=True).fill("60")
    page.get_by_text("These are 60 % together.").wait_for()
    assert share.is_disabled()
    page.get_by_label("blue", exact=True).fill("40")
    page.wait_for_function("(e) => !e.disabled", arg=share.element_handle())
    share.click()
    wait_for(lambda: busy.refresh().traffic == {"main": 60, "blue": 40})


def test_what_somebody_else_changed_meanwhile_is_not_written_over(
    window: Window, busy: bedplate.remote.endpoints.Endpoint
) -> None:
    page = window.open(f"/endpoints/{NAME}")
    page.get_by_label("main", exact=True).fill("10")
    page.get_by_label("blue", exact=True).fill("90")
    busy.update(traffic={"main": 75, "blue": 25})
    page.get_by_text("Somebody else changed this endpoint").wait_for()
    page.get_by_role("button", name="Share the traffic").click()
    page.get_by_role("alert").get_by_text("changed").first.wait_for()
    page.get_by_text("75 %").wait_for()
    assert busy.refresh().traffic == {"main": 75, "blue": 25}


def test_a_new_key_is_shown_once_and_scores(window: Window, busy: bedplate.remote.endpoints.Endpoint) -> None:
    page = window.open(f"/endpoints/{NAME}")
    page.get_by_label("Key secondary").get_by_role("button", name="Make it").click()
    shown = page.get_by_role("dialog").locator("pre")
    shown.wait_for()
    key = shown.text_content() or ""
    page.get_by_role("button", name="I have kept it").click()
    page.get_by_role("dialog").wait_for(state="detached")
    assert key not in page.content()
    url = f"{window.house.url}/endpoints/{NAME}"
    answer = page.request.post(url, data={"inputs": "hello"}, headers={"Authorization": f"Bearer {key}"})
    assert answer.status == 200


def test_a_viewer_sees_how_it_is_doing_and_is_told_what_he_may_not(
    house: House, busy: bedplate.remote.endpoints.Endpoint, window: Window
) -> None:
    window.page.goto(house.link("vic"))
    window.page.wait_for_url(f"{house.url}/studio/**")
    page = window.open(f"/endpoints/{NAME}")
    assert page.get_by_role("button", name="Ask", exact=True).is_disabled()
    assert page.get_by_text("may not change endpoints").count() >= 1
    assert page.get_by_role("button", name="Delete").count() == 0


def test_an_endpoint_is_deleted_by_its_name(window: Window, house: House) -> None:
    house.ws.deploy("acme/tiny-classifier", endpoint="short-lived", wait=False)
    page = window.open("/endpoints/short-lived")
    page.get_by_role("button", name="Delete").click()
    sure = page.get_by_role("button", name="Delete it")
    assert sure.is_disabled()
    page.get_by_label("Type short-lived to go on").fill("short-lived")
    sure.click()
    page.wait_for_url("**/studio/endpoints")
    assert "short-lived" not in [one.name for one in house.ws.endpoints.list()]


def test_a_batch_endpoint_shares_its_traffic_anew_unless_somebody_else_was_faster(window: Window, house: House) -> None:
    shared = house.ws.deploy("acme/tiny-classifier", endpoint="shared", batch=True)
    house.ws.deploy("acme/tiny-classifier", endpoint="shared", batch=True, deployment="blue", traffic=20)
    assert shared.refresh().traffic == {"main": 80, "blue": 20}
    page = window.open("/endpoints")
    card = page.get_by_label("Batch endpoint shared")
    share = card.get_by_role("button", name="Share the traffic")
    card.get_by_label("blue").fill("70")
    card.get_by_text("These are 150 % together.").wait_for()
    assert share.is_disabled()
    card.get_by_label("main").fill("30")
    card.get_by_text("These are").wait_for(state="hidden")
    page.wait_for_function("(e) => !e.disabled", arg=share.element_handle())
    with page.expect_navigation():  # the page is made anew
        share.click()
    assert shared.refresh().traffic == {"main": 30, "blue": 70}

    card = window.open("/endpoints").get_by_label("Batch endpoint shared")
    shared.update(traffic={"main": 50, "blue": 50})
    card.get_by_label("blue").fill("90")
    card.get_by_label("main").fill("10")
    share = card.get_by_role("button", name="Share the traffic")
    page.wait_for_function("(e) => !e.disabled", arg=share.element_handle())
    share.click()
    page.get_by_role("alert").get_by_text("changed").first.wait_for()
    assert shared.refresh().traffic == {"main": 50, "blue": 50}
    shared.delete()


def test_a_batch_endpoint_shows_its_versions_and_is_deleted(window: Window, house: House) -> None:
    house.ws.deploy("acme/tiny-classifier", endpoint="nightly", batch=True)
    card = window.open("/endpoints").get_by_label("Batch endpoint nightly")
    assert card.get_by_role("link", name="acme/tiny-classifier:1").count() == 1
    card.get_by_role("button", name="Delete").click()
    window.page.get_by_label("Type nightly to go on").fill("nightly")
    window.page.get_by_role("button", name="Delete it").click()
    card.wait_for(state="detached")
    assert "nightly" not in [one.name for one in house.ws.batch_endpoints.list()]
