"""Bytes come whole, checked, and go on where a killed download was."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry import durable
from bedplate_registry.blobs import Blobs
from bedplate_registry.errors import Forbidden, Refused, Unavailable
from bedplate_registry.fetch import fetch_file, fetch_files
from bedplate_registry.hub import Hub, HubFile, HubModel

Serve = Callable[..., Any]
MIB = 1 << 20
WEIGHTS = "model.safetensors"
CHILD = """
import sys
from pathlib import Path
from bedplate_registry.blobs import Blobs
from bedplate_registry.fetch import fetch_file
from bedplate_registry.hub import Hub
hub = Hub(sys.argv[1])
model = hub.resolve("acme/big")
file = next(file for file in model.files if file.path == "model.safetensors")
print(fetch_file(hub, model, file, Blobs(Path(sys.argv[2]))).sha256)
"""


@pytest.fixture
def big_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "big"
    folder.mkdir()
    block = bytes(range(256)) * 4096
    (folder / WEIGHTS).write_bytes(b"".join(block[n:] + block[:n] for n in range(8)))
    (folder / "vocab.txt").write_text("small\n" * 100)
    (folder / "empty.txt").touch()
    return folder


def listed(model: HubModel, path: str) -> HubFile:
    return next(file for file in model.files if file.path == path)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ranges(loopback: Any) -> list[str | None]:
    return [headers.get("range") for path, headers in loopback.faults.byte_requests if path.endswith(WEIGHTS)]


def test_files_of_both_kinds_of_digest_arrive(serve: Serve, big_folder: Path, blobs: Blobs) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    for path in (WEIGHTS, "vocab.txt", "empty.txt"):
        counted: list[int] = []
        blob = fetch_file(loopback.hub, model, listed(model, path), blobs, counted.append)
        assert blob.sha256 == sha256(big_folder / path) and blobs.verify(blob.sha256)
        assert sum(counted) == blob.size_bytes
    assert not list((blobs.root / "incoming").glob("*.part"))


def test_a_file_that_is_here_is_not_fetched(serve: Serve, big_folder: Path, blobs: Blobs) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    blobs.put_file(big_folder / WEIGHTS)
    counted: list[int] = []
    fetch_file(loopback.hub, model, listed(model, WEIGHTS), blobs, counted.append)
    assert loopback.faults.byte_requests == [] and sum(counted) == 8 * MIB


def test_a_download_killed_in_the_middle_goes_on_where_it_was(
    serve: Serve,
    big_folder: Path,
    tmp_path: Path,
) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    loopback.faults.bytes_per_second = 8 * MIB
    command = [sys.executable, "-c", CHILD, loopback.url, str(tmp_path / "blobs")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    sent = loopback.faults.sent
    path = f"/acme/big/resolve/{'0123456789abcdef0123456789abcdef01234567'}/{WEIGHTS}"
    deadline = time.monotonic() + 60
    while sent[path] < 5 * MIB and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    blobs = Blobs(tmp_path / "blobs")
    assert not blobs.has(sha256(big_folder / WEIGHTS))
    loopback.faults.bytes_per_second = 0

    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert second.stdout.strip() == sha256(big_folder / WEIGHTS)
    assert blobs.verify(second.stdout.strip())
    first_range, second_range = ranges(loopback)
    assert first_range is None and second_range is not None
    resumed_at = int(second_range.removeprefix("bytes=").removesuffix("-"))
    assert resumed_at >= 2 * MIB
    print(f"resumed at {resumed_at:,} of {8 * MIB:,} bytes; sent {sent[path]:,} in all")
    assert sent[path] < 2 * 8 * MIB


def test_a_connection_cut_in_the_middle_is_taken_up_again(serve: Serve, big_folder: Path, blobs: Blobs) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    loopback.faults.cut_after_bytes = 3 * MIB + 17
    model = loopback.hub.resolve("acme/big")
    blob = fetch_file(loopback.hub, model, listed(model, WEIGHTS), blobs)
    assert blob.sha256 == sha256(big_folder / WEIGHTS)
    assert len(ranges(loopback)) == 2 and ranges(loopback)[1] != "bytes=0-"


def test_a_hub_that_ignores_range_is_read_from_the_start(serve: Serve, big_folder: Path, blobs: Blobs) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    loopback.faults.ignore_range = True
    loopback.faults.cut_after_bytes = 3 * MIB
    model = loopback.hub.resolve("acme/big")
    counted: list[int] = []
    blob = fetch_file(loopback.hub, model, listed(model, WEIGHTS), blobs, counted.append)
    assert blob.sha256 == sha256(big_folder / WEIGHTS)
    assert sum(counted) == 8 * MIB and min(counted) < 0


def test_a_start_damaged_on_the_disk_is_fetched_anew(serve: Serve, big_folder: Path, blobs: Blobs) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    file = listed(model, WEIGHTS)
    blobs.partial(f"sha256:{file.sha256}").write_bytes(bytes(MIB))  # what a power cut may leave: zeros
    assert fetch_file(loopback.hub, model, file, blobs).sha256 == sha256(big_folder / WEIGHTS)
    assert ranges(loopback) == [f"bytes={MIB}-", None]


def test_a_start_longer_than_the_file_is_thrown_away(serve: Serve, big_folder: Path, blobs: Blobs) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    file = listed(model, WEIGHTS)
    blobs.partial(f"sha256:{file.sha256}").write_bytes(bytes(9 * MIB))
    assert fetch_file(loopback.hub, model, file, blobs).sha256 == sha256(big_folder / WEIGHTS)


@pytest.mark.parametrize("path", [WEIGHTS, "vocab.txt"])
def test_bytes_that_do_not_have_the_listed_digest_never_become_a_blob(
    serve: Serve,
    big_folder: Path,
    blobs: Blobs,
    path: str,
) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    loopback.faults.corrupt = True
    model = loopback.hub.resolve("acme/big")
    with pytest.raises(Refused, match=path) as caught:
        fetch_file(loopback.hub, model, listed(model, path), blobs)
    assert caught.value.code == "digest-mismatch"
    assert not list(blobs.root.rglob("*.part")) and not (blobs.root / "sha256").exists()


def test_busy_answers_are_waited_out_and_five_failures_are_enough(
    serve: Serve,
    big_folder: Path,
    blobs: Blobs,
) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    loopback.faults.statuses = [503, 429, 500]
    fetch_file(loopback.hub, model, listed(model, "vocab.txt"), blobs)
    loopback.faults.statuses = [503] * 6
    with pytest.raises(Unavailable, match="answered 503") as caught:
        fetch_file(loopback.hub, model, listed(model, WEIGHTS), blobs)
    assert "goes on from there" in caught.value.hint


@pytest.mark.parametrize(("status", "kind"), [(401, Forbidden), (403, Forbidden), (404, Unavailable)])
def test_a_refusal_is_not_tried_again(
    serve: Serve,
    big_folder: Path,
    blobs: Blobs,
    status: int,
    kind: type[Exception],
) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    loopback.faults.statuses = [status]
    with pytest.raises(kind):
        fetch_file(loopback.hub, model, listed(model, WEIGHTS), blobs)
    assert len(loopback.faults.byte_requests) == 1


def test_another_commit_than_was_asked_for_is_refused(serve: Serve, big_folder: Path, blobs: Blobs) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    loopback.faults.commit = "f" * 40
    with pytest.raises(Unavailable, match="another commit") as caught:
        fetch_file(loopback.hub, model, listed(model, WEIGHTS), blobs)
    assert caught.value.code == "hub-inconsistent"


def test_more_bytes_than_listed_are_refused(serve: Serve, big_folder: Path, blobs: Blobs) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    with pytest.raises(Unavailable, match="more than"):
        fetch_file(loopback.hub, model, replace(listed(model, WEIGHTS), size_bytes=100), blobs)


def test_the_token_goes_to_the_hub_and_not_where_it_redirects(
    serve: Serve,
    big_folder: Path,
    blobs: Blobs,
) -> None:
    front, storage = serve(big_folder, model_id="acme/big"), serve(big_folder, model_id="acme/big")
    front.faults.token, front.faults.redirect_to = "hf_secret", storage.url
    hub = Hub(front.url, "hf_secret")
    model = hub.resolve("acme/big")
    blobs.partial(f"sha256:{listed(model, WEIGHTS).sha256}").write_bytes((big_folder / WEIGHTS).read_bytes()[:MIB])
    fetch_file(hub, model, listed(model, WEIGHTS), blobs)
    assert front.faults.byte_requests[0][1]["authorization"] == "Bearer hf_secret"
    ((_, headers),) = storage.faults.byte_requests
    assert "authorization" not in headers and headers["range"] == f"bytes={MIB}-"
    assert headers["accept-encoding"] == "identity"


def test_several_files_are_reported_together_from_one_thread(
    serve: Serve,
    big_folder: Path,
    blobs: Blobs,
    recorder: Any,
) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    entries = fetch_files(loopback.hub, model, model.files, blobs, recorder)
    assert [entry.path for entry in entries] == ["empty.txt", WEIGHTS, "vocab.txt"]
    total = sum(file.size_bytes for file in model.files)
    assert recorder.steps[-1] == ("fetch", total, total) and len(recorder.threads) == 1
    assert recorder.notes[-1] == "3 of 3 files"


def test_each_file_that_is_under_way_is_told_with_how_much_of_it_is_there(
    serve: Serve,
    big_folder: Path,
    blobs: Blobs,
    recorder: Any,
) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    loopback.faults.bytes_per_second = 8 * MIB
    model = loopback.hub.resolve("acme/big")
    fetch_files(loopback.hub, model, model.files, blobs, recorder)
    told = [re.fullmatch(rf"2 of 3 files; {WEIGHTS} ([0-9.]+ [KM]iB) of [0-9.]+ MiB", note) for note in recorder.notes]
    amounts = [found[1] for found in told if found]
    assert len(set(amounts)) > 1


def test_one_file_that_fails_stops_the_others_and_what_they_have_stays(
    serve: Serve,
    big_folder: Path,
    blobs: Blobs,
    recorder: Any,
) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    loopback.faults.bytes_per_second = 4 * MIB
    wrong = replace(listed(model, "vocab.txt"), git_sha1="f" * 40)
    start = time.monotonic()
    with pytest.raises(Refused, match=r"vocab\.txt"):
        fetch_files(loopback.hub, model, [listed(model, WEIGHTS), wrong], blobs, recorder)
    assert time.monotonic() - start < 1.5
    assert blobs.partial(f"sha256:{listed(model, WEIGHTS).sha256}").exists()


def test_many_fetchers_of_one_file_make_one_transfer(serve: Serve, big_folder: Path, blobs: Blobs) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(fetch_file, loopback.hub, model, listed(model, WEIGHTS), blobs) for _ in range(8)]
    assert {future.result().sha256 for future in found} == {sha256(big_folder / WEIGHTS)}
    assert ranges(loopback) == [None]


def test_a_disk_that_fills_up_is_said_and_the_download_goes_on_later(
    serve: Serve,
    big_folder: Path,
    blobs: Blobs,
) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    writes = 0

    def full(name: str, path: Path) -> None:
        nonlocal writes
        writes += name == "before write"
        if writes == 4:
            raise OSError(28, "injected")

    durable.fault_hook = full
    try:
        with pytest.raises(Unavailable) as caught:
            fetch_file(loopback.hub, model, listed(model, WEIGHTS), blobs)
    finally:
        durable.fault_hook = None
    assert caught.value.code == "disk-full"
    assert fetch_file(loopback.hub, model, listed(model, WEIGHTS), blobs).size_bytes == 8 * MIB
    begin = int(ranges(loopback)[1].removeprefix("bytes=").removesuffix("-"))
    assert 3 * MIB <= begin < 4 * MIB, "from what was written, and no more than the block that was not"


def test_offline_fetches_nothing(serve: Serve, big_folder: Path, blobs: Blobs) -> None:
    loopback = serve(big_folder, model_id="acme/big")
    model = loopback.hub.resolve("acme/big")
    with pytest.raises(Unavailable) as caught:
        fetch_file(Hub(loopback.url, offline=True), model, listed(model, WEIGHTS), blobs)
    assert caught.value.code == "offline" and loopback.faults.byte_requests == []
