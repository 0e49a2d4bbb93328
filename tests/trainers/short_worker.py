"""A training worker whose process 1 has little memory: python -m short_worker REQUEST.json MOST_ROWS FITS

More rows than MOST_ROWS at once are too many for it, after FITS forward passes that fit all the same. With MOST_ROWS 0
there is memory for the steps of an adapter, and for no others.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from trainer_worker import main
from transformers import BertForSequenceClassification

forward = BertForSequenceClassification.forward


def limit(most_rows: int, fits: int) -> None:
    passes = 0

    def limited(self: Any, input_ids: torch.Tensor, **inputs: Any) -> Any:
        nonlocal passes
        passes += self.training
        most = most_rows or (len(input_ids) if any("lora_" in name for name, _ in self.named_parameters()) else 0)
        if self.training and passes > fits and len(input_ids) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        return forward(self, input_ids=input_ids, **inputs)

    BertForSequenceClassification.forward = limited


if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        limit(int(sys.argv[2]), int(sys.argv[3]))
    main(sys.argv[1])
