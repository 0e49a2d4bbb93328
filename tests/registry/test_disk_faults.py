"""The registry on a disk that fails and under a kernel that kills: tests/faults/registry_disk.py tells how."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from faults.registry_acts import ACTS

CAMPAIGNS = Path(__file__).resolve().parents[1] / "faults"
OPERATIONS = ("write", "fsync", "rename", "mkdir", "fsync-folder", "append", "unlink")


def campaign(*arguments: str, program: str = "registry_disk.py") -> Any:
    """In a process of its own, since it forks; its figures."""
    done = subprocess.run(
        [sys.executable, str(CAMPAIGNS / program), *arguments], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    print(done.stderr)
    return json.loads(done.stdout)


def test_a_kill_at_any_durable_operation_leaves_the_old_or_the_new_state() -> None:
    figures = campaign("kills", "--sparse")
    hits = Counter(figures["hits"]["kills"])
    print("killed at:", dict(hits))
    assert figures["broken"] == []
    assert hits["kill end"] == len(ACTS)
    assert all(hits[f"kill before {name}"] == hits[f"kill after {name}"] > 0 for name in OPERATIONS)


def test_a_disk_that_is_full_or_fails_at_any_operation_is_said_and_work_goes_on_after() -> None:
    figures = campaign("errors", "--sparse")
    hits = Counter(figures["hits"]["errors"])
    print("failed at:", dict(hits))
    assert figures["broken"] == []
    for name in OPERATIONS:
        assert hits[f"ENOSPC before {name}"] == hits[f"EIO before {name}"] == hits[f"EIO after {name}"] > 0


def test_a_power_cut_at_any_operation_leaves_the_old_or_the_new_state() -> None:
    figures = campaign("cuts", "--sparse")
    hits = Counter(figures["hits"]["cuts"])
    print("cut at:", dict(hits))
    assert figures["broken"] == []
    assert hits["cut end, dropped"] == hits["cut end, reordered"] == len(ACTS)


def test_what_was_acknowledged_survives_kills_at_random_moments() -> None:
    """A sample; `make faults` has a thousand."""
    figures = campaign("--kills", "60", "--seed", "7", program="registry_random.py")
    print(figures["counts"])
    assert figures["broken"] == [] and figures["counts"]["publish"]


@pytest.mark.parametrize(
    ("kind", "act", "defect"),
    [
        ("kills", "publish", "write in place"),
        ("kills", "publish", "manifest before blobs"),
        ("kills", "publish beside a collection", "collect without leases"),
        ("cuts", "publish", "write in place"),
        ("cuts", "publish", "manifest before blobs"),
        ("cuts", "publish", "no fsync"),
        ("cuts", "publish", "no fsync of folders"),
    ],
)
def test_a_defect_that_is_sown_is_found(kind: str, act: str, defect: str) -> None:
    assert campaign(kind, "--act", act, "--defect", defect)["broken"]
