"""What can be done with a version of a model, each with the reason where it cannot."""

from __future__ import annotations

from nicegui import html, ui

from bedplate.aio.models import Model
from bedplate.studio.parts.dialogs import confirm
from bedplate.studio.parts.headings import action
from bedplate.studio.parts.model_words import not_allowed
from bedplate.studio.parts.notices import hint
from bedplate.studio.paths import go, place
from bedplate.studio.visit import Visit

__all__ = ["delete_action", "model_actions", "use_actions"]

MOST_WHY = 2000  # characters of a reason
ARCHIVED = "it is archived; restore it first"
BASE = "it is a base without a head; fine-tune it first"
NOT_TUNED = "no recipe fine-tunes models of its kind"


def use_actions(visit: Visit, model: Model) -> None:
    """Fine-tune, Evaluate, Deploy, Batch."""
    tunes, ref = bool(model.data["finetunable_tasks"]), model.ref
    no_tune = _why_not(visit, model, "train", "" if tunes else NOT_TUNED)
    no_look = _why_not(visit, model, "train", "" if tunes or model.task else BASE)
    no_head = "" if model.task else BASE
    action("Fine-tune", place("finetune", model=ref), primary=not no_tune, why_not=no_tune)
    action("Evaluate", place("evaluate", model=ref), why_not=no_look)
    action("Deploy", place("deploy", model=ref), why_not=_why_not(visit, model, "operate", no_head))
    action("Batch", place("batch", "new", model=ref), why_not=_why_not(visit, model, "batch", no_head))


def model_actions(visit: Visit, model: Model) -> None:
    """Archive or Restore, and Delete: for those who answer for what all use."""
    why_not = not_allowed(visit, "operate")

    async def archive() -> None:
        if (why := await _ask_why(f"Archive {model.ref}?", ABOUT_ARCHIVE, button="Archive")) is not None:
            await model.archive(why=why)
            go("models", model.ref)

    async def restore() -> None:
        if (why := await _ask_why(f"Restore {model.ref}?", "It is in lists again.", button="Restore")) is not None:
            await model.restore(why=why)
            go("models", model.ref)

    if model.state == "archived":
        action("Restore", restore, why_not=why_not)
    else:
        action("Archive", archive, why_not=why_not)
    delete_action(visit, model.ref)


def delete_action(visit: Visit, ref: str) -> None:
    """Delete one version, also one that is damaged."""

    async def delete() -> None:
        question = f"Delete {ref} for good? Its number is never given again."
        if await confirm(question, button="Delete", type_in=ref):
            await visit.ws.models.delete(ref)
            go("models")

    action("Delete", delete, danger=True, why_not=not_allowed(visit, "operate"))


ABOUT_ARCHIVE = "It stays readable, and leaves the lists; it is neither deployed nor fine-tuned from then on."


async def _ask_why(question: str, about: str, *, button: str) -> str | None:
    """The reason, which may be empty; None where it is left as it is."""
    with ui.dialog().props('aria-label="Why?"') as dialog, ui.card().classes("bp-dialog"):
        html.h2(question)
        hint(about)
        why = ui.input("Why (kept on record)").props(f'outlined dense maxlength="{MOST_WHY}"')
        with html.div().classes("bp-actions"):
            ui.button("Leave it as it is", on_click=lambda: dialog.submit(None)).props("flat no-caps")
            ui.button(button, on_click=lambda: dialog.submit(why.value or "")).props("no-caps")
    answer = await dialog
    dialog.delete()
    return answer if isinstance(answer, str) else None


def _why_not(visit: Visit, model: Model, permission: str, of_model: str) -> str:
    """The model's own reason first: another role would not help."""
    return of_model or (ARCHIVED if model.state == "archived" else "") or not_allowed(visit, permission)
