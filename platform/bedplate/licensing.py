"""Whether the license of a model lets it in: at its import, and again when it is deployed."""

from __future__ import annotations

from bedplate.settings import Settings
from bedplate_registry.lineage import parents
from bedplate_registry.models import Models, ModelVersion
from bedplate_registry.names import Name, Ref

__all__ = ["check_license"]


def check_license(
    settings: Settings,
    models: Models,
    model: Name | ModelVersion,
    license: str | None,
    *,
    accepts: bool,
    by: str,
    where: str,
) -> None:
    """Raises Conflict where the policy denies the license, or asks for an acceptance and there is none.

    `accepts`: the caller, `by`, accepts it for `where`, an import or an endpoint; that is kept. What was accepted for
    a base holds for its fine-tunes, which have its license.
    """
    name = model if isinstance(model, Name) else model.name
    if accepts:
        settings.license_policy.check(str(name), license, accepted=True)
        models.licenses.accept(name, license, by=by, where=where)
        return
    bases = [] if isinstance(model, Name) else parents(models, model)
    names = [name, *(Ref.parse(base.ref).name for base in bases)]
    accepted = models.licenses.find(names, license) is not None
    settings.license_policy.check(str(name), license, accepted=accepted)
