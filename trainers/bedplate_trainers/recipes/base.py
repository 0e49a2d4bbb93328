"""What all recipes have in common: prepare, train, save, and test with the predictor that will serve the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bedplate_registry.progress import Reporter
from bedplate_trainers.examiners import Setup, get_examiner
from bedplate_trainers.messages import FinetuneRequest, FinetuneResult
from bedplate_trainers.plan import Plan
from bedplate_trainers.pretrained import packages, pick_precision, quiet
from bedplate_trainers.sets import Sets
from bedplate_trainers.settings import EvaluateSettings, Resolved
from bedplate_trainers.training import train

__all__ = ["Prepared", "run_recipe", "with_precision"]


@dataclass(frozen=True)
class Prepared:
    """Everything that training needs, and the rows that the saved model is judged on after it."""

    plan: Plan
    tokenizer: Any
    resolved: Resolved
    sets: Sets[Any]
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
    metrics, report = _judge(prepared, request, reporter)
    counts = prepared.sets.counts
    return FinetuneResult(
        metrics=metrics,
        report=report,
        baselines=report["baselines"] if report else {},
        labels=prepared.labels,
        steps=trained.steps,
        best_step=trained.best_step,
        epochs=trained.epochs,
        train_rows=counts["train"],
        validation_rows=counts["validation"],
        test_rows=counts["test"],
        seconds=round(time.perf_counter() - start, 3),
        samples_per_second=round(trained.samples_per_second, 2),
        resolved=prepared.resolved.to_json(),
        packages=packages(),
    )


def _judge(
    prepared: Prepared, request: FinetuneRequest, reporter: Reporter
) -> tuple[dict[str, float], dict[str, Any] | None]:
    """Validation metrics and the test report, by the saved model and the predictor that will serve it."""
    sets, device = prepared.sets, prepared.plan.device
    settings = EvaluateSettings(seed=prepared.plan.settings.seed)
    metrics, report = dict[str, float](), None
    if sets.validation is not None:
        setup = Setup(request.task, request.columns, device, reporter, replace(settings, confidence_draws=0))
        examiner = get_examiner(setup)
        metrics = examiner.report(examiner.judge(request.output_dir, sets.validation))["metrics"]
    if sets.test is not None:
        examiner = get_examiner(Setup(request.task, request.columns, device, reporter, settings))
        judged = examiner.judge(request.output_dir, sets.test, "test")
        report = {**examiner.report(judged), "baselines": examiner.baselines(judged, sets.train)}
    return metrics, report


def with_precision(resolved: Resolved, device: str) -> Resolved:
    """With the precision that the device really computes in, and why."""
    precision, reason = pick_precision(resolved.settings.precision, device)
    reasons = resolved.reasons | ({"precision": reason} if "precision" in resolved.reasons else {})
    return replace(resolved, settings=replace(resolved.settings, precision=precision), reasons=reasons)
