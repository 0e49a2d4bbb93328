"""The wizard that deploys a model: which, to what kind of endpoint, how often, with which share of the traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import html, ui

from bedplate.studio.asked import Asked
from bedplate.studio.frame import page
from bedplate.studio.parts import notices
from bedplate.studio.parts.deploy_draft import (
    asked_of,
    blank,
    propose,
    propose_deployment,
    target,
)
from bedplate.studio.parts.deployments import MOST_INSTANCES
from bedplate.studio.parts.device_form import DEVICES
from bedplate.studio.parts.dialogs import show_once
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.forecast import free_text
from bedplate.studio.parts.headings import title
from bedplate.studio.parts.how import how
from bedplate.studio.parts.license_asked import check_not_denied, is_asked_for
from bedplate.studio.parts.model_choice import model_choice
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.wizard import Step, wizard
from bedplate.studio.paths import go
from bedplate.studio.visit import Visit
from bedplate_registry.errors import Conflict, Forbidden, Refused
from bedplate_registry.licenses import license_id
from bedplate_registry.sizes import size_text
from bedplate_registry.tasks import TASKS

KINDS = {"real-time": "Real-time: answers over HTTP at once", "batch": "Batch: scores files, when they come"}


@page("/deploy", "Deploy", section="Endpoints")
async def deploy(visit: Visit, model: str = "", endpoint: str = "") -> None:
    """`model` is filled in, and `endpoint`, which another deployment is added to."""
    if not visit.may("operate"):
        raise Forbidden(f"The role {visit.role!r} deploys nothing.", hint="Ask an admin for the role 'operator'.")
    name = f"deploy {model} {endpoint}"
    draft = {**blank(model, endpoint), **visit.drafts.read(name)}
    with title("Deploy", "A model answers at an endpoint. It gets traffic once it has answered a first call."):
        pass
    await _Deploy(visit, name, draft).show()


class _Deploy:
    def __init__(self, visit: Visit, name: str, draft: dict[str, Any]) -> None:
        self._visit, self._ws, self._name, self._draft = visit, visit.ws, name, draft
        self._there: dict[str, Mapping[str, Any]] = {}  # the endpoints of both kinds, by name

    async def show(self) -> None:
        steps = (
            Step("Model", self._build_model, self._check_model),
            Step("Endpoint", self._build_endpoint, self._check_endpoint),
            Step("Review", self._build_review),
        )
        await wizard(steps, self._draft, drafts=self._visit.drafts, name=self._name, done="Deploy", send=self._send)

    @property
    def _asked(self) -> Asked:
        return asked_of(self._draft, self._there.get(self._draft["name"]))

    async def _look(self) -> None:
        """At the endpoints as they are now."""
        self._there = {one.name: one.data for one in await self._ws.endpoints.list()}
        self._there |= {one.name: one.data for one in await self._ws.batch_endpoints.list()}

    # --- the model ---

    async def _build_model(self) -> None:
        await model_choice(self._visit, self._draft, "model", "Model", only=lambda model: bool(model["task"]))
        hint("A base has no head to answer with, so it is not offered: fine-tune it first.")
        kind = ui.radio(KINDS, value=self._draft["kind"])
        kind.on_value_change(lambda event: self._draft.update(kind=event.value))

    async def _check_model(self) -> None:
        draft = self._draft
        if not draft["model"]:
            raise Refused("No model is chosen.", hint="Choose the version to deploy.")
        model = await self._ws.models.get(draft["model"])
        draft["model"] = model.ref
        if not model.task:
            raise Conflict(f"{model.ref} is a base and has no head to answer with.", hint="Fine-tune it first.")
        await check_not_denied(self._visit, model)
        if draft["accepted_for"] != model.ref:  # what was accepted is another model's license
            draft.update(accept_license=False, accepted_for=model.ref)
        await self._look()
        propose(draft, model.data, self._there)

    # --- the endpoint ---

    async def _build_endpoint(self) -> None:
        draft = self._draft
        await self._look()
        model = await self._ws.models.get(draft["model"])
        name = self._text("name", "Name of the endpoint, of lower-case letters, digits and dashes")
        there = [name for name, one in self._there.items() if one["kind"] == draft["kind"]]
        if there:
            hint(f"Here are: {', '.join(there[:20])}. The name of one of them adds a deployment to it.")
        deployment = self._text("deployment", "Name of the deployment")

        def follow() -> None:
            propose_deployment(draft, model.data, self._there)
            deployment.value = draft["deployment"]

        name.on_value_change(follow)
        self._number("traffic", "Its share of the traffic in percent; as usual where empty", 0, 100)
        if draft["kind"] == "real-time":
            self._number("instances", "Instances", 1, MOST_INSTANCES)
            hint(free_text(await self._ws.compute()))
            device = ui.select(DEVICES, label="Device", value=draft["device"]).props("outlined dense")
            device.classes("bp-field").on_value_change(lambda event: draft.update(device=event.value))
            self._number("gpu_memory_gb", "GiB of a GPU for each instance; reckoned where empty", 1, 10_000)
        if await is_asked_for(self._visit, model):
            hint(f"The policy of this server asks for the license of {model.ref} to be accepted by name.")
            box = ui.checkbox(f"I have read the license {license_id(model.license)} and accept it.")
            box.set_value(draft["accept_license"])
            box.on_value_change(lambda event: draft.update(accept_license=event.value))

    def _text(self, key: str, label: str) -> ui.input:
        """Its value is proposed until it is written over."""

        def take(event: Any) -> None:
            typed = (event.value or "").strip()
            if typed != self._draft[key]:
                self._draft.update({key: typed, f"is_{key}_proposed": not typed})

        field = ui.input(label, value=self._draft[key] or "").props("outlined dense debounce=250").classes("bp-field")
        field.on_value_change(take)
        return field

    def _number(self, key: str, label: str, low: int, high: int) -> None:
        def take(event: Any) -> None:
            empty = 1 if key == "instances" else None
            self._draft[key] = empty if event.value is None else int(event.value)

        field = ui.number(label, value=self._draft[key], min=low, max=high, precision=0, on_change=take)
        field.props("outlined dense").classes("bp-field")

    async def _check_endpoint(self) -> None:
        draft = self._draft
        model = await self._ws.models.get(draft["model"])
        if not draft["accept_license"] and await is_asked_for(self._visit, model):
            raise Refused(
                f"The license {license_id(model.license)} of {model.ref} is not accepted.",
                hint="Read it on the model's page, and say here that you accept it.",
            )
        await self._look()
        await self._plan()

    async def _plan(self) -> Mapping[str, Any]:
        """What would come of it; an error where the server would refuse it."""
        asked = self._asked
        return await self._ws.connection.post(asked.form.route, asked.rest(), dry_run=True)

    # --- review ---

    async def _build_review(self) -> None:
        draft = self._draft
        await self._look()
        model = await self._ws.models.get(draft["model"])
        there, plan = self._there.get(draft["name"]), await self._plan()
        is_batch = draft["kind"] == "batch"
        facts(
            [
                ("Model", model.ref),
                ("Task", TASKS[str(model.task)].title),
                ("Endpoint", target(draft, there)),
                ("Deployment", draft["deployment"]),
                ("Traffic now", _shares({row["name"]: row["traffic"] for row in (there or {}).get("deployments", ())})),
                ("Traffic then", _shares(plan["traffic"])),
                *([] if is_batch else self._machine(plan)),
                ("Key", None if there or is_batch else "one is made now, and shown this once"),
            ]
        )
        html.h3("The same as code")
        how(self._asked, self._visit.origin)

    def _machine(self, plan: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """What its instances take of the machine."""
        demand = plan["demand"]
        rows = [("Instances", plan["instances"]), ("Device", "CPU" if plan["device"] == "cpu" else "GPU")]
        if demand["gpus"]:
            on_card = demand["gpu_memory_bytes"]
            rows.append(("GPU memory of each", "a whole card" if on_card is None else f"about {size_text(on_card)}"))
        return [*rows, ("Memory of each", f"about {size_text(demand['memory_bytes'])}")]

    async def _send(self) -> None:
        asked = self._asked
        made = await self._ws.connection.post(asked.form.route, asked.rest())
        self._visit.drafts.drop(self._name)  # it is done, whether the key below is taken or the page is left
        name = str(made["name"])
        if made.get("key"):
            await show_once(f"The key of {name}", made["key"])
        notices.toast(f"{name} is on its way.")
        go("endpoints", *([name] if self._draft["kind"] == "real-time" else []))


def _shares(traffic: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {share} %" for name, share in traffic.items())
