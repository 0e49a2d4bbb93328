"""The Python client: `bedplate.connect()` gives a workspace, over this machine's socket or over TCP, by one REST API.

ws = bedplate.connect()                                    this machine's home
ws = bedplate.connect("http://gpu01:8686", token="bp_…")   another server
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bedplate.caller import files_of, hub_of_caller, writable
from bedplate.connection import Connection, answer_of, json_bytes, model_path, tcp_client, url_path
from bedplate.console import Progress
from bedplate_registry.errors import BedplateError, Conflict, NotFound

__all__ = ["Endpoint", "Job", "Model", "RemoteWorkspace", "Report", "connect"]

POLL_SECONDS = 0.25
Watcher = Callable[["Job"], None]
Rows = list[dict[str, Any]]


def connect(url: str | None = None, *, token: str | None = None, home: str | Path | None = None) -> RemoteWorkspace:
    """A workspace on this machine's home (BEDPLATE_HOME), or on the server at `url` (BEDPLATE_URL).

    Where no server runs for the home a private one is started. Raises Unavailable where nothing answers.
    """
    from bedplate.home import Home
    from bedplate.server_process import ensure_server, socket_client
    from bedplate.settings import Settings

    settings = Settings.from_environment()
    if home is None and (url := url or settings.url):
        token = token or settings.token
        return RemoteWorkspace(Connection(tcp_client(url, token), token))
    place = Home(Path(home).expanduser().absolute() if home else settings.home)

    def revive() -> str | None:
        ensure_server(place)
        return place.token()

    token = revive()
    return RemoteWorkspace(Connection(socket_client(place, timeout=60.0), token, revive=revive))


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

    def refresh(self) -> Job:
        self.data = self._ws.connection.get(url_path("jobs", self.id))
        return self

    def wait(self, *, watch: Watcher | None = None, timeout_seconds: float | None = None) -> Job:
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
        self.data = self._ws.connection.post(url_path("jobs", self.id, "cancel"))
        return self

    def resume(self) -> Job:
        self.data = self._ws.connection.post(url_path("jobs", self.id, "resume"))
        return self

    def metrics(self) -> list[dict[str, Any]]:
        return self._ws.connection.items(url_path("jobs", self.id, "metrics"))

    def logs(self, tail: int = 200) -> str:
        return self._ws.connection.request("GET", url_path("jobs", self.id, "log"), params={"tail": tail}).text

    @property
    def result(self) -> dict[str, Any]:
        return dict(self.data.get("result") or {})

    @property
    def model(self) -> Model:
        """The model that an import or a fine-tune registered."""
        return self._ws.models.get(self.result["model"])

    @property
    def report(self) -> Report:
        """The evaluation of an evaluate job, or the test report of a fine-tune."""
        evaluation = self.result["evaluation"]
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

    def wait(self, *, timeout_seconds: float = 600.0) -> Endpoint:
        """Until all instances answer. Raises BedplateError with the replica's last lines where they do not start."""
        deadline = time.monotonic() + timeout_seconds
        while self.refresh().state != "ready":
            for deployment in self.data["deployments"]:
                error = deployment["error"]
                if error and error.get("starts", 0) >= 3:
                    raise BedplateError(error["message"], hint=error["hint"], code=error["code"])
            if time.monotonic() > deadline:
                raise TimeoutError(f"Endpoint {self.name} is still {self.state} after {timeout_seconds} s.")
            time.sleep(POLL_SECONDS)
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


class _Models:
    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws = workspace

    def list(self, **filters: str | None) -> list[Model]:
        """The newest version of each model; filters: task, license, finetunable_for, query."""
        items = self._ws.connection.items(url_path("models"), **filters)
        return [Model(item["ref"], item, self._ws) for item in items]

    def get(self, ref: str) -> Model:
        data = self._ws.connection.get(model_path(ref))
        return Model(data["ref"], data, self._ws)


class _Datasets:
    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws = workspace

    def add(self, name: str, path: str | Path) -> dict[str, Any]:
        """Register a file as a new version of a dataset."""
        body = {"name": name, **self._ws.upload(path)}
        added: dict[str, Any] = self._ws.connection.post(url_path("datasets"), body)
        return added

    def list(self) -> Rows:
        return self._ws.connection.items(url_path("datasets"))

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ws.connection.get(url_path("datasets", *name.split("/")))
        return found

    def preview(self, name: str, limit: int = 10) -> Rows:
        return self._ws.connection.items(url_path("datasets", *name.split("/"), "preview"), limit=limit)


class _Jobs:
    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws = workspace

    def list(self, **filters: Any) -> list[Job]:
        return [Job(self._ws, item) for item in self._ws.connection.items(url_path("jobs"), **filters)]

    def get(self, job_id: str) -> Job:
        return Job(self._ws, self._ws.connection.get(url_path("jobs", job_id)))


class _Endpoints:
    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws = workspace

    def list(self) -> list[Endpoint]:
        return [Endpoint(self._ws, item) for item in self._ws.connection.items(url_path("endpoints"))]

    def get(self, name: str) -> Endpoint:
        return Endpoint(self._ws, self._ws.connection.get(url_path("endpoints", name)))


class RemoteWorkspace:
    """What one server can do, from anywhere. A path is always the caller's: files are uploaded, outputs downloaded."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.models, self.datasets = _Models(self), _Datasets(self)
        self.jobs, self.endpoints = _Jobs(self), _Endpoints(self)

    def __enter__(self) -> RemoteWorkspace:
        return self

    def __exit__(self, *exc: object) -> None:
        self.connection.close()

    # --- import ---

    def import_model(self, model_id: str, *, watch: Watcher | None = None, **options: Any) -> Model:
        """Import by MODEL_ID and wait. Options: revision, task, name, hub, device."""
        return self.submit_import(model_id, **options).wait(watch=watch).model

    def submit_import(self, model_id: str, **options: Any) -> Job:
        if self.connection.is_local:
            options["hub"] = hub_of_caller(options.get("hub"))
        return self.submit("import", {"model_id": model_id, **options})

    def submit_import_folder(
        self, folder: str | Path, name: str, *, task: str | None = None, device: str | None = None
    ) -> Job:
        """Import a folder of the caller's own disk. Hidden files stay there."""
        files = [
            {"path": path, "sha256": self.connection.upload(file), "size_bytes": file.stat().st_size}
            for path, file in files_of(Path(folder))
        ]
        return self.submit("import", {"files": files, "name": name, "task": task, "device": device})

    # --- fine-tune, evaluate, batch ---

    def finetune(self, model: Model | str, *, task: str, train: str | Path, output: str, **options: Any) -> Job:
        """Submit a fine-tune. `train`, `validation` and `test` are files or datasets.

        Options: validation, test, columns, device, processes; any other one is a setting such as learning_rate.
        """
        return self.submit("finetune", self._finetune_request(model, task, train, output, options))

    def plan_finetune(
        self, model: Model | str, *, task: str, train: str | Path, output: str, **options: Any
    ) -> dict[str, Any]:
        """What `finetune` would run, resolved and checked, without starting it."""
        body = {"kind": "finetune", **self._finetune_request(model, task, train, output, options)}
        spec: dict[str, Any] = self.connection.post(url_path("jobs"), body, params={"dry_run": True})["spec"]
        return spec

    def _finetune_request(
        self, model: Model | str, task: str, train: str | Path, output: str, options: dict[str, Any]
    ) -> dict[str, Any]:
        known = ("columns", "device", "processes")
        request = {"model": _ref(model), "task": task, "train": self.data(train), "output": output}
        for part in ("validation", "test"):
            given = options.pop(part, None)
            request[part] = given if given in (None, "auto") else self.data(given)
        request |= {key: options.pop(key) for key in known if key in options}
        settings = {**options.pop("settings", {}), **options}
        return {**request, "settings": settings}

    def evaluate(
        self,
        model: Model | str,
        *,
        data: str | Path,
        task: str | None = None,
        against: Model | str | None = None,
        train: str | Path | None = None,
        **options: Any,
    ) -> Job:
        """Submit an evaluation; a base needs `train`. Options: columns, settings, device."""
        chosen = task or (self.models.get(model) if isinstance(model, str) else model).task
        request = {
            "model": _ref(model),
            "task": chosen,
            "data": self.data(data),
            "against": _ref(against) if against is not None else None,
            "train": self.data(train) if train is not None else None,
            **options,
        }
        return self.submit("evaluate", request)

    def batch(self, model: Model | Endpoint | str, *, input: str | Path, output: str | Path, **options: Any) -> Job:
        """Submit a batch job; `wait()` leaves its rows at `output`.

        Options: columns, parameters, error_threshold, device.
        """
        target = writable(output)
        name = model.name if isinstance(model, Endpoint) else _ref(model)
        job = self.submit("batch", {"model": name, "input": self.data(input), "output": target.name, **options})
        job._output = target
        return job

    # --- deploy ---

    def deploy(self, model: Model | str, *, endpoint: str, wait: bool = True, **options: Any) -> Endpoint:
        """Deploy and wait until it answers. Options: deployment, instances, traffic, device."""
        body = {"name": endpoint, "model": _ref(model), **{k: v for k, v in options.items() if v is not None}}
        made = Endpoint(self, self.connection.post(url_path("endpoints"), body))
        return made.wait() if wait else made

    # --- pieces ---

    def submit(self, kind: str, request: Mapping[str, Any], *, client_key: str | None = None) -> Job:
        body = {"kind": kind, **{k: v for k, v in request.items() if v is not None}}
        headers = {"Idempotency-Key": client_key} if client_key else {}
        return Job(self, self.connection.post(url_path("jobs"), body, headers=headers))

    def upload(self, path: str | Path) -> dict[str, str]:
        """Send a file once; the reference to it."""
        file = Path(path)
        if not file.is_file():
            raise NotFound(f"There is no file {str(path)!r}.", hint="Check the path.")
        return {"upload": self.connection.upload(file), "filename": file.name}

    def data(self, value: str | Path) -> str | dict[str, str]:
        """A file of the caller's, uploaded; or the name of a dataset, as it is."""
        path = Path(value)
        if path.is_file():
            return self.upload(path)
        if isinstance(value, Path) or path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".json", ".parquet"):
            raise NotFound(f"There is no file {str(value)!r}.", hint="Check the path, or give the name of a dataset.")
        return value

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.connection.get(url_path("server"))
        return status


def _ref(model: Model | str) -> str:
    return model.ref if isinstance(model, Model) else model
