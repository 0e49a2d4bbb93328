"""A control group for the worker of one attempt: all that it started ends at one word, and its memory has a limit.

Version 2 of the interface, which Linux has since 5.14 with `cgroup.kill`, mounted alone or beside version 1. The groups
lie in our own one where that is writable: for root, in a container of its own, or under systemd with Delegate=yes. No
controller is enabled there, since a group with members must not have one: memory is limited only where the one who made
our group did enable it. Standard library only: supervisor and cage import this.

    our group/                                     server, supervisors
      bedplate-<hash of the folder>-<epoch>/       the worker and what it starts
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["create", "enter", "kill", "limits_memory", "own_group", "path_for", "problem", "remove"]


def own_group() -> Path | None:
    """The folder of the control group that we are in; None where version 2 is not mounted."""
    inside = next((line[3:] for line in _lines("/proc/self/cgroup") if line.startswith("0::")), None)
    mount = next((fields for line in _lines("/proc/self/mountinfo") if "cgroup2" in (fields := line.split())), None)
    if inside is None or mount is None:
        return None
    root, point = mount[3], mount[4]
    if os.path.commonpath([root, inside]) != root or ".." in inside:  # our group lies outside what we see of the tree
        return None
    return Path(point, os.path.relpath(inside, root))


def problem() -> str | None:
    """Why attempts have no group of their own; None where they have one. Makes a group and removes it again."""
    group = own_group()
    if group is None:
        return "version 2 of the control groups is not mounted"
    probe = group / f"bedplate-probe-{os.getpid()}"
    try:
        create(probe)
    except OSError as exc:
        return f"no group can be made in {group}: {exc.strerror}"
    finally:
        remove(probe)
    return None


def limits_memory() -> bool:
    """Whether the groups of attempts can have a limit of memory: whoever made ours enabled the controller in it."""
    group = own_group()
    return group is not None and "memory" in " ".join(_lines(str(group / "cgroup.subtree_control"))).split()


def path_for(folder: Path, epoch: int) -> Path | None:
    """Where the group of an attempt belongs; None where we cannot make one. Whether one exists is not asked."""
    group = own_group()
    if group is None or not os.access(group, os.W_OK) or not os.access(group / "cgroup.procs", os.W_OK):
        return None
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return group / f"bedplate-{name}-{epoch}"


def create(group: Path, memory_max_bytes: int | None = None) -> None:
    """Make an empty group. Raises OSError where that cannot be, as where the kernel knows no `cgroup.kill`."""
    kill(group)  # one of this name is left over
    group.mkdir(exist_ok=True)
    if not (group / "cgroup.kill").exists():
        group.rmdir()
        raise OSError(None, "the kernel has no cgroup.kill")
    if memory_max_bytes is not None and (group / "memory.max").exists():
        (group / "memory.max").write_text(str(memory_max_bytes))
        (group / "memory.oom.group").write_text("1")  # half a worker is of no use


def enter(group: Path) -> None:
    """Move this process into the group; what it starts from then on is born there."""
    (group / "cgroup.procs").write_text("0")


def kill(group: Path) -> None:
    """SIGKILL for all in the group. It is not waited for."""
    with suppress(OSError):  # there is none
        (group / "cgroup.kill").write_text("1")


def remove(group: Path) -> bool:
    """Remove an empty group, with the groups that its members made in it; says whether it is gone."""
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
    return not group.exists()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
