"""Fine-tune a model: which, for what, on which rows, how, where, and what it will take before it begins."""

from __future__ import annotations

from typing import Any

from nicegui import html, ui

from bedplate.studio.asked import Asked
from bedplate.studio.frame import page
from bedplate.studio.parts.class_names import class_names
from bedplate.studio.parts.data_choice import data_choice, first_row
from bedplate.studio.parts.data_findings import data_findings
from bedplate.studio.parts.device_form import device_form
from bedplate.studio.parts.finetune_draft import (
    AS_IT_WAS,
    AUTO,
    PARTS,
    blank,
    body_of,
    body_so_far,
    draft_of_job,
    fill_output,
    settings_for,
)
from bedplate.studio.parts.forecast import forecast, pace_of
from bedplate.studio.parts.headings import title
from bedplate.studio.parts.how import how
from bedplate.studio.parts.mapping import check_columns, mapping
from bedplate.studio.parts.model_choice import model_choice
from bedplate.studio.parts.notices import empty, hint
from bedplate.studio.parts.settings_form import SettingsForm
from bedplate.studio.parts.task_choice import can_learn, task_choice, why_not
from bedplate.studio.parts.wizard import Step, wizard
from bedplate.studio.paths import go, place
from bedplate.studio.visit import Visit
from bedplate_registry.errors import BedplateError, Forbidden, Refused
from bedplate_registry.names import Name
from bedplate_registry.tasks import get_task
from bedplate_trainers.settings import CLASSIFIERS, FinetuneSettings

LATER_JOBS = 20  # so many are looked at for how fast this model was
EXPLAIN_SECONDS = 0.7  # after a change of a setting, before what depends on it is worked out again
OF_THE_MACHINE = ("no-gpu", "does-not-fit", "setting-needs")  # refusals that another device, or more of them, may end
SHARED = {AUTO: "Split off the training rows"}


@page("/finetune", "Fine-tune", section="Models")
async def finetune(visit: Visit, model: str = "", train: str = "", from_job: str = "") -> None:
    """`model` and `train` are filled in; `from_job` fills in all that a job was asked for."""
    if not visit.may("train"):
        raise Forbidden(f"The role {visit.role!r} fine-tunes nothing.", hint="Ask an admin for the role 'user'.")
    name = f"finetune {model} {train} {from_job}"
    kept = visit.drafts.read(name)
    draft = {**blank(model or None, train or None), **kept}
    if from_job and not kept:
        draft = draft_of_job((await visit.ws.jobs.get(from_job)).data)
    with title("Fine-tune", "A model learns a task from your rows. Nothing begins before the last step."):
        pass
    made = _Finetune(visit, draft)
    steps = (
        Step("Model and task", made.build_model, made.check_model),
        Step("Data", made.build_data, made.check_data),
        Step("Columns", made.build_columns, made.check_columns),
        Step("Settings", made.build_settings, made.check_settings),
        Step("Device and name", made.build_device, made.check_device),
        Step("Review", made.build_review),
    )
    await wizard(steps, draft, drafts=visit.drafts, name=name, done="Start the fine-tune", send=made.send)


class _Finetune:
    """The six steps, which fill in one draft."""

    def __init__(self, visit: Visit, draft: dict[str, Any]) -> None:
        self._visit, self._ws, self._draft = visit, visit.ws, draft
        self._form: SettingsForm | None = None

    # --- model and task ---

    async def build_model(self) -> None:
        draft = self._draft

        async def show() -> None:
            tasks.clear()
            model = (await self._ws.models.get(draft["model"])).data if draft["model"] else None
            if model and draft["task"] is None and len(can_learn(model)) == 1:
                draft["task"] = can_learn(model)[0]
            with tasks:
                task_choice(model, draft["task"], lambda task: draft.update(task=task))

        if not await self._ws.models.list(limit=1):
            empty("No model is here yet.", action="Import one", href=place("import"))
        await model_choice(self._visit, draft, "model", "Model", only=lambda one: bool(can_learn(one)), on_change=show)
        tasks = html.div()
        await show()

    async def check_model(self) -> None:
        draft = self._draft
        if not draft["model"]:
            raise Refused("No model is chosen.", hint="Choose the one to begin with.")
        model = (await self._ws.models.get(draft["model"])).data
        draft["model"] = model["ref"]
        if not draft["task"]:
            raise Refused("No task is chosen.", hint="Choose what it is to learn.")
        if reason := why_not(model, get_task(draft["task"])):
            raise Refused(f"{model['ref']} cannot be fine-tuned for {draft['task']}.", hint=reason)
        draft["settings"] = settings_for(draft["task"], draft["settings"])

    # --- data ---

    async def build_data(self) -> None:
        keys = ", ".join(key.name for key in get_task(self._draft["task"]).keys if key.required)
        abouts = {
            "train": f"What it learns from. Each row holds {keys}, under whatever names.",
            "validation": "What it is watched by while it learns, and chosen by.",
            "test": "What the report at the end is made on. It is never learned from.",
        }
        for part in PARTS:
            also = {} if part == "train" else dict(SHARED)
            if upload := self._draft["uploads"].get(part):
                also[AS_IT_WAS] = f"{upload['filename']}, as the other job had it"
            label = {"train": "Training", "validation": "Validation", "test": "Test"}[part]
            await data_choice(self._visit, self._draft, part, label, also=also, about=abouts[part])

    async def check_data(self) -> None:
        if not self._draft["train"]:
            raise Refused("No training data is chosen.", hint="Choose a dataset, or upload a file.")
        for part in ("validation", "test"):
            self._draft[part] = self._draft[part] or AUTO
        for part in PARTS:
            if self._draft[part] not in (AUTO, AS_IT_WAS):
                self._draft[part] = (await self._ws.datasets.get(self._draft[part])).ref

    # --- columns ---

    async def build_columns(self) -> None:
        draft = self._draft
        schema = await self._schema()
        hint("Which column of the data holds what the task needs. Guessed by the names: look whether it is right.")
        samples = None if draft["train"] == AS_IT_WAS else await first_row(self._visit, draft["train"])
        mapping(draft["task"], [column["name"] for column in schema], draft["mapping"], samples=samples)
        if draft["task"] in CLASSIFIERS:
            label = next(key.name for key in get_task(draft["task"]).keys if key.is_label)
            class_names(draft["settings"], draft["mapping"].get(label), schema)
        data_findings(self._visit, self._check_request)

    async def _schema(self) -> list[dict[str, Any]]:
        """Of the training rows; what is known of it where they are no dataset."""
        if self._draft["train"] != AS_IT_WAS:
            return (await self._ws.datasets.get(self._draft["train"])).schema
        known = {key.name for key in get_task(self._draft["task"]).keys} - set(self._draft["mapping"])
        return [{"name": name} for name in (*self._draft["mapping"].values(), *sorted(known))]

    def _check_request(self) -> dict[str, Any]:
        """Of all rows that are given, for the model that will read them."""
        check_columns(self._draft["task"], self._draft["mapping"])
        body = body_of(self._draft)
        names = body["settings"].get("class_names")
        given = {name: body[name] for name in ("task", "model", "columns", *PARTS) if name in body}
        return {**given, **({"class_names": names} if names else {})}

    async def check_columns(self) -> None:
        check_columns(self._draft["task"], self._draft["mapping"])
        fill_output(self._draft)
        await self._check_so_far({})

    # --- settings ---

    async def build_settings(self) -> None:
        draft = self._draft
        hint("What is auto is worked out from the model and the rows, and says why. Change what you know better.")
        self._again = ui.timer(EXPLAIN_SECONDS, self._explain, active=False, immediate=False)
        self._form = SettingsForm(
            FinetuneSettings,
            draft["task"],
            draft["settings"],
            draft["written"],
            on_change=self._again.activate,
            left_out=("class_names",),
        )
        await self._explain()

    @property
    def _given(self) -> dict[str, Any]:
        """The settings as the form has them, and what was asked for elsewhere. Raises Refused."""
        assert self._form is not None
        names = self._draft["settings"].get("class_names")
        return {**self._form.given, **({"class_names": names} if names else {})}

    async def _explain(self) -> None:
        """Work out again what is auto. What is wrong with a value is said at it, by itself or when the step is left."""
        self._again.deactivate()
        assert self._form is not None
        try:
            self._form.explain((await self._plan_so_far(self._given))["spec"]["forecast"])
        except BedplateError as error:
            self._form.refuse(error)

    async def check_settings(self) -> None:
        assert self._form is not None
        try:
            settings = self._given
            await self._check_so_far(settings)
        except BedplateError as error:
            self._form.refuse(error)
            raise
        self._draft |= {"settings": settings, "written": {}}

    # --- device and name ---

    async def build_device(self) -> None:
        draft = self._draft
        device_form(self._visit, draft, await self._ws.compute())
        name = ui.input("Name of the result", value=draft["output"]).props("outlined dense debounce=250")
        name.classes("bp-field")
        name.on_value_change(lambda event: draft.update(output=(event.value or "").strip(), is_proposed=False))
        hint("A name that is there already gets its next version.")

    async def check_device(self) -> None:
        Name.parse(self._draft["output"])
        await self._plan()

    # --- review ---

    async def build_review(self) -> None:
        plan = await self._plan()
        model = (await self._ws.models.get(self._draft["model"])).data
        jobs = await self._ws.jobs.list(kind="finetune", state="succeeded", limit=LATER_JOBS)
        with html.div().classes("bp-panel"):
            html.h3(f"{plan['spec']['model']} learns {get_task(self._draft['task']).title.lower()}")
            forecast(plan, await self._ws.compute(), model, pace_of(plan["spec"], jobs))
        html.h3("The same as code")
        how(Asked("finetune", body_of(self._draft)), self._visit.origin)

    async def send(self) -> None:
        """Submit the job and lead to it."""
        job = await self._ws.submit("finetune", body_of(self._draft), client_key=self._draft.get("key"))
        go("jobs", job.id)

    async def _check_so_far(self, settings: dict[str, Any]) -> None:
        """Raises what is wrong before the device is asked for. What the machine lacks is said where that is chosen."""
        try:
            await self._plan_so_far(settings)
        except BedplateError as error:
            if error.code not in OF_THE_MACHINE:
                raise

    async def _plan_so_far(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The job with these settings, as far as it is known before the device and the name."""
        return await self._ws.plan("finetune", body_so_far({**self._draft, "settings": settings}))

    async def _plan(self) -> dict[str, Any]:
        """The job as it would be queued. Raises what the server would refuse it for."""
        return await self._ws.plan("finetune", body_of(self._draft))
