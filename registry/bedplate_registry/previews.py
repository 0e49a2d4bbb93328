"""What an import would bring, before it brings it: files, bytes, facts, and the problem it would end with.

Of the Hub only small files and the headers of the weights are read (hubpeek.py). They are laid out as the model's
folder would be, with holes for the tensors, and inspected as an import inspects it: so the answers are the same.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from .errors import BedplateError, Forbidden, Refused
from .fetch import key_of
from .hub import Hub, HubFile, HubModel
from .hubpeek import find_model, read_starts
from .import_folders import list_folder
from .inspection import DTYPES, check_architecture, check_configs, inspect_folder, read_config
from .models import ModelFacts
from .names import Name
from .plans import Listed, check_room, choose_files, is_adapter
from .registry import Registry
from .tasks import architecture_of, finetunable_tasks, get_task, task_of

__all__ = ["Preview", "PreviewFile", "preview_folder", "preview_hub"]

MOST_SMALL_BYTES = 1 << 20  # of a JSON file or a card
MOST_INDEX_BYTES = 16 << 20
MOST_SMALL_FILES, MOST_HEADERS = 100, 256
INDEX = ".safetensors.index"


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

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def fetch_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files if not file.is_here)


def preview_hub(
    registry: Registry,
    hub: Hub,
    model_id: str,
    *,
    revision: str | None = None,
    task: str | None = None,
    name: Name | None = None,
    convert: bool = False,
) -> Preview:
    """What `prepare_hub_import` would do. Nothing is fetched but small files and headers, and none of it is kept.

    Raises Refused, NotFound, Forbidden or Unavailable where the model cannot be looked at.
    """
    if task is not None:
        get_task(task)
    model, said = find_model(hub, model_id, revision)
    free = _free_bytes(registry.root)
    here = _version_of(registry, name or Name.parse(model.model_id), model, task)
    try:
        chosen = choose_files(model.files, convert=convert)
    except Refused as exc:
        facts, config = _said_facts(model, said, model.files, task)
        return Preview((), facts, config, False, exc, model, here, free)
    files = tuple(PreviewFile(file.path, file.size_bytes, _is_here(registry, hub, model, file)) for file in chosen)
    facts, config, is_exact, problem = _looked_at(registry, hub, model, said, chosen, task)
    preview = Preview(files, facts, config, is_exact, problem, model, here, free)
    if here is None:
        try:
            check_room(registry.root, preview.fetch_bytes)
        except Refused as exc:
            return replace(preview, problem=exc)
    return preview


def preview_folder(folder: Path, *, task: str | None = None, convert: bool = False) -> Preview:
    """The same for a folder on this machine, which is only read. Raises Refused where it is none."""
    if task is not None:
        get_task(task)
    listed = list_folder(folder)
    try:
        chosen = choose_files(listed, convert=convert)
    except Refused as exc:
        return Preview((), None, {}, False, exc)
    files = tuple(PreviewFile(file.path, file.size_bytes, False) for file in chosen)

    def lay_out(target: Path) -> None:
        for file in chosen:
            place = target / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(file.real)

    try:
        with _folder(None, lay_out) as staged:
            config, facts = _inspected(staged, chosen, task, None)
    except Refused as exc:
        return Preview(files, None, {}, False, exc)
    return Preview(files, facts, config, facts is not None, None)


def _looked_at(
    registry: Registry, hub: Hub, model: HubModel, said: Mapping[str, Any], chosen: Sequence[HubFile], task: str | None
) -> tuple[ModelFacts | None, Mapping[str, Any], bool, BedplateError | None]:
    """Facts, config.json, whether they are exact, and the problem."""
    guess, said_config = _said_facts(model, said, chosen, task)
    try:
        starts = read_starts(hub, model, _read(chosen))
        sizes = {file.path: file.size_bytes for file in chosen}
        with _folder(registry.root / "staging", lambda folder: _lay_out(folder, starts, sizes)) as folder:
            config, facts = _inspected(folder, [file for file in chosen if file.path in starts], task, model)
    except (Refused, Forbidden) as exc:
        return guess, said_config, False, exc
    if facts is None:
        return guess, config or said_config, False, None
    return replace(facts, size_bytes=sum(sizes.values())), config, True, None


def _inspected(
    folder: Path, files: Iterable[Listed], task: str | None, model: HubModel | None
) -> tuple[Mapping[str, Any], ModelFacts | None]:
    """config.json and the facts; None for what has no headers to read them from: pickles, and an adapter alone."""
    paths = [file.path for file in files]
    check_configs(folder)
    if is_adapter(paths):
        return {}, None
    check_architecture(folder, task)
    config = read_config(folder) if (folder / "config.json").is_file() else {}
    if not any(path.endswith(".safetensors") for path in paths):
        return config, None
    return config, inspect_folder(folder, task=task, card=model.card if model else None)


def _read(chosen: Sequence[HubFile]) -> list[HubFile]:
    """Those that are read: small files, and the headers where they are not too many."""
    small = [file for file in chosen if _is_read(file)][:MOST_SMALL_FILES]
    weights = [file for file in chosen if file.path.endswith(".safetensors")]
    return small + (weights if len(weights) <= MOST_HEADERS else [])


def _is_read(file: HubFile) -> bool:
    if file.path.endswith(".json"):
        return file.size_bytes <= (MOST_INDEX_BYTES if INDEX in file.path else MOST_SMALL_BYTES)
    return file.path == "README.md" and file.size_bytes <= MOST_SMALL_BYTES


@contextmanager
def _folder(root: Path | None, lay_out: Callable[[Path], None]) -> Iterator[Path]:
    """A folder for a while, below `root`."""
    if root is not None:
        root.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(dir=root))
    try:
        lay_out(folder)
        yield folder
    finally:
        shutil.rmtree(folder)


def _lay_out(folder: Path, starts: Mapping[str, bytes], sizes: Mapping[str, int]) -> None:
    """Each file with its start, as long as it is: the rest is a hole, which takes no room."""
    for path, data in starts.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.write(data)
            try:
                file.truncate(sizes[path])
            except (OSError, OverflowError):
                raise Refused(
                    f"The Hub lists {path} with {sizes[path]} bytes.", hint="No file is that large.", code="bad-size"
                ) from None


def _said_facts(
    model: HubModel, said: Mapping[str, Any], files: Iterable[Listed], task: str | None
) -> tuple[ModelFacts | None, Mapping[str, Any]]:
    """What the Hub itself says; None where it does not even tell how large the model is."""
    config = _mapping(said.get("config"))
    counts = _counts(_mapping(_mapping(said.get("safetensors")).get("parameters")))
    weights = sum(file.size_bytes for file in files if file.path.endswith((".safetensors", ".bin")))
    parameters = sum(counts.values()) or weights // 4
    if not parameters:
        return None, config
    dtype = counts.most_common(1)[0][0] if counts else "F32"
    model_type = config.get("model_type")
    model_type = model_type if isinstance(model_type, str) else None
    return ModelFacts(
        task=task or task_of(config, model.pipeline_tag),
        architecture=architecture_of(config),
        model_type=model_type,
        parameters=parameters,
        dtype=DTYPES.get(dtype, dtype.lower()),
        size_bytes=sum(file.size_bytes for file in files),
        license=model.license,
        languages=model.languages,
        finetunable_tasks=finetunable_tasks(model_type),
    ), config


def _counts(said: Mapping[str, Any]) -> Counter[str]:
    """Parameters by the name of their type."""
    return Counter(
        {str(name)[:20]: count for name, count in said.items() if type(count) is int and 0 < count < 1 << 50}
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_here(registry: Registry, hub: Hub, model: HubModel, file: HubFile) -> bool:
    """By digest and size. That the bytes are sound is looked at when they are used."""
    sha256 = file.sha256 or registry.blobs.known(key_of(hub, model, file))
    return sha256 is not None and registry.blobs.has(sha256, file.size_bytes)


def _version_of(registry: Registry, name: Name, model: HubModel, task: str | None) -> str | None:
    for version in reversed(registry.models.versions(name, missing_ok=True)):
        source = (version.source.kind, version.source.id, version.source.commit)
        if source == ("hub", model.model_id, model.commit) and task in (None, version.task):
            return version.ref
    return None


def _free_bytes(root: Path) -> int:
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    return shutil.disk_usage(existing).free
