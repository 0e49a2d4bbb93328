"""The registry's acts under a disk and a kernel that fail at every durable operation, by ordinal, until a run is whole.

    kills   SIGKILL before and after each operation
    errors  the operation fails with ENOSPC or EIO, or has been done and then reports EIO
    cuts    what a power cut would leave at each operation (power_cut.py)

What is left must read as the old state or the new one; as the new one where the act had been acknowledged. The act done
again goes through, and leaves nothing lying about. `python tests/faults/registry_disk.py kills errors cuts` prints how
often each operation was hit, and one JSON line; `--act` and `--defect` choose. Exit code 1 where a rule was broken.
With `--sparse` it looks for litter after every fifth kill, and hits every fifth operation of the long acts.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bedplate_registry import durable
from bedplate_registry.errors import Unavailable
from bedplate_registry.registry import Registry
from faults.power_cut import Record, lay_out
from faults.registry_acts import ACTS, DEFECTS, LONG, litter_of, make_base, state_of

__all__ = ["Found", "main"]

SPARSE = 5


@dataclass
class Found:
    """How often each operation was hit, and what was broken."""

    hits: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


class Campaign:
    """One act, from one base, in a folder of its own."""

    def __init__(self, base: Path, work: Path, act: str, defect: str = "", *, sparse: bool = False) -> None:
        self._base, self._work, self._name, self._defect = base, work, act, defect
        self._litter_every = SPARSE if sparse else 1
        self._every = SPARSE if sparse and act in LONG else 1
        self._old = state_of(self._fresh())
        whole = self._fresh()
        ACTS[act](whole)
        self._new = state_of(whole)
        self.found = Found()

    def kills(self) -> None:
        was_killed = True
        for ordinal in self._ordinals(step=1):
            if not was_killed:
                break
            registry = self._fresh()
            was_killed = _killed_at(ordinal, lambda registry=registry: self._act(registry), self._work / "at")
            at = (self._work / "at").read_text() if was_killed else "end"
            self._judge(f"kill {at}", registry, is_acknowledged=not was_killed)

    def errors(self) -> None:
        for number, step in ((errno.ENOSPC, 2), (errno.EIO, 1)):  # of two, the first is before the operation
            for ordinal in self._ordinals(step):
                registry = self._fresh()
                with _failing(ordinal, number) as hit:
                    is_done = self._act_or_refuse(registry)
                at = "".join(hit)
                self._judge(f"{errno.errorcode[number]} {at or 'end'}", registry, is_acknowledged=is_done)
                if not at:
                    break

    def cuts(self) -> None:
        registry = self._fresh()
        record = Record(registry.root)
        durable.fault_hook = record.at
        try:
            self._act(registry)
        finally:
            durable.fault_hook = None
        record.end()
        for number, (at, tree) in enumerate(record.trees):
            if number % self._every and not at.startswith("end"):
                continue
            lay_out(tree, registry.root)
            self._judge(f"cut {at}", registry, is_acknowledged=at.startswith("end"))
        record.close()

    def _ordinals(self, step: int) -> Iterator[int]:
        """Of every operation, or of every fifth, what comes before it and after it."""
        return (ordinal for ordinal in count(0, step) if ordinal // 2 % self._every == 0)

    def _fresh(self) -> Registry:
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._base, self._work / "registry", symlinks=True)
        return Registry(self._work / "registry")

    def _act(self, registry: Registry) -> None:
        with DEFECTS[self._defect]():
            ACTS[self._name](registry)

    def _act_or_refuse(self, registry: Registry) -> bool:
        try:
            self._act(registry)
        except Unavailable as exc:
            if exc.code not in ("disk-full", "disk-error") or not exc.hint:
                self._broken("error", exc)
            return False
        return True

    def _judge(self, at: str, registry: Registry, *, is_acknowledged: bool) -> None:
        self.found.hits[at] += 1
        try:
            state = state_of(registry)
            if state != self._new and (is_acknowledged or state != self._old):
                self._broken(at, state)
            if self._defect:
                return  # it was to be found, not to be lived with
            ACTS[self._name](registry)
            if (state := state_of(registry)) != self._new:
                self._broken(f"{at}, again", state)
            is_looked_at = at.startswith("kill") and self.found.hits.total() % self._litter_every == 0
            if is_looked_at and (litter := litter_of(registry)):
                self._broken(f"{at}, litter", litter)
        except Exception as exc:
            self._broken(at, exc)

    def _broken(self, at: str, what: Any) -> None:
        self.found.broken.append(f"{self._name}: {at}: {what!r}")


def _killed_at(ordinal: int, act: Callable[[], None], note: Path) -> bool:
    """Whether a child that was to be killed at its operation of this ordinal came so far."""
    pid = os.fork()
    if pid == 0:
        try:
            durable.fault_hook = _Countdown(ordinal, lambda name: _kill(name, note))
            act()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("the act failed without a fault")
    return os.WIFSIGNALED(status)


def _kill(name: str, note: Path) -> None:
    note.write_text(name)
    os.kill(os.getpid(), signal.SIGKILL)


class _Countdown:
    """A fault hook that does something once, at the operation of an ordinal."""

    def __init__(self, ordinal: int, act: Callable[[str], None]) -> None:
        self._left, self._act = ordinal, act

    def __call__(self, name: str, path: Path) -> None:
        self._left -= 1
        if self._left == -1:
            self._act(name)


class _failing:
    """While it is entered the operation of this ordinal fails; it holds the name of that, or nothing."""

    def __init__(self, ordinal: int, number: int) -> None:
        self._ordinal, self._number = ordinal, number
        self._hit: list[str] = []

    def __enter__(self) -> list[str]:
        durable.fault_hook = _Countdown(self._ordinal, self._fail)
        return self._hit

    def __exit__(self, *_: object) -> None:
        durable.fault_hook = None

    def _fail(self, name: str) -> None:
        self._hit.append(name)
        raise OSError(self._number, "injected")


def run(
    kinds: list[str], acts: list[str], defect: str = "", *, sparse: bool = False
) -> Iterator[tuple[str, str, Found]]:
    """What each kind of fault did to each act."""
    memory = Path("/dev/shm")  # where an fsync costs nothing: that each is called is what is looked at
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        base = Path(folder) / "base" / "registry"
        make_base(base)
        for act in acts:
            for kind in kinds:
                campaign = Campaign(base, Path(folder) / "work", act, defect, sparse=sparse)
                getattr(campaign, kind)()
                yield kind, act, campaign.found


def main() -> int:
    parser = argparse.ArgumentParser(description="The registry under faults at every durable operation.")
    parser.add_argument("kinds", nargs="+", choices=["kills", "errors", "cuts"])
    parser.add_argument("--act", action="append", choices=list(ACTS), help="all of them where none is given")
    parser.add_argument("--defect", choices=list(DEFECTS), default="", help="to be found")
    parser.add_argument("--sparse", action="store_true", help="a part of it, for everyday")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    hits: dict[str, Counter[str]] = {kind: Counter() for kind in options.kinds}
    broken: list[str] = []
    for kind, act, found in run(options.kinds, options.act or list(ACTS), options.defect, sparse=options.sparse):
        print(f"{kind:7} {act:20} {found.hits.total():4} faults, {len(found.broken)} broken", file=sys.stderr)
        hits[kind] += found.hits
        broken += found.broken
    print(json.dumps({"hits": hits, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
