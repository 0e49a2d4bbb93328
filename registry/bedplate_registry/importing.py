"""From a MODEL_ID or a folder to a draft that only has to be published.

    plan       which files, how many bytes, is there room
    fetch      configurations first, so that what is unsafe is refused before gigabytes are fetched; then the rest
    inspect    what the model is
    check      load it once and let it answer: done by the caller, in a process that can do no harm

The caller publishes the draft. A model that is here already comes back as its version.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from . import durable
from .blobs import lease
from .cards import CardFacts
from .errors import Refused
from .fetch import fetch_files
from .hub import Hub, HubFile, HubModel
from .inspection import check_architecture, check_configs, inspect_folder
from .models import FileEntry, ModelDraft, ModelFacts, ModelVersion, Source
from .names import Name, check_file_path
from .plans import ADAPTER_FILES, check_room, choose_files
from .progress import SILENT, Reporter
from .registry import Registry
from .tasks import get_task

__all__ = ["Check", "ImportPlan", "plan_import", "prepare_folder_import", "prepare_hub_import"]

# Loads the model in this folder and lets it answer once: gives the request and the answer, or raises Refused.
Check = Callable[[Path, ModelFacts], dict[str, Any]]


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


@dataclass(frozen=True)
class FolderFile:
    """A file of a folder on this machine."""

    path: str
    size_bytes: int
    real: Path


def plan_import(model: HubModel, task: str | None = None) -> ImportPlan:
    """The files to fetch, or Refused where the task is unknown or the model has nothing that may be fetched."""
    if task is not None:
        get_task(task)
    return ImportPlan(model, tuple(choose_files(model.files)), task)


def prepare_hub_import(
    registry: Registry,
    hub: Hub,
    model_id: str,
    *,
    revision: str | None = None,
    task: str | None = None,
    name: Name | None = None,
    check: Check,
    reporter: Reporter,
) -> ModelDraft | ModelVersion:
    """Everything up to publication. The model is kept under the id that the Hub answers with, or under `name`."""
    if task is not None:
        get_task(task)
    reporter.message(f"Asking {hub.url} for {model_id}")
    model = hub.resolve(model_id, revision)
    name = name or Name.parse(model.model_id)
    source = Source("hub", model.model_id, model.commit, hub.url)
    with lease(registry.blobs):
        if (version := _already(registry, name, source, task)) is not None:
            _repair(registry, hub, model, version, reporter)
            reporter.message(f"{model.model_id} at commit {model.commit[:12]} is already imported as {version.ref}")
            return version
        plan = plan_import(model, task)
        check_room(registry.root, _missing_bytes(registry, plan))
        files = _fetch(registry, hub, plan, reporter)
        card = CardFacts(model.license, model.languages, model.pipeline_tag)
        return _draft(registry, name, files, source, task, card, check, reporter)


def prepare_folder_import(
    registry: Registry,
    folder: Path,
    *,
    name: Name,
    task: str | None = None,
    check: Check,
    reporter: Reporter,
) -> ModelDraft | ModelVersion:
    """The same for a folder on this machine, in the layout of save_pretrained. The folder is only read."""
    if task is not None:
        get_task(task)
    if not folder.is_dir():
        raise Refused(
            f"{folder.name!r} is not a folder.", hint="Give the folder that holds config.json.", code="no-folder"
        )
    chosen = choose_files(_list_folder(folder))
    check_room(registry.root, sum(file.size_bytes for file in chosen))
    with lease(registry.blobs):
        files = _copy(registry, chosen, task, reporter)
        source = Source("folder", _folder_digest(files))
        if (version := _already(registry, name, source, task)) is not None:
            reporter.message(f"These files are already imported as {version.ref}")
            return version
        return _draft(registry, name, files, source, task, CardFacts(), check, reporter)


def _already(registry: Registry, name: Name, source: Source, task: str | None) -> ModelVersion | None:
    """The version made from this source: for the task asked for, or any where none was."""
    versions = registry.models.versions(name, missing_ok=True)
    wanted = replace(source, url=None)
    for version in reversed(versions):
        if replace(version.source, url=None) == wanted and task in (None, version.task):
            return version
    return None


def _repair(registry: Registry, hub: Hub, model: HubModel, version: ModelVersion, reporter: Reporter) -> None:
    """Fetch again what is missing or damaged of a version that is here."""
    bad = {entry.path for entry in version.files if not registry.blobs.verify(entry.sha256)}
    if bad:
        reporter.message(f"{len(bad)} damaged or missing files of {version.ref} are fetched again")
        fetch_files(hub, model, [file for file in model.files if file.path in bad], registry.blobs, reporter)


def _missing_bytes(registry: Registry, plan: ImportPlan) -> int:
    return sum(
        file.size_bytes for file in plan.files if not (file.sha256 and registry.blobs.has(file.sha256, file.size_bytes))
    )


def _fetch(registry: Registry, hub: Hub, plan: ImportPlan, reporter: Reporter) -> tuple[FileEntry, ...]:
    configs = fetch_files(hub, plan.model, plan.configs, registry.blobs, SILENT)
    with _staged(registry, configs) as folder:
        check_configs(folder)
        check_architecture(folder, plan.task)
    reporter.message(f"Fetching {len(plan.files)} files, {plan.size_bytes / 1e6:,.1f} MB, from {hub.url}")
    rest = [file for file in plan.files if file not in plan.configs]
    return _sorted(configs + fetch_files(hub, plan.model, rest, registry.blobs, reporter))


def _draft(
    registry: Registry,
    name: Name,
    files: tuple[FileEntry, ...],
    source: Source,
    task: str | None,
    card: CardFacts,
    check: Check,
    reporter: Reporter,
) -> ModelDraft:
    with _staged(registry, files) as folder:
        facts = inspect_folder(folder, task=task, card=card)
        kind = facts.task or "a base, to be fine-tuned"
        reporter.message(f"{facts.architecture}, {facts.parameters / 1e6:,.1f} million parameters: {kind}")
        reporter.message("Loading it once")
        sample = check(folder, facts)
    return ModelDraft(name=name, files=files, facts=facts, source=source, sample=sample)


@contextmanager
def _staged(registry: Registry, files: Iterable[FileEntry]) -> Iterator[Path]:
    """The files as a folder for a while."""
    root = durable.make_folder(registry.root / "staging")
    folder = Path(mkdtemp(dir=root))
    try:
        yield registry.models.stage(files, folder)
    finally:
        shutil.rmtree(folder)


def _list_folder(folder: Path) -> list[FolderFile]:
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in relative.split("/")):
            found.append(FolderFile(check_file_path(relative), path.stat().st_size, _real(path, folder)))
    return _with_adapter_apart(found)


def _with_adapter_apart(files: list[FolderFile]) -> list[FolderFile]:
    """An adapter that lies beside its base is kept in the folder where adapters are kept (plans.ADAPTER_FILES)."""
    homes = {Path(path).name: path for path in ADAPTER_FILES}
    paths = {file.path for file in files}
    if not {"config.json", *homes} <= paths or ADAPTER_FILES[0] in paths:
        return files
    return [replace(file, path=homes.get(file.path, file.path)) for file in files]


def _real(path: Path, folder: Path) -> Path:
    """The file itself. A link may lead only to a place in the folder, or to the blobs of the Hub cache it is in."""
    real, allowed = path.resolve(), [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        allowed.append(folder.resolve().parent.parent / "blobs")
    if not any(real.is_relative_to(root) for root in allowed):
        raise Refused(
            f"{path.relative_to(folder).as_posix()} is a link that leads out of the folder.",
            hint="Put the file itself there.",
            code="unexpected-symlink",
        )
    return real


def _copy(registry: Registry, files: list[FolderFile], task: str | None, reporter: Reporter) -> tuple[FileEntry, ...]:
    configs = _take(registry, [file for file in files if file.path.endswith(".json")], SILENT)
    with _staged(registry, configs) as folder:
        check_configs(folder)
        check_architecture(folder, task)
    rest = _take(registry, [file for file in files if not file.path.endswith(".json")], reporter)
    return _sorted(configs + rest)


def _take(registry: Registry, files: list[FolderFile], reporter: Reporter) -> list[FileEntry]:
    total, done, taken = sum(file.size_bytes for file in files), 0, []

    def count(size: int) -> None:
        nonlocal done
        done += size
        reporter.progress("copy", done, total, "bytes")

    for file in files:
        blob = registry.blobs.put_file(file.real, on_bytes=count)
        taken.append(FileEntry(file.path, blob.size_bytes, blob.sha256))
    return taken


def _sorted(files: list[FileEntry]) -> tuple[FileEntry, ...]:
    return tuple(sorted(files, key=lambda entry: entry.path))


def _folder_digest(files: tuple[FileEntry, ...]) -> str:
    """One digest for what a folder holds, whatever it is called and wherever it lies."""
    lines = "".join(f"{entry.path}\0{entry.sha256}\n" for entry in files)
    return hashlib.sha256(lines.encode()).hexdigest()
