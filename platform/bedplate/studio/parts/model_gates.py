"""The gates of a name's aliases: what must have been measured on a version before an alias may mean it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import html, ui

from bedplate.aio.models import Model
from bedplate.studio.parts.dialogs import confirm
from bedplate.studio.parts.headings import action, section
from bedplate.studio.parts.model_words import not_allowed
from bedplate.studio.parts.notices import hint, toast
from bedplate.studio.parts.tables import when
from bedplate.studio.visit import Visit
from bedplate.wire import url_path
from bedplate_registry.errors import Refused
from bedplate_registry.gates import Rule
from bedplate_registry.tasks import TASKS

__all__ = ["gates"]

MOST_DATASETS = 500
Again = Callable[[], Awaitable[None]]


async def gates(visit: Visit, model: Model, again: Again) -> None:
    """Those that there are, and a form for one more rule."""
    with section("Gates", "What must have been measured on a version before an alias may mean it."):
        for gate in await visit.ws.models.gates(model.data["name"]):
            _gate(visit, model.data["name"], gate, again)
        with html.div().classes("bp-panel"):
            await _add(visit, model, again)


def _gate(visit: Visit, name: str, gate: dict[str, Any], again: Again) -> None:
    why_not = not_allowed(visit, "admin")

    def remover(metric: str) -> Callable[[], Awaitable[None]]:
        async def remove() -> None:
            if await confirm(f"Remove the rule about {metric}? What it was stays on record.", button="Remove it"):
                await visit.ws.models.remove_rule(name, gate["alias"], metric, why="from Studio")
                await again()

        return remove

    with html.div().classes("bp-panel"):
        html.h3(gate["alias"])
        with html.ul().classes("bp-rules"):
            for rule in gate["rules"]:
                with html.li().classes("bp-row"):
                    ui.label(str(Rule(**rule)))
                    action(f"Remove {rule['metric']}", remover(rule["metric"]), why_not=why_not)
        hint(f"Set by {gate['by']} on {when(gate['when'])}{': ' + gate['why'] if gate['why'] else ''}")


async def _add(visit: Visit, model: Model, again: Again) -> None:
    """A rule takes the place of the one about its metric."""
    name, datasets = model.data["name"], await visit.ws.connection.items(url_path("datasets"), limit=MOST_DATASETS)
    html.h3("Add a rule")
    with html.div().classes("bp-row bp-alias"):
        alias = ui.input("Alias that it holds back").props("outlined dense")
        metric = ui.select(_metrics(model), label="Metric", with_input=True).props("outlined dense")
        low = ui.number("At least").props("outlined dense clearable step=any")
        high = ui.number("At most").props("outlined dense clearable step=any")
        not_worse = ui.checkbox("Not worse than the present holder's")
        data = ui.select([str(one["ref"]) for one in datasets], label="Measured on", with_input=True, clearable=True)
        data.props("outlined dense").tooltip("Any data, where none is chosen")
        read = ui.input("Columns it was read by, such as label=verdict").props("outlined dense")
        why = ui.input("Why this rule (kept on record)").props('outlined dense maxlength="2000"')

        async def add() -> None:
            if not (alias.value or "").strip():
                raise Refused("No alias is named.", hint="Say which one the rule holds back, such as production.")
            if not metric.value:
                raise Refused("No metric is chosen.", hint="Choose what must have been measured.")
            rule = {"metric": metric.value, "at_least": low.value, "at_most": high.value, "dataset": data.value}
            rule |= {"not_worse": not_worse.value, "columns": _columns(read.value or "")}
            given = {key: value for key, value in rule.items() if value not in (None, False, {})}
            await visit.ws.models.set_rule(name, alias.value.strip(), given, why=why.value or "")
            toast(f"{alias.value.strip()} has the rule about {metric.value} now.")
            await again()

        action("Add rule", add, why_not=not_allowed(visit, "admin"))


def _metrics(model: Model) -> list[str]:
    """Those of what it can do, or can be fine-tuned for; of all tasks where that is unknown."""
    tasks = [model.task] if model.task else model.data["finetunable_tasks"]
    known = [TASKS[task] for task in tasks if task in TASKS] or list(TASKS.values())
    return list(dict.fromkeys(metric for task in known for metric in task.metrics))


def _columns(text: str) -> dict[str, str]:
    """`label=verdict, text=body`. Raises Refused."""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    for key, equals, column in pairs:
        if not (key and equals and column):
            example = "Write it as in label=verdict."
            raise Refused(f"{key or column!r} does not say which column a key was read from.", hint=example)
    return {key.strip(): column.strip() for key, _, column in pairs}
