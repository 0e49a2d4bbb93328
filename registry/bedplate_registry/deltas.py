"""The delta that a version of an adapter keeps, and the facts of an adapter and its base together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .adapters import AdapterConfig, adapted_config, kept_path, no_head
from .inspection import read_config
from .licenses import UNKNOWN, license_of
from .model_versions import FileEntry, ModelDraft, ModelFacts
from .plans import ADAPTER_FILES
from .registry import Registry
from .safetensors_header import read_header
from .staging import staged

__all__ = ["delta_facts", "make_delta"]


def make_delta(
    registry: Registry, files: Iterable[FileEntry], adapter: AdapterConfig, base: ModelDraft
) -> list[FileEntry]:
    """An adapter's own files where they are kept, with a config.json where the base's does not fit any more."""
    own = [replace(entry, path=kept_path(entry.path)) for entry in files if entry.path != "config.json"]
    with staged(registry, [*(each for each in base.files if each.path == "config.json"), *own]) as folder:
        tensors = read_header(folder / ADAPTER_FILES[1], ADAPTER_FILES[1])
        config = adapted_config(adapter, read_config(folder), tensors)
    if config is not None:
        blob = registry.blobs.put_bytes(config)
        own.append(FileEntry("config.json", blob.size_bytes, blob.sha256))
    return own


def delta_facts(facts: ModelFacts, size_bytes: int, adapter: AdapterConfig, base_license: str | None) -> ModelFacts:
    """Of the facts of the two together: the size is the delta's, and the license that of both. Raises no-head."""
    tasks = adapter.kind.tasks if adapter.kind else ()
    if tasks and facts.task not in tasks:
        raise no_head(adapter)
    own = facts.license
    license = license_of(own, base_license or UNKNOWN) if own else base_license
    return replace(facts, size_bytes=size_bytes, license=license)
