"""Whether the license of a model lets it in: at its import, and again when it is deployed."""

from __future__ import annotations

from collections.abc import Iterator

from bedplate.settings import Settings
from bedplate_registry.lineage import parents
from bedplate_registry.models import ModelDraft, Models, ModelVersion
from bedplate_registry.names import Name

__all__ = ["check_license"]


def check_license(settings: Settings, models: Models, model: ModelDraft, *, accepts: bool, by: str, where: str) -> None:
    """Raises Conflict where the policy denies the license, or asks for an acceptance and there is none.

    `accepts`: the caller, `by`, accepts it for `where`, an import or an endpoint; that is kept. What was accepted for
    a base holds for its fine-tunes, which have its license.
    """
    name, license = model.name, model.facts.license
    accepted = accepts or models.licenses.find(_line(models, model), license) is not None
    settings.license_policy.check(str(name), license, accepted=accepted)
    if accepts:
        models.licenses.accept(name, model.source.id, license, by=by, where=where)


def _line(models: Models, model: ModelDraft) -> Iterator[tuple[Name, str]]:
    """Name and source of a model and of what it was made from. Of a base that is gone nobody knows the source."""
    yield model.name, model.source.id
    for base in parents(models, model) if isinstance(model, ModelVersion) else ():
        if base.state != "missing":
            version = models.get(base.ref)
            yield version.name, version.source.id
