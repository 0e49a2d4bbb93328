"""How others fine-tune: transformers' Trainer with the defaults of its example scripts, and with AutoTrain's.

Rows are drawn at random, and padded to a fixed length where their users get that. They take the rows that ours takes,
tokenized beforehand: AutoTrain tokenizes a text each time it is drawn, which is not counted against it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["AUTOTRAIN", "EXAMPLE", "Approach", "Subject", "train_as"]

WRITERS = ("summarization", "translation")
IGNORED = -100


@dataclass(frozen=True)
class Subject:
    """What is trained: a recipe's plan, and the tokenizer that its rows were made with."""

    task: str
    plan: Any
    tokenizer: Any


@dataclass(frozen=True)
class Approach:
    """Of one task: rows a step, what each is padded to (None: the longest of its batch), and the optimizer."""

    batch_size: int
    tokens: int | None
    optim: str


# run_glue.py, run_ner.py, run_qa.py, run_summarization.py and run_translation.py of transformers, without a flag.
EXAMPLE = {
    "text-classification": Approach(8, 128, "adamw_torch_fused"),
    "token-classification": Approach(8, None, "adamw_torch_fused"),
    "question-answering": Approach(8, 384, "adamw_torch_fused"),
    "summarization": Approach(8, None, "adamw_torch_fused"),
    "translation": Approach(8, None, "adamw_torch_fused"),
}
# The parameters of AutoTrain Advanced (January 2025). Its windows of questions, 128 tokens of which 128 overlap, cannot
# be: they are as long as those of run_qa.py here. It would cut a document to 128 tokens; here it reads what ours does.
AUTOTRAIN = {
    "text-classification": Approach(8, 128, "adamw_torch"),
    "token-classification": Approach(8, 128, "adamw_torch"),
    "question-answering": Approach(8, 384, "adamw_torch"),
    "summarization": Approach(2, None, "adamw_torch"),
    "translation": Approach(2, None, "adamw_torch"),
}


def train_as(approach: Approach, subject: Subject, after_step: Callable[[], None]) -> None:
    """Trains the plan's model for the plan's number of steps, on rows drawn at random from the plan's."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback, TrainerCallback

    class AfterStep(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            after_step()

    plan, steps = subject.plan, int(subject.plan.settings.max_steps)
    generator = np.random.default_rng(plan.settings.seed)
    drawn = generator.permutation(len(plan.train))[: steps * approach.batch_size]
    rows = Dataset.from_list([_row(approach, subject, int(row)) for row in drawn])
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=approach.batch_size,
            optim=approach.optim,
            use_cpu=plan.device == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            log_level="error",
        )
        collator = _collator(approach, subject)
        trainer = Trainer(plan.model, arguments, collator, rows, callbacks=[AfterStep()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def _row(approach: Approach, subject: Subject, row: int) -> dict[str, Any]:
    """A row as the scripts keep it: lists, without what a model works out of the labels itself."""
    batch = subject.plan.train.__getitems__([row])
    taken = batch["attention_mask"][0].bool()
    found: dict[str, Any] = {}
    for name, (value,) in batch.items():
        if name == "labels" and subject.task in WRITERS:
            found[name] = value[value != IGNORED].tolist()
        elif name != "decoder_input_ids":
            found[name] = (value[taken][: approach.tokens] if value.ndim else value).tolist()
    return found if approach.tokens is None else _padded(found, subject.tokenizer, approach.tokens)


def _padded(row: dict[str, Any], tokenizer: Any, tokens: int) -> dict[str, Any]:
    pads = {
        "input_ids": tokenizer.pad_token_id,
        "token_type_ids": tokenizer.pad_token_type_id,
        "attention_mask": 0,
        "labels": IGNORED,
    }
    return {
        name: value + [pads[name]] * (tokens - len(value)) if isinstance(value, list) else value
        for name, value in row.items()
    }


def _collator(approach: Approach, subject: Subject) -> Any:
    from transformers import DataCollatorForSeq2Seq, DataCollatorForTokenClassification, default_data_collator

    if approach.tokens is not None:
        return default_data_collator
    if subject.task in WRITERS:
        return DataCollatorForSeq2Seq(subject.tokenizer, model=subject.plan.model)
    return DataCollatorForTokenClassification(subject.tokenizer)
