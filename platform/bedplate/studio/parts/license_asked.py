"""Whether the license of a model has to be accepted before it is deployed: the server's policy, and who did so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedplate.aio.models import Model
from bedplate.studio.visit import Visit
from bedplate_registry.licenses import LicensePolicy, license_id

__all__ = ["check_not_denied", "is_asked_for"]


async def check_not_denied(visit: Visit, model: Model) -> None:
    """Raises Conflict where the policy keeps this model's license out."""
    (await _policy(visit)).check(model.ref, model.license, accepted=True)


async def is_asked_for(visit: Visit, model: Model) -> bool:
    """Whether somebody has to accept it by name: the policy asks, and nobody has for it or for what it was made of."""
    if (await _policy(visit)).says(model.license) != "ask":
        return False
    lineage = await model.lineage()
    if _is_accepted(lineage, model.license):
        return False
    parents = [one["ref"] for one in lineage["parents"] if one["state"] != "missing"]
    for ref in parents:
        if _is_accepted(await (await visit.ws.models.get(ref)).lineage(), model.license):
            return False
    return True


async def _policy(visit: Visit) -> LicensePolicy:
    lists = await visit.ws.connection.get("/api/v1/server/licenses")
    return LicensePolicy(*(tuple(lists[word]) for word in ("allow", "ask", "deny")))


def _is_accepted(lineage: Mapping[str, Any], license: str | None) -> bool:
    wanted, source = _ids(license), lineage["source"]["id"]
    return any(each["source"] == source and wanted <= _ids(each["license"]) for each in lineage["license_acceptances"])


def _ids(license: str | None) -> set[str]:
    return set(license_id(license).split(", "))
