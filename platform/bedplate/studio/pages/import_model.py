"""The wizard that imports a model: which one, what its license and its weights ask for, what it will take."""

from __future__ import annotations

from typing import Any

from nicegui import html, ui

from bedplate.plan_lines import plan_lines
from bedplate.studio.asked import Asked
from bedplate.studio.frame import page
from bedplate.studio.parts import notices
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.headings import title
from bedplate.studio.parts.how import how
from bedplate.studio.parts.tables import Column, table
from bedplate.studio.parts.wizard import Step, wizard
from bedplate.studio.paths import go
from bedplate.studio.visit import Visit
from bedplate_registry.errors import Forbidden, Refused
from bedplate_registry.tasks import TASKS

FILES = (Column("path", "File"), Column("size_bytes", "Size", "bytes"), Column("here", "Already here"))
OPTIONS = ("model_id", "revision", "task", "name", "hub", "base", "accept_license", "convert_weights")
OF_A_FOLDER = "A folder is imported from where it lies: bedplate import --from FOLDER --name NAME"
BLANK = dict.fromkeys((*OPTIONS, "accepted_for"))
# What is said of one model's license, weights and base in step two, and is not said of another one's.
OF_ONE_MODEL = ("accept_license", "convert_weights", "base")
# What step two can settle: the plan's problem is no reason not to go on to it.
SETTLED_LATER = ("license-not-accepted", "pickle-weights", "no-base")


@page("/import", "Import a model", section="Models")
async def import_model(visit: Visit, model_id: str = "") -> None:
    """`model_id` comes from the catalog."""
    if not visit.may("import"):
        raise Forbidden(f"The role {visit.role!r} imports no models.", hint="Ask an admin for the role 'user'.")
    with title("Import a model", "From a Hub into this registry: fetched, checked, pinned to its commit."):
        pass
    name = f"import {model_id}"
    await _Import(visit, name, {**BLANK, "model_id": model_id, **visit.drafts.read(name)}).show()


class _Import:
    """What was filled in, and the plan that the server made of it."""

    def __init__(self, visit: Visit, name: str, draft: dict[str, Any]) -> None:
        self._visit, self._name, self._draft = visit, name, draft
        self._plan: dict[str, Any] = {}

    async def show(self) -> None:
        steps = (
            Step("Model", self._model, self._check_model),
            Step("License and weights", self._license, self._check_license),
            Step("What it will take", self._review),
        )
        await wizard(steps, self._draft, drafts=self._visit.drafts, name=self._name, done="Import", send=self._send)

    @property
    def _asked(self) -> Asked:
        return Asked("import", {name: self._draft.get(name) or None for name in OPTIONS})

    async def _look(self) -> dict[str, Any]:
        """The plan of what is filled in now. Nothing is fetched but the model's small files."""
        options = {name: value for name, value in self._asked.given.items() if name != "model_id"}
        self._plan = await self._visit.ws.plan_import(str(self._draft.get("model_id") or ""), **options)
        return self._plan

    # --- the model ---

    async def _model(self) -> None:
        self._text("model_id", "MODEL_ID, such as google-bert/bert-base-uncased")
        notices.hint(OF_A_FOLDER)
        with ui.expansion("More: another revision, name, task or Hub").props("dense"):
            self._text("revision", "A branch, tag or commit; the newest where empty")
            self._text("name", "Its name here; the MODEL_ID where empty")
            tasks = {"": "as its files tell", **{name: task.title for name, task in TASKS.items()}}
            field = ui.select(tasks, label="Task", value=self._draft.get("task") or "")
            field.on_value_change(lambda event: self._draft.update(task=event.value)).props("outlined dense")
            self._text("hub", "The URL of another Hub; it gets no token")

    def _text(self, key: str, label: str) -> None:
        field = ui.input(label, value=self._draft.get(key) or "").props("outlined dense").classes("bp-field")
        field.on_value_change(lambda event: self._draft.update({key: event.value.strip()}))

    async def _check_model(self) -> None:
        if not self._draft.get("model_id"):
            raise Refused("No model is named.", hint="Give its MODEL_ID, such as google-bert/bert-base-uncased.")
        forget_others(self._draft)
        problem = (await self._look())["problem"]
        if problem is not None and problem["code"] not in SETTLED_LATER:
            raise Refused(problem["message"], hint=problem["hint"], code=problem["code"])

    # --- its license and weights ---

    async def _license(self) -> None:
        plan = self._plan or await self._look()
        license = plan["license"]
        facts([("Model", plan["model_id"]), ("License", license["id"]), ("This server's policy", license["decision"])])
        if license["message"]:
            html.p(license["message"])
        if license["decision"] == "ask":
            self._box("accept_license", f"I have read the license {license['id']} and accept it.")
        problem = plan["problem"] or {}
        if problem.get("code") == "pickle-weights" or self._draft.get("convert_weights"):
            self._box("convert_weights", "Its weights are pickles: convert them, in a cage without network and keys.")
        if plan["base"] is not None or problem.get("code") == "no-base":
            self._text("base", "It is an adapter. The version here that it is laid over; its own base where empty")

    def _box(self, key: str, label: str) -> None:
        box = ui.checkbox(label, value=bool(self._draft.get(key)))
        box.on_value_change(lambda event: self._draft.update({key: event.value}))

    async def _check_license(self) -> None:
        problem = (await self._look())["problem"]
        if problem is not None:
            raise Refused(problem["message"], hint=problem["hint"], code=problem["code"])

    # --- what it will take ---

    async def _review(self) -> None:
        plan = self._plan or await self._look()
        facts([(name.capitalize(), value) for name, value in plan_lines(plan).items()])
        files = [{**file, "id": file["path"], "here": "yes" if file["here"] else ""} for file in plan["files"]]
        with ui.expansion(f"{len(files)} files").props("dense"):
            table(FILES, files, name="Files to import")
        html.h3("The same as code")
        how(self._asked, self._visit.origin)

    async def _send(self) -> None:
        job = await self._visit.ws.submit("import", self._asked.given, client_key=self._draft.get("key"))
        notices.toast(f"{self._draft['model_id']} is being imported.")
        go("jobs", job.id)


def forget_others(draft: dict[str, Any]) -> None:
    """Drop what was accepted or chosen for another model than the one that is named now."""
    named = [draft[name] or None for name in ("model_id", "revision", "hub")]
    if draft["accepted_for"] != named:
        draft.update(dict.fromkeys(OF_ONE_MODEL), accepted_for=named)
