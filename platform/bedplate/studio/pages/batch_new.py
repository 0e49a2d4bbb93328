"""The wizard that scores a file: with which model, which rows, from which columns, into what."""

from __future__ import annotations

from typing import Any

from nicegui import html, ui

from bedplate.studio.asked import Asked
from bedplate.studio.frame import page
from bedplate.studio.parts.data_choice import columns_in, data_choice, first_row
from bedplate.studio.parts.device_form import DEVICES
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.forecast import free_text
from bedplate.studio.parts.headings import section, title
from bedplate.studio.parts.how import how
from bedplate.studio.parts.mapping import check_columns, columns_of, mapping
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.try_settings import MAIN, Setting, SettingInputs
from bedplate.studio.parts.wizard import Step, wizard
from bedplate.studio.paths import go
from bedplate.studio.visit import Visit
from bedplate_registry.errors import Forbidden, NotFound, Refused
from bedplate_registry.names import Ref
from bedplate_registry.sizes import size_text
from bedplate_registry.tables import FORMATS, format_of
from bedplate_registry.tasks import TASKS

MOST_MODELS = 500  # in the list; the name of any other is typed
OTHERS = Setting("others", "json", 'Any other parameter of scoring, as in {"max_length": 64}.')


@page("/batch/new", "Score a file", section="Batch")
async def batch_new(visit: Visit, model: str = "", input: str = "") -> None:
    """`model` (or an endpoint) and `input` are filled in."""
    if not visit.may("batch"):
        raise Forbidden(f"The role {visit.role!r} scores no files.", hint="Ask an admin for the role 'user'.")
    name = f"batch {model} {input}"
    draft = {**blank(model, input), **visit.drafts.read(name)}
    with title("Score a file", "Every row gets its answer beside it, in its own order; a bad row gets its reason."):
        pass
    await _Batch(visit, name, draft).show()


def blank(model: str, input: str) -> dict[str, Any]:
    """Nothing is filled in yet but what the address says."""
    draft: dict[str, Any] = {"model": model or None, "task": None, "input": input or None, "mapping": {}}
    return {**draft, "parameters": {}, "output": "", "is_proposed": True, "error_threshold": None, "device": "auto"}


def fill_output(draft: dict[str, Any]) -> None:
    """Propose a name for the file of scored rows, unless one was chosen: after the rows."""
    if draft["is_proposed"]:
        draft["output"] = f"{str(Ref.parse(draft['input']).name).rpartition('/')[2]}-scored.csv"


class _Batch:
    def __init__(self, visit: Visit, name: str, draft: dict[str, Any]) -> None:
        self._visit, self._ws, self._name, self._draft = visit, visit.ws, name, draft
        self._inputs: SettingInputs | None = None

    async def show(self) -> None:
        steps = (
            Step("Model", self._build_model, self._check_model),
            Step("Rows", self._build_rows, self._check_rows),
            Step("Columns and parameters", self._build_columns, self._check_columns),
            Step("Output and device", self._build_output, self._check_output),
            Step("Review", self._build_review),
        )
        drafts, done = self._visit.drafts, "Start scoring"
        await wizard(steps, self._draft, drafts=drafts, name=self._name, done=done, send=self._send)

    @property
    def _asked(self) -> Asked:
        draft = self._draft
        columns = columns_of(draft["task"], draft["mapping"], need_label=False)
        device = None if draft["device"] == "auto" else draft["device"]
        body = {"model": draft["model"], "input": draft["input"], "output": draft["output"], "columns": columns}
        body |= {"parameters": draft["parameters"], "error_threshold": draft["error_threshold"], "device": device}
        return Asked("batch", body)

    # --- model ---

    async def _build_model(self) -> None:
        hint("A model version, or an endpoint: then the version that holds most of its traffic when the job begins.")
        options = await self._options()
        if self._draft["model"]:
            options.setdefault(self._draft["model"], self._draft["model"])
        field = ui.select(
            options,
            label="Model or endpoint",
            value=self._draft["model"],
            with_input=True,
            clearable=True,
            new_value_mode="add-unique",
        )
        field.on_value_change(lambda event: self._draft.update(model=event.value or None))
        field.props("outlined dense").classes("bp-field")
        if not options:
            hint("No model that scores is here. Import one, or fine-tune a base first.")

    async def _options(self) -> dict[str, str]:
        models = await self._ws.models.list(limit=MOST_MODELS)
        found = {model.ref: f"{model.ref} ({model.task})" for model in models if model.task}
        served = {one.name: f"endpoint {one.name} ({one.task})" for one in await self._ws.endpoints.list()}
        batches = {one.name: f"batch endpoint {one.name} ({one.task})" for one in await self._ws.batch_endpoints.list()}
        return {**batches, **served, **found}

    async def _check_model(self) -> None:
        if not self._draft["model"]:
            raise Refused("No model is chosen.", hint="Choose the one that scores.")
        self._draft["task"] = await self._task_of(self._draft["model"])

    async def _task_of(self, name: str) -> str:
        """As the server finds it: an endpoint of that name goes before a model. Raises Refused for a base."""
        if "/" not in name and Ref.parse(name).version is None:
            for endpoints in (self._ws.endpoints, self._ws.batch_endpoints):
                try:
                    return str((await endpoints.get(name)).task)
                except NotFound:
                    continue
        model = await self._ws.models.get(name)
        if not model.task:
            raise Refused(f"{model.ref} is a base: it has no head to answer with.", hint="Fine-tune it first.")
        self._draft["model"] = model.ref
        return str(model.task)

    # --- rows ---

    async def _build_rows(self) -> None:
        keys = ", ".join(key.name for key in TASKS[self._draft["task"]].inputs if key.required)
        about = f"Each row holds {keys}, under whatever names."
        await data_choice(self._visit, self._draft, "input", "Rows to score", about=about)

    async def _check_rows(self) -> None:
        if not self._draft["input"]:
            raise Refused("No rows are chosen.", hint="Choose a dataset, or upload a file.")
        self._draft["input"] = (await self._ws.datasets.get(self._draft["input"])).ref

    # --- columns and parameters ---

    async def _build_columns(self) -> None:
        draft = self._draft
        hint("Which column of the data holds what the task needs. Guessed by the names: look whether it is right.")
        columns = await columns_in(self._visit, draft["input"])
        samples = await first_row(self._visit, draft["input"])
        mapping(draft["task"], columns, draft["mapping"], need_label=False, samples=samples)
        main = MAIN.get(draft["task"], ())
        named = {setting.name for setting in main}
        rest = {name: value for name, value in draft["parameters"].items() if name not in named}
        values = {**draft["parameters"], "others": rest or None}
        with section("Parameters", "What is left empty is as the model has it."):
            self._inputs = SettingInputs([*main, OTHERS], values, lambda: None)

    async def _check_columns(self) -> None:
        check_columns(self._draft["task"], self._draft["mapping"], need_label=False)
        assert self._inputs is not None
        values = self._inputs.values()
        others = values.pop("others", {})
        if not isinstance(others, dict):
            raise Refused("The other parameters are no object.", hint='Write them as in {"max_length": 64}.')
        self._draft["parameters"] = {**others, **values}
        fill_output(self._draft)

    # --- output and device ---

    async def _build_output(self) -> None:
        draft = self._draft
        output = ui.input("File of scored rows", value=draft["output"]).props("outlined dense").classes("bp-field")
        output.on_value_change(lambda event: draft.update(output=str(event.value or "").strip(), is_proposed=False))
        hint(f"Its ending tells the format: {', '.join('.' + name for name in FORMATS)}.")
        most = ui.number("Bad rows that are allowed (empty: any number)", value=draft["error_threshold"], min=0)
        most.props("outlined dense").classes("bp-field")
        most.on_value_change(
            lambda event: draft.update(error_threshold=None if event.value is None else int(event.value))
        )
        hint(free_text(await self._ws.compute()))
        device = ui.select(DEVICES, label="Device", value=draft["device"]).props("outlined dense").classes("bp-field")
        device.on_value_change(lambda event: draft.update(device=event.value))

    async def _check_output(self) -> None:
        format_of(self._draft["output"])
        await self._plan()

    # --- review ---

    async def _build_review(self) -> None:
        plan = await self._plan()
        spec, demand = plan["spec"], plan["demand"]
        rows = (await self._ws.datasets.get(self._draft["input"])).rows
        facts(
            [
                ("Model", spec["model"]),
                ("Task", TASKS[spec["task"]].title),
                ("Rows", f"{rows:,} of {self._draft['input']}"),
                ("Output", spec["output"]),
                ("Device", spec["device"]),
                ("Memory", f"about {size_text(demand['memory_bytes'])}"),
            ]
        )
        html.h3("The same as code")
        how(self._asked, self._visit.origin)

    async def _send(self) -> None:
        job = await self._ws.submit("batch", self._asked.given, client_key=self._draft.get("key"))
        go("batch", "jobs", job.id)

    async def _plan(self) -> dict[str, Any]:
        """The job as it would be queued. Raises what the server would refuse it for."""
        return await self._ws.plan("batch", self._asked.given)
