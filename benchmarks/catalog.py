"""Search and list with 100, 1,000, 10,000 and 100,000 models present, and what an index costs to make and to keep.

    python benchmarks/catalog.py [--sizes 100,1000,10000,100000] [--seconds 3] [--processes 5]

The models are manifests with cards of 200 words, drawn from 20,000 by Zipf's law, so that some stand in nearly every
card and most in few. Four parts, for each size:

    index     made from the files, and one published model taken in
    search    one caller, pages of 20: a rare word, a common word, two words, a part of a name, filters, a list of all
    limit     the same statement on the same file by the bare driver, without a look at what changed
    command   `bedplate models list`, start of Python included, against a server that is there; beside it what
              it imports: httpx, typer and pydantic

The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from bedplate_registry.registry import Registry
from bedplate_registry.search import Query, _match, _select

WORDS = 20_000
CARD_WORDS = 200
PAGE = 20
SETTLE_SECONDS = 2.5  # what changed in the last two seconds is read again by every process
TASKS = ("text-classification", "token-classification", "question-answering", "summarization", "text-generation")
LICENSES = ("apache-2.0", "mit", "cc-by-4.0", None)
SEED = 7
GOAL_SEARCH_MS, GOAL_LIST_SECONDS, GOAL_SIZE = 50.0, 0.5, 10_000
PROGRAM = [sys.executable, "-c", "from bedplate.cli import main; main()"]
IMPORTS = [sys.executable, "-c", "import httpx, pydantic, typer"]
BAR = 30  # characters of the longest bar


def main() -> None:
    options = _options()
    results = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="bpc", dir=options.folder) as name:
            home = Path(name)
            fill(home / "registry", size)
            time.sleep(SETTLE_SECONDS)
            results.append({"models": size, **_measure(home, size, options.seconds, options.processes)})
            _print(results[-1])
    _draw(results)
    print(json.dumps({"page": PAGE, "cores": os.cpu_count(), "sqlite": sqlite3.sqlite_version, "results": results}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=_sizes, default="100,1000,10000,100000")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each kind of search")
    parser.add_argument("--processes", type=int, default=5, help="runs of the command; 0 leaves it out")
    parser.add_argument("--folder", type=Path, default=None, help="where the homes are made")
    return parser.parse_args()


def _sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",")]


# --- a registry of any size ---


class Vocabulary:
    """Words that people might write, the first ones far more often."""

    def __init__(self) -> None:
        self._random = random.Random(SEED)
        syllables = [first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er")]
        words = {"".join(self._random.choices(syllables, k=self._random.randint(2, 4))) for _ in range(3 * WORDS)}
        self.words = sorted(words)[:: max(1, len(words) // WORDS)][:WORDS]
        self._random.shuffle(self.words)
        self._rare = self.words[len(self.words) // 4 :]
        self._weights = [*accumulate(1 / rank for rank in range(1, len(self.words) + 1))]

    def text(self, count: int) -> str:
        return " ".join(self._random.choices(self.words, cum_weights=self._weights, k=count))

    def rare(self) -> str:
        return self._random.choice(self._rare)


def fill(root: Path, size: int) -> None:
    """Manifests and cards as `publish` leaves them; written straight, since syncing each takes hours at 100,000."""
    vocabulary, choose = Vocabulary(), random.Random(SEED)
    for number in range(size):
        name = f"org{number % 97}/{vocabulary.rare()}-{number}"
        card = f"# {name}\n{vocabulary.text(CARD_WORDS)}\n".encode()
        files = [_blob(root, "README.md", card), _blob(root, "config.json", b'{"model_type": "bert"}')]
        folder = root / "models" / name / "1"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps(_manifest(name, number, files, choose)))


def _manifest(name: str, number: int, files: list[dict[str, Any]], choose: random.Random) -> dict[str, Any]:
    parameters = int(10 ** choose.uniform(6, 10))
    facts = {
        "task": choose.choice(TASKS),
        "architecture": "BertModel",
        "model_type": "bert",
        "parameters": parameters,
        "dtype": "float32",
        "size_bytes": 4 * parameters,
        "license": choose.choice(LICENSES),
        "labels": [f"label-{label}" for label in range(number % 5)],
        "languages": [choose.choice(("en", "de", "fr", "multilingual"))],
        "finetunable_tasks": ["text-classification"] if number % 2 else [],
    }
    return {
        "schema": 1,
        "name": name,
        "version": 1,
        "created": f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}T08:00:00+00:00",
        "files": files,
        "facts": facts,
        "source": {"kind": "hub" if number % 2 else "job", "id": name, "commit": None, "url": None},
        "lineage": {},
        "sample": None,
    }


def _blob(root: Path, path: str, data: bytes) -> dict[str, Any]:
    sha256 = hashlib.sha256(data).hexdigest()
    file = root / "blobs" / "sha256" / sha256[:2] / sha256
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return {"path": path, "size_bytes": len(data), "sha256": sha256}


# --- what is measured ---


def _measure(home: Path, size: int, seconds: float, processes: int) -> dict[str, Any]:
    registry, vocabulary = Registry(home / "registry"), Vocabulary()
    made = _seconds(lambda: registry.search.find(Query(), limit=PAGE))
    index = home / "registry" / "search.db"
    first = registry.models.list()[0]
    found: dict[str, Any] = {
        "make_seconds": made,
        "index_bytes": index.stat().st_size,
        "first_of_a_process_seconds": _seconds(lambda: Registry(home / "registry").search.find(Query(), limit=PAGE)),
        "take_in_ms": 1e3 * statistics.median(_take_in(registry, first.ref) for _ in range(5)),
    }
    for kind, queries in _queries(registry, vocabulary).items():
        ours = _times(lambda query: registry.search.find(query, limit=PAGE), queries, seconds)
        with closing(sqlite3.connect(index)) as db:
            limit = _times(lambda query, db=db: _bare(db, query), queries, seconds / 3)
        found[kind] = {**_percentiles(ours), "limit_p50_ms": _percentiles(limit)["p50_ms"]}
    if processes:
        found["command"] = _command(home, processes)
    return found


def _take_in(registry: Registry, ref: str) -> float:
    """A search after a change of one model."""
    registry.models.set_alias(ref, "production", by="benchmark")
    return _seconds(lambda: registry.search.find(Query(alias="production"), limit=PAGE))


def _queries(registry: Registry, vocabulary: Vocabulary) -> dict[str, list[Query]]:
    names = [item["name"] for item in registry.search.find(Query(), limit=100).items]
    return {
        "rare word": [Query(text=vocabulary.rare()) for _ in range(200)],
        "common word": [Query(text=word) for word in vocabulary.words[:20]],
        "two words": [Query(text=vocabulary.text(2)) for _ in range(200)],
        "part of a name": [Query(text=name.partition("/")[2][2:7]) for name in names],
        "filters": [Query(task=task, license="mit", language="en", sort="size") for task in TASKS],
        "list": [Query(sort=sort) for sort in ("name", "created", "size", "parameters")],
    }


def _bare(db: sqlite3.Connection, query: Query) -> list[Any]:
    statement, values = _select(query, _match(query.text), None)
    return [json.loads(row[0]) for row in db.execute(statement, [*values, PAGE + 1])]


def _times(call: Callable[[Query], Any], queries: list[Query], seconds: float) -> list[float]:
    """What single calls take, until the seconds are over and each query was made once."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < len(queries) or time.perf_counter() < end:
        query = queries[len(found) % len(queries)]
        found.append(_seconds(lambda query=query: call(query)))
    return found


def _percentiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "p50_ms": 1e3 * statistics.median(ordered),
        "p99_ms": 1e3 * ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
        "calls": len(ordered),
    }


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _command(home: Path, runs: int) -> dict[str, float]:
    """Whole processes: `models list`, and Python that imports what such a command needs of others."""
    listing = [*PROGRAM, "models", "list", "--home", str(home)]
    with _server(home):
        subprocess.run(listing, check=True, capture_output=True)
        ours = [_seconds(lambda: subprocess.run(listing, check=True, capture_output=True)) for _ in range(runs)]
        bare = [_seconds(lambda: subprocess.run(IMPORTS, check=True)) for _ in range(runs)]
    return {"list_seconds": statistics.median(ours), "imports_seconds": statistics.median(bare)}


@contextmanager
def _server(home: Path) -> Iterator[None]:
    """The home's private server, which the first command starts."""
    subprocess.run([*PROGRAM, "datasets", "list", "--home", str(home)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*PROGRAM, "stop", "--all", "--home", str(home)], check=True, capture_output=True)


# --- what is printed ---

KINDS = ("rare word", "common word", "two words", "part of a name", "filters", "list")


def _print(result: dict[str, Any]) -> None:
    print(f"\n{result['models']:,} models")
    print(f"  index made in {result['make_seconds']:.1f} s, {result['index_bytes'] / 2**20:.1f} MiB")
    print(f"  first search of a process {result['first_of_a_process_seconds']:.2f} s")
    print(f"  search after a change of one model {result['take_in_ms']:.1f} ms")
    print(f"  {'one search of 20':<16} {'p50 ms':>8} {'p99 ms':>8} {'limit p50':>10} {'calls':>7}")
    for kind in KINDS:
        p50, p99, calls, limit = (result[kind][name] for name in ("p50_ms", "p99_ms", "calls", "limit_p50_ms"))
        print(f"  {kind:<16} {p50:>8.2f} {p99:>8.2f} {limit:>10.2f} {calls:>7}")
    if command := result.get("command"):
        ours, bare = command["list_seconds"], command["imports_seconds"]
        print(f"  models list as a whole process {ours:.2f} s (its imports alone {bare:.2f} s)")
    if result["models"] == GOAL_SIZE:
        worst = max(result[kind]["p99_ms"] for kind in KINDS)
        print(f"  goals: p99 below {GOAL_SEARCH_MS:.0f} ms (worst {worst:.1f}), list below {GOAL_LIST_SECONDS} s")


def _draw(results: list[dict[str, Any]]) -> None:
    """How the p99 grows with the number of models."""
    for kind in KINDS:
        longest = max(result[kind]["p99_ms"] for result in results)
        print(f"\n{kind}, p99")
        for result in results:
            value = result[kind]["p99_ms"]
            print(f"  {result['models']:>9,} {'█' * max(1, round(BAR * value / longest))} {value:.1f} ms")


if __name__ == "__main__":
    main()
