"""Tagged rows of our own that a tiny model can learn."""

from __future__ import annotations

import random
from typing import Any

from bedplate_serving.testing import WORDS

THINGS, PARTS = ("card", "phone", "app"), ("crash", "error")
MOODS = ("good", "bad", "happy", "angry", "sad", "great", "terrible")
FILLER = tuple(word for word in WORDS if word not in (*THINGS, *PARTS, *MOODS))


def tagged_rows(count: int, seed: int = 0, longest: int = 9) -> list[dict[str, Any]]:
    """Sentences with a thing, perhaps of two words, and a mood. A `crash` by itself is nothing."""
    source = random.Random(seed)
    return [_row(source, longest) for _ in range(count)]


def _row(source: random.Random, longest: int) -> dict[str, Any]:
    pieces = [[(word, "O")] for word in source.choices(FILLER, k=source.randint(2, longest))]
    thing = [(source.choice(THINGS), "B-THING")]
    if source.random() < 0.5:
        thing.append((source.choice(PARTS), "I-THING"))
    for piece in (thing, [(source.choice(MOODS), "B-MOOD")], [("crash", "O")]):
        pieces.insert(source.randint(0, len(pieces)), piece)
    words = [pair for piece in pieces for pair in piece]
    return {"tokens": [word for word, _ in words], "tags": [tag for _, tag in words]}
