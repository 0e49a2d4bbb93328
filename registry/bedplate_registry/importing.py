"""From a MODEL_ID or a folder to a draft that only has to be published.

    plan       which files, how many bytes, is there room
    fetch      configurations first, so that what is unsafe is refused before gigabytes are fetched; then the rest
    convert    pickles to safetensors, where that was asked for: done by the caller, in a process that can do no harm
    base       of an adapter alone: the version that is here, or one that is imported first
    inspect    what the model is
    check      load it once and let it answer: done by the caller as well

The caller publishes the draft. A model that is here already comes back as its version.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .adapters import AdapterConfig, check_base, choose_base, no_base, not_an_adapter, read_adapter_config
from .blobs import lease
from .cards import CardFacts
from .conversions import Convert, convert_pickles
from .deltas import delta_facts, make_delta
from .errors import NotFound, Unavailable
from .estimates import estimate, rough_facts
from .fetch import fetch_files, is_here
from .hub import Hub, HubFile, HubModel, is_commit
from .import_folders import copy_files, folder_digest, list_folder
from .inspection import check_architecture, check_configs, inspect_folder, read_config
from .model_versions import FileEntry, ModelDraft, ModelFacts, ModelVersion, Source, laid_over
from .names import Name
from .plans import check_room, choose_files, is_adapter, is_pickle
from .progress import SILENT, Reporter
from .registry import Registry
from .sizes import count_text, size_text
from .staging import staged
from .tasks import get_task

__all__ = ["Check", "Convert", "ImportPlan", "plan_import", "prepare_folder_import", "prepare_hub_import"]

# Loads the model in this folder and lets it answer once: gives the request and the answer, or raises Refused.
Check = Callable[[Path, ModelFacts], dict[str, Any]]
Base = ModelVersion | ModelDraft


@dataclass(frozen=True)
class ImportPlan:
    """What an import would fetch."""

    model: HubModel
    files: tuple[HubFile, ...]
    task: str | None  # as asked for; None leaves it to the inspection

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def configs(self) -> tuple[HubFile, ...]:
        return tuple(file for file in self.files if file.path.endswith(".json"))

    @property
    def is_adapter(self) -> bool:
        """Whether its base is not among them."""
        return is_adapter([file.path for file in self.files])


def plan_import(model: HubModel, task: str | None = None, *, convert: bool = False) -> ImportPlan:
    """The files to fetch, or Refused where the task is unknown or the model has nothing that may be fetched."""
    if task is not None:
        get_task(task)
    return ImportPlan(model, tuple(choose_files(model.files, convert=convert)), task)


def prepare_hub_import(
    registry: Registry,
    hub: Hub,
    model_id: str,
    *,
    revision: str | None = None,
    task: str | None = None,
    name: Name | None = None,
    base: str | None = None,
    convert: Convert | None = None,
    check: Check,
    reporter: Reporter,
) -> ModelDraft | ModelVersion:
    """Everything up to publication. The model is kept under the id that the Hub answers with, or under `name`.

    `base` is the version that an adapter is laid over; where none is given and none is here that the adapter names,
    the base is imported from the same Hub, and comes as the `base_draft` of the draft. Without `convert` pickles are
    refused.
    """
    if task is not None:
        get_task(task)
    bringer = _Bringer(registry, task, base, convert, check, reporter)
    model = bringer.resolve(hub, model_id, revision)
    with lease(registry.blobs):
        return bringer.from_hub(hub, model, name or Name.parse(model.model_id))


def prepare_folder_import(
    registry: Registry,
    folder: Path,
    *,
    name: Name,
    task: str | None = None,
    base: str | None = None,
    convert: Convert | None = None,
    check: Check,
    reporter: Reporter,
) -> ModelDraft | ModelVersion:
    """The same for a folder on this machine, in the layout of save_pretrained. The folder is only read.

    The base of an adapter must be here.
    """
    if task is not None:
        get_task(task)
    chosen = choose_files(list_folder(folder), convert=convert is not None)
    check_room(registry.root, sum(file.size_bytes for file in chosen))
    bringer = _Bringer(registry, task, base, convert, check, reporter)
    with lease(registry.blobs):
        configs = copy_files(registry.blobs, [file for file in chosen if file.path.endswith(".json")], SILENT)
        adapter = bringer.read_configs(configs, is_adapter([file.path for file in chosen]))
        rest = [file for file in chosen if not file.path.endswith(".json")]
        files = _sorted(configs + copy_files(registry.blobs, rest, reporter))
        source = Source("folder", folder_digest(files))
        if (version := bringer.already(name, source)) is not None:
            return bringer.same_folder(version, files, adapter)
        found = bringer.base_here(adapter, adapter.revision) if adapter else None
        if adapter and found is None:
            raise no_base(adapter)
        return bringer.draft(name, files, source, CardFacts(), adapter, found)


@dataclass(frozen=True)
class _Bringer:
    """One import: what was asked for, and who helps."""

    registry: Registry
    task: str | None
    base: str | None
    convert: Convert | None
    check: Check
    reporter: Reporter
    is_base: bool = False  # of an adapter that is imported

    def resolve(self, hub: Hub, model_id: str, revision: str | None) -> HubModel:
        self.reporter.message(f"Asking {hub.url} for {model_id}")
        return hub.resolve(model_id, revision)

    def from_hub(self, hub: Hub, model: HubModel, name: Name) -> ModelDraft | ModelVersion:
        source = Source("hub", model.model_id, model.commit, hub.url)
        if (version := self.already(name, source)) is not None:
            self._repair(hub, model, version)
            self.reporter.message(
                f"{model.model_id} at commit {model.commit[:12]} is already imported as {version.ref}"
            )
            return version
        plan = plan_import(model, self.task, convert=self.convert is not None)
        check_room(self.registry.root, self._missing_bytes(hub, plan))
        files, adapter, base = self._fetch(hub, plan)
        return self.draft(name, files, source, model.card, adapter, base)

    def already(self, name: Name, source: Source) -> ModelVersion | None:
        """The version made from this source: for the task and on the base asked for, or any where none was."""
        models = self.registry.models
        return models.find_source(name, source, task=self.task, any_task=self.task is None, adapter_base=self.base)

    def same_folder(
        self, version: ModelVersion, files: tuple[FileEntry, ...], adapter: AdapterConfig | None
    ) -> ModelVersion:
        """A version that was made of these files: what was made of them and is damaged is made again."""
        if bad := self._damaged(version):
            self.reporter.message(f"{len(bad)} damaged or missing files of {version.ref} are made again")
            base = self.registry.models.get(version.adapter_base) if version.adapter_base else None
            self._own(files, adapter, base)
        self._check_repaired(version, bad, "the folder")
        self.reporter.message(f"These files are already imported as {version.ref}")
        return version

    def read_configs(self, configs: Iterable[FileEntry], alone: bool, tag: str | None = None) -> AdapterConfig | None:
        """Refuses what is unsafe before weights are brought. What an adapter that is `alone` says of itself."""
        with staged(self.registry, configs) as folder:
            check_configs(folder)
            if alone:
                return read_adapter_config(folder)
            if self.base is not None:
                raise not_an_adapter()
            check_architecture(folder, self.task, tag)
        return None

    def base_here(self, adapter: AdapterConfig, commit: str | None) -> ModelVersion | None:
        """The version that an adapter is laid over, if it is here."""
        found = choose_base(self.registry.models, adapter, commit, self.base)
        if found is not None:
            self.reporter.message(f"It is laid over {found.ref}")
        return found

    def draft(
        self,
        name: Name,
        files: tuple[FileEntry, ...],
        source: Source,
        card: CardFacts,
        adapter: AdapterConfig | None,
        base: Base | None,
    ) -> ModelDraft:
        """What these files are, loaded once."""
        files, lineage = self._own(files, adapter, base)
        with staged(self.registry, _whole(base, files)) as folder:
            facts = inspect_folder(folder, task=self.task, card=card)
            if adapter is not None and base is not None:
                size = sum(entry.size_bytes for entry in files)
                facts = delta_facts(facts, size, adapter, base.facts.license)
            kind = facts.task or "a base, to be fine-tuned"
            self.reporter.message(f"{facts.architecture}, {count_text(facts.parameters)} parameters: {kind}")
            self.reporter.message("Loading it once")
            sample = self.check(folder, facts)
        new = None if isinstance(base, ModelVersion) else base
        return ModelDraft(name, files, facts, source, lineage, sample, base_draft=new)

    def _fetch(self, hub: Hub, plan: ImportPlan) -> tuple[tuple[FileEntry, ...], AdapterConfig | None, Base | None]:
        configs = fetch_files(hub, plan.model, plan.configs, self.registry.blobs, SILENT)
        adapter = self.read_configs(configs, plan.is_adapter, plan.model.pipeline_tag)
        base = self._base_on_hub(hub, plan.model.model_id, adapter) if adapter else None
        if adapter is None:
            self._say_what_it_takes(configs, plan)
        self.reporter.message(f"Fetching {len(plan.files)} files, {size_text(plan.size_bytes)}, from {hub.url}")
        rest = [file for file in plan.files if file not in plan.configs]
        files = configs + fetch_files(hub, plan.model, rest, self.registry.blobs, self.reporter)
        return _sorted(files), adapter, base

    def _say_what_it_takes(self, configs: Iterable[FileEntry], plan: ImportPlan) -> None:
        """The memory that it will take, before gigabytes are fetched."""
        weights = sum(
            file.size_bytes for file in plan.files if is_pickle(file.path) or file.path.endswith(".safetensors")
        )
        with staged(self.registry, configs) as folder:
            config = read_config(folder) if (folder / "config.json").is_file() else {}
        facts = rough_facts(config, weights, plan.task if config else "text-to-image")
        self.reporter.message(estimate(facts, config).summary)

    def _base_on_hub(self, hub: Hub, model_id: str, adapter: AdapterConfig) -> Base:
        """The base of an adapter: here, or imported now."""
        if self.is_base:
            raise no_base(adapter, f"the base that was named, {model_id}, is an adapter itself")
        commit = adapter.revision
        try:
            if commit is not None and not is_commit(commit) and self.base is None and adapter.base_id is not None:
                commit = hub.resolve(adapter.base_id, commit).commit
            found: Base | None = self.base_here(adapter, commit)
            if found is not None:
                return found
            self.reporter.message(f"Its base {adapter.base_id} is imported first")
            bringer = replace(self, task=None, base=None, is_base=True)
            model = self.resolve(hub, str(adapter.base_id), commit)
            found = bringer.from_hub(hub, model, Name.parse(model.model_id))
        except NotFound as exc:
            raise no_base(adapter, exc.message.rstrip(".")) from exc
        check_base(found)
        return found

    def _own(
        self, files: tuple[FileEntry, ...], adapter: AdapterConfig | None, base: Base | None
    ) -> tuple[tuple[FileEntry, ...], dict[str, Any]]:
        """The files as the version keeps them, and how they came about."""
        if adapter is not None and base is not None:
            lineage = {"adapter_base": base.ref} if isinstance(base, ModelVersion) else {}
            return _sorted(make_delta(self.registry, files, adapter, base)), lineage
        if any(is_pickle(entry.path) for entry in files):
            assert self.convert is not None  # or they were refused
            made, lineage = convert_pickles(self.registry, files, self.convert, self.reporter)
            return _sorted(made), lineage
        return files, {}

    def _repair(self, hub: Hub, model: HubModel, version: ModelVersion) -> None:
        """Bring again what is missing or damaged of a version that is here. Raises Unavailable where some stays so."""
        bad = self._damaged(version)
        if bad:
            self.reporter.message(f"{len(bad)} damaged or missing files of {version.ref} are fetched again")
            if version.adapter_base is None and "converted_from" not in version.lineage:
                wanted = [file for file in model.files if file.path in bad]
                fetch_files(hub, model, wanted, self.registry.blobs, self.reporter)
            else:
                again = replace(self, base=version.adapter_base)
                again._own(*again._fetch(hub, plan_import(model, convert=self.convert is not None)))
        self._check_repaired(version, bad, hub.url)

    def _damaged(self, version: ModelVersion) -> list[str]:
        return [entry.path for entry in version.files if not self.registry.blobs.verify(entry.sha256)]

    def _check_repaired(self, version: ModelVersion, bad: Collection[str], source: str) -> None:
        """Raises Unavailable where one of the files that were bad still is, or the base of an adapter is not whole."""
        if bad and (left := self._damaged(version)):
            raise Unavailable(
                f"{version.ref} is not whole, and {source} does not have the same bytes any more. "
                f"Damaged or missing: {', '.join(left[:3])}{' and more' if len(left) > 3 else ''}.",
                hint="Take the registry's files from a backup, or import it under another --name.",
                code="damaged-model",
            )
        self.registry.models.check_sound(version)

    def _missing_bytes(self, hub: Hub, plan: ImportPlan) -> int:
        blobs = self.registry.blobs
        return sum(file.size_bytes for file in plan.files if not is_here(blobs, hub, plan.model, file))


def _whole(base: Base | None, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
    return laid_over(base.files, files) if base else files


def _sorted(files: Sequence[FileEntry]) -> tuple[FileEntry, ...]:
    return tuple(sorted(files, key=lambda entry: entry.path))
