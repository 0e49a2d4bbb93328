"""A run whose loss is no number, or has run away, stops and names the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import BertForSequenceClassification

from bedplate_registry.errors import BedplateError
from bedplate_trainers.checkpoints import complete_checkpoints
from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.settings import FinetuneSettings
from bedplate_trainers.watch import LossWatch, has_run_away

SETTINGS = replace(FinetuneSettings(), learning_rate=0.5, precision="fp32")
forward = BertForSequenceClassification.forward


def stopped(watch: LossWatch, log: Any = ()) -> BedplateError:
    with pytest.raises(BedplateError) as caught:
        watch.check(log)
    assert caught.value.code == "diverged"
    return caught.value


def test_the_first_step_without_a_number_is_named_with_its_rows_of_the_file() -> None:
    watch = LossWatch(SETTINGS, numbers=[11, 22, 33, 44])
    for step, (loss, rows) in enumerate([(1.0, [0, 1]), (math.nan, [3, 2]), (math.inf, [0])], 1):
        watch.add(step, rows, torch.tensor(loss))
        watch.add_norm(torch.tensor(1.0))
    error = stopped(watch)
    assert error.message == (
        "At step 2 the loss or its gradient is not a number: training stopped, and its last checkpoint is from before"
        " that. The step is of these rows of the training data: 33, 44."
    )
    assert error.hint == "Set learning_rate lower (it is 0.5); look at these rows."
    watch.check([])  # nothing new


def test_a_gradient_that_is_no_number_counts_but_for_fp16_which_skips_such_steps() -> None:
    for precision in ("fp32", "fp16"):
        watch = LossWatch(replace(SETTINGS, precision=precision), None)
        watch.add(1, [0], torch.tensor(1.0))
        watch.add_norm(torch.tensor(math.inf))
        if precision == "fp32":
            stopped(watch)
        else:
            watch.check([])


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([2.0, 30.0, 40.0, 50.0], True),
        ([2.0, 30.0, 1.0, 50.0], False),
        ([2.0, 30.0, 40.0], False),
        ([0.01, 0.9, 0.8, 0.9], False),  # a head that knew these rows, and then learns others
        ([], False),
    ],
)
def test_a_loss_has_run_away_when_it_stays_far_above_where_it_began(losses: list[float], expected: bool) -> None:
    log = [{"loss": loss, "epoch": 0.1} for loss in losses] + [{"eval_loss": 1e9}]
    assert has_run_away(log) is expected
    if expected:
        assert "risen from 2 to 50" in stopped(LossWatch(SETTINGS, None), log).message


def test_a_run_stops_before_what_is_wrong_is_logged_or_kept(
    make_request: Callable[..., FinetuneRequest], synthetic: Any, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = 0

    def breaks(self: Any, **inputs: Any) -> Any:
        nonlocal passes
        outputs = forward(self, **inputs)
        passes += self.training
        if self.training and passes == 5:
            outputs.logits = outputs.logits * math.nan
        return outputs

    monkeypatch.setattr(BertForSequenceClassification, "forward", breaks)
    rows = synthetic(20)
    settings = {"save_steps": 2, "logging_steps": 4, "per_device_train_batch_size": 4, "save_total_limit": 9}
    request = make_request(rows, validation=None, test=None, settings={**settings, "num_train_epochs": 5})
    with pytest.raises(BedplateError, match="At step 5 the loss") as caught:
        finetune(request, recorder, resume=False)
    numbers = caught.value.message.rpartition(": ")[2].rstrip(".").split(", ")
    assert len(numbers) == 4
    assert set(map(int, numbers)) <= set(range(1, 21))
    assert [step for step, values in recorder.figures if "loss" in values] == [4]
    assert [path.name for path in complete_checkpoints(request.work_dir)] == ["checkpoint-4", "checkpoint-2"]
