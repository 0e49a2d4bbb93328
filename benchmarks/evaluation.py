"""What a whole evaluation costs beside the bare forward of the same predictor, and its memory as rows grow.

    python benchmarks/evaluation.py [--rows 1000,10000,100000] [--shape tiny|minilm] [--rounds 3]

A whole evaluation reads the rows, scores them, makes the report with intervals, slices, curves and latency, and writes
the predictions of each row; the bare forward has its rows tokenized already. Each number of rows has a process of its
own, which has evaluated a few rows before. Memory is the highest that it had, less what it had had until then
(`before_mib`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported

LABELS = ("access", "money", "parcel")
MIB = 1 << 20
WARM_UP_ROWS = 256
RSS_UNIT = 1024  # of ru_maxrss on Linux


def measure(rows: int, shape: str, rounds: int) -> dict[str, Any]:
    """In this process, in turns: rows a second of both, and the memory."""
    from bedplate_registry.progress import SILENT
    from bedplate_serving.predictors import load_predictor
    from bedplate_serving.predictors.base import forward_sorted
    from bedplate_serving.testing import tiny_text_classifier
    from bedplate_trainers.evaluation import EvaluateRequest, examine
    from bedplate_trainers.messages import DataFile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = tiny_text_classifier(folder / "model", labels=LABELS, shape=shape)
        data = DataFile(_write_rows(folder / "rows.jsonl", rows), "jsonl")
        few = DataFile(_write_rows(folder / "few.jsonl", WARM_UP_ROWS), "jsonl")
        settings = {"slices": ["channel"]}
        request = EvaluateRequest("text-classification", model, data, {"sentence1": "text"}, settings=settings)
        examine(replace(request, data=few), SILENT).rows.write(folder / "few.parquet")
        predictor = load_predictor(model, "text-classification")
        whole, bare, alone = [], [], []
        before = _peak_bytes()
        for _ in range(rounds):
            start = time.perf_counter()
            found = examine(request, SILENT)
            found.rows.write(folder / "rows.parquet")
            whole.append(rows / (time.perf_counter() - start))
            if len(whole) == 1:  # what is kept for the bare forward is not the evaluation's
                memory = _peak_bytes() - before
                texts = [json.loads(line)["text"] for line in data.path.open(encoding="utf-8")]
                encoded = predictor.encode(predictor.parse_all(texts))
            start = time.perf_counter()
            forward_sorted(predictor, encoded)
            bare.append(rows / (time.perf_counter() - start))
            alone.append(found.report["samples_per_second"])
        return {
            "rows": rows,
            "whole": round(statistics.median(whole), 1),
            "scoring": round(statistics.median(alone), 1),
            "forward": round(statistics.median(bare), 1),
            "share": round(statistics.median(one / other for one, other in zip(whole, bare, strict=True)), 3),
            "memory_mib": round(memory / MIB, 1),
            "before_mib": round(before / MIB),
        }


def _write_rows(path: Path, rows: int) -> Path:
    from bedplate_serving.testing.encoders import WORDS

    generator = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            text = " ".join(generator.choices(WORDS, k=generator.randint(4, 24)))
            row = {"text": text, "label": generator.choice(LABELS), "channel": generator.choice(("mail", "chat"))}
            file.write(json.dumps(row) + "\n")
    return path


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1000,10000,100000", help="how many, with commas between")
    parser.add_argument("--shape", default="tiny", choices=("tiny", "minilm"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help="measure in this process (used by the benchmark itself)")
    asked = parser.parse_args()
    counts = [int(one) for one in asked.rows.split(",")]
    if asked.one:
        print(json.dumps(measure(counts[0], asked.shape, asked.rounds)))
        return 0
    print(f"{'rows':>8}{'whole rows/s':>14}{'scoring':>10}{'forward':>10}{'whole/forward':>15}{'memory MiB':>12}")
    results = []
    for count in counts:
        given = ("--one", "--rows", str(count), "--shape", asked.shape, "--rounds", str(asked.rounds))
        done = subprocess.run([sys.executable, __file__, *given], stdout=subprocess.PIPE, check=True, text=True)
        one = json.loads(done.stdout.splitlines()[-1])
        results.append(one)
        print(
            f"{one['rows']:>8}{one['whole']:>14}{one['scoring']:>10}{one['forward']:>10}{one['share']:>15}"
            f"{one['memory_mib']:>12}",
            flush=True,
        )
    print(
        json.dumps({"shape": asked.shape, "machine": platform.machine(), "cores": os.cpu_count(), "results": results})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
