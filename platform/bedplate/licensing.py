"""Whether the license of a model lets it in: at its import, and again when it is deployed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bedplate.settings import Settings
from bedplate_registry.errors import Conflict
from bedplate_registry.licenses import LicensePolicy
from bedplate_registry.lineage import parents
from bedplate_registry.models import ModelDraft, Models, ModelVersion
from bedplate_registry.names import Name

__all__ = ["check_base_license", "check_license", "check_named_base"]


def check_license(
    settings: Settings, models: Models, model: ModelDraft, *, accepts: bool, by: str, where: str, keep: bool = True
) -> None:
    """Raises Conflict where the policy denies the license, or asks for an acceptance and there is none.

    `accepts`: the caller, `by`, accepts it for `where`, an import or an endpoint; that is kept, unless it is only tried
    out. What was accepted for a base holds for its fine-tunes, which have its license.
    """
    name, license = model.name, model.facts.license
    accepted = accepts or models.licenses.find(_line(models, model), license) is not None
    settings.license_policy.check(str(name), license, accepted=accepted)
    if accepts and keep:
        models.licenses.accept(name, model.source.id, license, by=by, where=where)


def check_base_license(policy: LicensePolicy, models: Models, base: ModelDraft) -> None:
    """The same for the base of an adapter that is imported, which nobody accepts unseen. Raises Conflict."""
    check_named_base(policy, models, _line(models, base), base.source.id, base.facts.license)


def check_named_base(
    policy: LicensePolicy, models: Models, line: Iterable[tuple[Name, str]], model_id: str, license: str | None
) -> None:
    """Of a base that is not here yet, by its MODEL_ID; `line` is whose acceptances hold for it, by name and source."""
    try:
        policy.check(f"the base {model_id}", license, accepted=models.licenses.find(line, license) is not None)
    except Conflict as exc:
        if exc.code != "license-not-accepted":
            raise
        hint = f"Read it, and import the base first: bedplate import {model_id} --accept-license"
        raise Conflict(exc.message, hint=hint, code=exc.code) from exc


def _line(models: Models, model: ModelDraft) -> Iterator[tuple[Name, str]]:
    """Name and source of a model and of what it was made from. Of a base that is gone nobody knows the source."""
    yield model.name, model.source.id
    for base in parents(models, model) if isinstance(model, ModelVersion) else ():
        if base.state != "missing":
            version = models.get(base.ref)
            yield version.name, version.source.id
