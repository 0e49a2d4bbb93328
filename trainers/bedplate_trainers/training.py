"""Trains a plan: the settings in the Trainer's words, from the last complete checkpoint on, to the best weights."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback

from bedplate_registry.progress import Reporter

from .checkpoints import best_of, complete_checkpoints, discard_incomplete, keep_resumable, read_state
from .flow import Flow, has_stalled
from .ladder import Ladder, is_out_of_memory, out_of_memory
from .launch import check_device, check_world
from .loop import BedplateTrainer, wait_for_all
from .plan import Plan, Trained
from .settings import FinetuneSettings

__all__ = ["is_finished", "train", "training_arguments"]


def train(plan: Plan, reporter: Reporter, *, resume: bool) -> Trained:
    """Trains, from the last complete checkpoint if `resume`, and leaves the best weights in the model."""
    arguments = training_arguments(plan)
    check_world(plan.processes, arguments.world_size)
    if arguments.process_index == 0:
        _prepare_folder(plan.work_dir, resume, reporter)
    wait_for_all(arguments)
    trainer = _trainer(plan, arguments, reporter)
    check_device(plan.device, trainer.accelerator.device.type)
    checkpoint = next(iter(complete_checkpoints(plan.work_dir)), None)
    start = time.perf_counter()
    if checkpoint is not None and is_finished(read_state(checkpoint), plan.settings):
        trainer.take_best_of(checkpoint)
    else:
        if checkpoint is not None:
            reporter.message(f"Resuming from {checkpoint.name}.{_lost_best(checkpoint)}")
        _train(trainer, checkpoint)
    return _outcome(trainer, plan, time.perf_counter() - start)


def training_arguments(plan: Plan) -> TrainingArguments:
    """Our settings in the Trainer's words."""
    settings, on_gpu = plan.settings, plan.device.startswith("cuda")
    evaluates = plan.judge is not None and settings.eval_strategy != "no"
    strategy = settings.eval_strategy if evaluates else "no"
    every = settings.eval_steps if strategy == "steps" else 500
    arguments = TrainingArguments(
        output_dir=str(plan.work_dir),
        use_cpu=not on_gpu,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.per_device_train_batch_size * settings.gradient_accumulation_steps,
        per_device_eval_batch_size=settings.per_device_eval_batch_size,
        gradient_accumulation_steps=1,  # the Trainer is given whole steps, which `loop` takes in parts
        optim=settings.optim,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.adam_beta1,
        adam_beta2=settings.adam_beta2,
        adam_epsilon=settings.adam_epsilon,
        max_grad_norm=settings.max_grad_norm,
        lr_scheduler_type=settings.lr_scheduler_type,
        lr_scheduler_kwargs={"num_cycles": settings.lr_num_cycles}
        if "restarts" in settings.lr_scheduler_type
        else None,
        warmup_steps=settings.warmup_steps if settings.warmup_steps < 1 else int(settings.warmup_steps),
        seed=settings.seed,
        full_determinism=settings.enable_full_determinism,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        tf32=settings.tf32 if on_gpu and torch.cuda.get_device_capability()[0] >= 8 else None,
        torch_compile=settings.torch_compile,
        activation_checkpointing=settings.activation_checkpointing,
        eval_strategy=strategy,
        eval_steps=every,
        save_strategy=strategy if evaluates else "epoch",
        save_steps=every,
        load_best_model_at_end=evaluates,
        metric_for_best_model=settings.metric_for_best_model if evaluates else None,
        greater_is_better=not settings.metric_for_best_model.endswith("loss") if evaluates else None,
        logging_steps=settings.logging_steps,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
    )
    if on_gpu and plan.processes == 1:
        arguments._n_gpu = 1  # else a visible second card would be used through DataParallel
    return arguments


def is_finished(state: Mapping[str, Any], settings: FinetuneSettings) -> bool:
    """Whether nothing is left to train after a checkpoint: all steps are done, or it stopped early."""
    return state["global_step"] >= state["max_steps"] or has_stalled(state["log_history"], settings)


def _prepare_folder(work_dir: Path, resume: bool, reporter: Reporter) -> None:
    work_dir.mkdir(parents=True, exist_ok=True)
    if not resume:
        Ladder.forget(work_dir)
        for checkpoint in work_dir.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    for name in discard_incomplete(work_dir):
        reporter.message(f"{name} is incomplete and was left out.")
    for name in keep_resumable(work_dir):
        reporter.message(f"{name} was left out: it, or the best checkpoint that it goes with, is damaged.")


def _train(trainer: BedplateTrainer, checkpoint: Path | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise out_of_memory("The weights, gradients and moments alone do not fit into memory.") from error
        raise


def _lost_best(checkpoint: Path) -> str:
    best = best_of(checkpoint)
    lost = " The best one so far, {}, is gone: the best from now on is taken."
    return "" if (checkpoint.parent / best).exists() else lost.format(best)


def _trainer(plan: Plan, arguments: TrainingArguments, reporter: Reporter) -> BedplateTrainer:
    # In each step accelerate searches the path twice for this package, of an optimizer that nobody can choose here:
    # 0.3 % of a step of BERT-tiny. None stands for a module that is not there.
    sys.modules.setdefault("lomo_optim", None)  # type: ignore[arg-type]
    flow = Flow(plan.settings, reporter if arguments.process_index == 0 else None)
    trainer = BedplateTrainer(plan, arguments, flow)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _outcome(trainer: BedplateTrainer, plan: Plan, seconds: float) -> Trained:
    state, arguments = trainer.state, trainer.args
    # Over whole epochs this is exact.
    rows = (state.global_step - trainer.flow.first_step) * trainer.flow.rows_per_step
    busy = max(seconds - trainer.flow.seconds_aside, 1e-9)
    best_step = state.best_global_step or state.global_step
    losses = {entry["step"]: float(entry["eval_loss"]) for entry in state.log_history if "eval_loss" in entry}
    return Trained(
        steps=state.global_step,
        epochs=round(float(state.epoch or 0.0), 4),
        best_step=best_step,
        loss=losses.get(best_step),
        seconds=seconds,
        rows=rows,
        samples_per_second=rows / busy,
        is_writer=arguments.process_index == 0,
        save=trainer.write_model,
        changed=trainer.ladder.changed,
        forecast=trainer.forecast.to_json() if trainer.forecast else None,
    )
