"""Real-time endpoints: models that answer over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bedplate.console import endpoint_progress
from bedplate.records import Record
from bedplate.remote.keys import Key
from bedplate.remote.seam import sleep
from bedplate.tables import Table
from bedplate.wire import given, url_path
from bedplate_registry.errors import BedplateError

if TYPE_CHECKING:
    from bedplate.remote.workspace import RemoteWorkspace

__all__ = ["Endpoint", "Endpoints"]

POLL_SECONDS = 0.25
# Where the answer to one input is a list that holds it.
IN_A_LIST = ("text-classification", "summarization", "translation", "text-generation")


class Endpoint(Record):
    """A real-time endpoint. `key` is the primary key of one that was just made, which a server shows once."""

    SHOWN = ("name", "state", "task", "traffic", "url", "waiting")
    _ws: RemoteWorkspace

    def __init__(self, workspace: RemoteWorkspace, data: Mapping[str, Any]) -> None:
        super().__init__(workspace, data)
        self.key: str | None = data.get("key")

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def url(self) -> str:
        """Where it answers."""
        return str(self.data["url"])

    @property
    def state(self) -> str:
        """ready, starting, failed, or empty where it has no deployment."""
        return str(self.data["state"])

    @property
    def task(self) -> str:
        return str(self.data["task"])

    @property
    def deployments(self) -> list[dict[str, Any]]:
        """The versions behind it: name, model, traffic, instances, ready, device and so on."""
        return list(self.data["deployments"])

    @property
    def traffic(self) -> dict[str, int]:
        """The share of each deployment, in percent."""
        return {row["name"]: row["traffic"] for row in self.deployments}

    @property
    def samples(self) -> dict[str, dict[str, Any]]:
        """{deployment: {"request", "answer"}}: what each was tried with before it got traffic, and what it said."""
        return {row["name"]: row["sample"] for row in self.deployments if row.get("sample")}

    @property
    def waiting(self) -> str | None:
        """What replicas that are not there wait for, such as a GPU, and who holds it."""
        rows = [(row["name"], row["waiting"]) for row in self.deployments if row["waiting"]]
        return "; ".join(f"{name} waits for {what}" for name, what in rows) or None

    def refresh(self) -> Endpoint:
        """Look again."""
        self.data = self._ws.connection.get(url_path("endpoints", self.name))
        return self

    def wait(self, *, watch: Callable[[Endpoint], None] | None = None, timeout_seconds: float = 600.0) -> Endpoint:
        """Until all instances answer. Raises BedplateError with the replica's last lines where they do not start.

        `watch` is called with the endpoint at every look; without it a terminal or a notebook shows how far it is.
        Raises TimeoutError, which tells what it waits for.
        """
        watch = watch or endpoint_progress()
        deadline = time.monotonic() + timeout_seconds
        while self.refresh().state != "ready":
            if watch:
                watch(self)
            self._raise_failure()
            if time.monotonic() > deadline:
                why = f": {self.waiting}" if self.waiting else ""
                raise TimeoutError(f"Endpoint {self.name} is still {self.state} after {timeout_seconds} s{why}.")
            sleep(POLL_SECONDS)
        if watch:
            watch(self)
        return self

    def _raise_failure(self) -> None:
        for deployment in self.deployments:
            error = deployment["error"]
            if error and error.get("starts", 0) >= 3:
                raise BedplateError(error["message"], hint=error["hint"], code=error["code"])

    def score(self, inputs: Any, **parameters: Any) -> Any:
        """The answer for one input, or a list of answers for a list of inputs; an image is its bytes."""
        body = {"inputs": inputs, "parameters": parameters}
        answer = self._ws.connection.score(self.url, body, key=self.key)
        is_wrapped = self.task in IN_A_LIST and not isinstance(inputs, list) and len(answer) == 1
        return answer[0] if is_wrapped else answer

    def update(
        self,
        *,
        traffic: Mapping[str, int] | None = None,
        instances: Mapping[str, int] | None = None,
        unless_changed: bool = False,
    ) -> Endpoint:
        """Share the traffic anew, {deployment: percent} adding up to 100, or the number of replicas of deployments.

        `unless_changed` raises Changed where somebody else changed the endpoint since this object looked.
        """
        body = given({"traffic": traffic, "instances": instances})
        tag = f'"{self.data["revision"]}"' if unless_changed else None
        self.data = self._ws.connection.change("PATCH", url_path("endpoints", self.name), body, tag=tag)
        return self

    def remove_deployment(self, deployment: str) -> Endpoint:
        """Delete one deployment, which holds no traffic any more, and its replicas."""
        self._ws.connection.delete(url_path("endpoints", self.name, "deployments", deployment))
        return self.refresh()

    def keys(self) -> Table[Key]:
        """Its two keys, `primary` and `secondary`, without their texts."""
        found = self._ws.connection.items(url_path("endpoints", self.name, "keys"))
        return Table(Key(self._ws, item) for item in found)

    def rotate_key(self, slot: str) -> Key:
        """A new key in the slot `primary` or `secondary`, whose `text` is shown this once. The old one ends at once.

        Where this object scores by its own `key` and that is the one that ends, it goes on with the new one.
        """
        path = url_path("endpoints", self.name, "keys", slot, "rotate")
        made = Key(self._ws, self._ws.connection.post(path))
        if slot == "primary" and self.key is not None:
            self.key = made.text
        return made

    def logs(self, tail: int = 200) -> str:
        """The last lines of its replicas, deployment by deployment."""
        return self._ws.connection.text(url_path("endpoints", self.name, "logs"), tail=tail)

    def delete(self) -> None:
        """Delete it with its deployments and keys. The models stay."""
        self._ws.connection.delete(url_path("endpoints", self.name))

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r}, {self.state!r}, url={self.url!r})"


class Endpoints:
    """`ws.endpoints`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    def list(self) -> Table[Endpoint]:
        """All real-time endpoints."""
        return Table(Endpoint(self._ws, item) for item in self._ws.connection.items(url_path("endpoints")))

    def get(self, name: str) -> Endpoint:
        """An endpoint by name. Raises NotFound."""
        return Endpoint(self._ws, self._ws.connection.get(url_path("endpoints", name)))
