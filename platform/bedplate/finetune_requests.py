"""What was asked for in a fine-tune, read back off its job: to be asked for again, as it was or with changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from bedplate_registry.errors import Conflict
from bedplate_trainers.settings import FinetuneSettings

__all__ = ["PARTS", "request_of"]

PARTS = ("train", "validation", "test")


def request_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """The request of a job as REST shows it, without what is as usual. It names the same versions and bytes.

    Raises Conflict for a job of another kind.
    """
    if job["kind"] != "finetune":
        raise Conflict(
            f"{job['id']} is a job of the kind {job['kind']}, and no fine-tune.",
            hint=f"Any job is repeated with: bedplate jobs rerun {job['id']}",
            code="other-kind",
        )
    spec = job["spec"]
    data = {part: _data(spec[part]) for part in PARTS if isinstance(spec[part], Mapping)}
    request = {name: spec[name] for name in ("model", "task")} | data
    request |= {"columns": dict(spec["columns"]), "settings": _not_usual(spec["settings"]), "output": spec["output"]}
    return request | {
        **({"device": spec["device"]} if spec["device"] != "auto" else {}),
        **({"processes": spec["processes"]} if spec["processes"] != 1 else {}),
        **({"priority": job["priority"]} if job["priority"] else {}),
        **({"needs": dict(spec["needs"])} if spec.get("needs") else {}),
    }


def _data(ref: Mapping[str, Any]) -> str | dict[str, str]:
    """A dataset's version, or the file that was uploaded, which the server has."""
    return str(ref["dataset"]) if ref.get("dataset") else {"upload": ref["sha256"], "filename": ref["filename"]}


def _not_usual(settings: Mapping[str, Any]) -> dict[str, Any]:
    usual = {field.name: field.default for field in fields(FinetuneSettings)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in usual.items()}
    return {name: value for name, value in settings.items() if value != plain.get(name)}
