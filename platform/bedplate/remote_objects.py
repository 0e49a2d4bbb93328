"""What a workspace hands out: models, reports, jobs and endpoints of the server, as objects."""

from __future__ import annotations

import codecs
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import httpx

from bedplate.caller import writable
from bedplate.connection import answer_of, json_bytes, model_path, url_path
from bedplate.console import Progress
from bedplate_registry.errors import BedplateError, Conflict

if TYPE_CHECKING:
    from bedplate.client import RemoteWorkspace

__all__ = ["Endpoint", "Job", "Model", "Report"]

POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Model:
    """A version of a model in the registry. `data` is all that REST tells of it."""

    ref: str
    data: dict[str, Any] = field(repr=False)
    _ws: RemoteWorkspace = field(repr=False, compare=False)

    @property
    def task(self) -> str | None:
        task: str | None = self.data["task"]
        return task

    def card(self) -> str:
        return self._ws.connection.request("GET", model_path(self.ref, "card")).text


@dataclass(frozen=True)
class Report:
    """An evaluation. `metrics` by the names of the docs; `data` is all of it."""

    id: str
    data: dict[str, Any] = field(repr=False)

    @property
    def metrics(self) -> dict[str, float]:
        metrics: dict[str, float] = self.data["metrics"]
        return metrics


class Job:
    """A job on the server. `data` is what REST told at the last look."""

    def __init__(self, workspace: RemoteWorkspace, data: dict[str, Any]) -> None:
        self._ws, self.data = workspace, data
        self._output: Path | None = None

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def state(self) -> str:
        return str(self.data["state"])

    @property
    def is_final(self) -> bool:
        return bool(self.data["is_final"])

    @property
    def position(self) -> int | None:
        """Its place in line, from 1, while it is queued."""
        position: int | None = self.data["position"]
        return position

    @property
    def waiting(self) -> str | None:
        """What it waits for, and its place in line, while it is queued."""
        waiting: str | None = self.data["waiting"]
        return waiting

    def refresh(self) -> Job:
        self.data = self._ws.connection.get(url_path("jobs", self.id))
        return self

    def wait(self, *, watch: Callable[[Job], None] | None = None, timeout_seconds: float | None = None) -> Job:
        """Until the job has ended; the output of a batch job is then at its path. Raises what the job failed with.

        `watch` is called with the job at every look; without it a terminal shows a progress bar. Raises TimeoutError.
        """
        if watch is None and sys.stderr.isatty():
            watch = Progress()
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not self.refresh().is_final:
            if watch:
                watch(self)
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"Job {self.id} is still {self.state} after {timeout_seconds} s.")
            time.sleep(POLL_SECONDS)
        if watch:
            watch(self)
        self._raise_failure()
        if self._output is not None:
            self.fetch_output(self._output)
        return self

    def fetch_output(self, output: str | Path) -> Path:
        """Write the rows of a batch job that has ended to a file of the caller's."""
        name = (self.data.get("spec") or {}).get("output")
        if self.data.get("kind") != "batch" or not name:
            raise Conflict(
                f"Job {self.id} is no batch job: it has no rows.", hint="See: bedplate jobs list --kind batch"
            )
        target = writable(output)
        self._ws.connection.download(url_path("jobs", self.id, "outputs", name), target)
        return target

    def _raise_failure(self) -> None:
        if self.state == "failed":
            error = self.data["error"]
            raise BedplateError(error["message"], hint=error.get("hint", ""), code=error.get("code"))
        if self.state == "cancelled":
            raise Conflict(f"Job {self.id} was cancelled.", hint=f"Go on with: bedplate jobs resume {self.id}")

    def cancel(self) -> Job:
        return self._post("cancel")

    def resume(self) -> Job:
        """Queue it again after it failed or was cancelled; it goes on from its last complete checkpoint."""
        return self._post("resume")

    def retry(self) -> Job:
        """Queue it again after it failed or was cancelled; it starts over."""
        return self._post("retry")

    def archive(self, *, archived: bool = True) -> Job:
        """Hide it from lists once it has ended, or show it again."""
        return self._post("archive", {"archived": archived})

    def rerun(self, *, client_key: str | None = None) -> Job:
        """Another job like this one: the same data, versions and settings. Its rows: `fetch_output`."""
        headers = {"Idempotency-Key": client_key} if client_key else {}
        return Job(self._ws, self._ws.connection.post(url_path("jobs", self.id, "rerun"), headers=headers))

    def _post(self, what: str, body: Mapping[str, Any] | None = None) -> Job:
        self.data = self._ws.connection.post(url_path("jobs", self.id, what), body)
        return self

    def metrics(self) -> list[dict[str, Any]]:
        return self._ws.connection.items(url_path("jobs", self.id, "metrics"))

    @overload
    def logs(self, tail: int = 200, *, follow: Literal[False] = False) -> str: ...
    @overload
    def logs(self, tail: int = 200, *, follow: Literal[True]) -> Iterator[str]: ...
    def logs(self, tail: int = 200, *, follow: bool = False) -> str | Iterator[str]:
        """The last lines of what its worker printed; with `follow` also each one that comes, until it has ended."""
        path = url_path("jobs", self.id, "log")
        if follow:
            return _lines(self._ws.connection.follow(path, tail=tail, follow=True))
        return self._ws.connection.request("GET", path, params={"tail": tail}).text

    @property
    def result(self) -> dict[str, Any]:
        return dict(self.data.get("result") or {})

    @property
    def model(self) -> Model:
        """The model that the job registered. Raises Conflict where it registered none."""
        return self._ws.models.get(self._made("model"))

    def _made(self, what: str) -> str:
        name = self.result.get(what)
        if not name:
            raise Conflict(
                f"Job {self.id} ({self.data['kind']}, {self.state}) has left no {what}.",
                hint="The trials of a sweep register nothing: its best model is the sweep's."
                if self.data.get("parent")
                else f"See what it did with: bedplate jobs show {self.id}",
            )
        return str(name)

    @property
    def report(self) -> Report:
        """The evaluation of an evaluate job, or the test report of a fine-tune. Raises Conflict where there is none."""
        evaluation = self._made("evaluation")
        return Report(evaluation, self._ws.connection.get(url_path("evaluations", evaluation)))

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self.state!r})"


class Endpoint:
    """A real-time endpoint."""

    def __init__(self, workspace: RemoteWorkspace, data: dict[str, Any]) -> None:
        self._ws, self.data = workspace, data
        self.key: str | None = data.get("key")

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def url(self) -> str:
        return str(self.data["url"])

    @property
    def state(self) -> str:
        return str(self.data["state"])

    def refresh(self) -> Endpoint:
        self.data = self._ws.connection.get(url_path("endpoints", self.name))
        return self

    @property
    def waiting(self) -> str | None:
        """What replicas that are not there wait for, such as a GPU, and who holds it."""
        rows = [(row["name"], row["waiting"]) for row in self.data["deployments"] if row["waiting"]]
        return "; ".join(f"{name} waits for {what}" for name, what in rows) or None

    def wait(self, *, watch: Callable[[Endpoint], None] | None = None, timeout_seconds: float = 600.0) -> Endpoint:
        """Until all instances answer. Raises BedplateError with the replica's last lines where they do not start.

        `watch` is called with the endpoint at every look. Raises TimeoutError, which tells what it waits for.
        """
        deadline = time.monotonic() + timeout_seconds
        while self.refresh().state != "ready":
            if watch:
                watch(self)
            for deployment in self.data["deployments"]:
                error = deployment["error"]
                if error and error.get("starts", 0) >= 3:
                    raise BedplateError(error["message"], hint=error["hint"], code=error["code"])
            if time.monotonic() > deadline:
                why = f": {self.waiting}" if self.waiting else ""
                raise TimeoutError(f"Endpoint {self.name} is still {self.state} after {timeout_seconds} s{why}.")
            time.sleep(POLL_SECONDS)
        if watch:
            watch(self)
        return self

    def score(self, inputs: Any, **parameters: Any) -> Any:
        """The answer for one input, or a list of answers for a list of inputs."""
        headers = {
            "Authorization": f"Bearer {self.key or self._ws.connection.token}",
            "Content-Type": "application/json",
        }
        url = self._ws.connection.endpoint_url(self.data["url"])
        content = json_bytes({"inputs": inputs, "parameters": parameters})
        answers = answer_of(url, lambda: httpx.post(url, content=content, headers=headers, timeout=120.0))
        return answers if isinstance(inputs, list) else answers[0]

    def delete(self) -> None:
        self._ws.connection.request("DELETE", url_path("endpoints", self.name))

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r}, {self.state!r}, url={self.url!r})"


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a text in pieces, each as soon as it is whole; at the end also one without an end."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for chunk in chunks:
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from whole
    if rest := rest + decoder.decode(b"", final=True):
        yield rest
