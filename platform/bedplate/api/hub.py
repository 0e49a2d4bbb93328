"""The registry as a Hub, below /hub: who may read it, and how the Hub's clients are told that they may not."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from bedplate.api.access import Caller, Unauthorized, find_caller
from bedplate.api.problems import problem_of
from bedplate.sessions import SCHEME_HEADER
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError
from bedplate_registry.huberrors import error_headers
from bedplate_registry.hubregistry import RegistryDatasets, RegistryModels
from bedplate_registry.hubserver import create_hub_app
from bedplate_serving.asgi import App, Receive, Scope, Send
from bedplate_serving.handover import handing_over

__all__ = ["hub_of"]

WRONG_KEY = "Invalid credentials in Authorization header"  # by these words a client tells it from what is not there


def hub_of(workspace: Workspace) -> App:
    """The application to mount: any caller may read it, as he may the routes beside it."""
    models, datasets = RegistryModels(workspace.registry), RegistryDatasets(workspace.registry)
    return _Guarded(create_hub_app(models, datasets, who=_name_of), workspace)


def _name_of(request: Request) -> str:
    caller: Caller = request.state.caller
    return caller.name


class _Guarded:
    policy = "read"

    def __init__(self, app: App, workspace: Workspace) -> None:
        self._app, self._workspace = app, workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # a mount takes websockets too
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            caller = await asyncio.to_thread(find_caller, self._workspace, scope)
            caller.require(self.policy)
        except BedplateError as exc:
            await _refuse(exc, scope, receive, send)
            return
        scope["state"]["caller"] = caller
        # Links to the next page are whole addresses: as the caller reached the gateway.
        scheme = dict(scope["headers"]).get(SCHEME_HEADER.encode(), b"http").decode("latin-1")
        scope, send = handing_over(scope, send)
        await self._app({**scope, "scheme": scheme}, receive, send)


async def _refuse(error: BedplateError, scope: Scope, receive: Receive, send: Send) -> None:
    """With the headers that the clients read. Without a key there is nothing to be seen, as on the Hub."""
    answer, message = problem_of(error, scope), f"{error.message} {error.hint}".strip()
    if not isinstance(error, Unauthorized):
        headers = error_headers("GatedRepo", message)
    elif b"authorization" in dict(scope["headers"]):
        headers = error_headers("", WRONG_KEY)
    else:
        headers = error_headers("RepoNotFound", message)
    answer.headers.update(headers)
    await answer(scope, receive, send)
