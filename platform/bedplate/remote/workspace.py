"""A workspace: what one server can do, from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from bedplate.caller import files_of, hub_of_caller, path_of, writable
from bedplate.remote.audit import Audit
from bedplate.remote.batch_endpoints import BatchEndpoint, BatchEndpoints
from bedplate.remote.catalog import Catalog
from bedplate.remote.connection import Connection
from bedplate.remote.datasets import Datasets
from bedplate.remote.endpoints import Endpoint, Endpoints
from bedplate.remote.evaluations import Evaluations
from bedplate.remote.jobs import Job, Jobs, new_key
from bedplate.remote.keys import Keys
from bedplate.remote.models import Model, Models
from bedplate.remote.seam import to_thread
from bedplate.remote.users import Users
from bedplate.wire import given, url_path
from bedplate_registry.errors import BedplateError, NotFound, Refused

__all__ = ["RemoteWorkspace"]

Watcher = Callable[[Job], None]


class RemoteWorkspace:
    """What one server can do. A path is always the caller's: files are uploaded, outputs downloaded.

    Every job takes `priority` (the higher, the sooner) and `needs` ({"cores": 4, "memory_gb": 8, …}); `device` is auto,
    cpu or cuda.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection: Connection = connection
        self.catalog = Catalog(self)
        self.models = Models(self)
        self.datasets = Datasets(self)
        self.evaluations = Evaluations(self)
        self.jobs = Jobs(self)
        self.endpoints = Endpoints(self)
        self.batch_endpoints = BatchEndpoints(self)
        self.keys = Keys(self)
        self.users = Users(self)
        self.audit = Audit(self)

    def __enter__(self) -> RemoteWorkspace:
        self.connection.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections to the server. Jobs and endpoints go on."""
        self.connection.close()

    # --- import ---

    def import_model(
        self,
        model_id: str,
        *,
        revision: str | None = None,
        task: str | None = None,
        name: str | None = None,
        hub: str | None = None,
        watch: Watcher | None = None,
        **options: Any,
    ) -> Model:
        """Import a model of the Hub by its MODEL_ID and wait for it.

        `name`: its name here, where it is not to be the MODEL_ID. `watch` is called with the job at every look.
        Options: base (the version that an adapter is laid over), convert_weights (take pickles), device,
        accept_license, priority, needs.
        """
        job = self.submit_import(model_id, revision=revision, task=task, name=name, hub=hub, **options)
        return job.wait(watch=watch).model

    def submit_import(
        self,
        model_id: str,
        *,
        revision: str | None = None,
        task: str | None = None,
        name: str | None = None,
        hub: str | None = None,
        **options: Any,
    ) -> Job:
        """As `import_model`, without waiting."""
        where = hub_of_caller(hub) if self.connection.is_local else hub
        request = {"model_id": model_id, "revision": revision, "task": task, "name": name, "hub": where}
        return self.submit("import", {**request, **options})

    def submit_import_folder(self, folder: str | Path, name: str, *, task: str | None = None, **options: Any) -> Job:
        """Import a folder of the caller's own disk. Hidden files stay there.

        Options: base, convert_weights, device, accept_license, priority, needs.
        """
        files = []
        for path, file in to_thread(files_of, Path(folder)):
            digest = self.connection.upload(file)
            files.append({"path": path, "sha256": digest, "size_bytes": file.stat().st_size})
        return self.submit("import", {"files": files, "name": name, "task": task, **options})

    def plan_import(
        self,
        model_id: str,
        *,
        revision: str | None = None,
        task: str | None = None,
        name: str | None = None,
        hub: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """What `import_model` would bring and take: files, bytes, license, memory, and the problem it would end with.

        Nothing is fetched but small files of the model. Options: base, convert_weights, accept_license.
        """
        where = hub_of_caller(hub) if self.connection.is_local else hub
        request = {"model_id": model_id, "revision": revision, "task": task, "name": name, "hub": where}
        return self.connection.post(url_path("import-plans"), given({**request, **options}))

    def plan_import_folder(
        self,
        folder: str | Path,
        name: str,
        *,
        task: str | None = None,
        base: str | None = None,
        accept_license: bool = False,
        convert_weights: bool = False,
    ) -> dict[str, Any]:
        """As `plan_import`, for a folder of the caller's own disk. Nothing is uploaded."""
        from bedplate.import_plans import plan_folder

        compute = self.compute()
        known = self.models.get(base).data if base else None
        options: dict[str, Any] = {"base": known, "accepts": accept_license, "convert": convert_weights}
        return to_thread(plan_folder, Path(folder), compute, name=name, task=task, **options)

    # --- fine-tune, evaluate, batch ---

    def finetune(self, model: Model | str, *, task: str, train: str | Path, output: str, **options: Any) -> Job:
        """Submit a fine-tune. `train`, `validation` and `test` are files or datasets; `output` names its model.

        Options: validation, test, columns, device, processes, priority, needs; any other one is a setting such as
        learning_rate.
        """
        return self.submit("finetune", self._finetune_request(model, task, train, output, options))

    def plan_finetune(
        self, model: Model | str, *, task: str, train: str | Path, output: str, **options: Any
    ) -> dict[str, Any]:
        """What `finetune` would run, resolved and checked, without starting it."""
        plan = self.plan("finetune", self._finetune_request(model, task, train, output, options))
        return dict(plan["spec"])

    def _finetune_request(
        self, model: Model | str, task: str, train: str | Path, output: str, options: dict[str, Any]
    ) -> dict[str, Any]:
        request = {"model": _ref(model), "task": task, "train": self.data(train, what="train"), "output": output}
        for part in ("validation", "test"):
            value = options.pop(part, None)
            request[part] = value if _is_auto(value) else self.data(value, what=part)
        return {**request, **_with_settings(options, ("columns", "device", "processes", "priority", "needs"))}

    def evaluate(
        self,
        model: Model | str | None,
        *,
        data: str | Path,
        task: str | None = None,
        predictions: str | Path | None = None,
        against: Model | str | None = None,
        train: str | Path | None = None,
        **options: Any,
    ) -> Job:
        """Submit an evaluation on a file, dataset or folder of images, `against` another model on the same rows.

        A base needs `train`. With None for the model, `predictions` is a file that has one for each row, and the task
        must be told.
        Options: columns, name (of the predictions), device, priority, needs; any other one is a setting such as metrics
        or slices.
        """
        for each in (model, against):
            _check_no_rows(each)
        request = {
            "model": _ref(model) if model is not None else None,
            "predictions": self.data(predictions, what="predictions") if predictions is not None else None,
            "task": task or (self._task_of(model) if model is not None else None),
            "data": self.data(data, images=True),
            "against": _ref(against) if against is not None else None,
            "train": self.data(train, images=True, what="train") if train is not None else None,
        }
        known = ("columns", "name", "device", "priority", "needs")
        return self.submit("evaluate", {**request, **_with_settings(options, known)})

    def _task_of(self, model: Model | str) -> str | None:
        return self.models.get(model).task if isinstance(model, str) else model.task

    def batch(
        self, model: Model | Endpoint | BatchEndpoint | str, *, input: str | Path, output: str | Path, **options: Any
    ) -> Job:
        """Submit a batch job with a model or with what an endpoint serves; `wait()` leaves its rows at `output`.

        `input` is a file, a dataset or a folder of images.
        Options: columns, parameters, error_threshold, device, priority, needs.
        """
        if isinstance(model, BatchEndpoint):
            return model.submit(input=input, output=output, **options)
        target = to_thread(writable, output)
        name = model.name if isinstance(model, Endpoint) else _ref(model)
        job = self.submit(
            "batch",
            {"model": name, "input": self.data(input, images=True, what="input"), "output": target.name, **options},
        )
        job.output = target
        return job

    def sweep(
        self,
        model: Model | str,
        *,
        task: str,
        train: str | Path,
        search: Mapping[str, Sequence[Any] | Mapping[str, Any]],
        output: str,
        **options: Any,
    ) -> Job:
        """Submit fine-tunes over the values of `search`, {setting: [values]}; the best one's model is registered.

        For the methods random and tpe a setting may have a range: {"from": 1e-5, "to": 1e-3, "scale": "log"}. Options:
        method, trials, seed (of the draws of random and tpe), budget ("2h", or seconds), prune ("median"), metric,
        parallel, and those of a fine-tune; a fixed seed of training is settings={"seed": …}.
        """
        return self.submit("sweep", self._sweep_request(model, task, train, search, output, options))

    def plan_sweep(
        self,
        model: Model | str,
        *,
        task: str,
        train: str | Path,
        search: Mapping[str, Sequence[Any] | Mapping[str, Any]],
        output: str,
        **options: Any,
    ) -> dict[str, Any]:
        """What `sweep` would run, resolved and checked, without starting it."""
        plan = self.plan("sweep", self._sweep_request(model, task, train, search, output, options))
        return dict(plan["spec"])

    def _sweep_request(
        self,
        model: Model | str,
        task: str,
        train: str | Path,
        search: Mapping[str, Sequence[Any] | Mapping[str, Any]],
        output: str,
        options: dict[str, Any],
    ) -> dict[str, Any]:
        known = ("method", "trials", "seed", "budget", "prune", "metric", "parallel")
        own = {name: options.pop(name) for name in known if name in options}
        return {**self._finetune_request(model, task, train, output, options), **own, "search": dict(search)}

    # --- deploy ---

    @overload
    def deploy(
        self,
        model: Model | str,
        *,
        endpoint: str,
        batch: Literal[False] = False,
        wait: bool = True,
        deployment: str | None = None,
        instances: int | None = None,
        traffic: int | None = None,
        device: str | None = None,
        gpu_memory_gb: float | None = None,
        accept_license: bool | None = None,
        sample: Mapping[str, Any] | None = None,
    ) -> Endpoint: ...
    @overload
    def deploy(
        self,
        model: Model | str,
        *,
        endpoint: str,
        batch: Literal[True],
        deployment: str | None = None,
        traffic: int | None = None,
        accept_license: bool | None = None,
    ) -> BatchEndpoint: ...
    def deploy(
        self, model: Model | str, *, endpoint: str, batch: bool = False, wait: bool = True, **options: Any
    ) -> Endpoint | BatchEndpoint:
        """Deploy a model to an endpoint, which is made where it is not there, and wait until it answers.

        `deployment` is `main` where not given; `traffic` is its share in percent. A real-time one has `instances`, on a
        `device`, with `gpu_memory_gb` each, and a `sample` {"inputs", "parameters"} that each must answer before it
        gets traffic. With `batch` it is a batch endpoint, which has no processes of its own. `accept_license` where the
        server's license policy asks for it.
        """
        body = given({"name": endpoint, "model": _ref(model), **options})
        if batch:
            return BatchEndpoint(self, self.connection.post(url_path("batch-endpoints"), body))
        made = Endpoint(self, self.connection.post(url_path("endpoints"), body))
        return made.wait() if wait else made

    def plan_deploy(self, model: Model | str, *, endpoint: str, batch: bool = False, **options: Any) -> dict[str, Any]:
        """What `deploy` would make, checked, with the endpoint's traffic then and what each instance needs."""
        body = given({"name": endpoint, "model": _ref(model), **options})
        return self.connection.post(url_path("batch-endpoints" if batch else "endpoints"), body, dry_run=True)

    # --- pieces ---

    def submit(self, kind: str, request: Mapping[str, Any], *, client_key: str | None = None) -> Job:
        """Submit a job of any kind, as REST takes it; the same `client_key` makes one job.

        Without one each call makes a job, and one only, also where its answer is cut off and it is sent again.
        """
        key = client_key or new_key()
        return Job(self, self.connection.post(url_path("jobs"), {**given(request), "kind": kind}, key=key))

    def plan(self, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """What `submit` would queue, resolved and checked, with what it needs of the machine. Nothing is started."""
        return self.connection.post(url_path("jobs"), {**given(request), "kind": kind}, dry_run=True)

    def upload(self, path: str | Path) -> dict[str, str]:
        """Send a file once; the reference to it."""
        file = path_of(path, "path")
        if not file.is_file():
            raise NotFound(f"There is no file {str(path)!r}.", hint="Check the path.")
        return {"upload": self.connection.upload(file), "filename": file.name}

    def data(
        self, value: str | Path | Mapping[str, str], *, images: bool = False, what: str = "data"
    ) -> str | dict[str, str]:
        """A file of the caller's, uploaded; or as they are, the name of a dataset and what `upload` gave.

        With `images` a folder of them as well, which becomes a dataset. A text that is the name of one means that.
        Raises Refused, which names `what` the data is for, where it is none of them.
        """
        if isinstance(value, Mapping):
            return dict(value)
        path = path_of(value, what)
        if path.is_file():
            return self.upload(path)
        if images and path.is_dir() and (isinstance(value, Path) or not self.datasets.has(value)):
            return self.datasets.add_folder(path).ref
        if isinstance(value, Path) or _is_path(value):
            raise _no_rows(path, str(value), "file or folder" if images else "file")
        return value

    # --- the server ---

    def compute(self) -> dict[str, Any]:
        """What the server's machine has, what of it is free, who holds what since when, and who is next in line."""
        return self.connection.get(url_path("compute"))

    def status(self) -> dict[str, Any]:
        """The server: its version, home, process, address and counts."""
        return self.connection.get(url_path("server"))


def _is_path(text: str) -> bool:
    """Whether it can be no dataset's name, or ends as a file of rows does."""
    return text.startswith((".", "/")) or text.lower().endswith(("/", ".csv", ".tsv", ".jsonl", ".json", ".parquet"))


def _is_auto(value: object) -> bool:
    return value is None or (isinstance(value, str) and value == "auto")


def _check_no_rows(model: Model | str | None) -> None:
    """Raises Refused for a file of rows where a model is meant: what was predicted already is given in another way."""
    if isinstance(model, str) and (_is_path(model) or model.lower().endswith(".txt")):
        raise Refused(
            f"{model!r} is a file, and no model.",
            hint="What was predicted already stands in place of the model, perhaps against one: bedplate evaluate "
            f"--from-predictions {model} --against REF …, in Python predictions={model!r}.",
        )


def _no_rows(path: Path, given: str, wanted: str) -> BedplateError:
    if path.is_dir():
        hint = "Add its images first: bedplate datasets add NAME FOLDER"
        return Refused(f"{given!r} is a folder, and no file of rows.", hint=hint)
    return NotFound(f"There is no {wanted} {given!r}.", hint="Check the path, or give the name of a dataset.")


def _ref(model: Model | str) -> str:
    return model.ref if isinstance(model, Model) else model


def _with_settings(options: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Those that a request has by their names; all others are its settings."""
    own = {name: options[name] for name in known if name in options}
    others = {name: value for name, value in options.items() if name not in (*known, "settings")}
    return {**own, "settings": {**(options.get("settings") or {}), **others}}
