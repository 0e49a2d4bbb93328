"""A publisher is killed at every durable operation, before and after it, by ordinal, until a run is not killed.

A driver process copies a prepared registry for each ordinal, forks a child that publishes the next version and kills
itself with SIGKILL there, and looks at what is left: the old state or the new one, and a second try that goes through.
"""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry import durable
from bedplate_registry.errors import Unavailable
from bedplate_registry.models import ModelDraft
from bedplate_registry.registry import Registry

DRIVER = '''
import json, os, shutil, signal, sys
from dataclasses import replace
from pathlib import Path
from bedplate_registry import durable
from bedplate_registry.models import FileEntry, ModelDraft, Source
from bedplate_registry.registry import Registry

base, work, defect = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
draft = ModelDraft.from_json(json.loads(sys.stdin.read()))

def publish(registry):
    """Put the new weights, then publish: what the end of an import or of a fine-tune does."""
    data = b"weights" * 1000
    blob = registry.blobs.put_bytes(data)
    files = (*draft.files, FileEntry("model.safetensors", blob.size_bytes, blob.sha256))
    return registry.models.publish(replace(draft, files=files, source=Source("job", "job-2")))

def seed_defect():
    """Mistakes made on purpose: the campaign has to find each."""
    if defect == "write-in-place":
        durable.write_bytes = in_place
        durable.publish_folder = lambda temp, final: [durable.make_folder(final)] + [
            in_place(final / "manifest.json", (temp / "manifest.json").read_bytes())]
    if defect == "manifest-before-blobs":
        from bedplate_registry.blobs import Blobs
        from bedplate_registry.models import Models
        late, settle = [], Blobs._settle
        def keep(self, temp, blob):
            late.append((self, temp.rename(temp.with_suffix(".late")), blob))
            return blob
        Blobs._settle = keep
        Models._check_there = lambda self, entry: None
        commit = durable.publish_folder
        durable.publish_folder = lambda temp, final: (commit(temp, final), [settle(*each) for each in late])

def in_place(path, data, mode=0o644):
    with path.open("wb") as file:
        for start in range(0, len(data), 100):
            durable.write_chunk(file, data[start:start + 100], path)
            file.flush()

def child(root, ordinal):
    calls = 0
    def hook(name, path):
        nonlocal calls
        if calls == ordinal:
            (root.parent / "at").write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
    seed_defect()
    durable.fault_hook = hook
    publish(Registry(root))
    os._exit(0)

def look(root):
    registry = Registry(root)
    problems = []
    try:
        found = [version.ref for version in registry.models.versions(draft.name)]
        for ref in found:
            problems += registry.models.verify(ref)
        if len(registry.models.list()) != 1:
            problems.append("the model is not listed")
    except Exception as exc:
        return {"found": [], "problems": [repr(exc)]}
    if not problems and not defect:
        version = publish(registry)
        found.append(version.ref)
        problems += registry.models.verify(version.ref)
        if not (registry.models.files_dir(version) / "model.safetensors").is_file():
            problems.append("no view")
        names = {path.name for path in (root / "models" / "acme" / "intents").iterdir()}
        if names != {"1", "2", ".lock"}:
            problems.append(f"litter: {names}")
    return {"found": found, "problems": problems}

results, ordinal, killed = [], 0, True
while killed:
    home = work / str(ordinal)
    shutil.copytree(base, home / "registry", symlinks=True)
    pid = os.fork()
    if pid == 0:
        try:
            child(home / "registry", ordinal)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status)
    at = (home / "at").read_text() if killed else f"end {os.WEXITSTATUS(status)}"
    results.append({"at": at, **look(home / "registry")})
    shutil.rmtree(home)
    ordinal += 1
print(json.dumps(results))
'''


def campaign(registry: Registry, draft: ModelDraft, work: Path, defect: str = "") -> list[dict[str, Any]]:
    registry.models.publish(draft)
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(registry.root), str(work), defect],
        input=json.dumps(draft.to_json()),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


@pytest.fixture(autouse=True)
def _no_hook_left() -> Iterator[None]:
    yield
    durable.fault_hook = None


def test_a_kill_at_any_durable_operation_leaves_the_old_or_the_new_state(
    registry: Registry, make_draft: Callable[..., ModelDraft], tmp_path: Path
) -> None:
    results = campaign(registry, make_draft(), tmp_path / "work")
    hits = Counter(result["at"] for result in results)
    print("killed at:", dict(hits))
    assert [result for result in results if result["problems"]] == []
    assert all(result["found"] in ([f"acme/intents:{n}" for n in (1, 2)], ["acme/intents:1", *["acme/intents:2"] * 2])
               for result in results)  # fmt: skip
    for operation in ("write", "fsync", "rename", "mkdir", "fsync-folder"):
        assert hits[f"before {operation}"] == hits[f"after {operation}"] > 0
    assert results[-1]["at"] == "end 0" and len(results) > 20


@pytest.mark.parametrize("defect", ["write-in-place", "manifest-before-blobs"])
def test_the_campaign_finds_a_defect_that_was_put_in_on_purpose(
    registry: Registry, make_draft: Callable[..., ModelDraft], tmp_path: Path, defect: str
) -> None:
    results = campaign(registry, make_draft(), tmp_path / "work", defect)
    assert any(result["problems"] for result in results)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_operation_is_said_and_work_goes_on_after(
    registry: Registry, make_draft: Callable[..., ModelDraft], number: int
) -> None:
    registry.models.publish(make_draft())
    calls, ordinal = 0, 0

    def hook(name: str, path: Path) -> None:
        nonlocal calls
        calls += 1
        if name.startswith("before") and calls == ordinal:
            raise OSError(number, "injected")

    failures = 0
    while True:
        calls, ordinal = 0, ordinal + 1
        durable.fault_hook = hook
        try:
            registry.models.publish(make_draft(source=f"job-2-{ordinal}", files={"x": f"new {ordinal}".encode()}))
        except Unavailable as exc:
            failures += 1
            assert exc.code in ("disk-full", "disk-error") and exc.hint
        if calls < ordinal:
            break
        durable.fault_hook = None
        for version in registry.models.versions(make_draft().name):
            assert registry.models.verify(version.ref) == []
    assert failures > 10
    durable.fault_hook = None
    assert registry.models.publish(make_draft(source="job-last")).version > 1
