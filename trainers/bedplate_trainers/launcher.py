"""Starts the processes of a run through accelerate, and all of them again where one ran out of memory.

    python -m bedplate_trainers.launcher ARGUMENTS OF `accelerate launch`

Processes wait for each other inside a step. One that lacks memory amid an exchange of gradients cannot take the step
once more alone, and of a sharded model it has not even the weights without the others. So it writes down what gives way
and leaves, and all begin anew from the last checkpoint. To agree on each step before gradients are exchanged would cost
every run the overlap of exchange and backward pass, for the sake of the few that run out, and is no way for shards.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .launch import AGAIN, LAUNCHES, launches

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """Ends as accelerate does. A run that begins anew replaces this process, which keeps its number and its parent."""
    from accelerate.commands import launch as accelerate
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    number = launches() or 0
    os.environ[LAUNCHES] = str(number)
    try:
        accelerate.launch_command(accelerate.launch_command_parser().parse_args(arguments))
    except ChildFailedError as error:
        if AGAIN not in {failure.exitcode for failure in error.failures.values()}:
            raise
    else:
        return
    os.environ[LAUNCHES] = str(number + 1)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "bedplate_trainers.launcher", *arguments])  # noqa: S606 - as above


if __name__ == "__main__":
    main(sys.argv[1:])
