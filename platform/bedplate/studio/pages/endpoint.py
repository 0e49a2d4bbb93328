"""One endpoint: how it is doing, what is behind it, a console to try it, its keys, its figures and its log."""

from __future__ import annotations

from nicegui import html, ui

from bedplate.aio.endpoints import Endpoint
from bedplate.studio.frame import page
from bedplate.studio.parts.deployments import Deployments
from bedplate.studio.parts.dialogs import confirm
from bedplate.studio.parts.endpoint_keys import endpoint_keys
from bedplate.studio.parts.endpoint_pace import EndpointPace
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.headings import action, section, title
from bedplate.studio.parts.live import every, later
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.states import state
from bedplate.studio.parts.tables import when
from bedplate.studio.parts.try_it import try_it
from bedplate.studio.paths import go, place
from bedplate.studio.visit import Visit
from bedplate_registry.tasks import get_task
from bedplate_serving.log_lines import readable

LOOK_SECONDS = 2.0
TAILS = {50: "50 lines", 200: "200 lines", 1000: "1,000 lines", 10_000: "10,000 lines"}


@page("/endpoints/{name}", "Endpoint {name}", section="Endpoints")
async def endpoint(visit: Visit, name: str) -> None:
    """What changes by itself is asked for every two seconds."""
    found = await visit.ws.endpoints.get(name)
    why_not = "" if visit.may("operate") else f"your role, {visit.role}, may not change endpoints"
    with title(name, f"{get_task(found.task).title}, real-time"):
        action("Add a deployment", place("deploy", endpoint=name), why_not=why_not)
        action("Delete", lambda: _delete(found), danger=True, why_not=why_not)
    head = _Head(visit, found)
    with section("Try it"):
        later(lambda: try_it(visit, found.task, [name]))
    with section("Deployments"):
        deployments = Deployments(visit, found)
    with section("Requests"):
        pace = EndpointPace(visit, name)
    with section("Addresses", "Each of them needs a key, as Authorization: Bearer KEY."):
        facts(_addresses(found, visit.origin))
    with section("Keys", "They score at this endpoint and open nothing else."):
        later(lambda: endpoint_keys(visit, found))
    with section("Log"):
        later(lambda: _log(found))

    async def look() -> bool:
        fresh = await visit.ws.endpoints.get(name)
        head.look(fresh)
        deployments.look(fresh)
        await pace.look()
        return False

    every(LOOK_SECONDS, look)


class _Head:
    """Its state, and for what it waits."""

    def __init__(self, visit: Visit, endpoint: Endpoint) -> None:
        with html.div(role="status").classes("bp-row bp-status"):
            self._state = html.div()
            self._waiting = hint("")
        facts(
            [
                ("URL", f"{visit.origin}/endpoints/{endpoint.name}"),
                ("Owner", endpoint.data["owner"]),
                ("Created", when(endpoint.data["created"])),
            ]
        )
        self._shown = ""
        self.look(endpoint)

    def look(self, endpoint: Endpoint) -> None:
        if endpoint.state != self._shown:
            self._shown = endpoint.state
            self._state.clear()
            with self._state:
                state(endpoint.state)
        self._waiting.text = endpoint.waiting or ""


def _addresses(endpoint: Endpoint, origin: str) -> list[tuple[str, str]]:
    """Each dialect's, as docs/scoring.md tells them."""
    url = f"{origin}/endpoints/{endpoint.name}"
    writes = [("OpenAI", f"{url}/v1")] if endpoint.task == "text-generation" else []
    return [
        ("Hub (InferenceClient, curl)", url),
        ("Azure ML", f"{url}/score"),
        *writes,
        ("Open Inference Protocol", f"{url}/v2/models/{endpoint.name}/infer"),
        ("OpenAPI of this endpoint", f"{url}/openapi.json"),
        ("Health", f"{url}/health"),
    ]


async def _log(endpoint: Endpoint) -> None:
    """The last lines of each deployment; those that come are asked for by a button."""
    with html.div().classes("bp-filters"):
        tail = ui.select(TAILS, value=200, label="Of each deployment").props("outlined dense")
        action("Look again", lambda: show())
    box = html.pre(role="log", tabindex="0", **{"aria-label": "Log"}).classes("bp-log")

    async def show() -> None:
        lines = (await endpoint.logs(tail=tail.value)).splitlines()
        box.clear()
        with box:
            html.span("\n".join(readable(line) for line in lines) or "Nothing was printed yet.")
        ui.run_javascript(f"const e = getHtmlElement({box.id}); if (e) e.scrollTop = e.scrollHeight;")

    tail.on_value_change(show)
    await show()


async def _delete(endpoint: Endpoint) -> None:
    question = f"Delete {endpoint.name}? Its deployments end and its keys with them; the models stay."
    if await confirm(question, button="Delete it", type_in=endpoint.name):
        await endpoint.delete()
        go("endpoints")
