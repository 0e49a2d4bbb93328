"""How much of what goes through the model is padding: all that packing rows without padding could win.

It is counted over the real batches of a few epochs, of sources and targets where a task has both. Nothing is timed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from finetune_speed import subject_of

from bedplate_trainers.messages import FinetuneRequest

__all__ = ["padding_of"]

EPOCHS = 3
IGNORED = -100


def padding_of(request: FinetuneRequest) -> dict[str, Any]:
    """Shares of all tokens: in our batches, in batches of rows at random, and with rows as long as the longest."""
    from bedplate_trainers.sampling import LengthGroupedBatches

    plan = subject_of(request, 1).plan
    size, seed = int(plan.settings.per_device_train_batch_size), plan.settings.seed
    ours = LengthGroupedBatches(plan.train.lengths, size, seed)
    generator = np.random.default_rng(seed)
    shares: dict[str, list[float]] = {"ours": [], "random": []}
    for epoch in range(EPOCHS):
        ours.set_epoch(epoch)
        shares["ours"].append(_share(plan.train, ours))
        order = [int(row) for row in generator.permutation(len(plan.train))]
        shares["random"].append(_share(plan.train, (order[at : at + size] for at in range(0, len(order), size))))
    lengths = plan.train.lengths
    return {
        "rows": len(plan.train),
        "batch_size": size,
        "tokens_median": int(np.median(lengths)),
        "tokens_most": int(lengths.max()),
        "padding": {name: round(float(np.mean(found)), 4) for name, found in shares.items()}
        | {"longest": round(float(1 - lengths.mean() / lengths.max()), 4)},
    }


def _share(rows: Any, batches: Iterable[list[int]]) -> float:
    real = total = 0
    for numbers in batches:
        batch = rows.__getitems__(numbers)
        held = [batch["attention_mask"] > 0]
        if "decoder_input_ids" in batch:
            held.append(batch["labels"] != IGNORED)
        real += sum(int(mask.sum()) for mask in held)
        total += sum(mask.numel() for mask in held)
    return 1 - real / total
