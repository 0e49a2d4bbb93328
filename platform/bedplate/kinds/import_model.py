"""Import a model: from the Hub by MODEL_ID, or from files that the caller uploaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from bedplate.compute import GIB, Demand, Lease
from bedplate.hub_token import hub_token_for
from bedplate.kinds.base import Command, Context, Kind, check_keys, choose_device, worker
from bedplate.kinds.requests import Device, File, JobRequest, names_of
from bedplate.licensing import check_base_license, check_license
from bedplate_registry.adapters import check_base
from bedplate_registry.errors import Refused, Unavailable
from bedplate_registry.hub import hub_url
from bedplate_registry.hubguard import is_private, is_this_machine
from bedplate_registry.models import ModelDraft
from bedplate_registry.names import Name
from bedplate_registry.tasks import get_task

__all__ = ["KIND"]

WAY_OUT = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ImportRequest(JobRequest):
    """Import a model: `model_id` from a Hub, or `files` that were uploaded, under a `name`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "import", "model_id": "sentence-transformers/all-MiniLM-L6-v2"}]}
    )

    kind: Literal["import"]
    model_id: Annotated[str | None, Field(description="As the Hub has it, org/name.")] = None
    revision: Annotated[str | None, Field(description="A commit, tag or branch of the Hub.")] = None
    hub: Annotated[str | None, Field(description="The URL of another Hub.")] = None
    accept_license: Annotated[
        bool | None, Field(description="The caller accepts the license, where the policy of the server asks for that.")
    ] = None
    files: Annotated[list[File] | None, Field(description="In place of `model_id`.")] = None
    name: Annotated[str | None, Field(description="What it is called here; needed with `files`.")] = None
    task: Annotated[str | None, Field(description="Where its files do not tell.")] = None
    base: Annotated[str | None, Field(description="Of an adapter: the version here that it is laid over.")] = None
    convert_weights: Annotated[
        bool | None, Field(description="Weights that are pickles are converted to safetensors, in a cage.")
    ] = None
    device: Device = None


OPTIONAL = names_of(ImportRequest)[1] - {"model_id", "files"}
OF_FILES = OPTIONAL - {"name", "revision", "hub"}


def _prepare(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    if "files" in request:
        check_keys("import", request, required={"files", "name"}, optional=OF_FILES)
        return {
            **_common(context, request),
            "files": _files(context, request["files"]),
            "name": str(Name.parse(str(request["name"]))),
        }
    check_keys("import", request, required={"model_id"}, optional=OPTIONAL)
    hub = hub_url(str(request.get("hub") or context.settings.hub_url))
    if context.settings.offline and urlsplit(hub).hostname not in LOOPBACK:
        raise Unavailable(
            "BEDPLATE_OFFLINE is set: nothing is fetched from a Hub.",
            hint="Import a folder on this disk with: bedplate import --from DIR --name NAME",
            code="offline",
        )
    _refuse_own_hub(context, hub)
    _refuse_inside(context, hub)
    return {
        **_common(context, request),
        "model_id": str(Name.parse(str(request["model_id"]))),
        "revision": request.get("revision") or None,
        "name": str(Name.parse(str(request["name"]))) if request.get("name") else None,
        "hub": hub,
    }


def _common(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    task = request.get("task") or None
    if task is not None:
        get_task(str(task))
    device = choose_device(context.machine, request.get("device"), prefer="cpu")
    flags = {name: _flag(request, name) for name in ("accept_license", "convert_weights")}
    return {"task": task, "device": device, "base": _base(context, request.get("base")), **flags}


def _flag(request: Mapping[str, Any], name: str) -> bool:
    value = request.get(name) or False
    if not isinstance(value, bool):
        raise Refused(f"{name}={value!r} is not accepted.", hint="Give true or false.")
    return value


def _base(context: Context, ref: object) -> str | None:
    """The version that an adapter is to be laid over."""
    if ref in (None, ""):
        return None
    version = context.registry.models.get(str(ref))
    check_base(version)
    return version.ref


def _files(context: Context, files: Any) -> list[dict[str, Any]]:
    """The uploaded files of a folder: [{"path", "sha256", "size_bytes"}]."""
    if not isinstance(files, list) or not files:
        raise Refused("import needs a list of files.", hint='Give [{"path", "sha256", "size_bytes"}, …].')
    for file in files:
        if not isinstance(file, Mapping) or set(file) != {"path", "sha256", "size_bytes"}:
            raise Refused(f"files: {file!r} is not a file.", hint='Give {"path", "sha256", "size_bytes"} for each.')
        if not context.registry.blobs.keep(str(file.get("sha256", ""))):
            raise Refused(f"The file {file.get('path')!r} was not uploaded.", hint="Upload it first.")
    return [{key: file[key] for key in ("path", "sha256", "size_bytes")} for file in files]


def _refuse_own_hub(context: Context, hub: str) -> None:
    parts = urlsplit(hub)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if parts.path == "/hub" and port == context.settings.port and is_this_machine(parts.hostname or ""):
        raise Refused(
            f"{hub} is this registry's own Hub: a model cannot be imported from itself.",
            hint="Give another --hub, or unset HF_ENDPOINT.",
            code="own-hub",
        )


def _refuse_inside(context: Context, hub: str) -> None:
    """A caller from elsewhere must not have the server ask the machines behind it. Its own user may ask for that."""
    if context.is_shared and hub != context.settings.hub_url and is_private(urlsplit(hub).hostname or ""):
        raise Refused(
            f"{hub} is at an address of a private network, and is not the Hub of this server.",
            hint="Whoever runs the server can make it that: BEDPLATE_HUB_URL.",
            code="private-address",
        )


def _demand(context: Context, spec: Mapping[str, Any]) -> Demand:
    """It waits for the network most of the time. How large the model is is not known yet."""
    return Demand(memory_bytes=2 * GIB, gpus=int(spec["device"] == "cuda"))


def _command(context: Context, spec: Mapping[str, Any], folder: Path, epoch: int, lease: Lease) -> Command:
    command = worker("bedplate.workers.import_model", context, folder, epoch)
    # The one kind of worker that goes out, so it needs to know the way.
    way = {name: value for name, value in os.environ.items() if name.upper() in WAY_OUT}
    lists = asdict(context.settings.license_policy).items()
    policy = {f"BEDPLATE_LICENSE_{name.upper()}": ",".join(entries) for name, entries in lists}
    return replace(command, env={**command.env, **way, **policy, "HF_HUB_OFFLINE": "0"})


def _secrets(context: Context, spec: Mapping[str, Any]) -> dict[str, str]:
    token = hub_token_for(context.settings, spec["hub"]) if "hub" in spec else None
    return {"hf_token": token} if token else {}


def _finish(context: Context, job_id: str, spec: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    models = context.registry.models
    if "draft" not in result:
        version = models.get(result["model"])
        _check_license(context, job_id, spec, version)
        return {"model": version.ref, "already_imported": True}
    draft = ModelDraft.from_json(result["draft"])
    base = draft.base_draft or (models.get(draft.adapter_base) if draft.adapter_base else None)
    if base is not None:
        check_base_license(context.settings.license_policy, models, base)
    _check_license(context, job_id, spec, draft)
    version = models.publish(draft)
    return {"model": version.ref, "task": version.facts.task, "already_imported": False}


def _check_license(context: Context, job_id: str, spec: Mapping[str, Any], model: ModelDraft) -> None:
    """A Hub's word was checked before anything was fetched; this is what the model itself says."""
    check_license(
        context.settings,
        context.registry.models,
        model,
        accepts=spec.get("accept_license", False),
        by=context.jobs.get(job_id).owner,
        where=job_id,
    )


KIND = Kind(
    "import",
    request=ImportRequest,
    scope="import",
    prepare=_prepare,
    demand=_demand,
    command=_command,
    finish=_finish,
    network=True,
    stores_blobs=True,
    secrets=_secrets,
)
