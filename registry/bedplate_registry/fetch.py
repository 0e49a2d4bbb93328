"""Bringing the bytes of a model from a Hub into the store, so that a killed download goes on where it was.

A file in progress lies in the store's incoming folder under its digest; a later run, of any process, hashes what is
there and asks for the rest with `Range`. A file becomes a blob only when its size and digest are the Hub's.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import httpx

from . import durable
from .blobs import CHUNK_BYTES, Blob, Blobs
from .clientfetch import download
from .errors import Forbidden, Refused, Unavailable
from .hub import Hub, HubFile, HubModel
from .hubguard import Guard
from .models import FileEntry
from .progress import Reporter
from .sizes import size_text

__all__ = ["fetch_file", "fetch_files", "is_here", "key_of"]

THREADS = 4
ATTEMPTS = 5
MAX_WAIT_SECONDS = 30.0
CONNECT_SECONDS = 10.0
# What brings less before it fails, or in the time that silence is borne, is of no use: it would take for ever.
USEFUL_BYTES = 64 << 10
# Above this the Hub promises no plain HTTP, only Xet. We ask all the same, since ranges of its bridge are plain HTTP,
# and leave to its own client what it refuses.
PLAIN_BYTES = 50 * 10**9


def fetch_files(
    hub: Hub, model: HubModel, files: Iterable[HubFile], blobs: Blobs, reporter: Reporter
) -> list[FileEntry]:
    """Fetch several files at a time, largest first, and report bytes done of all, and of each that is under way.

    Files that are here count as done.
    """
    files = sorted(files, key=lambda file: -file.size_bytes)
    counter = _Counter(files)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="fetch") as pool, _client(hub) as client:
        futures = [pool.submit(fetch_file, hub, model, file, blobs, counter.of(file), client=client) for file in files]
        try:
            _report_until_done(futures, counter, reporter)
        finally:
            # On an error and on Ctrl-C the other threads stop at their next piece; what they have stays to be resumed.
            counter.stop.set()
            pool.shutdown(cancel_futures=True)
    found = [
        FileEntry(file.path, file.size_bytes, future.result().sha256)
        for file, future in zip(files, futures, strict=True)
    ]
    return sorted(found, key=lambda entry: entry.path)


def fetch_file(
    hub: Hub,
    model: HubModel,
    file: HubFile,
    blobs: Blobs,
    on_bytes: Callable[[int], None] = lambda count: None,
    *,
    client: httpx.Client | None = None,
) -> Blob:
    """Fetch one file, or find it here. `on_bytes` is told what is newly there (negative when a start was worthless)."""
    key = key_of(hub, model, file)
    if (found := _here(blobs, key, file)) is not None:
        on_bytes(file.size_bytes)
        return found
    hub.check_online()
    with blobs.partial_lock(key) as path:
        if (found := _here(blobs, key, file)) is not None:  # another process fetched it while this one waited
            on_bytes(file.size_bytes)
            return found
        partial = _Partial(path, file, on_bytes)
        if client is not None:
            blob = _fetch(hub, model, file, blobs, partial, client)
        else:
            with _client(hub) as own:
                blob = _fetch(hub, model, file, blobs, partial, own)
        if file.sha256 is None:
            blobs.note(key, blob.sha256)
        return blob


def key_of(hub: Hub, model: HubModel, file: HubFile) -> str:
    """What a file is called in the store before its SHA-256 is known."""
    return f"sha256:{file.sha256}" if file.sha256 else f"git:{hub.url}/{model.model_id}:{file.git_sha1}"


def is_here(blobs: Blobs, hub: Hub, model: HubModel, file: HubFile) -> bool:
    """By digest and size, for a plan. That the bytes are sound is looked at when the file is fetched."""
    sha256 = file.sha256 or blobs.known(key_of(hub, model, file))
    return sha256 is not None and blobs.has(sha256, file.size_bytes)


def _here(blobs: Blobs, key: str, file: HubFile) -> Blob | None:
    """The file where it is here already. Of a small one the Hub gives only git's SHA-1, under which it was noted."""
    if file.sha256 is None:
        sha256 = blobs.known(key)
    else:
        sha256 = file.sha256 if blobs.keep(file.sha256) and blobs.verify(file.sha256) else None
    return Blob(sha256, file.size_bytes) if sha256 and blobs.has(sha256, file.size_bytes) else None


def _fetch(hub: Hub, model: HubModel, file: HubFile, blobs: Blobs, partial: _Partial, client: httpx.Client) -> Blob:
    """Receive until it is whole. What was resumed may have been damaged by a power cut: one mismatch starts afresh."""
    was_resumed = partial.size > 0
    try:
        _receive_all(hub, model, file, partial, client)
    except _NotByHttp:
        partial.take(hub, model)
    if not partial.is_right and was_resumed:
        partial.restart()
        _receive_all(hub, model, file, partial, client)
    if not partial.is_right:
        durable.remove_file(partial.path)
        raise Refused(
            f"The bytes of {file.path} that {hub.url} sent have not the digest it lists for them.",
            hint="They were thrown away. Run the same command again; if it happens twice, tell the Hub's owner.",
            code="digest-mismatch",
        )
    return blobs.adopt_hashed(partial.path, partial.blob)


def _receive_all(hub: Hub, model: HubModel, file: HubFile, partial: _Partial, client: httpx.Client) -> None:
    failures = 0
    while partial.size < file.size_bytes:
        before = partial.size
        try:
            _receive(hub, model, file, partial, client)
        except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL):
            raise _inconsistent(hub, file, "redirects to where nothing can be fetched from") from None
        except (httpx.TransportError, _TryAgain) as exc:
            failures = 1 if partial.size >= before + USEFUL_BYTES else failures + 1
            if failures > ATTEMPTS:
                raise _gave_up(hub, file, partial, exc) from None
            asked = exc.wait_seconds if isinstance(exc, _TryAgain) else 0.0
            time.sleep(min(max(hub.backoff_seconds * 2 ** (failures - 1), asked), MAX_WAIT_SECONDS))


def _receive(hub: Hub, model: HubModel, file: HubFile, partial: _Partial, client: httpx.Client) -> None:
    """One request, from where the file ends."""
    headers = {**hub.headers, "Accept-Encoding": "identity"}
    if partial.size:
        headers["Range"] = f"bytes={partial.size}-"
    # httpx takes Authorization off when a redirect leads to another host: storage gets no Hub token.
    with client.stream("GET", hub.file_url(model, file), headers=headers) as response:
        _check_answer(hub, model, file, response)
        if response.status_code != 206 or _first_byte(response) != partial.size:
            if response.status_code == 206:
                partial.restart()
                raise _TryAgain("it sent another part than was asked for")
            partial.restart()
        for chunk in _chunks(response, hub.timeout_seconds):
            if partial.size + len(chunk) > file.size_bytes:
                durable.remove_file(partial.path)
                raise _inconsistent(hub, file, f"sent more than the {file.size_bytes} bytes it lists")
            partial.write(chunk)
    if partial.size < file.size_bytes:
        raise _TryAgain("the answer ended early")


def _chunks(response: httpx.Response, patience_seconds: float) -> Iterator[bytes]:
    """What arrives, in chunks worth a write; what had come before a failure, too. A byte now and then is none."""
    held, size, since = bytearray(), 0, time.monotonic()
    try:
        for piece in response.iter_raw():
            held += piece
            size += len(piece)
            if len(held) >= CHUNK_BYTES:
                yield bytes(held)
                held.clear()
            if (now := time.monotonic()) - since >= patience_seconds:
                if size < USEFUL_BYTES:
                    raise _TryAgain("it sends next to nothing")
                size, since = 0, now
    except (httpx.TransportError, _TryAgain):
        if held:
            yield bytes(held)
        raise
    if held:
        yield bytes(held)


def _check_answer(hub: Hub, model: HubModel, file: HubFile, response: httpx.Response) -> None:
    status = response.status_code
    if status in (401, 403):
        raise Forbidden(
            f"{hub.url} does not let this token read {file.path} (status {status}).",
            hint=f"Ask for access at {hub.url}/{model.model_id} and set HF_TOKEN.",
            code="gated",
        )
    if status == 416 or status == 429 or status >= 500:
        raise _TryAgain(f"it answered {status}", _retry_after(response))
    if status not in (200, 206) and file.size_bytes > PLAIN_BYTES:
        raise _NotByHttp
    if status not in (200, 206):
        raise _inconsistent(hub, file, f"answered {status}")
    for answer in (*response.history, response):
        if answer.headers.get("X-Repo-Commit", model.commit) != model.commit:
            raise _inconsistent(hub, file, "served another commit than was asked for")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _inconsistent(hub, file, "sent it compressed, which was not asked for")


class _Partial:
    """A file in progress: how far it is and the digests of what is there."""

    def __init__(self, path: Path, file: HubFile, on_bytes: Callable[[int], None]) -> None:
        self.path, self._file, self._on_bytes = path, file, on_bytes
        self._clear()
        if path.exists() and path.stat().st_size <= file.size_bytes:
            self._hash_what_is_there()
        else:
            path.write_bytes(b"")

    @property
    def blob(self) -> Blob:
        return Blob(self._sha256.hexdigest(), self.size)

    @property
    def is_right(self) -> bool:
        """Whether it is the file that the Hub lists."""
        if self.size != self._file.size_bytes:
            return False
        if self._file.sha256 is not None:
            return self._sha256.hexdigest() == self._file.sha256
        return self._git.hexdigest() == self._file.git_sha1

    def write(self, chunk: bytes) -> None:
        with self.path.open("ab", buffering=0) as writer:
            durable.write_chunk(writer, chunk, self.path)
        self._count(chunk)

    def take(self, hub: Hub, model: HubModel) -> None:
        """The whole file from the Hub's own client, in place of what is there."""
        self.restart()
        with TemporaryDirectory(suffix=".client", dir=self.path.parent) as folder:
            download(hub, model, self._file, Path(folder)).replace(self.path)
        self._hash_what_is_there()

    def restart(self) -> None:
        self._on_bytes(-self.size)
        self._clear()
        self.path.write_bytes(b"")

    def _clear(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        # What git calls a file, and the only digest the Hub gives for small ones.
        self._git = hashlib.sha1(b"blob %d\0" % self._file.size_bytes, usedforsecurity=False)

    def _hash_what_is_there(self) -> None:
        with self.path.open("rb") as reader:
            while chunk := reader.read(CHUNK_BYTES):
                self._count(chunk)

    def _count(self, chunk: bytes) -> None:
        self._sha256.update(chunk)
        if self._file.sha256 is None:
            self._git.update(chunk)
        self.size += len(chunk)
        self._on_bytes(len(chunk))


class _Counter:
    """Bytes done of each file, counted by its thread; the thread that waits reads it: a reporter is for one thread."""

    def __init__(self, files: Iterable[HubFile]) -> None:
        self._done = dict.fromkeys(files, 0)
        self.total = sum(file.size_bytes for file in self._done)
        self.stop = Event()

    def of(self, file: HubFile) -> Callable[[int], None]:
        """What counts for one file, in one thread."""

        def add(count: int) -> None:
            if self.stop.is_set():
                raise _Stopped
            self._done[file] += count

        return add

    @property
    def done(self) -> int:
        return sum(self._done.values())

    @property
    def message(self) -> str:
        """`3 of 9 files; model.safetensors 1.2 GiB of 4.6 GiB`."""
        whole = sum(done == file.size_bytes for file, done in self._done.items())
        under_way = [
            f"{file.path} {size_text(done)} of {size_text(file.size_bytes)}"
            for file, done in self._done.items()
            if 0 < done < file.size_bytes
        ]
        return "; ".join([f"{whole} of {len(self._done)} files", *under_way])


class _TryAgain(Exception):
    """The same request may go through later."""

    def __init__(self, what: str, wait_seconds: float = 0.0) -> None:
        super().__init__(what)
        self.wait_seconds = wait_seconds


class _NotByHttp(Exception):
    """The Hub has the file for its own client alone."""


class _Stopped(Exception):
    """Another file failed or the user gave up: nobody waits for this one."""


def _report_until_done(futures: list[Future[Blob]], counter: _Counter, reporter: Reporter) -> None:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=0.1, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        reporter.progress("fetch", counter.done, counter.total, "bytes", counter.message)


def _client(hub: Hub) -> httpx.Client:
    timeout = httpx.Timeout(hub.timeout_seconds, connect=min(CONNECT_SECONDS, hub.timeout_seconds))
    hooks = {"request": [Guard(hub).check]}
    return httpx.Client(follow_redirects=True, timeout=timeout, max_redirects=5, event_hooks=hooks)


def _first_byte(response: httpx.Response) -> int:
    """Where the part that was sent begins; -1 where the answer does not say so."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else -1


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0


def _gave_up(hub: Hub, file: HubFile, partial: _Partial, exc: Exception) -> Unavailable:
    why = str(exc) if isinstance(exc, _TryAgain) else type(exc).__name__
    return Unavailable(
        f"{file.path} stopped at {partial.size} of {file.size_bytes} bytes ({hub.url}: {why}).",
        hint="Run the same command again: it goes on from there.",
        code="no-connection",
    )


def _inconsistent(hub: Hub, file: HubFile, what: str) -> Unavailable:
    return Unavailable(
        f"{hub.url} {what} ({file.path}).", hint="Run the same command again in a while.", code="hub-inconsistent"
    )
