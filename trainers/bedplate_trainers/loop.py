"""transformers' Trainer, changed where a platform needs more of it.

* batches come from our own sampler, so that a resumed run draws what the undisturbed one would have drawn
* the loss is the recipe's, averaged over the items of the whole optimizer step
* validation rows are dealt to the processes and judged by the recipe, in any way the task wants
* a checkpoint is marked complete when all of it is on disk; no pickled arguments are written
* figures and progress go to the reporter
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments

from bedplate_registry.progress import Reporter

from .checkpoints import mark_complete, prune
from .encoding import same
from .lora import save_adapter
from .plan import Batch, Judge, Objective, Plan, inputs_of
from .sampling import LengthGroupedBatches, deal
from .settings import FinetuneSettings

__all__ = ["BedplateTrainer", "Flow", "has_stalled", "wait_for_all"]


class BedplateTrainer(Trainer):  # type: ignore[misc]
    """The Trainer with our batches, our loss, our judge and our mark on checkpoints."""

    loss_is_scaled_for_ga = True  # by `_get_num_items_in_batch`

    def __init__(self, plan: Plan, arguments: TrainingArguments, flow: Flow) -> None:
        super().__init__(
            model=plan.model,
            args=arguments,
            train_dataset=plan.train,
            eval_dataset=plan.train,  # only asked for whether it is there: `evaluate` is ours
            data_collator=same,
            callbacks=[flow],
        )
        self.control: Any
        self.plan = plan
        self.objective: Objective = plan.objective
        self.judge: Judge | None = plan.judge
        self.flow = flow

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
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The part of this batch in the mean over the step. The processes' gradients are averaged, hence the factor."""
        total = self.objective.total(model(**inputs_of(inputs)), inputs)
        return total / num_items_in_batch * self.args.world_size

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> torch.Tensor:
        """The items of all micro-batches of a step, in all processes."""
        items = torch.stack([self.objective.items(batch).float() for batch in batch_samples]).sum().to(device)
        if self.args.world_size > 1:
            items = self.accelerator.gather(items.reshape(1)).sum()
        return items.clamp(min=1e-9)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: it walks over all modules at each step, and nobody reads it."""
        return 0

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The recipe's scores of the validation rows."""
        start = time.perf_counter()
        assert self.judge is not None  # else no evaluation is planned
        scores = self.judge.scores(self._predictions(self.judge))
        figures = {f"eval_{name}": float(value) for name, value in scores.items()}
        self.log(figures)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        self.flow.seconds_aside += time.perf_counter() - start
        return figures

    def _predictions(self, judge: Judge) -> list[Any]:
        """What the model says of each row, in their order. Every process predicts equally many batches."""
        arguments, found = self.args, list[tuple[int, Any]]()
        batches = deal(judge.lengths, arguments.eval_batch_size, arguments.world_size, arguments.process_index)
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            for number, rows in enumerate(batches, 1):
                found += zip(rows, judge.predict(self.model, rows, arguments.device), strict=True)
                self.flow.report("evaluate", number, len(batches), "batches")
        self.model.train(was_training)
        by_row = dict(gather_object(found) if arguments.world_size > 1 else found)
        return [by_row[row] for row in range(len(judge.lengths))]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        start = time.perf_counter()
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save and folder.exists():  # an old mark must not vouch for new files
            shutil.rmtree(folder)
        wait_for_all(self.args)
        super()._save_checkpoint(model, trial)
        wait_for_all(self.args)
        if self.args.should_save:
            mark_complete(folder)
            best = self.state.best_model_checkpoint
            prune(folder.parent, self.flow.settings.save_total_limit, Path(best).name if best else None)
        self.flow.seconds_aside += time.perf_counter() - start

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Weights and config only: the Trainer's own would add pickled arguments. Of an adapted model the adapter."""
        if not self.args.should_save:
            return
        folder = output_dir or self.args.output_dir
        if self.plan.settings.apply_lora:
            save_adapter(self.model, Path(folder), self.plan.base_name, state_dict)
        else:
            self.model.save_pretrained(folder, state_dict=state_dict)

    def take_best_of(self, checkpoint: Path) -> None:
        """The state and the best weights of a run whose training was over when it died."""
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self.flow.first_step = self.state.global_step
        best = self.state.best_model_checkpoint if self.args.load_best_model_at_end else None
        self.state.best_model_checkpoint = best or str(checkpoint)
        self._load_best_model()


class Flow(TrainerCallback):  # type: ignore[misc]
    """Epochs to the sampler, figures and progress to the reporter, extra checkpoints, early stopping."""

    def __init__(self, settings: FinetuneSettings, reporter: Reporter | None) -> None:
        self.settings, self._reporter = settings, reporter
        self.batches: LengthGroupedBatches | None = None
        self.steps_per_epoch = 1
        self.first_step = 0
        self.seconds_aside = 0.0  # spent on evaluation and checkpoints

    def report(self, phase: str, done: float, total: float, unit: str) -> None:
        if self._reporter is not None:
            self._reporter.progress(phase, done, total, unit)

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
        self.report("train", state.global_step, state.max_steps, "steps")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if has_stalled(state.log_history, self.settings):
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


def has_stalled(log: Sequence[dict[str, float]], settings: FinetuneSettings) -> bool:
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


def wait_for_all(arguments: TrainingArguments) -> None:
    if arguments.world_size > 1:
        torch.distributed.barrier()


def _is_kept(name: str, value: Any) -> bool:
    """The Trainer's own timings and sums are left out."""
    timing = name.endswith(("_runtime", "_per_second", "_time")) or name.startswith(("train_", "total_"))
    return isinstance(value, int | float | np.floating) and not timing
