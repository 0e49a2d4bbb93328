"""The content-addressed store."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bedplate_registry.blobs import Blobs, check_digest, locked
from bedplate_registry.errors import NotFound, Refused

DATA = b"hello" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"J" + path.read_bytes()[1:])


def test_a_blob_lies_under_its_digest_and_is_read_only(blobs: Blobs) -> None:
    blob = blobs.put_bytes(DATA)
    assert (blob.sha256, blob.size_bytes) == (DIGEST, len(DATA))
    assert blobs.path(DIGEST) == blobs.root / "sha256" / DIGEST[:2] / DIGEST
    assert blobs.path(DIGEST).stat().st_mode & 0o777 == 0o444
    with blobs.open(DIGEST) as file:
        assert file.read() == DATA


def test_a_copied_file_stays_and_a_moved_one_goes(blobs: Blobs, tmp_path: Path) -> None:
    for name in ("copied", "moved"):
        (tmp_path / name).write_bytes(DATA + name.encode())
    blobs.put_file(tmp_path / "copied")
    blob = blobs.put_file(tmp_path / "moved", move=True)
    assert (tmp_path / "copied").exists() and not (tmp_path / "moved").exists()
    assert blobs.verify(blob.sha256)
    assert not [*(blobs.root / "incoming").iterdir()]


@pytest.mark.parametrize("text", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, DIGEST + "\n", DIGEST.upper()])
def test_what_is_no_digest_never_becomes_a_path(blobs: Blobs, text: str) -> None:
    for call in (blobs.path, blobs.has, blobs.open, blobs.verify, check_digest):
        with pytest.raises(Refused) as caught:
            call(text)
        assert caught.value.code == "bad-digest"


def test_a_missing_blob_is_named_by_its_digest(blobs: Blobs) -> None:
    assert not blobs.has(DIGEST) and not blobs.verify(DIGEST)
    with pytest.raises(NotFound, match=DIGEST):
        blobs.open(DIGEST)


def test_a_damaged_blob_is_found_and_replaced_by_putting_it_again(blobs: Blobs) -> None:
    blobs.put_bytes(DATA)
    damage(blobs.path(DIGEST))
    assert blobs.has(DIGEST) and not blobs.verify(DIGEST)
    blobs.put_bytes(DATA)
    assert blobs.verify(DIGEST)


def test_a_truncated_blob_is_not_had_at_its_size(blobs: Blobs) -> None:
    blobs.put_bytes(DATA)
    blobs.path(DIGEST).chmod(0o644)
    blobs.path(DIGEST).write_bytes(DATA[:-1])
    assert not blobs.has(DIGEST, len(DATA))


def test_a_partial_file_keeps_its_place_and_any_key_is_safe(blobs: Blobs) -> None:
    path = blobs.partial("org/../../x@y")
    assert path == blobs.partial("org/../../x@y") and path.parent == blobs.root / "incoming"
    assert path != blobs.partial("another")


def test_adopt_checks_the_digest_and_throws_away_what_is_wrong(blobs: Blobs) -> None:
    good, bad = blobs.partial("good"), blobs.partial("bad")
    good.write_bytes(DATA)
    bad.write_bytes(DATA + b"!")
    assert blobs.adopt(good, DIGEST).size_bytes == len(DATA)
    with pytest.raises(Refused) as caught:
        blobs.adopt(bad, DIGEST)
    assert caught.value.code == "digest-mismatch" and not bad.exists()
    assert blobs.verify(DIGEST)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"J" + data[1:],
        lambda data: data[:-1],
        lambda data: data + b"!",
        lambda data: bytes(len(data)),
        lambda data: b"",
    ],
    ids=["flipped", "cut", "longer", "zeros", "empty"],
)
def test_a_blob_that_was_written_to_is_not_sound_and_is_set_aside(
    blobs: Blobs, change: Callable[[bytes], bytes]
) -> None:
    blobs.put_bytes(DATA)
    assert blobs.is_sound(DIGEST) and blobs.is_sound(DIGEST, len(DATA)) and not blobs.is_sound(DIGEST, 1)
    blobs.path(DIGEST).chmod(0o644)
    blobs.path(DIGEST).write_bytes(change(DATA))
    assert not blobs.is_sound(DIGEST)
    assert not blobs.has(DIGEST) and blobs.is_set_aside(DIGEST)
    with pytest.raises(NotFound, match=DIGEST):
        blobs.open(DIGEST)
    blobs.put_bytes(DATA)
    assert blobs.is_sound(DIGEST) and not blobs.is_set_aside(DIGEST)


def test_a_copied_store_is_read_once_and_bears_its_seals_again(blobs: Blobs, tmp_path: Path) -> None:
    blobs.put_bytes(DATA)
    copied = Blobs(tmp_path / "copy")
    copied.path(DIGEST).parent.mkdir(parents=True)
    copied.path(DIGEST).write_bytes(DATA)
    sealed = blobs.path(DIGEST).stat().st_mtime
    assert copied.path(DIGEST).stat().st_mtime != sealed
    assert copied.is_sound(DIGEST) and copied.path(DIGEST).stat().st_mtime == sealed


def test_verify_finds_a_bit_that_the_disk_turned_over(blobs: Blobs) -> None:
    blobs.put_bytes(DATA)
    found = blobs.path(DIGEST).stat()
    damage(blobs.path(DIGEST))
    os.utime(blobs.path(DIGEST), ns=(found.st_atime_ns, found.st_mtime_ns))  # a disk does not tell
    assert blobs.is_sound(DIGEST, len(DATA))
    assert not blobs.verify(DIGEST) and not blobs.is_sound(DIGEST)


def test_a_repaired_blob_is_not_set_aside_for_the_damaged_one(blobs: Blobs) -> None:
    """One process reads the damaged bytes; before it takes them away another one has put the right ones there."""
    blobs.put_bytes(DATA)
    damage(blobs.path(DIGEST))
    inode = blobs.path(DIGEST).stat().st_ino
    kept = blobs.path(DIGEST).open("rb")  # as the reader has it: the number is not given to another file
    blobs.path(DIGEST).unlink()
    blobs.put_bytes(DATA)
    blobs._set_aside(DIGEST, inode)
    kept.close()
    assert blobs.is_sound(DIGEST)


def test_a_lock_whose_file_was_removed_lets_one_in_at_a_time(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", []
    with locked(path):
        waiting = [threading.Thread(target=_enter, args=(path, order)) for _ in range(3)]
        for thread in waiting:
            thread.start()
        time.sleep(0.05)
        path.unlink()
    for thread in waiting:
        thread.join()
    assert order == ["in", "out"] * 3


def _enter(path: Path, order: list[str]) -> None:
    with locked(path):
        order.append("in")
        time.sleep(0.01)
        order.append("out")


def test_a_lock_that_is_held_is_not_waited_for_when_nobody_wants_to(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, shared=True), locked(path, shared=True), pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
