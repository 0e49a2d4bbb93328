"""Check data for a task before anything is trained on it; with `fix`, repaired copies become datasets.

The worker stores a repaired table as a blob and measures it; `finish` publishes this draft, which is a no-op where a
version that is newer than what was repaired has these bytes already.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from bedplate.compute import GIB, Demand, Lease
from bedplate.data_refs import DataRef
from bedplate.kinds.base import Command, Context, Kind, check_keys, columns_given, lay_out, worker
from bedplate.kinds.requests import Columns, Data, JobRequest, names_of
from bedplate_registry.errors import Refused
from bedplate_registry.names import Name, Ref, dataset_name
from bedplate_registry.tasks import get_task

__all__ = ["KIND"]

SPLITS = ("train", "validation", "test")
UNCHECKED = ("text-to-image",)  # its data is a prompt: there is nothing to compare it with


class DataCheckRequest(JobRequest):
    """Check `data`, or a train, validation and test split beside each other, for a task."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "data-check",
                    "task": "text-classification",
                    "data": "tickets",
                    "columns": {"sentence1": "text", "label": "intent"},
                }
            ]
        }
    )

    kind: Literal["data-check"]
    task: str
    data: Data | None = None
    train: Annotated[Data | None, Field(description="In place of `data`, with validation or test beside it.")] = None
    validation: Data | None = None
    test: Data | None = None
    columns: Columns = None
    class_names: Annotated[list[str] | None, Field(description="The names of integer labels 0, 1, 2 …")] = None
    model: Annotated[str | None, Field(description="Count the rows that this model would cut.")] = None
    max_seq_length: Annotated[
        int | None, Field(ge=8, description="The tokens that are read, where it is not all that the model can.")
    ] = None
    fix: Annotated[
        bool | None, Field(description="Write repaired copies: a new version of a dataset, a new dataset of a file.")
    ] = None
    name: Annotated[str | None, Field(description="What the repaired copy of a file is called.")] = None


REQUIRED, OPTIONAL = names_of(DataCheckRequest)


def _prepare(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    check_keys("data-check", request, required=REQUIRED, optional=OPTIONAL)
    task = get_task(str(request["task"])).name
    if task in UNCHECKED:
        raise Refused(f"There is nothing to check in data for {task}.", hint="Choose another task.", code="no-check")
    given = [name for name in ("data", *SPLITS) if request.get(name)]
    if not given or ("data" in given and len(given) > 1):
        raise Refused(
            "data-check needs either data or at least one of train, validation and test.",
            hint="Give data alone, or the splits.",
            code="missing-setting" if not given else "usage",
        )
    splits = {name: DataRef.resolve(context.registry, request[name], name) for name in given}
    columns = columns_given(request)
    for name, ref in splits.items():
        ref.check_columns(context.registry, task, columns, need_label=True, what=name)
    return {
        "task": task,
        "splits": {name: ref.to_json() for name, ref in splits.items()},
        "columns": columns,
        "class_names": _class_names(request.get("class_names")),
        **_model(context, request),
        "names": _names(splits, request),
    }


def _class_names(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise Refused(f"class_names={value!r} is not a list of names.", hint='Give it as ["no", "yes"].')
    return value


def _model(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    """The model whose tokens are counted, and how many it reads."""
    length = request.get("max_seq_length")
    if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 8):
        raise Refused(f"max_seq_length={length!r} is not accepted.", hint="Give a whole number, 8 or more.")
    if not request.get("model"):
        if length is not None:
            raise Refused("max_seq_length counts the tokens of a model.", hint="Give model as well.")
        return {"model": None, "limit": None}
    version = context.registry.models.get(str(request["model"]))
    reads = version.facts.context_length
    if length is None and reads is None:
        raise Refused(f"{version.ref} does not say how many tokens it reads.", hint="Give max_seq_length as well.")
    if length is not None and reads is not None and length > reads:
        raise Refused(f"{version.ref} reads {reads} tokens, fewer than max_seq_length={length}.", hint="Give fewer.")
    return {"model": version.ref, "limit": length or reads}


def _names(splits: Mapping[str, DataRef], request: Mapping[str, Any]) -> dict[str, str] | None:
    """Which dataset the repaired copy of each split belongs to; None where nothing is to be repaired."""
    fix, name = request.get("fix") or False, request.get("name") or None
    if not isinstance(fix, bool):
        raise Refused(f"fix={fix!r} is not accepted.", hint="Give true or false.")
    files = [split for split, ref in splits.items() if ref.dataset is None]
    if name is not None and not (fix and files):
        why = "a dataset gets a new version of its own" if fix else "nothing is written without fix"
        raise Refused(f"name={name!r} is for the repaired copy of a file: {why}.", hint="Leave out name.")
    if not fix:
        return None
    for split, ref in splits.items():
        if ref.has_images:
            raise Refused(f"{split}: a folder of images is not repaired.", hint="Correct it, and add it again.")
    if files and name is None:
        raise Refused(
            f"The repaired copy of {splits[files[0]].filename} needs a name.", hint="Give name.", code="missing-setting"
        )
    named = {split: str(name) if len(files) == 1 else f"{name}-{split}" for split in files}
    own = {split: str(Ref.parse(ref.dataset).name) for split, ref in splits.items() if ref.dataset}
    found = {**{split: str(dataset_name(each)) for split, each in named.items()}, **own}
    for split, each in found.items():
        if other := next((other for other in found if other != split and found[other] == each), None):
            raise Refused(
                f"The repaired copies of {split} and {other} would both be versions of {each}.",
                hint="Repair them one at a time, or check without fix.",
            )
    return found


def _demand(context: Context, spec: Mapping[str, Any]) -> Demand:
    """Of each row a hash is held; a JSON file is read whole, in some ten times its size."""
    needed = GIB
    for value in spec["splits"].values():
        ref = DataRef.from_json(value)
        needed += ref.path(context.registry).stat().st_size * (10 if ref.format == "json" else 2)
    return Demand(cores=1, memory_bytes=needed)


def _command(context: Context, spec: Mapping[str, Any], folder: Path, epoch: int, lease: Lease) -> Command:
    models = [context.registry.models.get(spec["model"])] if spec["model"] else []
    return worker("bedplate.workers.data_check", context, folder, epoch, lay_out(context, models))


def _finish(context: Context, job_id: str, spec: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    fixed = result["fixed"]
    if fixed is None:
        return result
    datasets = {}
    for split, draft in fixed["drafts"].items():
        ref = DataRef.from_json(spec["splits"][split])
        since = Ref.parse(ref.dataset).version if ref.dataset else 0
        datasets[split] = context.registry.datasets.publish(Name.parse(spec["names"][split]), draft, since=since).ref
    told = {key: value for key, value in fixed.items() if key != "drafts"}
    return {**result, "fixed": {**told, "datasets": datasets}}


KIND = Kind(
    "data-check",
    scope="data",
    request=DataCheckRequest,
    prepare=_prepare,
    demand=_demand,
    command=_command,
    finish=_finish,
    stores_blobs=True,
    preemptible=True,
)
