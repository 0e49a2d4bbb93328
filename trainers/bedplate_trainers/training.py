"""The training loop all recipes share: transformers' Trainer, changed where a platform needs more of it.

* batches come from our own sampler, so that a resumed run draws what the undisturbed one would have drawn
* the loss is the recipe's function of logits and targets, averaged over the batch
* a checkpoint is marked complete when all of it is on disk; no pickled arguments are written
* figures and progress go to the reporter
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from bedplate_registry.progress import Reporter

from .checkpoints import complete_checkpoints, discard_incomplete, mark_complete, prune, read_state
from .encoding import EncodedRows, same
from .launch import check_device, check_world
from .sampling import LengthGroupedBatches
from .settings import FinetuneSettings

__all__ = ["Loss", "Plan", "Trained", "is_finished", "train", "training_arguments"]

Array = np.ndarray[Any, Any]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Scores = Callable[[Array, Array], Mapping[str, float]]


@dataclass(frozen=True)
class Plan:
    """What to train, on what, and how it is judged."""

    model: Any
    train: EncodedRows
    validation: EncodedRows | None
    loss: Loss
    scores: Scores  # of validation logits and targets
    settings: FinetuneSettings  # resolved
    work_dir: Path
    device: str
    processes: int


@dataclass(frozen=True)
class Trained:
    """Where training ended. The plan's model holds the best weights."""

    steps: int
    epochs: float
    best_step: int
    seconds: float  # of this process; a resumed run counts from its resumption
    samples_per_second: float
    is_writer: bool


def train(plan: Plan, reporter: Reporter, *, resume: bool) -> Trained:
    """Trains, from the last complete checkpoint if `resume`, and leaves the best weights in the model."""
    arguments = training_arguments(plan)
    check_world(plan.processes, arguments.world_size)
    if arguments.process_index == 0:
        _prepare_folder(plan.work_dir, resume, reporter)
    _wait_for_all(arguments)
    trainer = _trainer(plan, arguments, reporter)
    check_device(plan.device, trainer.accelerator.device.type)
    checkpoint = next(iter(complete_checkpoints(plan.work_dir)), None)
    start = time.perf_counter()
    if checkpoint is not None and is_finished(read_state(checkpoint), plan.settings):
        trainer.take_best_of(checkpoint)
    else:
        if checkpoint is not None:
            reporter.message(f"Resuming from {checkpoint.name}.")
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return _outcome(trainer, plan, time.perf_counter() - start)


def training_arguments(plan: Plan) -> TrainingArguments:
    """Our settings in the Trainer's words."""
    settings, on_gpu = plan.settings, plan.device.startswith("cuda")
    evaluates = plan.validation is not None and settings.eval_strategy != "no"
    strategy = settings.eval_strategy if evaluates else "no"
    every = settings.eval_steps if strategy == "steps" else 500
    arguments = TrainingArguments(
        output_dir=str(plan.work_dir),
        use_cpu=not on_gpu,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        per_device_eval_batch_size=settings.per_device_eval_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        optim=settings.optim,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.adam_beta1,
        adam_beta2=settings.adam_beta2,
        adam_epsilon=settings.adam_epsilon,
        max_grad_norm=settings.max_grad_norm,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=settings.warmup_steps if settings.warmup_steps < 1 else int(settings.warmup_steps),
        seed=settings.seed,
        full_determinism=settings.enable_full_determinism,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        tf32=True if on_gpu and torch.cuda.get_device_capability()[0] >= 8 else None,
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
        label_names=["labels"],
        ddp_find_unused_parameters=False,
    )
    if on_gpu and plan.processes == 1:
        arguments._n_gpu = 1  # else a visible second card would be used through DataParallel
    return arguments


def is_finished(state: Mapping[str, Any], settings: FinetuneSettings) -> bool:
    """Whether nothing is left to train after a checkpoint: all steps are done, or it stopped early."""
    return state["global_step"] >= state["max_steps"] or _has_stalled(state["log_history"], settings)


def _has_stalled(log: list[dict[str, float]], settings: FinetuneSettings) -> bool:
    """Early stopping read off the log, which checkpoints keep, so that a resumed run stops where it would have."""
    if not settings.early_stopping_patience:
        return False
    name = f"eval_{settings.metric_for_best_model}"
    sign = -1.0 if name.endswith("loss") else 1.0
    best, waited = -math.inf, 0
    for value in (sign * entry[name] for entry in log if name in entry):
        waited = 0 if value > best + settings.early_stopping_threshold else waited + 1
        best = max(best, value)
    return waited >= settings.early_stopping_patience


def _prepare_folder(work_dir: Path, resume: bool, reporter: Reporter) -> None:
    work_dir.mkdir(parents=True, exist_ok=True)
    if not resume:
        for checkpoint in work_dir.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    for name in discard_incomplete(work_dir):
        reporter.message(f"{name} is incomplete and was left out.")


def _wait_for_all(arguments: TrainingArguments) -> None:
    if arguments.world_size > 1:
        torch.distributed.barrier()


def _trainer(plan: Plan, arguments: TrainingArguments, reporter: Reporter) -> _BedplateTrainer:
    def scores(prediction: EvalPrediction) -> dict[str, float]:
        return dict(plan.scores(prediction.predictions, prediction.label_ids))

    flow = _Flow(plan.settings, reporter if arguments.process_index == 0 else None)
    trainer = _BedplateTrainer(
        model=plan.model,
        args=arguments,
        train_dataset=plan.train,
        eval_dataset=plan.validation.longest_first() if plan.validation is not None else None,
        data_collator=same,
        compute_metrics=scores,
        callbacks=[flow],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.loss, trainer.flow = plan.loss, flow
    return trainer


def _outcome(trainer: _BedplateTrainer, plan: Plan, seconds: float) -> Trained:
    state, arguments = trainer.state, trainer.args
    rows = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    trained = (state.global_step - trainer.flow.first_step) * rows
    busy = max(seconds - trainer.flow.seconds_aside, 1e-9)
    return Trained(
        steps=state.global_step,
        epochs=round(float(state.epoch or 0.0), 4),
        best_step=state.best_global_step or state.global_step,
        seconds=seconds,
        samples_per_second=trained / busy,
        is_writer=arguments.process_index == 0,
    )


class _BedplateTrainer(Trainer):  # type: ignore[misc]
    """The Trainer with our batches, our loss and our mark on checkpoints."""

    loss: Loss
    flow: _Flow
    loss_is_scaled_for_ga = False  # `compute_loss` is a mean over its own batch

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Not prepared by accelerate, whose wrapper loses `set_epoch` after a resume; our sampler knows the ranks."""
        arguments = self.args
        batches = LengthGroupedBatches(
            self.train_dataset.lengths,
            self._train_batch_size,
            arguments.seed,
            arguments.world_size,
            arguments.process_index,
        )
        self.flow.batches = batches
        self.flow.steps_per_epoch = math.ceil(len(batches) / arguments.gradient_accumulation_steps)
        return DataLoader(
            self.train_dataset,
            batch_sampler=batches,
            collate_fn=same,
            pin_memory=arguments.device.type == "cuda",
            generator=torch.Generator().manual_seed(arguments.seed),  # leaves the global generator to dropout
        )

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        targets = inputs["labels"]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        loss = self.loss(outputs.logits.float(), targets)
        return (loss, {"loss": loss, "logits": outputs.logits}) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> None:
        """Not counted: the loss is a mean over each batch."""

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: it walks over all modules at each step, and nobody reads it."""
        return 0

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        start = time.perf_counter()
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save and folder.exists():  # an old mark must not vouch for new files
            shutil.rmtree(folder)
        _wait_for_all(self.args)
        super()._save_checkpoint(model, trial)
        _wait_for_all(self.args)
        if self.args.should_save:
            mark_complete(folder)
            best = self.state.best_model_checkpoint
            prune(folder.parent, self.flow.settings.save_total_limit, Path(best).name if best else None)
        self.flow.seconds_aside += time.perf_counter() - start

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Weights and config only: the Trainer's own would add pickled arguments."""
        if self.args.should_save:
            self.model.save_pretrained(output_dir or self.args.output_dir, state_dict=state_dict)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        start = time.perf_counter()
        try:
            return dict(super().evaluate(*args, **kwargs))
        finally:
            self.flow.seconds_aside += time.perf_counter() - start

    def take_best_of(self, checkpoint: Path) -> None:
        """The state and the best weights of a run whose training was over when it died."""
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self.flow.first_step = self.state.global_step
        best = self.state.best_model_checkpoint if self.args.load_best_model_at_end else None
        self.state.best_model_checkpoint = best or str(checkpoint)
        self._load_best_model()


class _Flow(TrainerCallback):  # type: ignore[misc]
    """Epochs to the sampler, figures and progress to the reporter, extra checkpoints, early stopping."""

    def __init__(self, settings: FinetuneSettings, reporter: Reporter | None) -> None:
        self.settings, self._reporter = settings, reporter
        self.batches: LengthGroupedBatches | None = None
        self.steps_per_epoch = 1
        self.first_step = 0
        self.seconds_aside = 0.0  # spent on evaluation and checkpoints
        self._eval_batches = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.first_step = state.global_step

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.batches is not None:
            self.batches.set_epoch(state.global_step // self.steps_per_epoch)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        ends_epoch = state.global_step % self.steps_per_epoch == 0
        every = int(self.settings.save_steps) if self.settings.save_steps != "auto" else 0
        if every and not ends_epoch and state.global_step % every == 0:
            control.should_save = True
        if state.global_step >= state.max_steps:
            control.should_log = True
        if self._reporter is not None:
            self._reporter.progress("train", state.global_step, state.max_steps, "steps")

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._eval_batches += 1
        if self._reporter is not None:
            total = len(kwargs["eval_dataloader"])
            self._reporter.progress("evaluate", self._eval_batches, total, "batches")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._eval_batches = 0
        if _has_stalled(state.log_history, self.settings):
            control.should_training_stop = True
            if self._reporter is not None:
                self._reporter.message(
                    f"Stopped early at step {state.global_step}: {self.settings.metric_for_best_model} did not rise"
                    f" for {self.settings.early_stopping_patience} evaluations."
                )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items() if _is_kept(name, value)}
        if self._reporter is not None and figures.keys() - {"epoch"}:
            self._reporter.metrics(state.global_step, figures)


def _is_kept(name: str, value: Any) -> bool:
    """The Trainer's own timings and sums are left out."""
    timing = name.endswith(("_runtime", "_per_second", "_time")) or name.startswith(("train_", "total_"))
    return isinstance(value, int | float) and not timing
