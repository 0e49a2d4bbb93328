"""Plain PyTorch: the loop that one writes by hand, which ours is held against in speed and in quality.

AdamW with weight decay on matrices alone, 10 % of the steps to warm up, a linear fall, gradients clipped. No evaluation
on the way and no checkpoint: what the last step leaves is the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["at_random", "train_plainly"]

WARM_UP = 0.1


def train_plainly(plan: Any, batches: Iterator[list[int]], steps: int, after_step: Callable[[], None]) -> None:
    """Trains the plan's model on so many batches of row numbers, with the plan's rate, decay, clipping and loss."""
    import torch
    from transformers import get_linear_schedule_with_warmup, set_seed

    from bedplate_trainers.plan import inputs_of

    settings = plan.settings
    set_seed(settings.seed)
    model = plan.model.to(plan.device).train()
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARM_UP * steps), steps)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.precision)
    for _, rows in zip(range(steps), batches, strict=False):
        inputs = {name: value.to(plan.device) for name, value in plan.train.__getitems__(rows).items()}
        with torch.autocast(plan.device, dtype=dtype, enabled=dtype is not None):
            outputs = model(**inputs_of(inputs))
        (plan.objective.total(outputs, inputs) / plan.objective.items(inputs)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        after_step()


def at_random(rows: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Batches of row numbers without end: epoch after epoch in a new order, the last batch of each may be short."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(rows, generator=generator).tolist()
        yield from (order[at : at + batch_size] for at in range(0, rows, batch_size))
