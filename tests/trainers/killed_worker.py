"""One run that is killed again and again: python -m killed_worker REQUEST.json KILLS SEED

Each attempt is a fork of this process, so that torch is imported once. SIGKILL comes after a number of steps drawn from
the seed. The last attempt is left in peace; standard output tells how many were killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import transformers  # noqa: F401 - once, for all attempts
from trainer_worker import main


def steps_done(folder: Path) -> int:
    """How many lines there are: each is one step or one evaluation, repeated ones counted again."""
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def attempt(request: str, is_first: bool) -> int:
    """The process that runs it."""
    pid = os.fork()
    if pid:
        return pid
    main(request, *([] if is_first else ["--resume"]))
    sys.stdout.flush()
    os._exit(0)


def run(request: str, kills: int, seed: int) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    generator, folder, killed = random.Random(seed), Path(request).parent, 0
    while True:
        before, after = steps_done(folder), generator.randint(1, 12)
        pid = attempt(request, is_first=before == 0)
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if killed < kills and steps_done(folder) >= before + after:
                time.sleep(generator.random() * 0.05)  # also amid a step or a checkpoint
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                killed += 1
                break
            time.sleep(0.002)
        else:
            break
    print(json.dumps({"killed": killed}))


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
