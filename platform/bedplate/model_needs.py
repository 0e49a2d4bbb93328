"""What a version takes of memory, and how to fine-tune it on the devices of this machine."""

from __future__ import annotations

import json
from typing import Any

from bedplate.machine import Machine
from bedplate_registry.errors import BedplateError
from bedplate_registry.estimates import Estimate, Recommendation, estimate, recommend
from bedplate_registry.models import ModelVersion
from bedplate_registry.registry import Registry

__all__ = ["config_of", "needs_of"]

MAX_CONFIG_BYTES = 1 << 20


def needs_of(registry: Registry, machine: Machine, version: ModelVersion) -> tuple[Estimate, Recommendation]:
    """Reckoned from its facts and its config.json; an adapter's from its base's."""
    config, inventory = config_of(registry, version), machine.inventory()
    recommended = recommend(version.facts, inventory.usable_gpus, config, memory_bytes=inventory.memory_bytes)
    return estimate(version.facts, config), recommended


def config_of(registry: Registry, version: ModelVersion) -> dict[str, Any] | None:
    """A version's config.json; None where none can be read: the estimates then guess its shape."""
    try:
        holder = registry.models.get(version.adapter_base) if version.adapter_base else version
        entry = next((file for file in holder.files if file.path == "config.json"), None)
        if entry is None or entry.size_bytes > MAX_CONFIG_BYTES:
            return None
        with registry.blobs.open(entry.sha256) as file:
            value = json.loads(file.read())
    except (BedplateError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
