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

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from . import durable
from .adapters import (
    AdapterConfig,
    adapted_config,
    check_base,
    find_base,
    kept_path,
    no_base,
    no_head,
    read_adapter_config,
)
from .blobs import lease
from .cards import CardFacts
from .errors import NotFound, Refused, Unavailable
from .estimates import estimate, rough_facts
from .fetch import fetch_files
from .hub import Hub, HubFile, HubModel
from .import_folders import copy_files, list_folder
from .inspection import check_architecture, check_configs, inspect_folder, read_config
from .licenses import UNKNOWN, license_of
from .model_versions import FileEntry, ModelDraft, ModelFacts, ModelVersion, Source, laid_over
from .names import Name
from .plans import ADAPTER_FILES, check_room, choose_files, is_adapter, is_pickle, is_safetensors
from .progress import SILENT, Reporter
from .registry import Registry
from .safetensors_header import read_header
from .tasks import get_task

__all__ = ["Check", "Convert", "ImportPlan", "plan_import", "prepare_folder_import", "prepare_hub_import"]

# Loads the model in this folder and lets it answer once: gives the request and the answer, or raises Refused.
Check = Callable[[Path, ModelFacts], dict[str, Any]]
# Reads the pickles in the first folder and writes safetensors to the second: gives the versions of what did it.
Convert = Callable[[Path, Path], dict[str, str]]
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
        source = Source("folder", _folder_digest(files))
        if (version := bringer.already(name, source)) is not None:
            reporter.message(f"These files are already imported as {version.ref}")
            return version
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
        check_room(self.registry.root, self._missing_bytes(plan))
        files, adapter, base = self._fetch(hub, plan)
        return self.draft(name, files, source, model.card, adapter, base)

    def already(self, name: Name, source: Source) -> ModelVersion | None:
        """The version made from this source: for the task and on the base asked for, or any where none was."""
        versions = self.registry.models.versions(name, missing_ok=True)
        wanted = replace(source, url=None)
        for version in reversed(versions):
            fits = self.task in (None, version.task) and self.base in (None, version.adapter_base)
            if replace(version.source, url=None) == wanted and fits:
                return version
        return None

    def read_configs(self, configs: Iterable[FileEntry], alone: bool) -> AdapterConfig | None:
        """Refuses what is unsafe before weights are brought. What an adapter that is `alone` says of itself."""
        with self._staged(configs) as folder:
            check_configs(folder)
            if alone:
                return read_adapter_config(folder)
            if self.base is not None:
                message = "The model is no adapter, and is laid over no base."
                raise Refused(message, hint="Leave --base out.", code="not-an-adapter")
            check_architecture(folder, self.task)
        return None

    def base_here(self, adapter: AdapterConfig, commit: str | None) -> ModelVersion | None:
        """The version that an adapter is laid over, if it is here."""
        models = self.registry.models
        if self.base is not None:
            found: ModelVersion | None = models.get(self.base)
        elif adapter.base_id is None:
            raise no_base(adapter)
        else:
            found = find_base(models, adapter.base_id, commit)
        if found is not None:
            check_base(found)
            models.check_sound(found)
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
        with self._staged(_whole(base, files)) as folder:
            facts = inspect_folder(folder, task=self.task, card=card)
            if adapter is not None and base is not None:
                facts = _facts_of_delta(facts, files, adapter, base)
            kind = facts.task or "a base, to be fine-tuned"
            self.reporter.message(f"{facts.architecture}, {facts.parameters / 1e6:,.1f} million parameters: {kind}")
            self.reporter.message("Loading it once")
            sample = self.check(folder, facts)
        new = None if isinstance(base, ModelVersion) else base
        return ModelDraft(name, files, facts, source, lineage, sample, base_draft=new)

    def _fetch(self, hub: Hub, plan: ImportPlan) -> tuple[tuple[FileEntry, ...], AdapterConfig | None, Base | None]:
        configs = fetch_files(hub, plan.model, plan.configs, self.registry.blobs, SILENT)
        adapter = self.read_configs(configs, plan.is_adapter)
        base = self._base_on_hub(hub, plan.model.model_id, adapter) if adapter else None
        if adapter is None:
            self._say_what_it_takes(configs, plan)
        self.reporter.message(f"Fetching {len(plan.files)} files, {plan.size_bytes / 1e6:,.1f} MB, from {hub.url}")
        rest = [file for file in plan.files if file not in plan.configs]
        files = configs + fetch_files(hub, plan.model, rest, self.registry.blobs, self.reporter)
        return _sorted(files), adapter, base

    def _say_what_it_takes(self, configs: Iterable[FileEntry], plan: ImportPlan) -> None:
        """The memory that it will take, before gigabytes are fetched."""
        weights = sum(
            file.size_bytes for file in plan.files if is_pickle(file.path) or file.path.endswith(".safetensors")
        )
        with self._staged(configs) as folder:
            config = read_config(folder) if (folder / "config.json").is_file() else {}
        facts = rough_facts(config, weights, plan.task if config else "text-to-image")
        self.reporter.message(estimate(facts, config).summary)

    def _base_on_hub(self, hub: Hub, model_id: str, adapter: AdapterConfig) -> Base:
        """The base of an adapter: here, or imported now."""
        if self.is_base:
            raise no_base(adapter, f"the base that was named, {model_id}, is an adapter itself")
        commit = adapter.revision
        try:
            if commit is not None and self.base is None and adapter.base_id is not None:
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
            return self._delta(files, adapter, base), lineage
        if any(is_pickle(entry.path) for entry in files):
            return self._converted(files)
        return files, {}

    def _delta(self, files: Iterable[FileEntry], adapter: AdapterConfig, base: Base) -> tuple[FileEntry, ...]:
        """An adapter's own files where they are kept, with a config.json where the base's does not fit any more."""
        own = [replace(entry, path=kept_path(entry.path)) for entry in files if entry.path != "config.json"]
        with self._staged([*(each for each in base.files if each.path == "config.json"), *own]) as folder:
            tensors = read_header(folder / ADAPTER_FILES[1], ADAPTER_FILES[1])
            config = adapted_config(adapter, read_config(folder), tensors)
        if config is not None:
            blob = self.registry.blobs.put_bytes(config)
            own.append(FileEntry("config.json", blob.size_bytes, blob.sha256))
        return _sorted(own)

    def _converted(self, files: tuple[FileEntry, ...]) -> tuple[tuple[FileEntry, ...], dict[str, Any]]:
        """Safetensors in place of pickles. The pickles stay in the store until garbage is collected."""
        assert self.convert is not None
        pickles = [entry for entry in files if is_pickle(entry.path)]
        check_room(self.registry.root, sum(entry.size_bytes for entry in pickles))
        self.reporter.message(f"Converting {len(pickles)} pickles to safetensors")
        with self._staged(files) as folder, self._staged(()) as target:
            tools = self.convert(folder, target)
            made = []
            for path in sorted(target.iterdir()):
                if path.is_symlink() or not path.is_file() or not is_safetensors(path.name):
                    raise Refused(f"The conversion left {path.name[:80]!r}.", hint="Take another model.")
                blob = self.registry.blobs.put_file(path, move=True)
                made.append(FileEntry(path.name, blob.size_bytes, blob.sha256))
        kept = [entry for entry in files if entry not in pickles]
        return _sorted(kept + made), {"converted_from": [asdict(entry) for entry in pickles], "converted_with": tools}

    def _repair(self, hub: Hub, model: HubModel, version: ModelVersion) -> None:
        """Bring again what is missing or damaged of a version that is here."""
        blobs = self.registry.blobs
        bad = {entry.path for entry in version.files if not blobs.verify(entry.sha256)}
        if not bad:
            return
        self.reporter.message(f"{len(bad)} damaged or missing files of {version.ref} are fetched again")
        if version.adapter_base is None and "converted_from" not in version.lineage:
            fetch_files(hub, model, [file for file in model.files if file.path in bad], blobs, self.reporter)
            return
        again = replace(self, base=version.adapter_base)
        made, _ = again._own(*again._fetch(hub, plan_import(model, convert=self.convert is not None)))
        if set(made) != set(version.files):
            raise Unavailable(
                f"{version.ref} is not whole, and what is made of its source today differs from it.",
                hint="Take the registry's files from a backup, or import it under another --name.",
                code="damaged-model",
            )

    def _missing_bytes(self, plan: ImportPlan) -> int:
        blobs = self.registry.blobs
        return sum(
            file.size_bytes for file in plan.files if not (file.sha256 and blobs.has(file.sha256, file.size_bytes))
        )

    @contextmanager
    def _staged(self, files: Iterable[FileEntry]) -> Iterator[Path]:
        """The files as a folder for a while."""
        root = durable.make_folder(self.registry.root / "staging")
        folder = Path(mkdtemp(dir=root))
        try:
            yield self.registry.models.stage(files, folder)
        finally:
            shutil.rmtree(folder)


def _whole(base: Base | None, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
    return laid_over(base.files, files) if base else files


def _facts_of_delta(facts: ModelFacts, files: Iterable[FileEntry], adapter: AdapterConfig, base: Base) -> ModelFacts:
    """The facts of the two together; the size is the delta's, and the license that of both."""
    tasks = adapter.kind.tasks if adapter.kind else ()
    if tasks and facts.task not in tasks:
        raise no_head(adapter)
    own, other = facts.license, base.facts.license
    license = license_of(own, other or UNKNOWN) if own else other
    return replace(facts, size_bytes=sum(entry.size_bytes for entry in files), license=license)


def _sorted(files: Sequence[FileEntry]) -> tuple[FileEntry, ...]:
    return tuple(sorted(files, key=lambda entry: entry.path))


def _folder_digest(files: tuple[FileEntry, ...]) -> str:
    """One digest for what a folder holds, whatever it is called and wherever it lies."""
    lines = "".join(f"{entry.path}\0{entry.sha256}\n" for entry in files)
    return hashlib.sha256(lines.encode()).hexdigest()
