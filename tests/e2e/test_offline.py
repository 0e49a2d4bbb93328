"""BEDPLATE_OFFLINE=1 in a network namespace without a route: the whole way, and nothing tries to leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

WAY = Path(__file__).resolve().parents[1] / "offline_way.py"


def test_the_whole_way_works_without_a_route_and_nothing_looks_for_one(models: Path, tmp_path: Path) -> None:
    (tmp_path / "encoder").symlink_to(models / "encoder")
    command = [*_into_a_namespace(), sys.executable, str(WAY), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "REACHED OUT" not in done.stderr
    way = json.loads(done.stdout.strip().splitlines()[-1])

    assert (way["refused"], way["labels"], way["rows"]) == ("offline", 3, 60)
    assert 0 <= way["accuracy"] <= 1
    assert (way["without_route"], way["closed_ports"], way["datagrams"]) == (0, 0, 0)
    assert way["reached"] == []
    assert way["logs"] >= 7  # of server, gateway, replica and four workers
    assert way["shown"] == 1, "a packet without a route is not counted here"


def _into_a_namespace() -> list[str]:
    reason = ""
    for command in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        try:
            done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            reason = "there is no unshare (util-linux)"
            break
        if done.returncode == 0:
            return command
        reason = done.stderr.strip()
    pytest.skip(f"no network namespace can be made here: {reason}")
