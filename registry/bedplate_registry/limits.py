"""How many cores and how much memory this process may use, as its control groups say."""

from __future__ import annotations

from pathlib import Path

__all__ = ["limits"]

UNLIMITED_BYTES = 1 << 60  # version 1 says "no limit" by a number near 2**63


def limits(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> tuple[int | None, int | None]:
    """Cores and bytes of memory that the cgroups of this process allow; None for no limit. Versions 1 and 2."""
    cores: list[int] = []
    sizes: list[int] = []
    for folder in _cgroups(root, own):
        quota, period = _number(folder, "cpu.max", 0), _number(folder, "cpu.max", 1)
        quota, period = quota or _number(folder, "cpu.cfs_quota_us"), period or _number(folder, "cpu.cfs_period_us")
        if quota and period:
            cores.append(max(1, quota // period))
        if size := _number(folder, "memory.max") or _number(folder, "memory.limit_in_bytes"):
            sizes.append(size)
    return min(cores, default=None), min((size for size in sizes if size < UNLIMITED_BYTES), default=None)


def _cgroups(root: Path, own: Path) -> list[Path]:
    """The cgroups of this process and those around them; a container often shows its own as the root."""
    folders = []
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        top = root / controllers if controllers else root
        inner = top / path.lstrip("/")
        folders += [folder for folder in (inner, *inner.parents) if folder.is_relative_to(top)]
    return folders


def _number(folder: Path, name: str, position: int = 0) -> int | None:
    """A positive number of a cgroup's file; "max" and -1 stand for no limit."""
    words = _read(folder / name).split()
    return int(words[position]) if len(words) > position and words[position].isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
