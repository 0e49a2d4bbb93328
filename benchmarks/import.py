"""How fast a model comes in, what a second version of it costs, and how fast its files go out again.

    python benchmarks/import.py [--mb 1000] [--rounds 5] [--jobs 3] [--storage nginx|hub] [--folder DIR]

A classifier with random weights, in several files, on a Hub on loopback: its API is ours, its large files come from
nginx, as those of the public Hub come from a storage beside it (`--storage hub`: from our Hub as well). Four parts:

    fetch      resolved, fetched, digests checked, on the disk, inspected and published, as one process; beside
               `hf download` into a cache of its own, which checks sizes and not digests, and syncs nothing
    job        `bedplate import`, which also loads the model once in a process without a network
    second     what a second version with the same weights takes on the disk
    served     one file through /hub, with a key, by the gateway; beside nginx with sendfile; both read by curl

The sides take turns, and before each the disk is synced. A ratio is the median of the rounds' ratios.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from import_servers import MODEL_ID, bedplate, hub, nginx, server

HERE = Path(__file__).resolve().parent
SHARD_MB = 200
LAYER_MB = 50  # of a layer with HIDDEN, float32
HIDDEN = 1024
SEED = 7
GOAL_FETCH, GOAL_SECOND, GOAL_SERVED = 0.95, 0.01, 0.9
# What the worker of an import does but for the load check, and the server's publication.
OURS = """
import sys
from pathlib import Path
from bedplate_registry.hub import Hub
from bedplate_registry.importing import prepare_hub_import
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry
registry = Registry(Path(sys.argv[2]))
draft = prepare_hub_import(registry, Hub(sys.argv[1]), sys.argv[3], check=lambda *seen: {}, reporter=SILENT)
registry.models.publish(draft)
"""


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bpi", dir=options.folder) as name:
        folder = Path(name)
        mb = _make_model(folder / "model", options.mb)
        with nginx(folder / "model", folder / "storage") as storage:
            with hub(folder / "model", storage if options.storage == "nginx" else None) as url:
                found: dict[str, Any] = {"mb": mb, "fetch": _fetch(url, folder, mb, options.rounds)}
                found["job"] = _jobs(url, folder, mb, options.jobs)
            found["second_share"] = _second_version(folder)
            found["served"] = _served(folder, options.rounds)
    _print(found)
    print(json.dumps({"benchmark": "import", "cores": os.cpu_count(), **vars(options), **found}, default=str))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1000, help="of weights, about")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=3, help="whole import jobs, at least 1")
    parser.add_argument("--storage", choices=("nginx", "hub"), default="nginx", help="what gives the large files")
    parser.add_argument("--folder", type=Path, default=None, help="where all of it is made: 4 times the model")
    return parser.parse_args()


def _make_model(folder: Path, mb: int) -> float:
    """A classifier as save_pretrained leaves it, and its MB."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    torch.manual_seed(SEED)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(chr(letter) for letter in range(ord("a"), ord("z") + 1))]
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_attention_heads=16,
        num_hidden_layers=max(1, mb // LAYER_MB),
        id2label={0: "no", 1: "yes"},
        label2id={"no": 0, "yes": 1},
    )
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    BertForSequenceClassification(config).save_pretrained(folder, max_shard_size=f"{SHARD_MB}MB")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Random weights\n")
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


# --- what is measured ---


def _fetch(url: str, folder: Path, mb: float, rounds: int) -> dict[str, Any]:
    """MB a second of whole processes, start of Python included."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    sides = {
        "ours": [sys.executable, "-c", OURS, url, str(folder / "ours"), MODEL_ID],
        "hf": [str(Path(sys.executable).with_name("hf")), "download", MODEL_ID, "--cache-dir", str(folder / "hf")],
    }

    def fetched(side: str) -> float:
        shutil.rmtree(folder / side, ignore_errors=True)
        return mb / _seconds(sides[side], environment)

    try:
        return _compared(sides, fetched, rounds)
    finally:
        for side in sides:
            shutil.rmtree(folder / side, ignore_errors=True)


def _jobs(url: str, folder: Path, mb: float, rounds: int) -> dict[str, float]:
    """`bedplate import` as a user types it, while the home's server runs."""
    seconds = []
    for number in range(rounds):
        home = folder / f"home{number}"
        bedplate(home, "models", "list")  # starts the private server
        began = time.perf_counter()
        bedplate(home, "import", MODEL_ID, "--hub", url)
        seconds.append(time.perf_counter() - began)
        bedplate(home, "stop", "--all")
        if number:
            shutil.rmtree(home)
    return {"seconds": statistics.median(seconds), "mb_per_second": mb / statistics.median(seconds)}


def _second_version(folder: Path) -> float:
    """What the same weights with other labels and another card add to the registry, as a share of the first version."""
    from bedplate_registry.importing import prepare_folder_import
    from bedplate_registry.models import ModelDraft
    from bedplate_registry.names import Name
    from bedplate_registry.progress import SILENT
    from bedplate_registry.registry import Registry

    other = folder / "other"
    shutil.copytree(folder / "model", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "id2label": {"0": "bad", "1": "good"}}))
    (other / "README.md").write_text("---\nlicense: apache-2.0\n---\n# The same weights, other labels\n")
    registry = Registry(folder / "home0" / "registry")
    before = _disk_bytes(registry.root)
    name = Name.parse(MODEL_ID)
    draft = prepare_folder_import(registry, other, name=name, check=lambda *seen: {}, reporter=SILENT)
    assert isinstance(draft, ModelDraft)
    registry.models.publish(draft)
    shutil.rmtree(other)
    return (_disk_bytes(registry.root) - before) / before


def _disk_bytes(folder: Path) -> int:
    """What the files and folders take on the disk."""
    return sum(512 * path.lstat().st_blocks for path in (folder, *folder.rglob("*")))


def _served(folder: Path, rounds: int) -> dict[str, Any]:
    """MB a second of one file, by a client that throws it away."""
    home = folder / "home0"
    listed = json.loads(bedplate(home, "models", "files", f"{MODEL_ID}:1", "--format", "json"))
    large = max(listed, key=lambda file: file["size_bytes"])
    blob = f"{large['sha256'][:2]}/{large['sha256']}"
    with nginx(home / "registry" / "blobs" / "sha256", folder / "peer") as peer, server(home) as (url, key):
        sides = {"ours": f"{url}/hub/{MODEL_ID}/resolve/main/{large['path']}", "nginx": f"{peer}/{blob}"}
        return _compared(sides, lambda side: _curl(sides[side], key, large["size_bytes"]), rounds)


def _curl(url: str, key: str, size_bytes: int) -> float:
    asked = ["curl", "-sSf", "-o", "/dev/null", "-H", f"Authorization: Bearer {key}"]
    asked += ["-w", "%{size_download} %{time_total}", url]
    size, seconds = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    if int(size) != size_bytes:
        raise SystemExit(f"{url} gave {size} of {size_bytes} bytes")
    return size_bytes / 1e6 / float(seconds)


def _compared(sides: Mapping[str, Any], measure: Callable[[str], float], rounds: int) -> dict[str, Any]:
    """The median of each side, and of the ratio of the first to the second. A round that is not counted goes first."""
    first, second = sides
    measured: list[dict[str, float]] = []
    for number in range(rounds + 1):
        order = (first, second) if number % 2 else (second, first)
        measured.append({side: measure(side) for side in order})
    measured = measured[1:]
    ratios = [each[first] / each[second] for each in measured]
    medians = {side: statistics.median(each[side] for each in measured) for side in sides}
    return {**medians, "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def _seconds(command: list[str], environment: Mapping[str, str]) -> float:
    os.sync()
    began = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


# --- what is printed ---


def _print(found: dict[str, Any]) -> None:
    fetch, served, job = found["fetch"], found["served"], found["job"]
    print(f"\n{found['mb']:,.0f} MB, medians")
    print(f"  {'':<34} {'MB/s':>7} {'peer':>7} {'ratio':>6}  {'rounds':<12} goal")
    _line("fetched and published, hf download", fetch["ours"], fetch["hf"], fetch, f"{GOAL_FETCH}")
    _line("one file by /hub, nginx", served["ours"], served["nginx"], served, f"{GOAL_SERVED}")
    print(f"  whole import job with load check: {job['seconds']:.1f} s, {job['mb_per_second']:.0f} MB/s")
    print(f"  second version, same weights: {found['second_share']:.4%} more disk (goal below {GOAL_SECOND:.0%})")


def _line(what: str, ours: float, peer: float, spread: Mapping[str, float], goal: str) -> None:
    rounds = f"{spread['lowest']:.2f}-{spread['highest']:.2f}"
    print(f"  {what:<34} {ours:>7,.0f} {peer:>7,.0f} {spread['ratio']:>6.2f}  {rounds:<12} {goal}")


if __name__ == "__main__":
    main()
