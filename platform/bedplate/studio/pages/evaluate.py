"""The wizard that evaluates a model or a file of predictions: on which rows, by which metrics, against which model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from nicegui import html, ui

from bedplate.studio.asked import Asked
from bedplate.studio.frame import page
from bedplate.studio.parts.data_choice import columns_in, data_choice, first_row
from bedplate.studio.parts.data_findings import data_findings
from bedplate.studio.parts.device_form import DEVICES
from bedplate.studio.parts.evaluation_subject import build_model, build_predictions, check_model, check_predictions
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.forecast import free_text
from bedplate.studio.parts.headings import title
from bedplate.studio.parts.how import how
from bedplate.studio.parts.mapping import check_columns, columns_of, mapping
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.settings_form import SettingsForm
from bedplate.studio.parts.wizard import Step, wizard
from bedplate.studio.paths import go
from bedplate.studio.visit import Visit
from bedplate_registry.errors import BedplateError, Forbidden, Refused
from bedplate_registry.sizes import size_text
from bedplate_registry.tasks import TASKS
from bedplate_trainers.settings import EvaluateSettings

OfDraft = Callable[[Visit, dict[str, Any]], Awaitable[None]]


@page("/evaluate", "Evaluate", section="Evaluations")
async def evaluate(visit: Visit, model: str = "", data: str = "", from_job: str = "") -> None:
    """`model` and `data` are filled in; `from_job` fills in all that a job was asked for."""
    made = await _begin(visit, f"evaluate {model} {data} {from_job}", blank(model=model, data=data), from_job)
    with title("Evaluate", "How well a model does its task on rows of yours, alone or against another one."):
        pass
    await made.show("Model and task", build_model, check_model)


@page("/evaluate/predictions", "Evaluate predictions", section="Evaluations")
async def evaluate_predictions(visit: Visit, predictions: str = "", data: str = "", from_job: str = "") -> None:
    """As `evaluate`, of what was predicted already, by whatever it was."""
    name = f"evaluate-predictions {predictions} {data} {from_job}"
    made = await _begin(visit, name, blank(predictions=predictions, data=data), from_job)
    with title("Evaluate predictions", "What another program predicted for rows of yours, in a file."):
        pass
    await made.show("Predictions and task", build_predictions, check_predictions)


async def _begin(visit: Visit, name: str, empty: dict[str, Any], from_job: str) -> _Evaluate:
    """The wizard as its user left it, or as the job has it."""
    if not visit.may("train"):
        raise Forbidden(f"The role {visit.role!r} evaluates nothing.", hint="Ask an admin for the role 'user'.")
    draft = {**empty, **visit.drafts.read(name)}
    if from_job and "step" not in draft:
        draft |= _of_job((await visit.ws.jobs.get(from_job)).data["spec"])
    return _Evaluate(visit, name, draft)


def blank(model: str = "", predictions: str = "", data: str = "") -> dict[str, Any]:
    """Nothing is filled in yet but what the address says."""
    draft: dict[str, Any] = {"model": model or None, "predictions": predictions or None, "data": data or None}
    draft |= {"name": "", "proposed": "", "task": None, "against": None, "train": None}
    return {**draft, "mapping": {}, "settings": {}, "written": {}, "device": "auto"}


def _of_job(spec: dict[str, Any]) -> dict[str, Any]:
    """Asked for again. A file that was uploaded for the job alone is chosen anew."""
    data = {part: (spec.get(part) or {}).get("dataset") for part in ("predictions", "data", "train")}
    kept = {name: spec[name] for name in ("model", "against", "task", "settings", "device")}
    return {**kept, **data, "name": spec.get("name") or "", "mapping": dict(spec["columns"])}


class _Evaluate:
    def __init__(self, visit: Visit, name: str, draft: dict[str, Any]) -> None:
        self._visit, self._ws, self._name, self._draft = visit, visit.ws, name, draft
        self._form: SettingsForm | None = None
        self._reader: dict[str, str] = {}

    async def show(self, first: str, build: OfDraft, check: OfDraft) -> None:
        """The steps. The first one, `first`, says what is evaluated."""
        begin = (partial(act, self._visit, self._draft) for act in (build, check))
        steps = (
            Step(first, *begin),
            Step("Data", self._build_data, self._check_data),
            Step("Columns", self._build_columns, self._check_columns),
            Step("Metrics and device", self._build_settings, self._check_settings),
            Step("Review", self._build_review),
        )
        drafts, done = self._visit.drafts, "Start the evaluation"
        await wizard(steps, self._draft, drafts=drafts, name=self._name, done=done, send=self._send)

    @property
    def _asked(self) -> Asked:
        draft = self._draft
        body = {name: draft[name] for name in ("model", "predictions", "name", "task", "data", "against", "train")}
        body |= {"columns": columns_of(draft["task"], draft["mapping"]), "settings": draft["settings"]}
        return Asked("evaluate", {**body, "device": None if draft["device"] == "auto" else draft["device"]})

    # --- data ---

    async def _build_data(self) -> None:
        await data_choice(self._visit, self._draft, "data", "Test data", about="Rows with the right answers.")
        if await self._is_probed():
            about = "It has no head for this task: a probe on its features is fitted on these rows, and judged."
            await data_choice(self._visit, self._draft, "train", "Training data", about=about)
        else:
            with ui.expansion("Training data, for the baselines").props("dense"):
                about = "May be left empty. With it the report shows what simple models reach."
                await data_choice(self._visit, self._draft, "train", "Training data", about=about, optional=True)

    async def _is_probed(self) -> bool:
        """Whether the model has no head for the task."""
        model = self._draft["model"]
        return bool(model) and (await self._ws.models.get(model)).task != self._draft["task"]

    async def _check_data(self) -> None:
        if not self._draft["data"]:
            raise Refused("No test data is chosen.", hint="Choose a dataset, or upload a file.")
        for part in ("data", "train"):
            if self._draft[part]:
                self._draft[part] = (await self._ws.datasets.get(self._draft[part])).ref

    # --- columns ---

    async def _build_columns(self) -> None:
        hint("Which column of the data holds what the task needs. Guessed by the names: look whether it is right.")
        draft, columns = self._draft, await columns_in(self._visit, self._draft["data"])
        mapping(draft["task"], columns, draft["mapping"], samples=await first_row(self._visit, draft["data"]))
        reads = draft["model"] and (await self._ws.models.get(draft["model"])).data["context_length"]
        self._reader = {"model": draft["model"]} if reads else {}
        data_findings(self._visit, self._check_request)

    async def _check_columns(self) -> None:
        check_columns(self._draft["task"], self._draft["mapping"])
        await self._plan(with_settings=False)

    def _check_request(self) -> dict[str, Any]:
        """Of all rows that are given; of the model, where it says how much of a row it reads."""
        draft = self._draft
        check_columns(draft["task"], draft["mapping"])
        rows = {"train": draft["train"], "test": draft["data"]} if draft["train"] else {"data": draft["data"]}
        names = draft["settings"].get("class_names")
        columns = columns_of(draft["task"], draft["mapping"])
        given = {"task": draft["task"], **self._reader, **rows, "columns": columns}
        return {**given, **({"class_names": list(names)} if names else {})}

    # --- metrics and device ---

    async def _build_settings(self) -> None:
        draft = self._draft
        metrics = list(TASKS[draft["task"]].metrics)
        field = ui.select(metrics, label="Metrics", multiple=True, value=draft["settings"].get("metrics", []))
        field.props("outlined dense use-chips clearable").classes("bp-field")
        field.on_value_change(lambda event: draft["settings"].update(metrics=event.value or []))
        hint("All that apply where none is chosen.")
        self._form = SettingsForm(
            EvaluateSettings, draft["task"], draft["settings"], draft["written"], left_out=("metrics",)
        )
        html.h3("Device")
        hint(free_text(await self._ws.compute()))
        device = ui.select(DEVICES, label="Device", value=draft["device"]).props("outlined dense").classes("bp-field")
        device.on_value_change(lambda event: draft.update(device=event.value))

    async def _check_settings(self) -> None:
        assert self._form is not None
        metrics = self._draft["settings"].get("metrics")
        try:
            self._draft["settings"] = {**self._form.given, **({"metrics": metrics} if metrics else {})}
            await self._plan()
        except BedplateError as error:
            self._form.refuse(error)
            raise
        self._draft["written"] = {}

    # --- review ---

    async def _build_review(self) -> None:
        plan = await self._plan()
        spec, demand = plan["spec"], plan["demand"]
        facts(
            [
                ("Model", spec["model"]),
                ("Predictions", self._draft["predictions"]),
                ("Name", spec["name"]),
                ("Against", spec["against"]),
                ("Task", TASKS[spec["task"]].title),
                ("Test data", self._draft["data"]),
                ("Training data", self._draft["train"]),
                ("Device", spec["device"]),
                ("Memory", f"about {size_text(demand['memory_bytes'])}"),
            ]
        )
        html.h3("The same as code")
        how(self._asked, self._visit.origin)

    async def _send(self) -> None:
        job = await self._ws.submit("evaluate", self._asked.given, client_key=self._draft.get("key"))
        go("jobs", job.id)

    async def _plan(self, *, with_settings: bool = True) -> dict[str, Any]:
        """The job as it would be queued. Raises what the server would refuse it for."""
        body = self._asked.given
        return await self._ws.plan("evaluate", body if with_settings else {**body, "settings": {}})
