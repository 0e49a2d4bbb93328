"""The wizard that deploys a model: which, to what kind of endpoint, how often, with which share of the traffic."""

from __future__ import annotations

import re
from typing import Any

from nicegui import html, ui

from bedplate.studio.asked import Asked
from bedplate.studio.frame import page
from bedplate.studio.parts import notices
from bedplate.studio.parts.dialogs import show_once
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.forecast import free_text
from bedplate.studio.parts.headings import title
from bedplate.studio.parts.how import how
from bedplate.studio.parts.model_choice import model_choice
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.wizard import Step, wizard
from bedplate.studio.paths import go
from bedplate.studio.visit import Visit
from bedplate_registry.errors import Conflict, Forbidden, Refused
from bedplate_registry.sizes import size_text
from bedplate_registry.tasks import TASKS

KINDS = {"real-time": "Real-time: answers over HTTP at once", "batch": "Batch: scores files, when they come"}
DEVICES = {"auto": "auto: a GPU where there is one, else the CPU", "cpu": "CPU", "cuda": "GPU"}
NAME = re.compile(r"[a-z][a-z0-9-]{1,30}[a-z0-9]")
ONLY_REAL_TIME = ("instances", "device", "gpu_memory_gb")


@page("/deploy", "Deploy", section="Endpoints")
async def deploy(visit: Visit, model: str = "", endpoint: str = "") -> None:
    """`model` is filled in, and `endpoint`, which another deployment is added to."""
    if not visit.may("operate"):
        raise Forbidden(f"The role {visit.role!r} deploys nothing.", hint="Ask an admin for the role 'operator'.")
    name = f"deploy {model} {endpoint}"
    draft = visit.drafts.read(name) or _blank(model, endpoint)
    with title("Deploy", "A model answers at an endpoint. It gets traffic once it has answered a first call."):
        pass
    await _Deploy(visit, name, draft).show()


def _blank(model: str, endpoint: str) -> dict[str, Any]:
    draft: dict[str, Any] = {"model": model or None, "kind": "real-time", "name": endpoint, "deployment": "main"}
    return {**draft, "instances": 1, "traffic": None, "device": "auto", "gpu_memory_gb": None, "accept_license": False}


class _Deploy:
    def __init__(self, visit: Visit, name: str, draft: dict[str, Any]) -> None:
        self._visit, self._ws, self._name, self._draft = visit, visit.ws, name, draft

    async def show(self) -> None:
        steps = (
            Step("Model", self._build_model, self._check_model),
            Step("Endpoint", self._build_endpoint, self._check_endpoint),
            Step("Review", self._build_review),
        )
        await wizard(steps, self._draft, drafts=self._visit.drafts, name=self._name, done="Deploy", send=self._send)

    @property
    def _asked(self) -> Asked:
        """Without what is as usual, and for a batch endpoint without what it has not."""
        is_batch = self._draft["kind"] == "batch"
        usual = _blank("", "")
        given = {name: self._draft[name] for name in ("model", "name")}
        for name in ("deployment", "instances", "traffic", "device", "gpu_memory_gb", "accept_license"):
            if self._draft[name] != usual[name] and not (is_batch and name in ONLY_REAL_TIME):
                given[name] = self._draft[name]
        return Asked("deploy-batch" if is_batch else "deploy", given)

    # --- the model ---

    async def _build_model(self) -> None:
        await model_choice(self._visit, self._draft, "model", "Model", only=lambda model: bool(model["task"]))
        hint("A base has no head to answer with, so it is not offered: fine-tune it first.")
        kind = ui.radio(KINDS, value=self._draft["kind"])
        kind.on_value_change(lambda event: self._draft.update(kind=event.value))

    async def _check_model(self) -> None:
        if not self._draft["model"]:
            raise Refused("No model is chosen.", hint="Choose the version to deploy.")
        model = await self._ws.models.get(self._draft["model"])
        self._draft["model"] = model.ref
        if not model.task:
            raise Conflict(f"{model.ref} is a base and has no head to answer with.", hint="Fine-tune it first.")
        if not self._draft["name"]:
            short = re.sub(r"[^a-z0-9]+", "-", model.ref.rpartition("/")[2].partition(":")[0].lower()).strip("-")
            self._draft["name"] = (short if short[:1].isalpha() else f"model-{short}")[:32].rstrip("-")

    # --- the endpoint ---

    async def _build_endpoint(self) -> None:
        draft = self._draft
        self._text("name", "Name of the endpoint, of lower-case letters, digits and dashes")
        there = [one.name for one in await self._endpoints()]
        if there:
            hint(f"Here are: {', '.join(there[:20])}. The name of one of them adds a deployment to it.")
        self._text("deployment", "Name of the deployment")
        self._number("traffic", "Its share of the traffic in percent; as usual where empty", 0, 100)
        if draft["kind"] == "real-time":
            self._number("instances", "Instances", 1, 64)
            hint(free_text(await self._ws.compute()))
            device = ui.select(DEVICES, label="Device", value=draft["device"]).props("outlined dense")
            device.classes("bp-field").on_value_change(lambda event: draft.update(device=event.value))
            self._number("gpu_memory_gb", "GiB of a GPU for each instance; reckoned where empty", 1, 10_000)
        license = (await self._ws.models.get(draft["model"])).license or "of this model, which is unknown,"
        box = ui.checkbox(f"I accept the license {license}, where this server asks for that.")
        box.set_value(draft["accept_license"])
        box.on_value_change(lambda event: draft.update(accept_license=event.value))

    async def _endpoints(self) -> list[Any]:
        is_batch = self._draft["kind"] == "batch"
        return list(await (self._ws.batch_endpoints if is_batch else self._ws.endpoints).list())

    def _text(self, key: str, label: str) -> None:
        field = ui.input(label, value=self._draft[key] or "").props("outlined dense").classes("bp-field")
        field.on_value_change(lambda event: self._draft.update({key: (event.value or "").strip()}))

    def _number(self, key: str, label: str, low: int, high: int) -> None:
        def take(event: Any) -> None:
            empty = 1 if key == "instances" else None
            self._draft[key] = empty if event.value is None else int(event.value)

        field = ui.number(label, value=self._draft[key], min=low, max=high, precision=0, on_change=take)
        field.props("outlined dense").classes("bp-field")

    async def _check_endpoint(self) -> None:
        for key in ("name", "deployment"):
            if not NAME.fullmatch(self._draft[key]):
                raise Refused(
                    f"{self._draft[key]!r} is not accepted as a name.",
                    hint="3 to 32 lower-case letters, digits and dashes, the first a letter.",
                )

    # --- review ---

    async def _build_review(self) -> None:
        draft = self._draft
        model = await self._ws.models.get(draft["model"])
        there = {one.name: one for one in await self._endpoints()}.get(draft["name"])
        memory = (await model.estimates())["estimates"]["serve_cpu"]["size_bytes"]
        is_batch = draft["kind"] == "batch"
        facts(
            [
                ("Model", model.ref),
                ("Task", TASKS[str(model.task)].title),
                ("Endpoint", f"{draft['name']} ({'has other deployments' if there else 'is made'})"),
                (
                    "Traffic now",
                    ", ".join(f"{name} {share} %" for name, share in there.traffic.items()) if there else "",
                ),
                ("Traffic then", self._share(there)),
                ("Instances", None if is_batch else draft["instances"]),
                ("Memory of each", None if is_batch else f"about {size_text(memory)} on a CPU"),
                ("Key", None if there or is_batch else "two are made; the first is shown once"),
            ]
        )
        html.h3("The same by other ways")
        how(self._asked, self._visit.origin)

    def _share(self, there: Any) -> str:
        if self._draft["traffic"] is not None:
            return f"{self._draft['traffic']} % for this one; the others share the rest"
        return "all of it" if there is None else "as it is, until it is shared anew on the endpoint's page"

    async def _send(self) -> None:
        asked = self._asked
        made = await self._ws.connection.post(asked.form.route, asked.rest())
        name = str(made["name"])
        if made.get("key"):
            await show_once(f"The key of {name}", made["key"])
        notices.toast(f"{name} is on its way.")
        go("endpoints", name)
