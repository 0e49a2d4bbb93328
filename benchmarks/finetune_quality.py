"""How good a fine-tune at default settings is: beside a plain loop, over several seeds, and beside known figures.

Of each seed two models: ours, as a user gets it without a setting, and that of a plain loop over batches at random
(finetune_loop) which begins with the same weights and takes the same rows, epochs, rows a step and learning rate. So
what is compared is the loop (batches of like length, the checkpoint that is kept) and not the settings. Both are saved,
and judged on the same test rows by the same predictor and metrics.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any

from finetune_loop import at_random, train_plainly
from finetune_sets import RealSet

from bedplate_registry.progress import SILENT
from bedplate_trainers.examiners import Setup, get_examiner
from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.recipes import RECIPES

__all__ = ["compare_seeds", "measure_quality", "print_quality", "print_seeds"]

FIRST_SEED = 42  # the default
POINTS = 3  # that a mean may lie below the figure known beforehand


class Bar:
    """Progress on stderr, a line every few seconds. It keeps the scores of the validation rows."""

    def __init__(self) -> None:
        self._last = 0.0
        self.curve: list[dict[str, float]] = []

    def progress(self, phase: str, done: float, total: float, unit: str = "", message: str = "") -> None:
        now = time.perf_counter()
        if now - self._last > 10:
            self._last = now
            print(f"  {phase} {done:.0f} of {total:.0f} {unit}", file=sys.stderr, flush=True)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        scores = {name.removeprefix("eval_"): value for name, value in values.items() if name.startswith("eval_")}
        if scores:
            self.curve.append({"step": step, **{name: round(value, 4) for name, value in scores.items()}})

    def message(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)


def measure_quality(request: FinetuneRequest, real: RealSet) -> dict[str, Any]:
    """One fine-tune: its test metrics, and those of the baselines."""
    bar = Bar()
    result = finetune(request, bar, resume=False)
    assert result is not None
    assert result.report is not None
    values = result.resolved["values"]
    return {
        **{name: result.report["metrics"][name] for name in real.metrics},
        f"{real.metrics[0]}_interval": result.report["confidence"][real.metrics[0]],
        "floor": real.floor,
        "baselines": result.baselines,
        "rows": [result.train_rows, result.validation_rows, result.test_rows],
        "steps": result.steps,
        "best_step": result.best_step,
        "curve": bar.curve,
        "seconds": result.seconds,
        "settings": {
            name: values[name] for name in ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "seed")
        },
    }


def compare_seeds(request: FinetuneRequest, real: RealSet, seeds: int) -> dict[str, Any]:
    """Ours and the plain loop, the mean over the seeds of each, and whether ours is good enough."""
    ours, plain = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        with tempfile.TemporaryDirectory() as folder:
            settings, work = request.settings | {"seed": seed}, Path(folder) / "work"
            seeded = replace(request, settings=settings, work_dir=work, output_dir=Path(folder) / "ours")
            ours.append(measure_quality(seeded, real))
            print(f"  seed {seed}: ours {_shown(ours[-1], real)}", file=sys.stderr, flush=True)
            plain.append(_plain(replace(seeded, output_dir=Path(folder) / "plain"), real))
            print(f"  seed {seed}: plain loop {_shown(plain[-1], real)}", file=sys.stderr, flush=True)
    return {"seeds": seeds, "ours": ours, "plain": plain, **_verdict(real, ours, plain)}


def _plain(request: FinetuneRequest, real: RealSet) -> dict[str, Any]:
    """The test metrics of what the plain loop comes to."""
    start = time.perf_counter()
    prepared = import_module(f"bedplate_trainers.recipes.{RECIPES[request.task]}").prepare(request, SILENT)
    plan, bar = prepared.plan, Bar()
    settings = plan.settings
    size, done = int(settings.per_device_train_batch_size), iter(range(1, sys.maxsize))
    steps = math.ceil(len(plan.train) / size) * int(settings.num_train_epochs)
    if settings.max_steps > 0:
        steps = int(settings.max_steps)
    batches = at_random(len(plan.train), size, settings.seed)
    train_plainly(plan, batches, steps, lambda: bar.progress("plain loop", next(done), steps, "steps"))
    plan.model.save_pretrained(request.output_dir)
    prepared.tokenizer.save_pretrained(request.output_dir)
    prepared.settle(request.output_dir)
    examiner = get_examiner(Setup(request.task, request.columns, plan.device, bar))
    report = examiner.report(examiner.judge(request.output_dir, prepared.sets.test, "test"))
    return {
        **{name: report["metrics"][name] for name in real.metrics},
        f"{real.metrics[0]}_interval": report["confidence"][real.metrics[0]],
        "steps": steps,
        "seconds": round(time.perf_counter() - start, 3),
    }


def _verdict(real: RealSet, ours: list[dict[str, Any]], plain: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the first metric. `least` is the higher of the two bounds that the mean of ours must not be below."""
    name = real.metrics[0]
    mine, other = (mean(found[name] for found in side) for side in (ours, plain))
    half_width = mean((high - low) / 2 for low, high in (found[f"{name}_interval"] for found in plain))
    known = real.known - POINTS * real.point if real.known is not None else -math.inf
    least = max(other - half_width, known)
    return {
        "mean": {"ours": mine, "plain": other},
        "half_width": half_width,
        "known": real.known,
        "least": least,
        "passes": mine >= least,
    }


def _shown(found: Mapping[str, Any], real: RealSet) -> str:
    return " / ".join(f"{found[name]:.4f}" for name in real.metrics)


def print_quality(name: str, real: RealSet, quality: dict[str, Any]) -> None:
    first, second = real.metrics
    print(f"{'':24}{first:>16}{second:>16}")
    for label, scores in ({f"{name}, tuned": quality} | quality["baselines"]).items():
        print(f"{label:24}{scores[first]:>16.4f}{scores[second]:>16.4f}")
    print(f"{'floor':24}{real.floor:>16.4f}")


def print_seeds(name: str, real: RealSet, found: dict[str, Any]) -> None:
    """A row for each seed, then the means and what they are held against; the curve of the first seed below."""
    first, best = found["ours"][0], real.metrics[0]
    settings = first["settings"]
    print(
        f"{name}: {settings['num_train_epochs']} epochs, {settings['per_device_train_batch_size']} rows a step,"
        f" {settings['learning_rate']:g}, on either side; {' / '.join(real.metrics)} of {first['rows'][2]} test rows"
    )
    for number, (mine, other) in enumerate(zip(found["ours"], found["plain"], strict=True)):
        print(f"{f'seed {FIRST_SEED + number}':24}ours {_shown(mine, real)}   plain loop {_shown(other, real)}")
    print(f"{'mean of ' + best:24}ours {found['mean']['ours']:.4f}   plain loop {found['mean']['plain']:.4f}")
    print(f"{'half-width of the loop':24}{found['half_width']:.4f}")
    known = "none" if real.known is None else f"{real.known:.4f}, less {POINTS} points"
    print(f"{'known beforehand':24}{known}")
    for label, scores in first["baselines"].items():
        print(f"{label:24}{_shown(scores, real)}")
    print(f"{'needed':24}{found['least']:.4f}: {'reached' if found['passes'] else 'NOT REACHED'}")
    print(f"validation of seed {FIRST_SEED} (best step {first['best_step']}, {first['seconds'] / 60:.0f} minutes):")
    for point in first["curve"]:
        print("  " + "  ".join(f"{key} {value:g}" for key, value in point.items()))
