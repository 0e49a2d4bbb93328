"""Jobs: what runs on the server, and what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload
from uuid import uuid4

from bedplate.caller import writable
from bedplate.console import job_progress
from bedplate.exported_runs import runs_of
from bedplate.records import Record
from bedplate.remote.evaluations import Report
from bedplate.remote.models import Model
from bedplate.remote.seam import sleep, to_thread
from bedplate.run_export import check_tool, export_runs
from bedplate.tables import Table
from bedplate.text_streams import Event, Lines
from bedplate.wire import url_path
from bedplate_registry.errors import BedplateError, Conflict

if TYPE_CHECKING:
    from bedplate.remote.workspace import RemoteWorkspace

__all__ = ["Job", "Jobs", "new_key"]

POLL_SECONDS = 0.25
MANY = 10_000  # more trials than a sweep has


class Job(Record):
    """A job on the server."""

    SHOWN = ("id", "kind", "state", "owner", "created", "finished", "waiting")
    _ws: RemoteWorkspace

    output: Path | None = None
    """Where `wait()` leaves the rows of a batch job."""

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def kind(self) -> str:
        """import, finetune, evaluate, batch and so on."""
        return str(self.data["kind"])

    @property
    def state(self) -> str:
        """queued, running, succeeded, failed or cancelled."""
        return str(self.data["state"])

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return bool(self.data["is_final"])

    @property
    def owner(self) -> str:
        """The user who submitted it."""
        return str(self.data["owner"])

    @property
    def created(self) -> float:
        """When it was submitted, in seconds since 1970."""
        return float(self.data["created"])

    @property
    def finished(self) -> float | None:
        """When it ended, in seconds since 1970."""
        finished: float | None = self.data["finished"]
        return finished

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

    @property
    def progress(self) -> dict[str, Any] | None:
        """How far it is, while it runs: phase, percent, done, total, unit, seconds_left, message."""
        progress: dict[str, Any] | None = self.data["progress"]
        return progress

    @property
    def result(self) -> dict[str, Any]:
        """What it came to."""
        return dict(self.data.get("result") or {})

    def refresh(self) -> Job:
        """Look again."""
        self.data = self._ws.connection.get(url_path("jobs", self.id))
        return self

    def wait(self, *, watch: Callable[[Job], None] | None = None, timeout_seconds: float | None = None) -> Job:
        """Until the job has ended; the output of a batch job is then at its path. Raises what the job failed with.

        `watch` is called with the job at every look; without it a terminal or a notebook shows a progress bar. Raises
        TimeoutError.
        """
        watch = watch or job_progress()
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not self.refresh().is_final:
            if watch:
                watch(self)
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"Job {self.id} is still {self.state} after {timeout_seconds} s.")
            sleep(POLL_SECONDS)
        if watch:
            watch(self)
        self._raise_failure()
        if self.output is not None:
            self.fetch_output(self.output)
        return self

    def fetch_output(self, output: str | Path) -> Path:
        """Write the rows of a batch job that has ended to a file of the caller's."""
        name = (self.data.get("spec") or {}).get("output")
        if self.data.get("kind") != "batch" or not name:
            raise Conflict(
                f"Job {self.id} is no batch job: it has no rows.", hint="See: bedplate jobs list --kind batch"
            )
        target = to_thread(writable, output)
        self._ws.connection.download(url_path("jobs", self.id, "outputs", name), target)
        return target

    def _raise_failure(self) -> None:
        if self.state == "failed":
            error = self.data["error"]
            raise BedplateError(error["message"], hint=error.get("hint", ""), code=error.get("code"))
        if self.state == "cancelled":
            raise Conflict(f"Job {self.id} was cancelled.", hint=f"Go on with: bedplate jobs resume {self.id}")

    def cancel(self) -> Job:
        """A queued job is cancelled at once, a running one within five seconds, with all its processes."""
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
        key = client_key or new_key()
        return Job(self._ws, self._ws.connection.post(url_path("jobs", self.id, "rerun"), key=key))

    def _post(self, what: str, body: Mapping[str, Any] | None = None) -> Job:
        self.data = self._ws.connection.post(url_path("jobs", self.id, what), body)
        return self

    def metrics(self) -> Table[dict[str, Any]]:
        """Every step that was logged, each once, across attempts."""
        return Table(self._ws.connection.items(url_path("jobs", self.id, "metrics")))

    def export(self, tool: str, folder: str | Path) -> Path:
        """Write a fine-tune, or a sweep with its trials, for `tensorboard` or `mlflow`, into a folder of the caller's.

        Raises Refused for another kind of job, another tool, and one that is not installed; Conflict where the folder
        has the run already.
        """
        check_tool(tool)
        trials = []
        if self.kind == "sweep":
            for found in reversed(self._ws.jobs.list(parent=self.id, archived=None, limit=MANY)):
                trial = Job(self._ws, found.data)
                trials.append((trial.data, trial.metrics()))
        return to_thread(export_runs, tool, runs_of(self.data, self.metrics(), trials), folder)

    @overload
    def logs(self, tail: int = 200, *, follow: Literal[False] = False) -> str: ...
    @overload
    def logs(self, tail: int = 200, *, follow: Literal[True]) -> Iterator[str]: ...
    def logs(self, tail: int = 200, *, follow: bool = False) -> str | Iterator[str]:
        """The last lines of what its worker printed; with `follow` also each one that comes, until it has ended."""
        if follow:
            return self._lines(tail)
        return self._ws.connection.text(url_path("jobs", self.id, "log"), tail=tail)

    def _lines(self, tail: int) -> Iterator[str]:
        lines = Lines()
        for chunk in self._ws.connection.follow(url_path("jobs", self.id, "log"), tail=tail, follow=True):
            yield from lines.feed(chunk)
        yield from lines.rest()

    def events(self, *, after: int = 0) -> Iterator[Event]:
        """What happens to it, as it happens, until it has ended: `progress`, `metrics` and `message`, those after the
        number `after`, and `state` with the whole job whenever that changes."""
        yield from self._ws.connection.events(url_path("jobs", self.id, "events"), _is_end, after=after)

    @property
    def model(self) -> Model:
        """The model that the job registered. Raises Conflict where it registered none."""
        return self._ws.models.get(self._made("model"))

    @property
    def report(self) -> Report:
        """The evaluation of an evaluate job, or the test report of a fine-tune. Raises Conflict where there is none."""
        return self._ws.evaluations.get(self._made("evaluation"))

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

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self.state!r})"


class Jobs:
    """`ws.jobs`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    def list(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        parent: str | None = None,
        archived: bool | None = False,
        limit: int = 100,
    ) -> Table[Job]:
        """The newest `limit` jobs that the caller sees, newest first.

        `archived`: False none that are archived, True only them, None all.
        """
        which = "all" if archived is None else str(archived).lower()
        filters: dict[str, Any] = {"kind": kind, "state": state, "parent": parent, "archived": which}
        found = self._ws.connection.items(url_path("jobs"), limit=limit, **filters)
        return Table(Job(self._ws, item) for item in found)

    def get(self, job_id: str) -> Job:
        """A job by its id. Raises NotFound."""
        return Job(self._ws, self._ws.connection.get(url_path("jobs", job_id)))


def _is_end(event: Event) -> bool:
    return event.type == "state" and bool(event.data.get("is_final"))


def new_key() -> str:
    """An idempotency key: what is sent with it twice, since its answer was cut off, makes one job."""
    return uuid4().hex
