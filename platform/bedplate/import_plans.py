"""What an import would take and bring, as a plan that a page or a command can show; nothing is started.

A plan has a `problem` where the import would be refused. What cannot be looked at at all is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bedplate.hub_token import hub_token_for
from bedplate.intake import find_kind
from bedplate.kinds import Context
from bedplate.licensing import check_base_license, check_named_base
from bedplate_registry.errors import BedplateError, Conflict
from bedplate_registry.estimates import GpuLike, estimate, recommend
from bedplate_registry.hub import Hub, HubModel
from bedplate_registry.licenses import license_id
from bedplate_registry.models import ModelFacts, ModelVersion
from bedplate_registry.names import Name
from bedplate_registry.previews import Preview, preview_folder, preview_hub

__all__ = ["plan_folder", "plan_import"]

DECISIONS = {"allow": "allowed", "ask": "ask", "deny": "denied"}


def plan_import(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of an import from a Hub; `request` is that of the job. Raises what the job's submission would, and
    NotFound, Forbidden or Unavailable where the model cannot be looked at.
    """
    spec = find_kind("import").prepare(context, request)
    name = Name.parse(spec["name"]) if spec["name"] else None
    preview = preview_hub(
        context.registry,
        Hub(spec["hub"], hub_token_for(context.settings, spec["hub"])),
        spec["model_id"],
        revision=spec["revision"],
        task=spec["task"],
        name=name,
        base=spec["base"],
        convert=spec["convert_weights"],
    )
    assert preview.model is not None
    license, problem = _license(context, preview, preview.model, name, accepts=spec["accept_license"])
    base, base_problem = _base(context, preview.base)
    inventory = context.machine.inventory()
    return {
        **_plan(preview, inventory.usable_gpus, inventory.memory_bytes),
        "model_id": preview.model.model_id,
        "commit": preview.model.commit,
        "hub": spec["hub"],
        "name": str(name or preview.model.model_id),
        "gated": preview.model.gated,
        "base": base,
        "license": license,
        "problem": _shown(base_problem or problem or preview.problem),
    }


def plan_folder(
    folder: Path,
    compute: Mapping[str, Any],
    *,
    name: str,
    task: str | None = None,
    base: Mapping[str, Any] | None = None,
    accepts: bool = False,
    convert: bool = False,
) -> dict[str, Any]:
    """The plan of an import from a folder of the caller's disk. `compute` is what the server says of its machine, and
    `base` of the version that an adapter is laid over.

    The server's disk and its license policy are looked at when it is imported.
    """
    base_facts = ModelFacts(**{each.name: _field(base, each.name) for each in fields(ModelFacts)}) if base else None
    preview = preview_folder(folder, task=task, base=base_facts, convert=convert)
    gpus = [_card(gpu) for gpu in compute["gpus"] if gpu["problem"] is None]
    return {
        **_plan(preview, gpus, compute["memory_bytes"]),
        "model_id": None,
        "commit": None,
        "hub": None,
        "name": str(Name.parse(name)),
        "gated": False,
        "base": _base_shown(base["source"]["id"], base["ref"], base["source"]["commit"], base_facts) if base else None,
        "license": {
            "id": license_id(preview.facts.license if preview.facts else None),
            "decision": None,
            "message": f"{'You accept it. ' if accepts else ''}The server looks at its policy when it is imported.",
        },
        "problem": _shown(preview.problem),
    }


def _plan(preview: Preview, gpus: Any, memory_bytes: int) -> dict[str, Any]:
    facts, free = preview.facts, preview.free_bytes
    fields = ("task", "architecture", "model_type", "parameters", "dtype", "context_length")
    plan: dict[str, Any] = {field: getattr(facts, field, None) for field in fields}
    return {
        **plan,
        "finetunable_tasks": list(facts.finetunable_tasks) if facts else [],
        "is_exact": preview.is_exact,
        "here": preview.here,
        "files": [{"path": file.path, "size_bytes": file.size_bytes, "here": file.is_here} for file in preview.files],
        "size_bytes": preview.size_bytes,
        "fetch_bytes": preview.fetch_bytes,
        "free_bytes": free,
        "fits": None if free is None else getattr(preview.problem, "code", None) != "disk-full",
        "estimate": estimate(facts, preview.config).to_json() if facts else None,
        "recommendation": recommend(facts, gpus, preview.config, memory_bytes=memory_bytes).to_json()
        if facts
        else None,
    }


def _base(context: Context, base: ModelVersion | Preview | None) -> tuple[dict[str, Any] | None, BedplateError | None]:
    """What an adapter is laid over; and the problem where its license keeps it out."""
    if base is None:
        return None, None
    models, policy = context.registry.models, context.settings.license_policy
    try:
        if isinstance(base, ModelVersion):
            shown = _base_shown(base.source.id, base.ref, base.source.commit, base.facts)
            check_base_license(policy, models, base)
        else:
            assert base.model is not None
            id, license = base.model.model_id, base.facts.license if base.facts else base.model.license
            shown = _base_shown(id, None, base.model.commit, base.facts)
            shown |= {"size_bytes": base.size_bytes, "fetch_bytes": base.fetch_bytes, "license": license_id(license)}
            check_named_base(policy, models, [(Name.parse(id), id)], id, license)
    except Conflict as exc:
        return shown, exc
    return shown, None


def _base_shown(id: str, ref: str | None, commit: str | None, facts: ModelFacts | None) -> dict[str, Any]:
    return {
        "source": id,
        "here": ref,
        "commit": commit,
        "license": license_id(facts.license if facts else None),
        "size_bytes": facts.size_bytes if facts else 0,
        "fetch_bytes": 0,
    }


def _field(value: Mapping[str, Any], name: str) -> Any:
    """Of a version as REST tells of it."""
    found = value.get(name)
    return tuple(found) if isinstance(found, list) else found


def _license(
    context: Context, preview: Preview, model: HubModel, name: Name | None, *, accepts: bool
) -> tuple[dict[str, Any], BedplateError | None]:
    """What the policy says, in words; and the problem where it denies, or asks for an acceptance that is not there."""
    license = preview.facts.license if preview.facts else model.license
    policy = context.settings.license_policy
    said = {"id": license_id(license), "decision": DECISIONS[policy.says(license)], "message": ""}
    before = context.registry.models.licenses.find([(name or Name.parse(model.model_id), model.model_id)], license)
    try:
        policy.check(model.model_id, license, accepted=accepts or before is not None)
    except Conflict as exc:
        return {**said, "message": f"{exc.message} {exc.hint}"}, exc
    if said["decision"] == "ask":
        return {**said, "decision": "allowed", "message": _accepted(before.by, before.when) if before else ""}, None
    return said, None


def _accepted(by: str, when: str) -> str:
    return f"Accepted by {by}, {when[:10]}."


def _shown(problem: BedplateError | None) -> dict[str, str] | None:
    return problem.to_json() if problem else None


@dataclass(frozen=True)
class _Card:
    memory_bytes: int
    capability: tuple[int, int] | None


def _card(gpu: Mapping[str, Any]) -> GpuLike:
    """A card as REST tells of it."""
    major, _, minor = str(gpu["capability"] or "").partition(".")
    return _Card(int(gpu["memory_bytes"]), (int(major), int(minor)) if major and minor else None)
