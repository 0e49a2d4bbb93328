"""What the import of an adapter alone would bring: its delta, the base where that is not here, and what the two are.

Its files tell little: they are laid over those of the base, or over their starts, and inspected as the import does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .adapters import AdapterConfig, adapted_config, check_base, choose_base, kept_path, no_base, read_adapter_config
from .cards import CardFacts
from .deltas import delta_facts
from .errors import NotFound
from .hub import is_commit
from .inspection import check_configs, inspect_folder, read_config
from .model_versions import ModelFacts, ModelVersion
from .models import Models
from .plans import ADAPTER_FILES, Listed, is_adapter
from .preview_folders import folder_of_starts, lay_out
from .registry import Registry
from .safetensors_header import read_header
from .staging import staged

if TYPE_CHECKING:
    from .previews import Preview

__all__ = ["find_base_preview", "guessed_delta", "laid_over_base", "read_adapter"]

Look = Callable[[str, str | None], "Preview"]  # of a model on the same Hub, by its MODEL_ID and revision


def read_adapter(registry: Registry, starts: Mapping[str, bytes], sizes: Mapping[str, int]) -> AdapterConfig:
    """What an adapter says of itself. Raises Refused where it is unsafe, or not of the kind that is taken."""
    with folder_of_starts(registry, starts, sizes) as folder:
        check_configs(folder)
        return read_adapter_config(folder)


def find_base_preview(models: Models, adapter: AdapterConfig, given: str | None, look: Look) -> ModelVersion | Preview:
    """What it is laid over: a version that is here, or what would come from the Hub. Raises what the import would."""
    revision = adapter.revision
    if given is not None or revision is None or is_commit(revision):
        found = choose_base(models, adapter, revision, given)
        if found is not None:
            return found
    if adapter.base_id is None:
        raise no_base(adapter)
    try:
        base = look(adapter.base_id, revision)
    except NotFound as exc:
        raise no_base(adapter, exc.message.rstrip(".")) from exc
    assert base.model is not None
    if revision is not None and (found := choose_base(models, adapter, base.model.commit, None)) is not None:
        return found
    if base.here is not None:  # archived, or not whole: it does not come again
        version = models.get(base.here)
        check_base(version)
        return version
    paths = [file.path for file in base.files]
    if is_adapter(paths) or ADAPTER_FILES[0] in paths:
        raise no_base(adapter, f"the base that was named, {base.model.model_id}, is an adapter itself")
    return base


def laid_over_base(
    registry: Registry,
    adapter: AdapterConfig,
    base: ModelVersion | Preview,
    starts: Mapping[str, bytes],
    sizes: Mapping[str, int],
    task: str | None,
    card: CardFacts,
) -> tuple[ModelFacts, Mapping[str, object]]:
    """The facts and the config.json of the two together."""
    own = {kept_path(path): data for path, data in starts.items() if path != "config.json"}
    own_sizes = {kept_path(path): size for path, size in sizes.items() if path != "config.json"}
    with _base_folder(registry, base) as folder:
        lay_out(folder, own, own_sizes)
        tensors = read_header(folder / ADAPTER_FILES[1], ADAPTER_FILES[1])
        changed = adapted_config(adapter, read_config(folder), tensors)
        if changed is not None:
            own_sizes["config.json"] = len(changed)
            lay_out(folder, {"config.json": changed}, own_sizes)
        facts = inspect_folder(folder, task=task, card=card)
        config = read_config(folder)
    license = base.facts.license if base.facts else None
    return delta_facts(facts, sum(own_sizes.values()), adapter, license), config


def guessed_delta(base: ModelFacts, files: Iterable[Listed], adapter: AdapterConfig, license: str | None) -> ModelFacts:
    """The facts of the two where only the base's are known: the delta's parameters are taken for float32."""
    sizes = {file.path: file.size_bytes for file in files}
    weights = sizes.get(Path(ADAPTER_FILES[1]).name, 0)
    tasks = adapter.kind.tasks if adapter.kind else ()
    task = base.task if not tasks or base.task in tasks else tasks[0]
    said = replace(base, task=task, parameters=base.parameters + weights // 4, license=license)
    return delta_facts(said, sum(sizes.values()), adapter, base.license)


@contextmanager
def _base_folder(registry: Registry, base: ModelVersion | Preview) -> Iterator[Path]:
    if isinstance(base, ModelVersion):
        with staged(registry, base.files) as folder:
            yield folder
        return
    with folder_of_starts(registry, base.starts, {file.path: file.size_bytes for file in base.files}) as folder:
        yield folder
