"""How a training worker is started: through accelerate, with as many processes as were asked for. Imports no torch.

`accelerate launch --cpu --num_processes 2` runs one process and says nothing. What really runs n on a CPU is the
launcher of several GPUs with ACCELERATE_USE_CPU set: torchrun underneath, gloo between them. The worker counts its
peers all the same (`check_world`), because a wrong count shows nowhere else: each would train a model of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from bedplate_registry.errors import BedplateError

__all__ = ["check_device", "check_world", "launch_command", "launch_environment", "rank"]


def launch_command(
    module: str, args: Sequence[str], *, device: str, processes: int, threads: int | None = None
) -> list[str]:
    """The command that runs `python -m module args` in `processes` processes. Use it with `launch_environment`."""
    on_cpu = not device.startswith("cuda")
    spread = ["--multi_gpu", "--main_process_port", "0"] if processes > 1 else ["--cpu"] if on_cpu else []
    return [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        *spread,
        *("--num_processes", str(processes), "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),  # precision is the trainer's business
        *("--num_cpu_threads_per_process", str(threads or _threads_each(processes))),
        *("-m", module, *args),
    ]


def launch_environment(*, device: str, processes: int, threads: int | None = None) -> dict[str, str]:
    """What the command needs in its environment beside what is there."""
    several_on_cpu = processes > 1 and not device.startswith("cuda")
    return {
        "OMP_WAIT_POLICY": "passive",  # the default spins: 7 to 35 times slower beside any other busy process
        "OMP_NUM_THREADS": str(threads or _threads_each(processes)),
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",  # a worker reads its model from disk, never from the network
        **({"ACCELERATE_USE_CPU": "true"} if several_on_cpu else {}),
        **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}),
    }


def rank(environ: Mapping[str, str] = os.environ) -> int:
    """Which of the processes this one is; 0 also where there is only one."""
    return int(environ.get("RANK", "0"))


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
