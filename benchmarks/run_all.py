"""All benchmarks, one after the other: `make bench`. docs/performance.md has results.

Many hours on two cores, nearly all of them for the full fine-tunes: of each set as many seeds as are written here, by
our loop and by a plain one, and then the speed of both.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUNS = (
    ("realtime.py", "--rounds", "5", "--peers", "pipeline,litserve,bentoml"),
    ("control_plane.py",),
    ("import.py",),
    ("finetune.py", "--set", "tweeteval_emotion", "--seeds", "3", "--scaling", "3"),
    ("finetune.py", "--set", "sick_pairs", "--seeds", "3"),
    ("finetune.py", "--set", "banking77", "--seeds", "1"),
    ("finetune.py", "--set", "wnut17", "--seeds", "3"),
    ("finetune.py", "--set", "wnut17_minilm", "--seeds", "1"),
    ("finetune.py", "--set", "xquad_flat_en", "--seeds", "3"),
    ("finetune.py", "--set", "multi30k", "--seeds", "1"),
    ("finetune.py", "--set", "scitldr", "--seeds", "1"),
    ("finetune.py", "--set", "dialogsum", "--seeds", "1"),
    ("finetune.py", "--packing"),
    ("evaluation.py",),
    ("evaluation.py", "--shape", "minilm", "--rows", "1000"),
    ("evaluation_baselines.py",),
)


def main() -> int:
    failed = 0
    for script, *options in RUNS:
        print(f"\n== {script} {' '.join(options)}", flush=True)
        failed += subprocess.run([sys.executable, HERE / script, *options], check=False).returncode != 0
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
