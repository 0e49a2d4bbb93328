"""What all recipes have in common: prepare, train, save, and test with the predictor that will serve the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bedplate_registry.progress import Reporter
from bedplate_trainers.messages import FinetuneRequest, FinetuneResult
from bedplate_trainers.plan import Plan
from bedplate_trainers.pretrained import packages, pick_precision, quiet
from bedplate_trainers.settings import Resolved
from bedplate_trainers.training import train

__all__ = ["Judged", "Prepared", "run_recipe", "with_precision"]


@dataclass(frozen=True)
class Judged:
    """What the saved model comes to: metrics of the validation rows, the report of the test rows."""

    metrics: dict[str, float]
    report: dict[str, Any] | None


@dataclass(frozen=True)
class Prepared:
    """Everything that training needs, and how the saved model is judged after it."""

    plan: Plan
    tokenizer: Any
    resolved: Resolved
    counts: dict[str, int]  # rows: train, validation, test
    judge: Callable[[Path, Reporter], Judged]
    labels: tuple[str, ...] = ()


def run_recipe(
    prepare: Callable[[FinetuneRequest, Reporter], Prepared],
    request: FinetuneRequest,
    reporter: Reporter,
    *,
    resume: bool,
) -> FinetuneResult | None:
    """One fine-tune; None in every process but the first."""
    start = time.perf_counter()
    quiet()
    reporter.progress("load", 0, 3)
    prepared = prepare(request, reporter)
    trained = train(prepared.plan, reporter, resume=resume)
    if not trained.is_writer:
        return None

    reporter.progress("save", 0, 1)
    prepared.plan.model.save_pretrained(request.output_dir)
    prepared.tokenizer.save_pretrained(request.output_dir)
    reporter.progress("save", 1, 1)
    judged = prepared.judge(request.output_dir, reporter)
    return FinetuneResult(
        metrics=judged.metrics,
        report=judged.report,
        baselines=judged.report["baselines"] if judged.report else {},
        labels=prepared.labels,
        steps=trained.steps,
        best_step=trained.best_step,
        epochs=trained.epochs,
        train_rows=prepared.counts["train"],
        validation_rows=prepared.counts["validation"],
        test_rows=prepared.counts["test"],
        seconds=round(time.perf_counter() - start, 3),
        samples_per_second=round(trained.samples_per_second, 2),
        resolved=prepared.resolved.to_json(),
        packages=packages(),
    )


def with_precision(resolved: Resolved, device: str) -> Resolved:
    """With the precision that the device really computes in, and why."""
    precision, reason = pick_precision(resolved.settings.precision, device)
    reasons = resolved.reasons | ({"precision": reason} if "precision" in resolved.reasons else {})
    return Resolved(replace(resolved.settings, precision=precision), reasons)
