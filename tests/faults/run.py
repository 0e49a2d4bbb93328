"""The campaign: `python tests/faults/run.py --schedules 10000 --real 100 --seed S --processes 2`.

Prints one table and one JSON line. A broken rule is printed with its seed and the whole schedule; one seed again:
`python tests/faults/run.py --schedules 1 --seed SEED --trace`. Exit code 1 where a rule was broken.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import multiprocessing
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.observed import ObservedDatabase
from faults.world import Violation, World

CHUNK = 25  # schedules that one process does before it reports
SHOWN = 3  # broken schedules that are printed whole
COUNTED = ("jobs", "attempts", "operations", "crashes", "freezes", "clock steps", "errors", "late commits", "made room")


def run_chunk(seeds: range, *, trace: bool = False) -> tuple[Counter[str], list[tuple[int, str, str]]]:
    """Go through schedules; what was counted, and the broken ones as (seed, rule, the schedule)."""
    logging.disable(logging.CRITICAL)
    gc.set_threshold(50_000)  # little is left over, and looking for it takes a tenth of the time
    database = ObservedDatabase()
    counts: Counter[str] = Counter()
    broken = []
    for seed in seeds:
        world = World(seed, database)
        try:
            world.run()
        except Violation as violation:
            broken.append((seed, violation.kind, world.describe()))
        except Exception as exc:
            broken.append((seed, "stumbled", f"{world.describe()}\n{type(exc).__name__}: {exc}"))
        counts += world.counts
        if trace:
            print(world.describe())
    database.close()
    return counts, broken


def chunks(first: int, schedules: int) -> Iterator[range]:
    for start in range(first, first + schedules, CHUNK):
        yield range(start, min(start + CHUNK, first + schedules))


def run_virtual(first: int, schedules: int, processes: int, *, trace: bool = False) -> dict[str, object]:
    """All schedules from seed `first` on; the figures."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    broken: list[tuple[int, str, str]] = []
    done = 0
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for some, found in pool.imap_unordered(partial(run_chunk, trace=trace), chunks(first, schedules)):
            counts += some
            done += CHUNK
            if done % 1000 == 0:
                print(f"{done} schedules, {len(broken)} broken", file=sys.stderr, flush=True)
            for seed, kind, schedule in found:
                broken.append((seed, kind, schedule))
                if len(broken) <= SHOWN:
                    print(f"\nBROKEN ({kind})\n{schedule}\n", flush=True)
    return {
        "schedules": schedules,
        "seed": first,
        **{name: counts[name] for name in COUNTED},
        "violations": Counter(kind for _, kind, _ in broken),
        "broken_seeds": sorted(seed for seed, _, _ in broken)[:20],
        "seconds": round(time.monotonic() - began, 1),
    }


def show(title: str, figures: dict[str, object]) -> None:
    print(f"{title}")
    for name, value in figures.items():
        shown = dict(value) if isinstance(value, Counter) else value
        print(f"  {name.replace('_', ' '):14} {shown if shown or shown == 0 else 'none'}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Random schedules through the scheduler and its store.")
    parser.add_argument("--schedules", type=int, default=10_000, help="on a virtual clock")
    parser.add_argument("--real", type=int, default=0, help="with real processes")
    parser.add_argument("--seed", type=int, default=None, help="of the first schedule; drawn where it is not given")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--trace", action="store_true", help="print every schedule")
    options = parser.parse_args()
    first = secrets.randbelow(10**9) if options.seed is None else options.seed
    figures = {"virtual": run_virtual(first, options.schedules, options.processes, trace=options.trace)}
    show(f"{options.schedules} schedules on a virtual clock, seed {first}", figures["virtual"])
    if options.real:
        from faults.real import run_real

        figures["real"] = run_real(first, options.real)
        show(f"{options.real} schedules with real processes, seed {first}", figures["real"])
    print(json.dumps(figures))
    return 1 if any(part["violations"] for part in figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
