"""What nothing needs is taken away, and never anything else."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry import durable
from bedplate_registry.blobs import lease, locked
from bedplate_registry.errors import Conflict
from bedplate_registry.gc import GRACE_SECONDS, Collection, collect
from bedplate_registry.importing import prepare_folder_import
from bedplate_registry.models import ModelDraft
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry

DAY = GRACE_SECONDS
MakeDraft = Callable[..., ModelDraft]


def later(days: float = 2) -> Callable[[], float]:
    return lambda: time.time() + days * DAY


def collect_later(registry: Registry, days: float = 2, **options: Any) -> Collection:
    return collect(registry, clock=later(days), **options)


def names(found: Collection) -> set[tuple[str, str]]:
    return {(each.kind, each.name) for each in found.garbage}


@pytest.fixture(autouse=True)
def _no_hook_left() -> Iterator[None]:
    yield
    durable.fault_hook = None


def test_what_no_manifest_names_goes_after_the_grace_period(registry: Registry, make_draft: MakeDraft) -> None:
    version = registry.models.publish(make_draft())
    lost = registry.blobs.put_bytes(b"nobody's" * 100)
    assert collect(registry).garbage == ()
    found = collect_later(registry)
    assert names(found) == {("blob", lost.sha256)} and found.size_bytes == 800
    assert not registry.blobs.has(lost.sha256) and registry.models.verify(version.ref) == []
    assert collect_later(registry).garbage == ()


def test_a_dry_run_says_the_same_and_takes_nothing(registry: Registry) -> None:
    lost = registry.blobs.put_bytes(b"nobody's")
    found = collect_later(registry, dry_run=True)
    assert names(found) == {("blob", lost.sha256)} and found.dry_run and registry.blobs.has(lost.sha256)
    assert names(collect_later(registry)) == names(found)


def test_a_dataset_and_a_job_keep_their_files(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    dataset = registry.datasets.add(Name.parse("t"), tmp_path / "t.csv", "t.csv")
    upload = registry.blobs.put_bytes(b"an upload that a queued job will read")
    assert collect_later(registry, needed=lambda: [upload.sha256]).garbage == ()
    assert registry.blobs.verify(dataset.sha256) and registry.blobs.verify(upload.sha256)


def test_every_version_keeps_its_files_and_not_the_newest_alone(registry: Registry, make_draft: MakeDraft) -> None:
    refs = [registry.models.publish(make_draft(source=f"job-{n}", files={"x": b"%d" % n})).ref for n in range(3)]
    assert collect_later(registry).garbage == ()
    assert [registry.models.verify(ref) for ref in refs] == [[], [], []]


def test_asking_for_a_blob_renews_its_grace_period(registry: Registry) -> None:
    blob = registry.blobs.put_bytes(b"uploaded once")
    before = time.time()
    time.sleep(0.02)  # the clock of a file system moves in steps
    assert registry.blobs.keep(blob.sha256)
    assert not registry.blobs.discard(blob.sha256, unused_since=before)
    assert registry.blobs.is_sound(blob.sha256)


def test_a_blob_asked_for_between_the_look_and_the_removal_stays(registry: Registry) -> None:
    blob = registry.blobs.put_bytes(b"old, and wanted again")
    began = time.time()

    def needed() -> list[str]:
        time.sleep(0.02)
        registry.blobs.keep(blob.sha256)  # an import finds it, after the collection has begun
        return []

    assert collect(registry, needed=needed, clock=lambda: began + 0.01 + DAY).garbage == ()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"files"', b'"fileX"')),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 99')),
        lambda path: path.write_bytes(_turned(path.read_bytes())),
    ],
    ids=["cut", "missing", "without files", "of a newer release", "a digit of a digest turned over"],
)
def test_nothing_goes_while_a_manifest_cannot_be_read(
    registry: Registry, make_draft: MakeDraft, damage: Callable[[Path], object]
) -> None:
    registry.models.publish(make_draft())
    registry.models.publish(make_draft("acme/other", files={"x": b"x"}))
    lost = registry.blobs.put_bytes(b"nobody's")
    manifest = registry.root / "models/acme/intents/1/manifest.json"
    manifest.chmod(0o644)
    damage(manifest)
    for dry_run in (True, False):
        with pytest.raises(Conflict, match="acme/intents:1") as caught:
            collect_later(registry, dry_run=dry_run)
        assert caught.value.code == "unreadable-manifest" and "other" not in caught.value.message
    assert registry.blobs.has(lost.sha256)


def _turned(manifest: bytes) -> bytes:
    at = manifest.index(b'"sha256": "') + len(b'"sha256": "')
    return manifest[:at] + (b"0" if manifest[at : at + 1] != b"0" else b"1") + manifest[at + 1 :]


def test_a_file_that_was_set_aside_stops_no_collection(registry: Registry, make_draft: MakeDraft) -> None:
    draft = make_draft()
    registry.models.publish(draft)
    path = registry.blobs.path(draft.files[0].sha256)
    path.chmod(0o644)
    path.write_bytes(b"?")
    assert not registry.blobs.is_sound(draft.files[0].sha256)
    assert names(collect_later(registry, days=0.5)) == set()


def test_what_was_begun_and_given_up_goes_too(registry: Registry) -> None:
    blobs = registry.blobs
    with blobs.partial_lock("half a download") as partial:
        partial.write_bytes(b"half")
    blobs.partial("upload").with_suffix(".tmp").write_bytes(b"a part")
    blobs.partial("upload").with_name(".tmp-note").write_bytes(b"a kill cut it off")
    blobs.partial("came in whole").with_suffix(".lock").touch()
    for folder in ("staging/tmpabc", "models/acme/intents/.tmp-1", "evaluations/.tmp-2"):
        (registry.root / folder / "inner").mkdir(parents=True)
        (registry.root / folder / "inner" / "x").write_bytes(b"12345")
    assert collect(registry).garbage == ()
    found = collect_later(registry)
    assert sorted((each.kind, each.size_bytes) for each in found.garbage) == [
        ("leftover", 5),
        ("leftover", 5),
        ("partial", 0),
        ("partial", 4),
        ("partial", 6),
        ("partial", 17),
        ("staging", 5),
    ]
    assert not [path for path in registry.root.rglob("*") if path.is_file() and path.name not in (".gc", ".use")]


@pytest.mark.parametrize("data", [b"", b"junk", b"\xff\xfe", b"../" * 20])
def test_a_note_of_a_download_that_is_damaged_is_garbage(registry: Registry, data: bytes) -> None:
    note = registry.blobs.partial("upload").with_suffix(".known")
    note.write_bytes(data)
    assert collect(registry).garbage == ()
    assert names(collect_later(registry)) == {("partial", note.name)}


def test_a_download_in_progress_stays_however_slow_it_is(registry: Registry) -> None:
    with registry.blobs.partial_lock("slow") as partial:
        partial.write_bytes(b"half")
        assert collect_later(registry).garbage == () and partial.exists()
    assert len(collect_later(registry).garbage) == 1


def test_an_import_holds_what_it_stored_for_as_long_as_it_runs_and_a_grace_period_after(registry: Registry) -> None:
    old = registry.blobs.put_bytes(b"from long before")
    time.sleep(0.02)
    with lease(registry.blobs):
        blob = registry.blobs.put_bytes(b"the first file of a long import")
        assert names(collect_later(registry)) == {("blob", old.sha256)}
    assert collect_later(registry, days=0.9).garbage == ()
    assert names(collect_later(registry)) == {("blob", blob.sha256)}
    assert not [*(registry.blobs.root / "leases").iterdir()]


def test_a_killed_import_holds_nothing(registry: Registry) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bedplate_registry.blobs import Blobs, lease;"
        "blobs = Blobs(Path(sys.argv[1]));"
        "lease(blobs).__enter__(); blobs.put_bytes(b'x'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(registry.blobs.root)], check=False)
    assert done.returncode == -9
    assert len(collect_later(registry).garbage) == 1


def test_an_import_is_under_a_lease(registry: Registry, model_folder: Path, recorder: Any) -> None:
    def check(folder: Path, facts: Any) -> dict[str, Any]:
        assert collect_later(registry, days=30).garbage == ()  # a check that hangs for a month
        return {}

    draft = prepare_folder_import(registry, model_folder, name=Name.parse("mine"), check=check, reporter=recorder)
    assert isinstance(draft, ModelDraft)
    assert registry.models.verify(registry.models.publish(draft).ref) == []


def test_two_collections_at_once_are_one_and_a_word(registry: Registry) -> None:
    registry.blobs.put_bytes(b"x")
    with locked(registry.blobs.root / ".gc"), pytest.raises(Conflict) as caught:
        collect_later(registry)
    assert caught.value.code == "gc-running"
    assert len(collect_later(registry).garbage) == 1


def test_many_publishers_beside_a_collector_lose_nothing(registry: Registry, make_draft: MakeDraft) -> None:
    """All want the same few files, which nothing holds at first; the collector takes each that is a moment old."""
    done = threading.Event()
    trouble: list[BaseException] = []

    def publish(writer: int) -> None:
        try:
            for turn in range(15):
                with lease(registry.blobs):
                    draft = make_draft(f"acme/m{writer}", f"job-{turn}", {"x": b"%d" % (turn % 5), "y": b"same"})
                registry.models.publish(draft)
        except BaseException as exc:
            trouble.append(exc)

    def gather() -> None:
        while not done.is_set():
            collect(registry, grace_seconds=0.5, clock=time.time)

    collector = threading.Thread(target=gather)
    collector.start()
    writers = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    collector.join()
    assert trouble == []
    assert [problem for model in registry.models.list() for v in registry.models.versions(model.name)
            for problem in registry.models.verify(v.ref)] == []  # fmt: skip


def test_a_disk_that_fails_in_the_middle_is_said_and_what_is_needed_stays(
    registry: Registry, make_draft: MakeDraft
) -> None:
    version = registry.models.publish(make_draft())
    for number in range(3):
        registry.blobs.put_bytes(b"lost %d" % number)
    removals = 0

    def broken(name: str, path: Path) -> None:
        nonlocal removals
        removals += name == "before unlink"
        if removals == 2:
            raise OSError(5, "injected")

    durable.fault_hook = broken
    with pytest.raises(Exception, match="input/output error"):
        collect_later(registry)
    durable.fault_hook = None
    assert len(collect_later(registry).garbage) == 2 and registry.models.verify(version.ref) == []
