"""A fine-tune without a server, on one machine or on each of several that train one model together.

    python -m bedplate_trainers.standalone request.json
    python -m bedplate_trainers.standalone request.json --num_machines 2 --machine_rank 1 --main_process_address HOST

request.json is a messages.FinetuneRequest: the same on all machines, `processes` is how many there are on all together.
Figures and messages go to standard output; the first machine writes result.json beside the request.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from bedplate_registry.errors import BedplateError, Refused

from .finetune import finetune
from .launch import Machines, launch_command, launch_environment, leave
from .messages import AUTO, FinetuneRequest
from .settings import FinetuneSettings
from .sharding import write_accelerate_config

__all__ = ["main"]

WORKER = "--as_worker"
PORT = 29500


class _Printer:
    """Figures as lines of JSON, messages as they are."""

    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None:
        pass

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        print(json.dumps({"step": step, **values}), flush=True)

    def message(self, text: str) -> None:
        print(text, flush=True)


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    try:
        request = FinetuneRequest.from_json(json.loads(given.request.read_text(encoding="utf-8")))
        return _work(given, request) if given.as_worker else _launch(given, request)
    except BedplateError as problem:
        print(f"{problem.message} {problem.hint}", file=sys.stderr)
        return 1


def _work(given: argparse.Namespace, request: FinetuneRequest) -> NoReturn:
    result = finetune(request, _Printer(), resume=given.resume)
    if result is not None:  # the first process
        (given.request.parent / "result.json").write_text(json.dumps(result.to_json()), encoding="utf-8")
    leave()


def _launch(given: argparse.Namespace, request: FinetuneRequest) -> int:
    """Becomes the launcher, which starts this machine's processes."""
    if request.device == AUTO:
        hint = "Say cpu or cuda in the request: all machines train on the same kind."
        raise Refused("The device of the request is auto.", hint=hint, code="bad-device")
    settings = FinetuneSettings.from_mapping(request.settings, request.task)
    machines = Machines(given.num_machines, given.machine_rank, given.main_process_address, given.main_process_port)
    command = launch_command(
        __spec__.name,
        [str(given.request), WORKER, *(["--resume"] if given.resume else [])],
        device=request.device,
        processes=request.processes,
        machines=machines,
        config=write_accelerate_config(vars(settings), given.request.parent),
    )
    here = launch_environment(device=request.device, processes=request.processes, machines=machines)
    os.execve(command[0], command, os.environ | here)  # noqa: S606 - signals go to the launcher


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bedplate_trainers.standalone")
    parser.add_argument("request", type=Path, help="a FinetuneRequest as JSON")
    parser.add_argument("--resume", action="store_true", help="go on from the last complete checkpoint")
    parser.add_argument("--num_machines", type=int, default=1, help="how many machines train together")
    parser.add_argument("--machine_rank", type=int, default=0, help="which of them this is; 0 writes the result")
    parser.add_argument("--main_process_address", default="", help="where machine 0 is reached by the others")
    parser.add_argument("--main_process_port", type=int, default=PORT, help="a free port there")
    parser.add_argument(WORKER, action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
