"""The Python client: `bedplate.connect()` gives a workspace, over this machine's socket or over TCP, by one REST API.

ws = bedplate.connect()                                    this machine's home
ws = bedplate.connect("http://gpu01:8686", token="bp_…")   another server
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bedplate.caller import files_of, hub_of_caller, writable
from bedplate.connection import Connection, model_path, tcp_client, url_path
from bedplate.remote_objects import Endpoint, Job, Model, Report
from bedplate_registry.errors import NotFound

__all__ = ["Endpoint", "Job", "Model", "RemoteWorkspace", "Report", "connect"]

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

    def list(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        parent: str | None = None,
        archived: bool | None = False,
        limit: int = 100,
    ) -> list[Job]:
        """The newest `limit` jobs, newest first. `archived`: False none that are archived, True only them, None all."""
        which = "all" if archived is None else str(archived).lower()
        filters = {"kind": kind, "state": state, "parent": parent, "archived": which}
        return [Job(self._ws, item) for item in self._ws.connection.pages(url_path("jobs"), limit=limit, **filters)]

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
        """Import by MODEL_ID and wait. Options: revision, task, name, hub, device, priority, needs."""
        return self.submit_import(model_id, **options).wait(watch=watch).model

    def submit_import(self, model_id: str, **options: Any) -> Job:
        if self.connection.is_local:
            options["hub"] = hub_of_caller(options.get("hub"))
        return self.submit("import", {"model_id": model_id, **options})

    def submit_import_folder(self, folder: str | Path, name: str, *, task: str | None = None, **options: Any) -> Job:
        """Import a folder of the caller's own disk. Hidden files stay there. Options: device, priority, needs."""
        files = [
            {"path": path, "sha256": self.connection.upload(file), "size_bytes": file.stat().st_size}
            for path, file in files_of(Path(folder))
        ]
        return self.submit("import", {"files": files, "name": name, "task": task, **options})

    # --- fine-tune, evaluate, batch ---

    def finetune(self, model: Model | str, *, task: str, train: str | Path, output: str, **options: Any) -> Job:
        """Submit a fine-tune. `train`, `validation` and `test` are files or datasets.

        Options: validation, test, columns, device, processes, priority, needs; any other one is a setting such as
        learning_rate.
        """
        return self.submit("finetune", self._finetune_request(model, task, train, output, options))

    def plan_finetune(
        self, model: Model | str, *, task: str, train: str | Path, output: str, **options: Any
    ) -> dict[str, Any]:
        """What `finetune` would run, resolved and checked, without starting it."""
        spec: dict[str, Any] = self.plan("finetune", self._finetune_request(model, task, train, output, options))[
            "spec"
        ]
        return spec

    def _finetune_request(
        self, model: Model | str, task: str, train: str | Path, output: str, options: dict[str, Any]
    ) -> dict[str, Any]:
        known = ("columns", "device", "processes", "priority", "needs")
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
        """Submit an evaluation; a base needs `train`. Options: columns, settings, device, priority, needs."""
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

        Options: columns, parameters, error_threshold, device, priority, needs.
        """
        target = writable(output)
        name = model.name if isinstance(model, Endpoint) else _ref(model)
        job = self.submit("batch", {"model": name, "input": self.data(input), "output": target.name, **options})
        job._output = target
        return job

    def sweep(
        self,
        model: Model | str,
        *,
        task: str,
        train: str | Path,
        search: Mapping[str, Sequence[Any]],
        output: str,
        **options: Any,
    ) -> Job:
        """Submit fine-tunes over the values of `search`, {setting: [values]}; the best one's model is registered.

        Options: method, trials, seed (which ones the method random tries), metric, parallel, and those of a fine-tune;
        a fixed seed of training is settings={"seed": …}.
        """
        return self.submit("sweep", self._sweep_request(model, task, train, search, output, options))

    def plan_sweep(
        self,
        model: Model | str,
        *,
        task: str,
        train: str | Path,
        search: Mapping[str, Sequence[Any]],
        output: str,
        **options: Any,
    ) -> dict[str, Any]:
        """What `sweep` would run, resolved and checked, without starting it."""
        plan = self.plan("sweep", self._sweep_request(model, task, train, search, output, options))
        spec: dict[str, Any] = plan["spec"]
        return spec

    def _sweep_request(
        self,
        model: Model | str,
        task: str,
        train: str | Path,
        search: Mapping[str, Sequence[Any]],
        output: str,
        options: dict[str, Any],
    ) -> dict[str, Any]:
        known = ("method", "trials", "seed", "metric", "parallel")
        own = {name: options.pop(name) for name in known if name in options}
        return {**self._finetune_request(model, task, train, output, options), **own, "search": dict(search)}

    # --- deploy ---

    def deploy(self, model: Model | str, *, endpoint: str, wait: bool = True, **options: Any) -> Endpoint:
        """Deploy and wait until it answers. Options: deployment, instances, traffic, device, gpu_memory_gb."""
        body = {"name": endpoint, "model": _ref(model), **{k: v for k, v in options.items() if v is not None}}
        made = Endpoint(self, self.connection.post(url_path("endpoints"), body))
        return made.wait() if wait else made

    # --- pieces ---

    def submit(self, kind: str, request: Mapping[str, Any], *, client_key: str | None = None) -> Job:
        """Submit a job of any kind, as REST takes it; the same `client_key` makes one job.

        Of every kind: `priority` (the higher, the sooner) and `needs` ({"cores": 4, "memory_gb": 8, …}).
        """
        headers = {"Idempotency-Key": client_key} if client_key else {}
        return Job(self, self.connection.post(url_path("jobs"), _body(kind, request), headers=headers))

    def plan(self, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """What `submit` would queue, resolved and checked, with what it needs of the machine. Nothing is started."""
        planned: dict[str, Any] = self.connection.post(url_path("jobs"), _body(kind, request), params={"dry_run": True})
        return planned

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

    def compute(self) -> dict[str, Any]:
        """What the server's machine has, what of it is free, who holds what since when, and who is next in line."""
        compute: dict[str, Any] = self.connection.get(url_path("compute"))
        return compute

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.connection.get(url_path("server"))
        return status


def _ref(model: Model | str) -> str:
    return model.ref if isinstance(model, Model) else model


def _body(kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in request.items() if v is not None}, "kind": kind}
