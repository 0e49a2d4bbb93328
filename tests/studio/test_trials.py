"""The trials of a sweep in the browser: a line each through settings and metric, with the table that says the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bedplate.compute import Demand
from bedplate.database import Database, jobs
from bedplate.home import Home
from bedplate.studio.parts.trials import parallel_options
from bedplate.sweep_trials import best_of, table_of

if TYPE_CHECKING:
    from studio_browser import House, Window

HOSTILE = '<img src=x onerror="window.hit=1">'
SEARCH = {"learning_rate": {"from": 1e-5, "to": 1e-3, "scale": "log", "whole": False}, "optim": [HOSTILE, "adafactor"]}
RATES = (1e-4, 2e-4, 3e-4)
PRUNED = {"code": "pruned", "message": "By epoch 2 its accuracy had come to 0.4.", "hint": "", "metric": 0.4}
DRAWN = """() => getElement(Number(document.querySelector("#trials .bp-chart").id.slice(1))).chart?.getOption()"""


CAME = {"metrics": {"accuracy": 0.75}, "seconds": 12.0}
FAILED = ("failed", None, {"message": "Out of memory."})
ENDS = (("succeeded", CAME, None), ("cancelled", None, PRUNED), FAILED)


def played_sweep(house: House, name: str, *ends: tuple[str, Any, Any]) -> str:
    """A sweep whose trials have ended so; archived: no other test meets it."""
    told = {"owner": "local", "created": time.time(), "started": time.time(), "finished": time.time(), "epoch": 1}
    told |= {"archived": time.time(), "demand": Demand().to_json()}
    spec: dict[str, Any] = {"model": "acme/tiny-encoder:1", "task": "text-classification", "columns": {}}
    spec |= {"train": {"dataset": "tickets:1", "sha256": "a" * 64}, "validation": "auto", "test": "auto"}
    spec |= {"settings": {}, "output": "acme/drawn", "device": "cpu", "processes": 1}
    sweep = {**spec, "search": SEARCH, "metric": "accuracy", "greater_is_better": True, "trials": [], "total": 3}
    rows = [
        {"id": f"sweep-{name}", "kind": "sweep", "state": "succeeded", "spec": sweep, "result": None, "error": None}
    ]
    for number, (state, result, error) in enumerate(ends, 1):
        tried = {"learning_rate": RATES[number - 1], "optim": HOSTILE if number < 3 else "adafactor"}
        rows.append({"id": f"finetune-{name}{number}", "kind": "finetune", "state": state, "parent": f"sweep-{name}"})
        rows[-1] |= {"spec": {**spec, "settings": tried}, "result": result, "error": error}
    database = Database(Home(house.home).database)
    with database.begin() as connection:
        for row in rows:
            connection.execute(jobs.insert(), {**told, **row})
    database.close()
    return f"sweep-{name}"


def test_each_trial_is_a_line_and_a_row_and_those_that_ended_early_are_dashed(house: House, window: Window) -> None:
    page = window.open(f"/jobs/{played_sweep(house, 'drawn', *ENDS)}")
    chart = page.get_by_role("img", name="3 trials as lines through learning_rate, optim, accuracy")
    chart.wait_for()
    assert "the best is trial 1 with 0.75" in str(chart.get_attribute("aria-label"))
    page.wait_for_function(f"() => Boolean(({DRAWN})())")
    drawn = page.evaluate(DRAWN)
    assert [axis["name"] for axis in drawn["parallelAxis"]] == ["learning_rate", "optim", "accuracy"]
    assert drawn["parallelAxis"][0]["type"] == "log"
    lines = {line["name"]: line for line in drawn["series"]}
    assert [lines[f"trial {number}"]["lineStyle"]["type"] for number in (1, 2, 3)] == ["solid", "dashed", "dashed"]
    assert lines["trial 1"]["lineStyle"]["width"] > lines["trial 2"]["lineStyle"]["width"]
    assert lines["trial 3"]["data"] == [[3e-4, "adafactor", "-"]]
    table = page.get_by_role("table", name="Trials")
    assert table.get_by_role("row").nth(2).inner_text().split("\t")[1:2] == ["pruned"]
    assert "Out of memory." in table.inner_text()
    assert page.evaluate("window.hit") is None
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")  # charts follow a moment later


def test_trials_without_a_metric_are_drawn_gray_as_far_as_they_go(house: House, window: Window) -> None:
    page = window.open(f"/jobs/{played_sweep(house, 'none', FAILED, FAILED)}")
    page.get_by_role("img", name="2 trials as lines").wait_for()
    page.wait_for_function(f"() => Boolean(({DRAWN})())")
    assert [line["lineStyle"]["color"] for line in page.evaluate(DRAWN)["series"]] == ["#8a8f8d", "#8a8f8d"]


def test_the_better_end_of_a_loss_is_above_and_gets_the_color_of_the_best() -> None:
    spec = {"search": {"seed": [1, 2]}, "metric": "loss", "greater_is_better": False}
    children = [
        {"id": f"finetune-{seed}", "state": "succeeded", "spec": {"settings": {"seed": seed}}, "error": None}
        | {"result": {"metrics": {"loss": float(seed)}}}
        for seed in (1, 2)
    ]
    table = table_of(children, spec)
    best = best_of(table, greater_is_better=False)
    options = parallel_options(table, best, spec)
    assert options["parallelAxis"][-1]["inverse"]
    assert options["parallelAxis"][-1]["nameLocation"] == "start", "its name is above, where there is room for it"
    [worst, last] = options["series"]
    assert (last["name"], last["lineStyle"]["color"]) == ("trial 1", "rgb(42, 127, 121)")
    assert (worst["name"], worst["lineStyle"]["color"]) == ("trial 2", "rgb(196, 104, 47)")
