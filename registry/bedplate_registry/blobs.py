"""Content-addressed files: written once, read-only, named by their SHA-256.

    blobs/sha256/ab/abcd…       the files
    blobs/incoming/<key>.part   downloads in progress; they survive kills and are taken up again

A blob appears under its name only after its bytes were hashed and are on the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import durable
from .errors import NotFound, Refused

__all__ = ["Blob", "Blobs", "check_digest", "digest_of"]

CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Blob:
    """A file the store holds."""

    sha256: str
    size_bytes: int


class Blobs:
    """The store. Any number of processes may use one at the same time."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Where the blob lies or would lie. The digest is checked before it becomes a path."""
        check_digest(sha256)
        return self.root / "sha256" / sha256[:2] / sha256

    def has(self, sha256: str, size_bytes: int | None = None) -> bool:
        """Whether it is here, and of that size if one is given; `verify` reads the bytes as well."""
        try:
            size = self.path(sha256).stat().st_size
        except FileNotFoundError:
            return False
        return size_bytes is None or size == size_bytes

    def open(self, sha256: str) -> BinaryIO:
        try:
            return self.path(sha256).open("rb")
        except FileNotFoundError:
            raise _missing(sha256) from None

    def verify(self, sha256: str) -> bool:
        """Whether it is here and its bytes still have this digest."""
        return self.has(sha256) and digest_of(self.path(sha256)).sha256 == sha256

    def put_bytes(self, data: bytes) -> Blob:
        temp = self._incoming(f"{secrets.token_hex(8)}.tmp")
        try:
            with temp.open("wb") as file:
                durable.write_chunk(file, data, temp)
            return self._settle(temp, Blob(hashlib.sha256(data).hexdigest(), len(data)))
        finally:
            temp.unlink(missing_ok=True)

    def put_file(self, path: Path, *, move: bool = False, on_bytes: Callable[[int], None] = lambda count: None) -> Blob:
        """Take in a copy of a file, hashed while it is written. `move` takes the file itself (same file system)."""
        if move:
            return self._settle(path, digest_of(path))
        temp = self._incoming(f"{secrets.token_hex(8)}.tmp")
        try:
            return self._settle(temp, self._copy(path, temp, on_bytes))
        finally:
            temp.unlink(missing_ok=True)

    def partial(self, key: str) -> Path:
        """Where the download `key` is in progress. The key is any text; it is hashed into a file name."""
        return self._incoming(hashlib.sha256(key.encode()).hexdigest() + ".part")

    @contextmanager
    def partial_lock(self, key: str) -> Iterator[Path]:
        """Hold the download `key` against other processes and threads, and give its partial file."""
        path = self.partial(key)
        with locked(path.with_suffix(".lock")):
            yield path

    def adopt(self, partial: Path, sha256: str) -> Blob:
        """Make a finished download a blob, or Refused and the partial file removed when its digest differs."""
        check_digest(sha256)
        found = digest_of(partial)
        if found.sha256 != sha256:
            durable.remove_file(partial)
            raise Refused(
                f"The bytes that arrived have the SHA-256 {found.sha256}, not {sha256}.",
                hint="They were thrown away. Run the same command again; if it happens twice, the source is broken.",
                code="digest-mismatch",
            )
        return self._settle(partial, found)

    def adopt_hashed(self, partial: Path, blob: Blob) -> Blob:
        """The same for a file whose bytes the caller hashed as it wrote them, under `partial_lock`."""
        if partial.stat().st_size != blob.size_bytes:
            raise Refused(
                f"{partial.stat().st_size} bytes were written, not {blob.size_bytes}.", code="digest-mismatch"
            )
        return self._settle(partial, blob)

    def _copy(self, source: Path, target: Path, on_bytes: Callable[[int], None]) -> Blob:
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as reader, target.open("wb") as writer:
            while chunk := reader.read(CHUNK_BYTES):
                durable.write_chunk(writer, chunk, target)
                digest.update(chunk)
                size += len(chunk)
                on_bytes(len(chunk))
        return Blob(digest.hexdigest(), size)

    def _settle(self, temp: Path, blob: Blob) -> Blob:
        """Rename a hashed file to its digest. A sound blob that is there stays; a damaged one is replaced."""
        final = self.path(blob.sha256)
        if self.verify(blob.sha256):
            temp.unlink(missing_ok=True)
            return blob
        durable.make_folder(final.parent)
        temp.chmod(0o444)
        durable.flush(temp)
        durable.rename(temp, final)
        return blob

    def _incoming(self, name: str) -> Path:
        return durable.make_folder(self.root / "incoming") / name


def check_digest(sha256: str) -> str:
    """The digest itself, or Refused: 64 lower-case hexadecimal digits."""
    if not _DIGEST.fullmatch(sha256):
        raise Refused(
            f"{sha256[:80]!r} is not a SHA-256 digest.", hint="It is 64 hexadecimal digits.", code="bad-digest"
        )
    return sha256


def digest_of(path: Path) -> Blob:
    """Digest and size of a file as it is on the disk."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return Blob(digest.hexdigest(), file.tell())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`, waiting for it. Lock files stay: removing one would let two holders in."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _missing(sha256: str) -> NotFound:
    return NotFound(
        f"The registry has no file with the SHA-256 {sha256}.",
        hint="Import the model again: what is missing is fetched.",
        code="missing-blob",
    )
