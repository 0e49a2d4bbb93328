"""The tasks that a model may learn, to choose one of; one that it cannot is shown with the reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import events, html

from bedplate_registry.tasks import TASKS, Task, joins_for

__all__ = ["can_learn", "task_choice", "why_not"]

JOINED = "Two such encoders are joined, one to read and one to write: it wants many rows."


def can_learn(model: Mapping[str, Any]) -> list[str]:
    """The tasks that a model can be fine-tuned for."""
    return [task.name for task in TASKS.values() if task.finetunable and not why_not(model, task)]


def why_not(model: Mapping[str, Any], task: Task) -> str:
    """Why a model cannot be fine-tuned for a task; nothing where it can."""
    able = model["finetunable_tasks"]
    if task.name in able or joins_for(model["model_type"], task.name):
        return ""
    kind = model["model_type"] or model["architecture"] or "this kind"
    return f"Models of the kind {kind} learn {', '.join(able) or 'nothing here'}."


def task_choice(
    model: Mapping[str, Any] | None, chosen: str | None, on_choice: Callable[[str], Awaitable[None] | None]
) -> None:
    """One of the tasks that can be fine-tuned; none may be chosen before there is a model."""

    async def take(event: events.GenericEventArguments) -> None:
        answer = on_choice(str(event.args))
        if answer is not None:
            await answer

    with html.fieldset().classes("bp-options"):
        html.legend("Task")
        for task in TASKS.values():
            if task.finetunable:
                _option(task, model, chosen == task.name, take)


def _option(task: Task, model: Mapping[str, Any] | None, is_chosen: bool, take: Callable[..., Any]) -> None:
    reason = "Choose a model first." if model is None else why_not(model, task)
    with html.label().classes("bp-option"):
        marks = {"disabled": True} if reason else {}
        marks |= {"checked": True} if is_chosen and not reason else {}
        button = html.input_(type="radio", name="task", value=task.name, **marks)
        button.on("change", take, js_handler="(event) => emit(event.target.value)")
        with html.div():
            html.div(task.title).classes("bp-strong")
            html.div(reason or _about(task, model)).classes("bp-hint")


def _about(task: Task, model: Mapping[str, Any] | None) -> str:
    keys = ", ".join(key.name for key in task.keys if key.required)
    is_joined = model is not None and task.name not in model["finetunable_tasks"]
    return f"Rows with {keys}." + (f" {JOINED}" if is_joined else "")
