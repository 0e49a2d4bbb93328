"""The jobs that make graphs of text encoders: when the server submits one, what becomes of what it made, what is
cleared away. Their workers are played by hand; a real one is in tests/e2e/test_graph.py.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bedplate.compute import GIB, Inventory, Lease
from bedplate.endpoints import Deployment
from bedplate.jobs import Job
from bedplate.kinds.base import replica_demand
from bedplate.machine import SimulatedMachine, simulated
from bedplate.settings import Settings
from bedplate.workspace import Workspace
from bedplate_registry.errors import Refused
from bedplate_registry.importing import prepare_folder_import
from bedplate_registry.models import ModelDraft, ModelVersion, Source
from bedplate_registry.names import Name
from bedplate_registry.progress import SILENT
from bedplate_serving.predictors.encoders.graph_folder import FILES, holds_graph, key_of, put_reason, reason_for_none
from bedplate_serving.testing import tiny_text_classifier
from harness import wait_for

ROOMY = Inventory(cores=4, memory_bytes=8 * GIB, memory_free_bytes=8 * GIB)
LEASE = Lease(cores=1, memory_bytes=GIB)
TASK = "text-classification"


@pytest.fixture
def workspace(tmp_path: Path, models: Path) -> Iterator[Workspace]:
    """A workspace with a classifier, `tiny`; its loop does not run."""
    settings = Settings.from_environment({"BEDPLATE_HOME": str(tmp_path / "home")})
    made = Workspace(settings, address=None, machine=SimulatedMachine(ROOMY))
    added(made, "tiny", models / "classifier")
    yield made
    made.stop()
    made.database.close()


def added(workspace: Workspace, name: str, folder: Path) -> ModelVersion:
    draft = prepare_folder_import(
        workspace.registry, folder, name=Name.parse(name), check=lambda folder, facts: {}, reporter=SILENT
    )
    assert isinstance(draft, ModelDraft)
    return workspace.registry.models.publish(draft)


@pytest.fixture
def tiny(workspace: Workspace) -> ModelVersion:
    return workspace.registry.models.get("tiny")


def graph_jobs(workspace: Workspace) -> list[Job]:
    return workspace.jobs.find(kind="graph")[::-1]


def asked(workspace: Workspace, version: ModelVersion) -> Job:
    """The job that asking for the version's graph leaves as the newest one."""
    workspace.graphs.ask_for(version)
    return graph_jobs(workspace)[-1]


def derived_of(workspace: Workspace, version: ModelVersion) -> Path:
    return workspace.home.derived_of(version.digest)


def key(version: ModelVersion) -> dict[str, Any]:
    return key_of(version.digest, TASK)


def claimed(workspace: Workspace, job: Job) -> Job:
    running = workspace.jobs.claim(job, LEASE)
    assert running is not None
    workspace.job_folder(job.id).create(running.spec)
    return running


def leave_graph(workspace: Workspace, job: Job, version: ModelVersion) -> Path:
    """What a worker leaves in its folder."""
    made = workspace.job_folder(job.id).path / "graph"
    made.mkdir()
    for name in FILES:
        (made / name).write_text(name)
    (made / "meta.json").write_text(json.dumps(about(version)))
    return made


def about(version: ModelVersion, **changes: Any) -> dict[str, Any]:
    """What stands in `meta.json`, of which the server reads this."""
    return {"key": key(version) | changes, "sizes": {name: len(name) for name in FILES}}


def ended(workspace: Workspace, job: Job, version: ModelVersion, result: dict[str, Any] | None = None) -> Job:
    """Play a worker, and the end that the scheduler makes of it."""
    running = claimed(workspace, job)
    if result is None:
        leave_graph(workspace, job, version)
    workspace.jobs.move(running, "succeeded", result=workspace.attempts.finish(running, result or {}))
    return workspace.jobs.get(job.id)


def test_a_graph_is_asked_for_once_by_a_job_of_the_server_that_waits_behind_the_users(
    workspace: Workspace, tiny: ModelVersion
) -> None:
    job = asked(workspace, tiny)
    assert asked(workspace, tiny).id == job.id and len(graph_jobs(workspace)) == 1
    assert (job.owner, job.state, job.preemptible) == ("server", "queued", True)
    assert job.spec == {"model": "tiny:1", "digest": tiny.digest, "task": TASK}
    assert (job.demand.cores, job.demand.memory_bytes) == (0, 600_000_000 + 12 * tiny.facts.parameters)
    later = workspace.jobs.submit("batch", {})
    assert [queued.id for queued in workspace.jobs.queue()] == [later.id, job.id]


def test_nobody_submits_one_and_is_told_who_does(workspace: Workspace) -> None:
    with pytest.raises(Refused, match="server's own") as caught:
        workspace.submit("graph", {"model": "tiny"})
    assert caught.value.code == "server-only" and "bedplate deploy" in caught.value.hint


def test_what_the_worker_made_appears_where_replicas_read_and_finishing_twice_changes_nothing(
    workspace: Workspace, tiny: ModelVersion
) -> None:
    job = ended(workspace, asked(workspace, tiny), tiny)
    assert job.result == {"model": "tiny:1", "engine": "onnxruntime"}
    assert holds_graph(derived_of(workspace, tiny), key(tiny))
    before = (derived_of(workspace, tiny) / "graph").stat()
    assert workspace.attempts.finish(job, {}) == job.result
    assert (derived_of(workspace, tiny) / "graph").stat() == before
    assert asked(workspace, tiny).id == job.id


def test_a_graph_that_was_lost_or_is_of_another_key_is_made_again(workspace: Workspace, tiny: ModelVersion) -> None:
    first = ended(workspace, asked(workspace, tiny), tiny)
    shutil.rmtree(derived_of(workspace, tiny))
    second = ended(workspace, asked(workspace, tiny), tiny)
    meta = derived_of(workspace, tiny) / "graph/meta.json"
    meta.write_text(json.dumps(about(tiny, processor="another")))
    third = asked(workspace, tiny)
    assert len({first.id, second.id, third.id}) == 3 and third.state == "queued"


def test_a_graph_that_was_cut_short_is_made_again(workspace: Workspace, tiny: ModelVersion) -> None:
    first = ended(workspace, asked(workspace, tiny), tiny)
    (derived_of(workspace, tiny) / "graph/packed.data").write_text("packed")
    second = asked(workspace, tiny)
    assert second.id != first.id and second.state == "queued"


def test_that_there_can_be_none_is_kept_with_its_reason_and_not_tried_again_while_its_key_holds(
    workspace: Workspace, tiny: ModelVersion
) -> None:
    job = ended(workspace, asked(workspace, tiny), tiny, {"reason": "its architecture is not packed"})
    assert job.result == {"model": "tiny:1", "engine": "torch", "reason": "its architecture is not packed"}
    assert reason_for_none(derived_of(workspace, tiny), key(tiny)) == "its architecture is not packed"
    assert asked(workspace, tiny).id == job.id
    note = derived_of(workspace, tiny) / "no-graph.json"
    note.write_text(note.read_text().replace('"transformers": "', '"transformers": "0.'))
    assert asked(workspace, tiny).id != job.id


def test_the_word_that_there_can_be_none_takes_no_good_graph_away(workspace: Workspace, tiny: ModelVersion) -> None:
    ended(workspace, asked(workspace, tiny), tiny)
    put_reason(derived_of(workspace, tiny), key(tiny), "its architecture is not packed")
    assert holds_graph(derived_of(workspace, tiny), key(tiny))
    assert reason_for_none(derived_of(workspace, tiny), key(tiny)) is None
    put_reason(derived_of(workspace, tiny), key(tiny) | {"processor": "another"}, "its architecture is not packed")
    assert not (derived_of(workspace, tiny) / "graph").exists()


def worked(workspace: Workspace, version: ModelVersion, *, file_bytes: int = 1 << 30) -> dict[str, Any] | None:
    """The result that a real worker leaves, where it does not fail. It may write files of that size."""
    job = claimed(workspace, asked(workspace, version))
    folder = workspace.job_folder(job.id).path
    subprocess.run(
        [sys.executable, "-m", "bedplate.workers.graph", str(folder), str(job.epoch)],
        # No bytecode: Python keeps a file that this limit cut short, and no program starts any more.
        env={**os.environ, "BEDPLATE_HOME": str(workspace.home.path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes)),
    )
    assert (folder / f"result-{job.epoch}.json").exists() != (folder / f"error-{job.epoch}.json").exists()
    result = folder / f"result-{job.epoch}.json"
    return dict(json.loads(result.read_text())) if result.exists() else None


def test_what_the_exporter_says_of_a_model_is_a_reason_and_a_passing_fault_is_none(
    workspace: Workspace, tiny: ModelVersion, tmp_path: Path
) -> None:
    folder = tiny_text_classifier(tmp_path / "long", max_positions=2000)
    assert worked(workspace, added(workspace, "long", folder)) == {"reason": "its context is longer than 1024 tokens"}
    assert worked(workspace, tiny, file_bytes=150_000) is None  # as on a disk that is full before all is written


def test_a_failed_one_waits_for_somebody_to_retry_it_and_a_cancelled_one_is_followed_by_another(
    workspace: Workspace, tiny: ModelVersion
) -> None:
    first = asked(workspace, tiny)
    workspace.cancel_job(first.id)
    second = asked(workspace, tiny)
    assert (second.state, second.id != first.id) == ("queued", True)
    workspace.jobs.move(claimed(workspace, second), "failed", error={"code": "no", "message": "No.", "hint": ""})
    assert asked(workspace, tiny).id == second.id
    workspace.resume_job(second.id, start_over=True)
    assert ended(workspace, workspace.jobs.get(second.id), tiny).state == "succeeded"


def test_what_a_worker_left_that_is_no_graph_fails_its_job_and_is_not_put_where_replicas_read(
    workspace: Workspace, tiny: ModelVersion
) -> None:
    running = claimed(workspace, asked(workspace, tiny))
    with pytest.raises(Refused, match="does not hold the files of a graph"):  # there is nothing at all
        workspace.attempts.finish(running, {})
    made = leave_graph(workspace, running, tiny)
    (made / "packed.data").unlink()
    (made / "packed.data").symlink_to(workspace.home.token_file)
    with pytest.raises(Refused, match="does not hold the files of a graph"):
        workspace.attempts.finish(running, {})
    assert not derived_of(workspace, tiny).exists()


def published(workspace: Workspace, name: str, **facts: Any) -> ModelVersion:
    """A version with the files of `tiny` and other facts."""
    tiny = workspace.registry.models.get("tiny")
    changed = replace(tiny.facts, **facts)
    return workspace.registry.models.publish(ModelDraft(Name.parse(name), tiny.files, changed, Source("job", name)))


def test_no_job_is_submitted_for_a_model_that_is_too_large_or_no_encoder(workspace: Workspace) -> None:
    large = published(workspace, "large", parameters=700_000_000)
    workspace.graphs.ask_for(large)
    assert "more than 1.9 GB" in (reason_for_none(derived_of(workspace, large), key(large)) or "")
    workspace.graphs.ask_for(published(workspace, "writer", task="text-generation"))
    workspace.graphs.ask_for(published(workspace, "base", task=None))
    assert graph_jobs(workspace) == []


# --- what is cleared away


def leave(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "file").touch()


def test_what_was_derived_of_models_that_are_gone_is_removed_and_so_is_what_was_left_half_done(
    workspace: Workspace, tiny: ModelVersion
) -> None:
    mine, gone = derived_of(workspace, tiny), workspace.home.derived_of("0" * 64)
    leave(mine, "graph", ".tmp-1234", "graph.new")
    (mine / "lock").touch()
    (mine / "no-graph.json").touch()
    leave(gone, "graph")
    workspace.graphs.clear()
    workspace.graphs.clean()
    assert sorted(path.name for path in mine.iterdir()) == ["graph", "no-graph.json"]
    assert not gone.exists()


def test_the_loop_begins_while_the_registry_is_still_read_for_what_is_gone(
    workspace: Workspace, tiny: ModelVersion
) -> None:
    leave(derived_of(workspace, tiny), "graph", ".tmp-1234")
    slow = workspace.home.registry / "models/acme/slow/1/manifest.json"
    slow.parent.mkdir(parents=True)
    os.mkfifo(slow)
    begun = workspace.last_round
    workspace.start()
    wait_for(lambda: workspace.last_round > begun, seconds=60)
    assert [path.name for path in derived_of(workspace, tiny).iterdir()] == ["graph"]
    slow.write_bytes(b"{}")  # who reads it goes on


def test_it_stays_while_a_version_is_archived_and_goes_with_one_that_is_deleted(
    workspace: Workspace, tiny: ModelVersion
) -> None:
    leave(derived_of(workspace, tiny), "graph")
    workspace.registry.models.archive("tiny:1", by="ana")
    workspace.graphs.clean()
    assert (derived_of(workspace, tiny) / "graph").is_dir()
    workspace.delete_model("tiny:1", by="ana")
    assert not derived_of(workspace, tiny).exists()


def deployed(workspace: Workspace, version: ModelVersion) -> Deployment:
    workspace.endpoints.deploy("support", version.ref, TASK, device="cpu")
    [deployment] = workspace.endpoints.deployments("support")
    return deployment


def test_nothing_is_removed_while_a_deployed_version_cannot_be_found(
    workspace: Workspace, tiny: ModelVersion, caplog: pytest.LogCaptureFixture
) -> None:
    leave(derived_of(workspace, tiny), "graph")
    deployed(workspace, tiny)
    shutil.rmtree(workspace.home.registry / "models")
    workspace.graphs.clean()
    assert (derived_of(workspace, tiny) / "graph").is_dir()
    assert "cannot be cleaned" in caplog.text


def test_a_queued_job_does_not_keep_its_model_from_being_deleted_and_goes_with_it(
    workspace: Workspace, tiny: ModelVersion
) -> None:
    job = asked(workspace, tiny)
    workspace.delete_model(tiny.ref, by="adam", why="not wanted")
    assert workspace.jobs.get(job.id).state == "cancelled"


def test_a_replica_on_the_cpu_asks_for_the_memory_of_float32_weights(workspace: Workspace) -> None:
    registry, machine = workspace.registry, simulated("1xV100-32GB")
    half = published(workspace, "half", parameters=1_000_000_000, size_bytes=2_000_000_000)
    assert replica_demand(registry, machine, half, "cpu").memory_bytes == 4_800_000_000 + GIB
    assert replica_demand(registry, machine, half, "cuda").gpu_memory_bytes == 2_400_000_000 + GIB
    full = published(workspace, "full", parameters=1_000_000_000, size_bytes=4_100_000_000)
    assert replica_demand(registry, machine, full, "cpu").memory_bytes == 4_920_000_000 + GIB
    assert replica_demand(registry, machine, full, "cuda").gpu_memory_bytes == 2_400_000_000 + GIB
