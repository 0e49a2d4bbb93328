"""`models gc` from the command line to the disk: what jobs need stays."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

from bedplate.cli.app import app
from bedplate.workspace import Workspace
from bedplate_registry.errors import Conflict
from harness import wait_for
from light_server import light_server
from rest_server import publish_model

Run = Callable[..., dict[str, object]]


@pytest.fixture
def server() -> Iterator[Workspace]:
    with light_server() as workspace:
        yield workspace


@pytest.fixture
def run(server: Workspace) -> Iterator[Run]:
    """`models gc` in this process; its answer. Raises what it refuses."""

    def invoke(*arguments: str) -> dict[str, object]:
        command = ["models", "gc", "--grace-hours", "0", *arguments, "--home", str(server.home.path)]
        done = CliRunner().invoke(app, [*command, "--format", "json"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        found: dict[str, object] = json.loads(done.stdout)
        return found

    yield invoke
    gc.collect()  # a connection that a command left open is a warning, and so an error


def test_what_nothing_needs_is_shown_and_then_taken_away(server: Workspace, run: Run) -> None:
    ref = publish_model(server, "kept")
    lost = server.registry.blobs.put_bytes(b"nobody's" * 100)
    item = {"kind": "blob", "name": lost.sha256, "size_bytes": 800}
    assert run("--dry-run") == {"dry_run": True, "count": 1, "size_bytes": 800, "items": [item]}
    assert server.registry.blobs.has(lost.sha256)
    assert run()["items"] == [item] and run()["items"] == []
    assert not server.registry.blobs.has(lost.sha256) and server.registry.models.verify(ref) == []
    assert server.audit.entries(limit=1)[0].detail["count"] == 0


def test_the_files_of_a_job_stay_until_it_has_succeeded(server: Workspace, run: Run) -> None:
    """Its upload is in its spec; its draft in what its worker left, which a server that was down has not published."""
    upload, drafted = (server.registry.blobs.put_bytes(data) for data in (b"rows", b"weights"))
    code = f"""# {upload.sha256}
import json, time
json.dump({{'draft': {drafted.sha256!r}}}, open('result-1.json', 'w'))
time.sleep(60)
"""
    job = server.submit("script", {"code": code, "bare": True})
    wait_for(lambda: (server.home.jobs / job.id / "result-1.json").exists())
    assert run()["items"] == []
    server.cancel_job(job.id)
    wait_for(lambda: server.jobs.get(job.id).is_final)
    assert run()["items"] == []  # it can be resumed


def test_what_a_job_that_succeeded_read_goes(server: Workspace, run: Run) -> None:
    upload = server.registry.blobs.put_bytes(b"rows")
    job = server.submit("script", {"code": f"# {upload.sha256}"})
    wait_for(lambda: server.jobs.get(job.id).state == "succeeded")
    assert run()["count"] == 1


def test_a_damaged_manifest_stops_it_by_name(server: Workspace, run: Run) -> None:
    publish_model(server, "hurt")
    server.registry.blobs.put_bytes(b"nobody's")
    manifest = server.home.registry / "models" / "_" / "hurt" / "1" / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    with pytest.raises(Conflict, match="hurt:1") as caught:
        run()
    assert caught.value.code == "unreadable-manifest"
