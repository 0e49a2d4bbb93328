"""What an import would bring, before it brings it: files, bytes, facts, and the problem it would end with.

Of the Hub only small files and the headers of the weights are read (hubpeek.py). They are laid out as the model's
folder would be, with holes for the tensors, and inspected as an import inspects it: so the answers are the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import BoundedSemaphore, Lock
from typing import Any

from .adapter_previews import find_base_preview, guessed_delta, laid_over_base, read_adapter
from .adapters import not_an_adapter, read_adapter_config
from .errors import BedplateError, Conflict, Forbidden, NotFound, Refused, Unavailable
from .estimates import rough_facts
from .fetch import is_here
from .hub import Hub, HubFile, HubModel
from .hubpeek import find_model, read_starts
from .hubreading import taken
from .import_folders import list_folder
from .inspection import check_architecture, check_configs, inspect_folder, read_config
from .model_versions import ModelFacts, ModelVersion, Source
from .names import Name
from .plans import Listed, check_room, choose_files, is_adapter, is_pickle
from .preview_folders import files_to_read, folder_of_starts, said_facts
from .registry import Registry
from .tasks import get_task

__all__ = ["Preview", "PreviewFile", "preview_folder", "preview_hub"]

AT_ONCE = 4

_turns = BoundedSemaphore(AT_ONCE)
_one_reads = Lock()  # strangers' files, which take memory: one plan at a time


@dataclass(frozen=True)
class PreviewFile:
    """A file that would be kept."""

    path: str
    size_bytes: int
    is_here: bool


@dataclass(frozen=True)
class Preview:
    """What an import would do.

    `facts` are None where nothing could be learned; unless `is_exact`, parameters and type are what the Hub says, or
    reckoned from the size of the files. `problem` is what the import would be refused with.
    """

    files: tuple[PreviewFile, ...]
    facts: ModelFacts | None
    config: Mapping[str, Any]
    is_exact: bool
    problem: BedplateError | None
    model: HubModel | None = None  # None for a folder
    here: str | None = None  # the version that was made of this very commit
    free_bytes: int | None = None
    base: ModelVersion | Preview | None = None  # of an adapter: what it is laid over, here or on the Hub
    starts: Mapping[str, bytes] = field(default_factory=dict, repr=False)  # what was read of its files

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def fetch_bytes(self) -> int:
        """What is not here yet, of the base of an adapter too."""
        base = self.base.fetch_bytes if isinstance(self.base, Preview) else 0
        return base + sum(file.size_bytes for file in self.files if not file.is_here)


def preview_hub(
    registry: Registry,
    hub: Hub,
    model_id: str,
    *,
    revision: str | None = None,
    task: str | None = None,
    name: Name | None = None,
    base: str | None = None,
    convert: bool = False,
) -> Preview:
    """What `prepare_hub_import` would do. Nothing is fetched but small files and headers, and none of it is kept.

    Raises Refused, NotFound, Forbidden or Unavailable where the model cannot be looked at.
    """
    if task is not None:
        get_task(task)
    with taken(_turns):
        preview = _Look(registry, hub, task, base, convert).preview(model_id, revision, name)
    if preview.here is None:
        try:
            check_room(registry.root, preview.fetch_bytes)
        except Refused as exc:
            return replace(preview, problem=exc)
    return preview


def preview_folder(
    folder: Path, *, task: str | None = None, base: ModelFacts | None = None, convert: bool = False
) -> Preview:
    """The same for a folder on this machine, which is only read. Raises Refused where it is none.

    Of an adapter there are facts where those of its `base` are given.
    """
    if task is not None:
        get_task(task)
    listed = list_folder(folder)
    try:
        chosen = choose_files(listed, convert=convert)
    except Refused as exc:
        return Preview((), None, {}, False, exc)
    preview = Preview(tuple(PreviewFile(file.path, file.size_bytes, False) for file in chosen), None, {}, False, None)
    try:
        with TemporaryDirectory() as staged:
            for file in chosen:
                place = Path(staged) / file.path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(file.real)
            if is_adapter([file.path for file in chosen]):
                check_configs(Path(staged))
                adapter = read_adapter_config(Path(staged))
                return replace(preview, facts=guessed_delta(base, chosen, adapter, None) if base else None)
            if base is not None:
                raise not_an_adapter()
            config, facts = _inspected(Path(staged), chosen, task, None)
    except Refused as exc:
        return replace(preview, problem=exc)
    if facts is None:
        weights = sum(file.size_bytes for file in chosen if is_pickle(file.path))
        return replace(preview, facts=rough_facts(config, weights, task), config=config)
    return replace(preview, facts=facts, config=config, is_exact=True)


@dataclass(frozen=True)
class _Look:
    """One look at a model of a Hub, and at the base where it is an adapter."""

    registry: Registry
    hub: Hub
    task: str | None
    base: str | None
    convert: bool
    is_base: bool = False  # of an adapter that is looked at

    def preview(self, model_id: str, revision: str | None, name: Name | None = None) -> Preview:
        model, said = find_model(self.hub, model_id, revision)
        preview = Preview((), None, {}, False, None, model, self._here(model, name), _free_bytes(self.registry.root))
        try:
            chosen = choose_files(model.files, convert=self.convert)
        except Refused as exc:
            facts, config = said_facts(model, said, model.files, self.task)
            return replace(preview, facts=facts, config=config, problem=exc)
        blobs = self.registry.blobs
        files = (PreviewFile(file.path, file.size_bytes, is_here(blobs, self.hub, model, file)) for file in chosen)
        preview = replace(preview, files=tuple(files))
        if is_adapter([file.path for file in chosen]):
            if self.is_base:  # which no adapter is: it is not looked at any further
                return preview
            return self._adapter(preview, model, chosen)
        if self.base is not None:
            return replace(preview, problem=not_an_adapter())
        return self._whole(preview, model, said, chosen)

    def _here(self, model: HubModel, name: Name | None) -> str | None:
        """The version that was made of this very commit."""
        source, any_task = Source("hub", model.model_id, model.commit), self.task is None
        find = self.registry.models.find_source
        name = name or Name.parse(model.model_id)
        found = find(name, source, task=self.task, any_task=any_task, adapter_base=self.base)
        return found.ref if found else None

    def _whole(self, preview: Preview, model: HubModel, said: Mapping[str, Any], chosen: Sequence[HubFile]) -> Preview:
        """A model that is no adapter alone. What its files do not tell the Hub does."""
        guess, config = said_facts(model, said, chosen, self.task)
        preview = replace(preview, facts=guess, config=config)
        sizes = {file.path: file.size_bytes for file in chosen}
        try:
            starts = read_starts(self.hub, model, files_to_read(chosen))
            with _one_reads, folder_of_starts(self.registry, starts, sizes) as folder:
                config, facts = _inspected(folder, [file for file in chosen if file.path in starts], self.task, model)
        except (Refused, Forbidden) as exc:
            return replace(preview, problem=exc)
        preview = replace(preview, starts=starts, config=config or preview.config)
        if facts is not None:
            return replace(preview, facts=replace(facts, size_bytes=sum(sizes.values())), is_exact=True)
        guess, _ = said_facts(model, {**said, "config": preview.config}, chosen, self.task)
        return replace(preview, facts=guess)

    def _adapter(self, preview: Preview, model: HubModel, chosen: Sequence[HubFile]) -> Preview:
        """An adapter alone: without its base there are no facts."""
        sizes = {file.path: file.size_bytes for file in chosen}
        try:
            starts = read_starts(self.hub, model, files_to_read(chosen))
            adapter = read_adapter(self.registry, starts, sizes)
            look = replace(self, task=None, base=None, is_base=True).preview
            base = find_base_preview(self.registry.models, adapter, self.base, look)
            preview = replace(preview, base=base)
            if isinstance(base, Preview) and (base.problem or not base.is_exact):  # pickles, for one
                facts = guessed_delta(base.facts, chosen, adapter, model.license) if base.facts else None
                return replace(preview, facts=facts, config=base.config, problem=base.problem)
            facts, config = laid_over_base(self.registry, adapter, base, starts, sizes, self.task, model.card)
        except (Refused, Forbidden, Conflict, NotFound) as exc:
            return replace(preview, problem=exc)
        except Unavailable as exc:
            if exc.code != "damaged-model":  # else it is the Hub that cannot be asked
                raise
            return replace(preview, problem=exc)
        return replace(preview, facts=facts, config=config, is_exact=True)


def _inspected(
    folder: Path, files: Iterable[Listed], task: str | None, model: HubModel | None
) -> tuple[Mapping[str, Any], ModelFacts | None]:
    """config.json and the facts; None for what has no headers to read them from: pickles, and an adapter alone."""
    paths = [file.path for file in files]
    check_configs(folder)
    if is_adapter(paths):
        return {}, None
    check_architecture(folder, task, model.pipeline_tag if model else None)
    config = read_config(folder) if (folder / "config.json").is_file() else {}
    if not any(path.endswith(".safetensors") for path in paths):
        return config, None
    return config, inspect_folder(folder, task=task, card=model.card if model else None)


def _free_bytes(root: Path) -> int:
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    return shutil.disk_usage(existing).free
