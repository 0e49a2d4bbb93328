"""What is evaluated: a model, or a file with a prediction for each row. The first step of the wizard, in two forms."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from bedplate.studio.parts.data_choice import data_choice
from bedplate.studio.parts.finetune_draft import settings_for
from bedplate.studio.parts.model_choice import model_choice
from bedplate.studio.parts.notices import hint
from bedplate.studio.visit import Visit
from bedplate_registry.errors import Refused
from bedplate_registry.tasks import TASKS
from bedplate_trainers.predicted import find_columns
from bedplate_trainers.settings import EvaluateSettings

__all__ = ["build_model", "build_predictions", "check_model", "check_predictions"]

Draft = dict[str, Any]
ABOUT = "One for each row of the test data, in its order, in a column called predicted; in a .txt one a line."
MOST_NAME = 100  # characters, as REST has it


async def build_model(visit: Visit, draft: Draft) -> None:
    """A model, and what it is evaluated for."""

    async def guess() -> None:
        """A model that has a head does that; for a base somebody says what it is looked at for."""
        if draft["model"] and (task := (await visit.ws.models.get(draft["model"])).task):
            tasks.value = task

    await model_choice(visit, draft, "model", "Model", on_change=guess)
    tasks = _task_choice(draft)
    if not draft["task"]:
        await guess()
    await _other_choice(visit, draft)


async def check_model(visit: Visit, draft: Draft) -> None:
    """Raises Refused where something is not chosen, NotFound for a model that is not here."""
    if not draft["model"]:
        raise Refused("No model is chosen.", hint="Choose the one to evaluate.")
    await _check_both(visit, draft)


async def build_predictions(visit: Visit, draft: Draft) -> None:
    """A file of predictions, what it is called, and what was predicted."""

    def propose() -> None:
        """The name of the dataset, unless another one was typed."""
        found = str(draft["predictions"] or "").partition(":")[0].rpartition("/")[2]
        if draft["name"] in ("", draft["proposed"]):
            name.value = found
        draft["proposed"] = found

    await data_choice(visit, draft, "predictions", "Predictions", about=ABOUT, lines=True, on_change=propose)
    name = ui.input("Name on reports and leaderboards", value=draft["name"])
    name.props(f"outlined dense maxlength={MOST_NAME}").classes("bp-field")
    name.on_value_change(lambda event: draft.update(name=event.value or ""))
    propose()
    _task_choice(draft)
    await _other_choice(visit, draft)


async def check_predictions(visit: Visit, draft: Draft) -> None:
    """Raises Refused where something is not chosen, and for a file without a column of predictions."""
    if not draft["predictions"]:
        raise Refused("No predictions are chosen.", hint="Upload a file, or choose a dataset.")
    if not draft["name"].strip():
        raise Refused("The predictions have no name.", hint="Give one: it stands for them on leaderboards.")
    draft["name"] = draft["name"].strip()
    await _check_both(visit, draft)
    found = await visit.ws.datasets.get(draft["predictions"])
    draft["predictions"] = found.ref
    find_columns([*found.columns], draft["task"])


def _task_choice(draft: Draft) -> ui.select:
    tasks = {task.name: task.title for task in TASKS.values() if task.metrics}
    field = ui.select(tasks, label="Task", value=draft["task"]).props("outlined dense").classes("bp-field")
    return field.on_value_change(lambda event: draft.update(task=event.value))


async def _other_choice(visit: Visit, draft: Draft) -> None:
    hint("The same rows by a model besides, to see whether the difference is more than chance.")
    await model_choice(visit, draft, "against", "Against another model (may be left empty)")


async def _check_both(visit: Visit, draft: Draft) -> None:
    if not draft["task"]:
        raise Refused("No task is chosen.", hint="Choose what it is evaluated for.")
    for key in ("model", "against"):
        if draft[key]:
            draft[key] = (await visit.ws.models.get(draft[key])).ref
    draft["settings"] = settings_for(draft["task"], draft["settings"], EvaluateSettings.from_mapping)
