"""transformers' Trainer, changed where a platform needs more of it.

* batches come from our own sampler, so that a resumed run draws what the undisturbed one would have drawn
* the loss is the recipe's, averaged over the items of the whole optimizer step
* validation rows are dealt to the processes and judged by the recipe, in any way the task wants
* the rows of a step go through the model in as many parts as memory allows, without a change of the result
* a checkpoint is marked complete when all of it is on disk; no pickled arguments are written; a full disk is waited for
* a run whose loss is no number stops, and names the rows
* figures and progress go to the reporter
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerState, TrainingArguments

from .checkpoints import best_of, mark_complete, prune
from .encoding import same
from .flow import Flow
from .ladder import Ladder, SteppedDown, is_out_of_memory
from .lora import save_adapter
from .plan import Batch, Judge, Objective, Plan, inputs_of
from .preflight import Forecast, check_disk, estimated_checkpoint, forecast_of, is_worth_it, raw_optimizer
from .room import PATIENCE_SECONDS, save_with_patience
from .sampling import LengthGroupedBatches, deal
from .steps import Step, StepRows
from .watch import LossWatch

__all__ = ["BedplateTrainer", "wait_for_all"]


class BedplateTrainer(Trainer):  # type: ignore[misc]
    """The Trainer with our batches, our loss, our judge and our mark on checkpoints."""

    loss_is_scaled_for_ga = True  # by `_get_num_items_in_batch`
    forecast: Forecast | None = None

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
        self.ladder = Ladder(plan.settings, plan.work_dir)
        self.watch = LossWatch(plan.settings, plan.row_numbers)
        self._steps = StepRows(plan.train, self.ladder)
        self._is_trying = False  # each process alone
        self._most_judged = plan.settings.per_device_eval_batch_size  # rows at once

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
        self.flow.steps_per_epoch = len(batches)
        self.flow.rows_per_step = len(self.train_dataset) / len(batches)
        return DataLoader(
            self._steps,
            batch_sampler=batches,
            collate_fn=same,
            pin_memory=arguments.device.type == "cuda",
            generator=torch.Generator().manual_seed(arguments.seed),  # leaves the global generator to dropout
        )

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any) -> Any:
        """Once model and optimizer are ready, the whole run is forecast; a resumed one was already."""
        prepared = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        if self.state.best_model_checkpoint is None:  # nothing can be worse than a best that is gone
            self.state.best_metric = self.state.best_global_step = None
        self.ladder.apply(self.model)
        is_sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if resume_from_checkpoint is None and not is_sharded:
            start = time.perf_counter()
            if is_worth_it(self):
                self._is_trying = True
                self.forecast = forecast_of(self, self.flow.reporter)
                self._is_trying = False
                self.ladder.agree(gather_object([self.ladder.rung]), self.model)
            elif self.args.should_save:
                check_disk(self, estimated_checkpoint(self))
            self.flow.seconds_aside += time.perf_counter() - start
        return prepared

    def training_step(self, model: Any, inputs: Step, num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of the rows of a step; where memory runs out, once more in smaller parts."""
        while True:
            try:
                loss = self._forward_backward(model, inputs, num_items_in_batch)
                break
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                message = f"{error}".partition("\n")[0]
            # Not in the handler above, where the error's traceback still holds what took the memory.
            model.zero_grad()
            self.step_down(message)
            inputs = self._steps.__getitems__(inputs.rows)
        self.watch.add(self.state.global_step + 1, inputs.rows, loss)
        return loss

    def _forward_backward(self, model: Any, step: Step, items: Any) -> torch.Tensor:
        """The loss of the step. Processes exchange gradients with the last part only."""
        losses = []
        for part, batch in enumerate(step.batches, 1):
            is_last = part == len(step.batches)
            self.accelerator.gradient_state._set_sync_gradients(is_last)
            with nullcontext() if is_last else self.accelerator.no_sync(model=model):
                losses.append(super().training_step(model, batch, items))
        return torch.stack(losses).sum()

    def try_step(self, rows: Sequence[int]) -> None:
        """A whole step with these rows, by this process alone, that is not counted: for a forecast."""
        step = self._steps.__getitems__(rows)
        items = torch.stack([self.objective.items(batch).float() for batch in step.batches]).sum()
        self.training_step(self.model, step, items.clamp(min=1e-9).to(self.args.device))
        self.watch.forget()
        raw_optimizer(self).step()
        self.model.zero_grad()

    def step_down(self, message: str = "") -> None:
        """The ladder's next rung. Several processes, which wait for each other, all begin on it anew (`launcher`)."""
        told = self.ladder.step_down(self.model)
        if self.args.world_size > 1 and not self._is_trying:
            raise SteppedDown(
                f"{told} Process {self.args.process_index} of {self.args.world_size} lacked it ({message}); all of them"
                " go on from the last checkpoint.",
                hint="Resume the job: it goes on from its last checkpoint with less at once.",
            )
        if self.flow.reporter is not None:
            self.flow.reporter.message(told)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        self.watch.add_norm(norm)
        return norm

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Nothing that has gone wrong is logged, judged or kept."""
        if self.watch.is_full or self.control.should_log or self.control.should_evaluate or self.control.should_save:
            self.watch.check(self.state.log_history)
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The part of this batch in the mean over the step. The processes' gradients are averaged, hence the factor."""
        total = self.objective.total(model(**inputs_of(inputs)), inputs)
        return total / num_items_in_batch * self.args.world_size

    def _get_num_items_in_batch(self, batch_samples: list[Step], device: torch.device) -> torch.Tensor:
        """The items of all parts of a step, in all processes."""
        batches = [batch for step in batch_samples for batch in step.batches]
        items = torch.stack([self.objective.items(batch).float() for batch in batches]).sum().to(device)
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
                found += zip(rows, self._predict(judge, rows), strict=True)
                self.flow.report("evaluate", number, len(batches), "batches")
        self.model.train(was_training)
        by_row = dict(gather_object(found) if arguments.world_size > 1 else found)
        return [by_row[row] for row in range(len(judge.lengths))]

    def judge_batch(self, judge: Judge, rows: Sequence[int]) -> None:
        """Judges these rows, and forgets it: for a forecast."""
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            self._predict(judge, rows)
        self.model.train()

    def _predict(self, judge: Judge, rows: Sequence[int]) -> list[Any]:
        """Predictions of these rows, in fewer at once where memory runs out."""
        found: list[Any] = []
        while len(found) < len(rows):
            part = rows[len(found) : len(found) + int(self._most_judged)]
            try:
                found += judge.predict(self.model, part, self.args.device)
            except (MemoryError, RuntimeError) as error:
                if len(part) == 1 or not is_out_of_memory(error):
                    raise
                self._most_judged = (len(part) + 1) // 2
        return found

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        start = time.perf_counter()
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        self._save_patiently(partial(self._write_checkpoint, folder, model, trial), folder)
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            prune(folder.parent, self.flow.settings.save_total_limit, Path(best).name if best else None)
        self.flow.seconds_aside += time.perf_counter() - start

    def _write_checkpoint(self, folder: Path, model: Any, trial: Any) -> None:
        if self.args.should_save and folder.exists():  # an old mark must not vouch for new files
            shutil.rmtree(folder)
        wait_for_all(self.args)
        super()._save_checkpoint(model, trial)
        wait_for_all(self.args)
        if self.args.should_save:
            mark_complete(folder)

    def write_model(self, folder: Path) -> None:
        """The weights as they are now, or the adapter. Called in every process, and once: weights that an adapter is to
        be merged with are let go, where the two would not have room beside them.
        """
        self._save_patiently(lambda: self.save_model(str(folder)), folder)
        if self.plan.settings.apply_lora and self.args.device.type == "cpu":
            self.model.to("meta")

    def _save_patiently(self, save: Callable[[], None], folder: Path) -> None:
        """Several processes do not wait for room on the disk, since those that have nothing to write would give up."""
        patience = PATIENCE_SECONDS if self.args.world_size == 1 else 0.0
        save_with_patience(save, folder, self.flow.reporter, patience_seconds=patience)

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
        best = checkpoint.parent / best_of(checkpoint) if self.args.load_best_model_at_end else checkpoint
        self.state.best_model_checkpoint = str(best if best.exists() else checkpoint)
        self._load_best_model()


def wait_for_all(arguments: TrainingArguments) -> None:
    if arguments.world_size > 1:
        torch.distributed.barrier()
