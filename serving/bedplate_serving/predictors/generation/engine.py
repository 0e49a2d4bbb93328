"""What writes texts with a model: one step of it, and the contract of the two ways to make many steps.

paged.py     transformers' continuous batching: a text joins while others are written
static.py    batches of `generate`: whatever the other one cannot do, and the offline path
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from bedplate_serving.halving import failure_of
from bedplate_serving.predictors.base import Piece
from bedplate_serving.predictors.generation.sampling import choose
from bedplate_serving.predictors.generation.writer import Text

__all__ = ["Engine", "Step", "Told", "advance", "forced"]

Step = list[tuple[Text, Piece | None]]  # a text and its new piece; None where it failed
Told = Callable[[Step], None]  # called from the engine's thread, once for each step of a batch


class Engine(Protocol):
    """Writes texts in a thread of its own and tells of every piece. `add` and `stop` may block, the others do not."""

    def start(self) -> None: ...

    def add(self, text: Text) -> None:
        """Called from one thread alone. A text that was left already is passed over."""

    def drop(self, text: Text) -> None:
        """Nobody waits for it any more: what it holds is freed. A text that is done may be dropped too."""

    def stop(self) -> None:
        """Ends the thread; what is not done by then fails. Blocks."""


def advance(texts: Sequence[Text], logits: torch.Tensor) -> tuple[list[int], Step]:
    """One token more for each text, from its row of `logits` [n, vocabulary]; done ones get token 0 and no piece."""
    tokens, step = [0] * len(texts), Step()
    rows = [row for row, text in enumerate(texts) if not text.is_done]
    if not rows:
        return tokens, step
    open_logits = logits if len(rows) == len(logits) else logits[rows]
    for row, chosen in zip(rows, choose([texts[row].chooser for row in rows], open_logits), strict=True):
        piece = None
        try:
            if isinstance(chosen, Exception):
                raise chosen
            piece = texts[row].write(chosen)
            tokens[row] = chosen.token
        except Exception as error:  # noqa: BLE001 - the neighbors' texts go on
            texts[row].fail(failure_of(error))
        step.append((texts[row], piece))
    return tokens, step


def forced(scores: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Scores in which the given token of each row is the only one. Written over the old ones."""
    places = torch.tensor(tokens, device=scores.device)[:, None]
    return scores.fill_(-torch.inf).scatter_(1, places, 0.0)
