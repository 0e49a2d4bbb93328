"""The load check of an import: loads a model folder once, answers one sample, prints one line of JSON.

    python -m bedplate_serving.predictors.check FOLDER [--task T] [--device D] [--threads N]

    {"ok": true, "sample": {"request": …, "answer": …}, "seconds": 1.9}              exit 0
    {"ok": false, "error": {"code", "message", "hint"}, "seconds": 0.4}              exit 1

A base is passed through once.

Run in a cage: it is the first time that a stranger's files meet a loader.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: beside a busy process the default is 7-35x slower

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from bedplate_registry.errors import BedplateError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    started = time.monotonic()
    try:
        report: dict[str, Any] = {"ok": True, "sample": _sample(options)}
    except BedplateError as error:
        report = {"ok": False, "error": error.to_json()}
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the outer edge; a tokenizer's panic is no Exception, but an answer
        from bedplate_serving.predictors.refusing import first_line

        message = f"The model failed its load check: {type(error).__name__}: {first_line(error)}"
        report = {"ok": False, "error": {"code": "load-failed", "message": message, "hint": ""}}
    report["seconds"] = round(time.monotonic() - started, 3)
    print(json.dumps(report, allow_nan=False), flush=True)
    return 0 if report["ok"] else 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bedplate_serving.predictors.check", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def _sample(options: argparse.Namespace) -> dict[str, Any]:
    from bedplate_serving.predictors import load_predictor

    if options.task is None:
        return _sample_of_base(options)
    predictor = load_predictor(options.folder, options.task, device=options.device, threads=options.threads)
    request = predictor.sample()
    return {"request": request, "answer": predictor.predict([request], predictor.sample_parameters())[0]}


def _sample_of_base(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from bedplate_serving.predictors import load_predictor

    base = load_predictor(options.folder, None, device=options.device, threads=options.threads)
    request = base.sample()
    vector = base.features([request])[0]
    if not np.isfinite(vector).all():
        raise BedplateError("The base's forward pass gave numbers that are not finite.", code="non-finite")
    return {"request": request, "answer": {"hidden_size": len(vector), "norm": float(np.linalg.norm(vector))}}


if __name__ == "__main__":
    sys.exit(main())
