"""What all recipes have in common: prepare, train, save, and test with the predictor that will serve the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bedplate_registry.progress import Reporter
from bedplate_trainers.examiners import Setup, get_examiner
from bedplate_trainers.lora import add_adapter, merge, over_base, starting_point
from bedplate_trainers.messages import FinetuneRequest, FinetuneResult
from bedplate_trainers.notes import Noting
from bedplate_trainers.plan import Judge, Objective, Plan, Rows, Trained
from bedplate_trainers.pretrained import Figures, packages, pick_device, pick_precision, quiet
from bedplate_trainers.row_predictions import RowFile
from bedplate_trainers.sets import Sets
from bedplate_trainers.settings import EvaluateSettings, FinetuneSettings, Resolved, resolve
from bedplate_trainers.training import train

__all__ = ["Prepared", "make_plan", "pad_multiple", "resolve_for", "run_recipe"]


@dataclass(frozen=True)
class Prepared:
    """Everything that training needs, and the rows that the saved model is judged on after it."""

    plan: Plan
    tokenizer: Any
    resolved: Resolved
    sets: Sets[Any]
    labels: tuple[str, ...] = ()
    settle: Callable[[Path], None] = lambda folder: None  # what is left to do to the saved model, before it is judged


def run_recipe(
    prepare: Callable[[FinetuneRequest, Reporter], Prepared],
    request: FinetuneRequest,
    reporter: Reporter,
    *,
    resume: bool,
) -> FinetuneResult | None:
    """One fine-tune; None in every process but the first."""
    with starting_point(request.model_dir) as folder:
        return _run(prepare, replace(request, model_dir=folder), reporter, resume)


def _run(
    prepare: Callable[[FinetuneRequest, Reporter], Prepared], request: FinetuneRequest, reporter: Reporter, resume: bool
) -> FinetuneResult | None:
    start = time.perf_counter()
    quiet()
    reporter.progress("load", 0, 3)
    noting = Noting(reporter)
    prepared = _adapted(prepare(request, noting), request)
    trained = train(prepared.plan, reporter, resume=resume)
    reporter.progress("save", 0, 1)
    with _saved(prepared, trained, request) as model:
        if not trained.is_writer:
            return None
        reporter.progress("save", 1, 1)
        metrics, report = _judge(prepared, request, model, reporter, noting)
    if report:
        report["notes"] = noting.notes
    if metrics and trained.loss is not None:
        metrics["loss"] = trained.loss
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
        resolved=prepared.resolved.to_json() | ({"changed": dict(trained.changed)} if trained.changed else {}),
        forecast=dict(trained.forecast) if trained.forecast else None,
        packages=packages(),
    )


def _adapted(prepared: Prepared, request: FinetuneRequest) -> Prepared:
    """With an adapter to train instead of the model, if so set."""
    plan = prepared.plan
    if plan.settings.attn_implementation != "default":
        plan.model.set_attn_implementation(plan.settings.attn_implementation)
    if not plan.settings.apply_lora:
        return prepared
    model = add_adapter(plan.model, request.task, plan.settings)
    return replace(prepared, plan=replace(plan, model=model, base_name=request.model_name))


@contextmanager
def _saved(prepared: Prepared, trained: Trained, request: FinetuneRequest) -> Iterator[Path]:
    """Writes `output_dir`, and gives the folder that a predictor loads: an adapter alone is laid over its base.

    Every process takes part, since each has a part of a model that is sharded.
    """
    settings = prepared.plan.settings
    if settings.apply_lora and not settings.merge_lora_weights:
        trained.save(request.output_dir)
        with over_base(request.model_dir, request.output_dir) if trained.is_writer else nullcontext(Path()) as view:
            if trained.is_writer:
                prepared.settle(view)  # its config.json is a link to the one that is kept
            yield view
        return
    if settings.apply_lora:
        adapter = request.work_dir / "adapter"
        trained.save(adapter)
        if trained.is_writer:
            merge(request.model_dir, adapter, request.output_dir, request.task)
    else:
        trained.save(request.output_dir)
    if trained.is_writer:
        prepared.tokenizer.save_pretrained(request.output_dir)
        prepared.settle(request.output_dir)
    yield request.output_dir


def _judge(
    prepared: Prepared, request: FinetuneRequest, model: Path, reporter: Reporter, noting: Noting
) -> tuple[dict[str, float], dict[str, Any] | None]:
    """Validation metrics and the test report, by the saved model and the predictor that will serve it. What is said of
    test rows is noted.
    """
    sets, device = prepared.sets, prepared.plan.device
    trained = prepared.plan.settings
    settings = EvaluateSettings(seed=trained.seed, n_best_size=trained.n_best_size)
    metrics, report = dict[str, float](), None
    if sets.validation is not None:
        told, quick = Noting(reporter, "Of the validation rows"), replace(settings, confidence_draws=0, latency_rows=0)
        examiner = get_examiner(Setup(request.task, request.columns, device, told, quick))
        metrics = examiner.report(examiner.judge(model, sets.validation))["metrics"]
    if sets.test is not None:
        examiner = get_examiner(Setup(request.task, request.columns, device, noting, settings))
        judged = examiner.judge(model, sets.test, "test")
        report = {**examiner.report(judged), "baselines": examiner.baselines(judged, sets.train)}
        if request.rows_file is not None:
            report["predictions"] = RowFile(examiner.rows_of(judged), {}).write(request.rows_file)
    return metrics, report


# --- what each recipe's `prepare` does


def resolve_for(
    request: FinetuneRequest,
    settings: FinetuneSettings,
    figures: Figures,
    rows: int,
    *,
    labels: int | None = None,
    target_tokens: int | None = None,
) -> Resolved:
    """The settings for so many rows to train on, with the precision that the device really computes in, and why."""
    device = pick_device(request.device)
    found = resolve(
        settings,
        figures,
        rows,
        device,
        task=request.task,
        labels=labels,
        target_tokens=target_tokens,
        processes=request.processes,
    )
    precision, reason = pick_precision(found.settings.precision, device)
    reasons = found.reasons | ({"precision": reason} if "precision" in found.reasons else {})
    return replace(found, settings=replace(found.settings, precision=precision), reasons=reasons)


def pad_multiple(request: FinetuneRequest) -> int:
    """Lengths of batches are multiples of it: of what tensor cores take at once."""
    return 8 if pick_device(request.device) == "cuda" else 1


def make_plan(
    request: FinetuneRequest,
    resolved: Resolved,
    model: Any,
    train: Rows,
    judge: Judge | None,
    objective: Objective,
    numbers: Sequence[int],
) -> Plan:
    """`numbers` are those of the rows to train on, in their file."""
    return Plan(
        model=model,
        train=train,
        judge=judge,
        objective=objective,
        settings=resolved.settings,
        work_dir=request.work_dir,
        device=pick_device(request.device),
        processes=request.processes,
        row_numbers=numbers,
    )
