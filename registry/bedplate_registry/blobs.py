"""Content-addressed files: written once, read-only, named by their SHA-256.

    blobs/sha256/ab/abcd…       the files
    blobs/incoming/<key>.part   downloads in progress; they survive kills and are taken up again
    blobs/incoming/<key>.known  the digest of what came in under a key that is none
    blobs/damaged/abcd…         files whose bytes no longer had their digest, set aside so that nothing serves them

A blob appears under its name only after its bytes were hashed and are on the disk. Two times of the file say the rest:

    mtime   the *seal*, a moment of long ago that follows from the digest. Whatever writes to the file moves it, and a
            copied or restored file has another one: what bears no seal is read and compared before it is used.
    ctime   when it was last stored or asked for with `keep`: a collector (gc.py) leaves what was used lately.

Neither shows a bit that the disk itself turned over: `verify` reads all bytes, and sets aside what is damaged.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from . import durable
from .errors import NotFound, Refused, Unavailable

__all__ = ["Blob", "Blobs", "check_digest", "digest_of", "lease", "locked", "seal"]

log = logging.getLogger(__name__)
CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIRST_SEAL = 946_684_800  # the first second of the year 2000


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

    def keep(self, sha256: str, size_bytes: int | None = None) -> bool:
        """`has`, for somebody who is about to refer to it: no collector takes it for a grace period from now on."""
        with self._in_use(shared=True):
            if not self.has(sha256, size_bytes):
                return False
            found = self.path(sha256).stat()
            os.utime(self.path(sha256), ns=(found.st_atime_ns, found.st_mtime_ns))  # moves the ctime alone
            return True

    def is_sound(self, sha256: str, size_bytes: int | None = None) -> bool:
        """Whether it may be served: here, of that size, and not written to since its bytes were found right.

        The cost is that of one `stat`; of what bears no seal the bytes are read, once.
        """
        if not self.has(sha256, size_bytes):
            return False
        return self.path(sha256).stat().st_mtime_ns == _seal_ns(sha256) or self.verify(sha256)

    def open(self, sha256: str) -> BinaryIO:
        if not self.is_sound(sha256):
            raise _missing(sha256)
        return self.path(sha256).open("rb")

    def verify(self, sha256: str) -> bool:
        """Whether it is here and its bytes still have this digest. What is damaged is set aside."""
        try:
            with self.path(sha256).open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                found = _digest(file)
        except FileNotFoundError:
            return False
        if found == sha256:
            with suppress(OSError):  # a worker may only read; then it is read again next time
                seal(self.path(sha256), sha256)
            return True
        self._set_aside(sha256, inode)
        return False

    def is_set_aside(self, sha256: str) -> bool:
        """Whether it was here and was found damaged."""
        return not self.has(sha256) and (self.root / "damaged" / sha256).exists()

    def discard(self, sha256: str, *, unused_since: float) -> bool:
        """Take a blob away that nothing refers to, unless it was used since then: what `gc` does."""
        path = self.path(sha256)
        with self._in_use(shared=False):
            if not path.exists() or path.stat().st_ctime >= unused_since:
                return False
            durable.remove_file(path)
            return True

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

    def known(self, key: str) -> str | None:
        """The digest of what came in under `key`, if that is still here and sound."""
        with suppress(FileNotFoundError):
            sha256 = self.partial(key).with_suffix(".known").read_text()
            if _DIGEST.fullmatch(sha256) and self.keep(sha256) and self.verify(sha256):
                return sha256
        return None

    def note(self, key: str, sha256: str) -> None:
        """Remember that what came in under `key` has this digest. The caller holds `partial_lock`."""
        durable.write_bytes(self.partial(key).with_suffix(".known"), sha256.encode())

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
        if self.keep(blob.sha256) and self.verify(blob.sha256):
            temp.unlink(missing_ok=True)
            return blob
        durable.make_folder(final.parent)
        temp.chmod(0o444)
        seal(temp, blob.sha256)
        durable.flush(temp)
        with self._in_use(shared=True):
            durable.rename(temp, final)
        return blob

    def _set_aside(self, sha256: str, inode: int) -> None:
        """Take a damaged file out of the way, unless it has been replaced by a sound one meanwhile."""
        path = self.path(sha256)
        try:
            with self._in_use(shared=False):
                if path.stat().st_ino == inode:
                    durable.rename(path, durable.make_folder(self.root / "damaged") / sha256)
        except FileNotFoundError:
            return  # another process was faster
        except (OSError, Unavailable) as exc:  # a worker may only read; whoever may write finds it again
            log.warning("The damaged file %s stays where it is (%s).", sha256, exc)
            return
        log.error("The file %s was damaged and is set aside.", sha256)

    @contextmanager
    def _in_use(self, *, shared: bool) -> Iterator[None]:
        """Held shared while something is about to be referred to, alone while it is taken away."""
        with locked(durable.make_folder(self.root) / ".use", shared=shared):
            yield

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


def seal(path: Path, sha256: str) -> None:
    """Mark a file whose bytes were just found to have this digest."""
    moment = _seal_ns(sha256)
    os.utime(path, ns=(moment, moment))


@contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold a lock on `path`, alone unless it is `shared`. Without `wait` raises BlockingIOError where it is held.

    Who holds the lock alone may remove the file: whoever waited for it then starts afresh with a new one.
    """
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, kind)
            if not _is_at(handle, path):
                continue
            yield
            return
        finally:
            os.close(handle)


@contextmanager
def lease(blobs: Blobs) -> Iterator[None]:
    """While this is held, and for a grace period after, no blob is collected that was stored or kept since it began."""
    path = durable.make_folder(blobs.root / "leases") / secrets.token_hex(8)
    with locked(path):
        try:
            yield
        finally:
            began = path.stat().st_mtime_ns
            os.utime(path, ns=(began, began))  # the ctime is now the end


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _seal_ns(sha256: str) -> int:
    # Whole seconds, which every file system keeps. Of the digest, so that files of two contents never share a date.
    return (_FIRST_SEAL + int(sha256[:7], 16)) * 10**9


def _digest(file: BufferedReader) -> str | None:
    """The digest of an open file; None where the disk cannot read it."""
    try:
        return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        if exc.errno != errno.EIO:
            raise
        return None


def _missing(sha256: str) -> NotFound:
    return NotFound(
        f"The registry has no sound file with the SHA-256 {sha256}.",
        hint="Import the model again: what is missing is fetched.",
        code="missing-blob",
    )
