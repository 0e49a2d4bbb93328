"""How a training worker is started: as many processes as were asked for, by accelerate's launcher. Imports no torch.

A process that trains alone is what that launcher would start, in the environment that it would give it: without the
launcher, which imports torch only to wait for it.

`accelerate launch --cpu --num_processes 2` runs one process and says nothing. What really runs n on a CPU is the
launcher of several GPUs with ACCELERATE_USE_CPU set: torchrun underneath, gloo between them. The worker counts its
peers all the same (`check_world`), because a wrong count shows nowhere else: each would train a model of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bedplate_registry.errors import BedplateError, Refused

__all__ = [
    "AGAIN",
    "LAUNCHES",
    "Machines",
    "check_device",
    "check_world",
    "launch_command",
    "launch_environment",
    "launches",
    "leave",
    "rank",
]

AGAIN = 75  # a worker's exit code: start all of us again, something gave way
LAUNCHES = "TRAINING_LAUNCHES"  # how often the processes of this run were started before


@dataclass(frozen=True)
class Machines:
    """The machines that train one model together, and which of them this is. Machine 0 is where the others meet."""

    count: int = 1
    rank: int = 0
    address: str = ""  # of machine 0
    port: int = 0

    def check(self, processes: int) -> None:
        """Raises Refused where `processes` on all machines cannot be dealt to them."""
        if self.count < 1 or not 0 <= self.rank < self.count:
            raise Refused(
                f"There is no machine {self.rank} of {self.count}.",
                hint="Machines are numbered from 0: with --num_machines 2 the ranks are 0 and 1.",
                code="bad-machine",
            )
        if self.count > 1 and not self.address:
            raise Refused(
                "Several machines need to know where they meet.",
                hint="Give the address of machine 0: --main_process_address",
                code="bad-machine",
            )
        if processes % self.count:
            raise Refused(
                f"{processes} processes cannot be dealt to {self.count} machines evenly.",
                hint=f"Give a multiple of {self.count}.",
                code="bad-machine",
            )


ONE_MACHINE = Machines()


def launch_command(
    module: str,
    args: Sequence[str],
    *,
    device: str,
    processes: int,
    threads: int | None = None,
    machines: Machines = ONE_MACHINE,
    config: Path | None = None,
) -> list[str]:
    """The command that runs `python -m module args` in `processes` processes. Use it with `launch_environment`.

    Of several machines, `processes` is the number on all of them, and each runs the command. `config` is a file of
    accelerate's that says how a model is sharded (sharding.py).
    """
    machines.check(processes)
    if processes == 1 and config is None:
        return [sys.executable, "-m", module, *args]
    return [
        sys.executable,
        "-m",
        # Of several machines none knows why another one's processes ended: there, whoever started the run resumes it.
        "bedplate_trainers.launcher" if processes > 1 and machines.count == 1 else "accelerate.commands.launch",
        *(["--multi_gpu"] if config is None else ["--config_file", str(config)]),
        *("--num_processes", str(processes), "--num_machines", str(machines.count)),
        *_meeting(machines, processes),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--num_cpu_threads_per_process", str(threads or _threads_each(processes // machines.count))),
        *("-m", module, *args),
    ]


def _meeting(machines: Machines, processes: int) -> list[str]:
    """Where processes find each other: at any free port of this machine, or at machine 0."""
    if machines.count == 1:
        return ["--main_process_port", "0"] if processes > 1 else []
    return [
        *("--machine_rank", str(machines.rank), "--main_process_ip", machines.address),
        *("--main_process_port", str(machines.port), "--rdzv_backend", "static"),
    ]


def launch_environment(
    *, device: str, processes: int, threads: int | None = None, machines: Machines = ONE_MACHINE
) -> dict[str, str]:
    """What the command needs in its environment beside what is there."""
    return {
        "OMP_WAIT_POLICY": "passive",  # the default spins: 7 to 35 times slower beside any other busy process
        "OMP_NUM_THREADS": str(threads or _threads_each(processes // machines.count)),
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",  # a worker reads its model from disk, never from the network
        "ACCELERATE_USE_CPU": str(not device.startswith("cuda")).lower(),
        "ACCELERATE_MIXED_PRECISION": "no",  # precision is the trainer's business
        "ACCELERATE_DYNAMO_BACKEND": "no",
        **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}),
    }


def rank(environ: Mapping[str, str] = os.environ) -> int:
    """Which of the processes this one is; 0 also where there is only one."""
    return int(environ.get("RANK", "0"))


def leave() -> NoReturn:
    """Ends a worker whose work is written.

    To take the interpreter down piece by piece, with torch in it, takes another second or two. Now and then one of
    several processes aborted in it ("terminate called without an active exception"), and the launcher ended the others.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def launches(environ: Mapping[str, str] = os.environ) -> int | None:
    """How often the launcher started this run before; None where nobody would start it again."""
    number = environ.get(LAUNCHES)
    return None if number is None else int(number)


def check_world(asked: int, world: int | None = None) -> None:
    """Stops a run with another number of processes than was asked for."""
    world = int(os.environ.get("WORLD_SIZE", "1")) if world is None else world
    if world != asked:
        raise BedplateError(
            f"{asked} training process{'es were' if asked > 1 else ' was'} asked for, and {world} run.",
            hint="Start the worker with bedplate_trainers.launch.launch_command.",
            code="world-size",
        )


def check_device(planned: str, found: str) -> None:
    """Stops a run whose launcher chose another kind of device: precision and batches were worked out for the plan's."""
    if planned.partition(":")[0] != found:
        raise BedplateError(
            f"Training was planned for {planned}, and would run on {found}.",
            hint=f"Start the worker with launch_command(device={planned!r}), or ask for device {found}.",
            code="device-mismatch",
        )


def _threads_each(processes: int) -> int:
    return max(1, len(os.sched_getaffinity(0)) // processes)
