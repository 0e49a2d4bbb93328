"""Words about models that several pages say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedplate.studio.visit import Visit

__all__ = ["aliases_of", "no_import", "not_allowed"]

NEEDED = {"import": "user", "train": "user", "batch": "user", "infer": "user", "operate": "operator", "admin": "admin"}


def aliases_of(model: Mapping[str, Any]) -> list[str]:
    """The aliases that mean this version, of all that its name has."""
    return sorted(alias for alias, number in (model.get("aliases") or {}).items() if number == model["version"])


def not_allowed(visit: Visit, permission: str) -> str:
    """Why the visitor may not; empty where he may."""
    if visit.may(permission):
        return ""
    return f"your role {visit.role} may not; ask an admin for the role {NEEDED[permission]}"


def no_import(visit: Visit) -> str:
    return not_allowed(visit, "import")
