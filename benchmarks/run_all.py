"""All benchmarks, one after the other: `make bench`, some 90 minutes on two cores. docs/performance.md has results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUNS = (
    ("realtime.py", "--rounds", "5", "--peers", "pipeline,litserve,bentoml"),
    ("control_plane.py",),
    ("import.py",),
    ("finetune.py", "--set", "tweeteval_emotion"),
    ("finetune.py", "--set", "sick_pairs"),
    ("finetune.py", "--set", "banking77"),
)


def main() -> int:
    failed = 0
    for script, *options in RUNS:
        print(f"\n== {script} {' '.join(options)}", flush=True)
        failed += subprocess.run([sys.executable, HERE / script, *options], check=False).returncode != 0
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
