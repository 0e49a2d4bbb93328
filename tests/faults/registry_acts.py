"""What the campaigns against the registry's disk do to it (`ACTS`), and how they tell what came of it (`state_of`).

Each act is one thing that a user asks for. It may be cut off anywhere; done again it goes through, and twice is once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any
from unittest.mock import patch

from PIL import Image

from bedplate_registry import durable
from bedplate_registry.blobs import Blobs, lease
from bedplate_registry.errors import NotFound
from bedplate_registry.gc import collect
from bedplate_registry.hub import Hub
from bedplate_registry.importing import prepare_folder_import, prepare_hub_import
from bedplate_registry.model_files import ModelFiles
from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, ModelVersion, Source
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
from bedplate_registry.search import Query

__all__ = ["ACTS", "DEFECTS", "LONG", "litter_of", "make_base", "publish", "state_of"]

FACTS = ModelFacts("text-classification", "BertForSequenceClassification", "bert", 10, "float32", 8)
SHARED = {"config.json": b"{}"}
HURT = b"this will be damaged" * 100
DAYS = 5 * 24 * 3600.0


def draft_of(registry: Registry, name: str, source: str, files: Mapping[str, bytes]) -> ModelDraft:
    blobs = [(path, registry.blobs.put_bytes(data)) for path, data in files.items()]
    entries = tuple(FileEntry(path, blob.size_bytes, blob.sha256) for path, blob in blobs)
    return ModelDraft(Name.parse(name), entries, FACTS, Source("job", source))


def publish(registry: Registry, name: str, source: str, files: Mapping[str, bytes]) -> str:
    """Put the files, then publish: what the end of an import or of a fine-tune does."""
    with lease(registry.blobs):
        draft = draft_of(registry, name, source, files)
    return registry.models.publish(draft).ref


def make_base(root: Path) -> None:
    """A registry with a little of everything, one damaged file and one that nothing needs."""
    registry = Registry(root)
    for number in (1, 2):
        publish(registry, "acme/intents", f"job-{number}", {**SHARED, "model.safetensors": b"%d" % number * 500})
    registry.models.set_alias("acme/intents:1", "production", by="ana")
    publish(registry, "acme/old", "job-3", {**SHARED, "x": b"only here" * 50})
    publish(registry, "acme/hurt", "job-4", {"x": HURT, "y": b"y"})
    add_dataset(registry, "first")
    registry.blobs.put_bytes(b"nobody's" * 100)
    path = registry.blobs.path(registry.models.get("acme/hurt").files[0].sha256)
    path.chmod(0o644)
    path.write_bytes(b"?" + HURT[1:])


def add_dataset(registry: Registry, name: str) -> None:
    table = registry.root.parent / f"{name}.csv"
    table.write_text(f"text,label\n{name},1\n")
    registry.datasets.add(Name.parse(name), table, table.name)


def evaluate(registry: Registry) -> None:
    """The report of a job is kept once, however often the job is finished."""
    if not registry.evaluations.heads("acme/intents:1"):
        registry.evaluations.add({"model": "acme/intents:1", "metrics": {"accuracy": 0.5}})


def delete(registry: Registry) -> None:
    with suppress(NotFound):  # done before
        registry.models.delete("acme/old:1", by="ana")


def delete_damaged(registry: Registry) -> None:
    """One whose manifest is torn: nothing could be collected while it is there."""
    manifest = registry.root / "models/acme/old/1/manifest.json"
    if manifest.exists():
        manifest.chmod(0o644)
        manifest.write_text("{")
    delete(registry)
    gather(registry)


def add_images(registry: Registry) -> None:
    """A dataset of two images in folders of their labels."""
    files = []
    for path, shade in (("dark/1.png", 0), ("light/2.png", 255)):
        image = BytesIO()
        Image.new("L", (2, 2), shade).save(image, "PNG")
        blob = registry.blobs.put_bytes(image.getvalue())
        files.append(FileEntry(path, blob.size_bytes, blob.sha256))
    registry.datasets.add_images(Name.parse("shades"), files)


def publish_beside_a_collection(registry: Registry) -> None:
    """What an import has fetched is not taken away before it is published, however long it took."""
    with lease(registry.blobs):
        draft = draft_of(registry, "slow", "job-9", {"x": b"fetched days ago" * 50})
        gather(registry)
    with suppress(NotFound):  # a collection took its files: it is not published
        registry.models.publish(draft)


def show(registry: Registry) -> None:
    """Make the view of a version anew, as after its links were damaged."""
    version = registry.models.get("acme/intents:1")
    view = registry.root / "models/acme/intents/1/files"
    (view / "config.json").unlink(missing_ok=True)
    assert (registry.models.files_dir(version) / "config.json").read_bytes() == b"{}"


def make_model(folder: Path) -> Path:
    """A masked language model of one tensor: what an import looks at, and no more."""
    folder.mkdir(exist_ok=True)
    config = {"architectures": ["BertForMaskedLM"], "model_type": "bert", "max_position_embeddings": 16}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {"cls.predictions.bias": {"dtype": "F32", "shape": [500], "data_offsets": [0, 2000]}}
    header = json.dumps(tensors).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2000))
    return folder


def publish_found(registry: Registry, found: ModelDraft | ModelVersion) -> None:
    if isinstance(found, ModelDraft):
        registry.models.publish(found)


def import_a_folder(registry: Registry) -> None:
    folder = make_model(registry.root.parent / "folder")
    options: dict[str, Any] = {"name": Name.parse("acme/masked"), "check": lambda folder, facts: {}}
    with lease(registry.blobs):
        publish_found(registry, prepare_folder_import(registry, folder, reporter=SILENT, **options))


def import_from_a_hub(registry: Registry) -> None:
    hub = Hub(hub_url())
    with lease(registry.blobs):
        found = prepare_hub_import(registry, hub, "acme/masked", check=lambda folder, facts: {}, reporter=SILENT)
        publish_found(registry, found)


@cache
def hub_url() -> str:
    """A Hub with one model, in a process of its own: acts are forked, which threads do not survive."""
    context = get_context("fork")
    mine, its = context.Pipe()
    context.Process(target=_serve, args=(its,), daemon=True).start()
    return str(mine.recv())


def _serve(told: Connection) -> None:
    from hub_server import serve_folders

    with TemporaryDirectory() as folder, serve_folders({"acme/masked": make_model(Path(folder))}) as url:
        told.send(url)
        Event().wait()


def search(registry: Registry) -> None:
    """The index is made from the files, and finds what they say."""
    found = [item["ref"] for item in registry.search.find(Query()).items]
    assert found == [version.ref for version in registry.models.list()], found


def gather(registry: Registry) -> None:
    collect(registry, clock=lambda: time.time() + DAYS)


ACTS: dict[str, Callable[[Registry], object]] = {
    "publish": lambda registry: publish(registry, "acme/intents", "job-9", {**SHARED, "x": b"weights" * 1000}),
    "publish a new name": lambda registry: publish(registry, "new", "job-9", {"x": b"1", "y/z": b"2"}),
    "set an alias": lambda registry: registry.models.set_alias("acme/intents:2", "production", by="ben"),
    "archive": lambda registry: registry.models.archive("acme/intents:2", by="ana"),
    "publish beside a collection": publish_beside_a_collection,
    "delete": delete,
    "delete a damaged version": delete_damaged,
    "show": show,
    "add a dataset": lambda registry: add_dataset(registry, "second"),
    "add images": add_images,
    "evaluate": evaluate,
    "repair": lambda registry: registry.blobs.put_bytes(HURT),
    "collect": gather,
    "import a folder": import_a_folder,
    "import from a Hub": import_from_a_hub,
    "search": search,
}
LONG = ("import a folder", "import from a Hub")  # of many operations


def state_of(registry: Registry) -> dict[str, Any]:
    """What a user sees, with every file read. Raises where something is half there."""
    models, names = {}, {model.name for model in (*registry.models.list(), *registry.models.archived())}
    for name in sorted(names, key=str):
        for version in registry.models.versions(name):
            bad = sorted(entry.path for entry in version.files if not registry.blobs.verify(entry.sha256))
            models[version.ref] = [version.source.id, version.state, sorted(version.aliases), bad]
    datasets = [dataset.ref for dataset in registry.datasets.list() if registry.blobs.verify(dataset.sha256)]
    return {"models": models, "datasets": datasets, "reports": len(registry.evaluations.heads())}


def litter_of(registry: Registry) -> list[str]:
    """What is left when all was done and collected, and should not be. (What is known of a blob stays with it.)"""
    gather(registry)
    places = ("**/.tmp-*", "*.new", "staging/*", "blobs/incoming/*")
    left = {path for place in places for path in registry.root.glob(place) if path.suffix != ".known"}
    return sorted(path.name for path in left)


# --- defects, sown on purpose: each campaign has to find its own ---


def _in_place(path: Path, data: bytes, mode: int = 0o644) -> None:
    with path.open("wb") as file:
        for start in range(0, len(data), 100):
            durable.write_chunk(file, data[start : start + 100], path)
            file.flush()


def _publish_in_place(temp: Path, final: Path) -> None:
    durable.make_folder(final)
    _in_place(final / "manifest.json", (temp / "manifest.json").read_bytes())


@contextmanager
def write_in_place() -> Iterator[None]:
    with patch.object(durable, "write_bytes", _in_place), patch.object(durable, "publish_folder", _publish_in_place):
        yield


@contextmanager
def manifest_before_blobs() -> Iterator[None]:
    late, settle, commit = [], Blobs._settle, durable.publish_folder

    def keep(self: Blobs, temp: Path, blob: Any) -> Any:
        late.append((self, temp.rename(temp.with_suffix(".late")), blob))
        return blob

    def publish_then_settle(temp: Path, final: Path) -> None:
        commit(temp, final)
        for each in late:
            settle(*each)

    with (
        patch.object(Blobs, "_settle", keep),
        patch.object(ModelFiles, "check_there", lambda self, draft: None),
        patch.object(durable, "publish_folder", publish_then_settle),
    ):
        yield


def _nothing(*_: Any, **__: Any) -> None:
    """In place of an fsync."""


@contextmanager
def no_fsync() -> Iterator[None]:
    with patch.object(durable, "flush", _nothing):
        yield


@contextmanager
def no_fsync_of_folders() -> Iterator[None]:
    with patch.object(durable, "_sync_folder", _nothing):
        yield


@contextmanager
def collect_without_leases() -> Iterator[None]:
    with patch("bedplate_registry.gc._cutoff", lambda blobs, grace_begins: grace_begins):
        yield


# Under these names; "" is none.
DEFECTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "": nullcontext,
    "write in place": write_in_place,
    "manifest before blobs": manifest_before_blobs,
    "no fsync": no_fsync,
    "no fsync of folders": no_fsync_of_folders,
    "collect without leases": collect_without_leases,
}
