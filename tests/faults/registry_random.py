"""Random kills of a process that works on one registry: `python tests/faults/registry_random.py --kills 1000 --seed S`.

A child publishes, deletes, moves an alias, repairs and collects without end, and tells each act when it is done. It is
killed at a random moment, and another one goes on in the same registry. After each kill every version that was
acknowledged is there, with the manifest and the bytes that it had, and none that was deleted; no more than the one act
that was under way came on top. Prints one JSON line; exit code 1 where a rule was broken.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bedplate_registry.gc import collect
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry
from faults.registry_acts import publish

__all__ = ["run"]

NAME = "acme/intents"
LONGEST_SECONDS = 0.05
MOST_VERSIONS = 12  # more are deleted again, so that a look at all of them stays cheap


class Ledger:
    """What the children have said: the digest of each version that is there, and what each was about to do."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.under_way: tuple[str, str] | None = None  # an act, and the version it is about
        self.counts: Counter[str] = Counter()

    def read(self, line: str) -> None:
        when, act, ref, digest = line.split()
        if when == "begin":
            self.under_way = (act, ref)
            return
        self.under_way = None
        self.counts[act] += 1
        if act == "publish":
            self.versions[ref] = digest
        elif act == "delete":
            del self.versions[ref]

    def check(self, registry: Registry) -> str | None:
        """What is wrong with what is there, or None; what was under way may have come to be, or not."""
        found = {each.ref: each.digest for each in registry.models.versions(Name.parse(NAME), missing_ok=True)}
        problems = [problem for ref in found for problem in registry.models.verify(ref)]
        act, about = self.under_way or ("", "")
        lost = [ref for ref in self.versions if ref not in found and (act, ref) != ("delete", about)]
        other = [ref for ref in found if ref in self.versions and found[ref] != self.versions[ref]]
        new = [ref for ref in found if ref not in self.versions]
        self.versions, self.under_way = found, None
        if problems or lost or other or len(new) > (act == "publish"):
            return f"{act} {about}: {problems=} {lost=} {other=} {new=}"
        return None


def work(registry: Registry, random: Random, tell: Callable[[str], None]) -> None:
    """Acts without end."""
    name = Name.parse(NAME)
    while True:
        there = [version.ref for version in registry.models.versions(name, missing_ok=True)]
        held = registry.models.aliases(name).values()
        free = [ref for ref in there if int(ref.rpartition(":")[2]) not in held]
        act = random.choice(("publish", "publish", "alias", "delete", "collect", "repair"))
        if act == "delete" or len(there) > MOST_VERSIONS:
            act, ref = "delete", random.choice(free or [""])
        else:
            ref = random.choice(there or [""])
        if act != "publish" and act != "collect" and not ref:
            continue
        tell(f"begin {act} {ref or '-'} -")
        if act == "publish":
            files = {"config.json": b"{}", "x": random.randbytes(1000), "y": b"%d" % random.randrange(5)}
            ref = publish(registry, NAME, f"job-{random.getrandbits(64)}", files)
        elif act == "alias":
            registry.models.set_alias(ref, "production", by="ana")
        elif act == "delete":
            registry.models.delete(ref, by="ana")
        elif act == "collect":
            collect(registry, grace_seconds=0)
        else:
            registry.blobs.put_bytes(b"{}")
        digest = registry.models.get(ref).digest if act == "publish" else "-"
        tell(f"done {act} {ref or '-'} {digest}")


def run(kills: int, seed: int) -> dict[str, object]:
    """The figures, with what was broken."""
    random, ledger, broken = Random(seed), Ledger(), []
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        registry = Registry(Path(folder) / "registry")
        for number in range(kills):
            for line in _lines_until_killed(registry, Random(f"{seed}-{number}"), random.uniform(0, LONGEST_SECONDS)):
                ledger.read(line)
            cut = ledger.under_way[0] if ledger.under_way else "between"
            ledger.counts[f"killed in {cut}"] += 1
            if problem := ledger.check(registry):
                broken.append(f"kill {number}: {problem}")
    return {"kills": kills, "seed": seed, "counts": dict(sorted(ledger.counts.items())), "broken": broken}


def _lines_until_killed(registry: Registry, random: Random, seconds: float) -> list[str]:
    """What a child tells before it is killed. A line is written whole, since it is short."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work(registry, random, lambda line: os.write(writer, line.encode() + b"\n"))
        except BaseException as exc:
            os.write(2, f"{type(exc).__name__}: {exc}\n".encode())
        finally:
            os._exit(1)
    os.close(writer)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(reader) as told:
        lines = told.read().splitlines()
    if not os.WIFSIGNALED(status):
        raise RuntimeError("the child ended by itself")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description="Random kills of a process that works on a registry.")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None, help="drawn where it is not given")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    figures = run(options.kills, secrets.randbelow(10**9) if options.seed is None else options.seed)
    print(json.dumps(figures))
    return 1 if figures["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
