"""What control_plane.py found: the tables, how each figure grows, and the line of JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sqlite3
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from calls import Figures

PAGE = 100
PAGED = re.compile(r"list|100|round")


@dataclass(frozen=True)
class Row:
    """One line of the result: what was measured, beside its limit."""

    part: str
    operation: str
    database: str
    callers: int
    size: int
    ours: Figures
    limit: Figures


@dataclass(frozen=True)
class Idle:
    """A real server, started for this home, and left alone."""

    database: str
    size: int
    ready_seconds: list[float]
    import_seconds: list[float]  # Python with the three libraries, in turn with the starts
    pss_mb: float
    processor_seconds: float  # by the minute


Sizes = dict[tuple[str, int], float]  # by database and number of jobs


@dataclass
class Results:
    """All that one run found."""

    rows: list[Row] = field(default_factory=list)
    first_rounds_ms: Sizes = field(default_factory=dict)  # of the scheduler: one job starts, 99 are told why not
    waiting: Sizes = field(default_factory=dict)  # processor seconds by the minute of a server whose queue waits
    idle: list[Idle] = field(default_factory=list)
    sync: Figures | None = None  # 4 KiB written and synced
    postgres: str | None = None  # its version
    skipped: dict[str, str] = field(default_factory=dict)
    load_averages: list[float] = field(default_factory=lambda: [os.getloadavg()[0]])


def report(options: argparse.Namespace, results: Results) -> None:
    results.load_averages.append(os.getloadavg()[0])
    for name, reason in results.skipped.items():
        print(f"\n{name} was skipped: {reason}")
    for part in ("store", "rest", "scheduler"):
        _print_rows(part, [row for row in results.rows if row.part == part])
    _print_idle(results)
    _print_growth(results)
    if results.sync is not None:
        print(f"\na write of 4 KiB with its sync: p50 {results.sync.p50_ms:.2f} ms, p99 {results.sync.p99_ms:.2f} ms")
    before, after = results.load_averages
    print(f"load average before {before:.1f}, after {after:.1f}, on {os.cpu_count()} cores\n")
    print(json.dumps(_rounded(_json(options, results))))


def _print_rows(part: str, rows: Sequence[Row]) -> None:
    """Ours, then the limit. `cpu ms`: processor time of the server by the call, which other work disturbs least."""
    if not rows:
        return
    figures = f"{'per s':>9}{'p50 ms':>9}{'p99 ms':>9}" + (f"{'cpu ms':>8}" if part == "rest" else "")
    print(f"\n{part:18}{'database':>11}{'callers':>8}{'jobs':>9}{figures}  |{figures}{'of limit':>10}")
    for row in sorted(rows, key=lambda row: (row.database != "sqlite", row.operation, row.callers, row.size)):
        print(f"{row.operation:18}{row.database:>11}{row.callers:8}{row.size:9}", end="")
        print(f"{_line(row.ours)}  |{_line(row.limit)}{row.ours.rate / row.limit.rate:10.2f}")


def _line(figures: Figures) -> str:
    used = "" if figures.processor_ms is None else f"{figures.processor_ms:8.2f}"
    return f"{figures.rate:9.0f}{figures.p50_ms:9.2f}{figures.p99_ms:9.2f}{used}"


def _print_idle(results: Results) -> None:
    if results.idle:
        print(f"\n{'server':11}{'jobs':>9}{'ready s':>9}{'range':>15}{'imports s':>11}{'PSS MB':>9}{'cpu s/min':>11}")
    for idle in results.idle:
        ready, imports = statistics.median(idle.ready_seconds), statistics.median(idle.import_seconds)
        spread = f"{min(idle.ready_seconds):.2f} to {max(idle.ready_seconds):.2f}"
        print(f"{idle.database:11}{idle.size:9}{ready:9.2f}{spread:>15}{imports:11.2f}", end="")
        print(f"{idle.pss_mb:9.1f}{idle.processor_seconds:11.2f}")


def _print_growth(results: Results) -> None:
    """Every figure at each size, and how many times the least one it is at the most. All of them should be flat."""
    print(f"\n{'growth (p50), at jobs:':52}", end="")
    sizes = sorted({size for figures in _growth(results).values() for size in figures})
    print("".join(f"{size:10}" for size in sizes) + f"{'times':>9}")
    for title, figures in _growth(results).items():
        line = "".join(f"{figures[size]:10.2f}" if size in figures else " " * 10 for size in sizes)
        print(f"{title:52}{line}{_times(title, figures):9.1f}")


def _times(title: str, figures: dict[int, float]) -> float:
    """What reads a page of 100 is compared from the size on at which the page is full."""
    full = [value for size, value in sorted(figures.items()) if size >= PAGE or not PAGED.search(title)]
    return full[-1] / full[0] if full and full[0] else float("nan")


def _growth(results: Results) -> dict[str, dict[int, float]]:
    growth: dict[str, dict[int, float]] = {}
    for row in results.rows:
        title = f"{row.database}, {row.part}: {row.operation}, {row.callers} at once, ms"
        growth.setdefault(title, {})[row.size] = row.ours.p50_ms
    for (name, size), value in results.first_rounds_ms.items():
        growth.setdefault(f"{name}, scheduler: the first round, ms", {})[size] = value
    for (name, size), value in results.waiting.items():
        growth.setdefault(f"{name}, a tenth waits: cpu, s/min", {})[size] = value
    for idle in results.idle:
        growth.setdefault(f"{idle.database}, ready, s", {})[idle.size] = statistics.median(idle.ready_seconds)
        growth.setdefault(f"{idle.database}, idle memory, MB", {})[idle.size] = idle.pss_mb
        growth.setdefault(f"{idle.database}, idle: cpu, s/min", {})[idle.size] = idle.processor_seconds
    return growth


def _json(options: argparse.Namespace, results: Results) -> dict[str, Any]:
    return {
        "benchmark": "control_plane",
        "rows": [asdict(row) for row in results.rows],
        "servers": [asdict(idle) for idle in results.idle],
        "first_rounds_ms": {f"{name} {size}": value for (name, size), value in results.first_rounds_ms.items()},
        "waiting_cpu_s_per_min": {f"{name} {size}": value for (name, size), value in results.waiting.items()},
        "sync": None if results.sync is None else asdict(results.sync),
        "skipped": results.skipped,
        "sizes": options.sizes,
        "seconds": options.seconds,
        "runs": options.runs,
        "idle_seconds": options.idle_seconds,
        "load_averages": results.load_averages,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "postgresql": results.postgres,
            **{name: version(name) for name in ("sqlalchemy", "fastapi", "uvicorn", "aiohttp")},
        },
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value
