"""Questions of our own that a tiny model can learn, with and without answers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from bedplate_serving.testing import WORDS

ASKED = {
    "what is the mood ?": ("good", "bad", "happy", "angry", "sad", "great", "terrible"),
    "which thing ?": ("card", "phone", "app crash", "order", "invoice"),
}
SAID = {word for answers in ASKED.values() for answer in answers for word in answer.split()}
FILLER = tuple(word for word in WORDS if word not in SAID)


def question_rows(count: int, seed: int = 0, longest: int = 14, without: float = 0.0) -> list[dict[str, Any]]:
    """A context names a thing, perhaps of two words, and a mood; a share `without` lacks what is asked for."""
    source = random.Random(seed)
    return [_row(source, longest, source.random() < without) for _ in range(count)]


def nested(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The same in SQuAD's own layout."""
    paragraphs = []
    for number, row in enumerate(rows):
        texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
        asked = {"id": str(number), "question": row["question"], "answers": answers, "is_impossible": not answers}
        paragraphs.append({"context": row["context"], "qas": [asked]})
    return {"version": "v2.0", "data": [{"title": "ours", "paragraphs": paragraphs}]}


def _row(source: random.Random, longest: int, is_impossible: bool) -> dict[str, Any]:
    pieces = source.choices(FILLER, k=source.randint(3, longest))
    asked = source.choice(sorted(ASKED))
    answer = ""
    for question, words in ASKED.items():
        if question == asked and is_impossible:
            continue
        chosen = source.choice(words)
        pieces.insert(source.randint(0, len(pieces)), chosen)
        answer = chosen if question == asked else answer
    context = " ".join(pieces)
    found = {"text": [answer], "answer_start": [context.index(answer)]} if answer else {"text": [], "answer_start": []}
    return {"question": asked, "context": context, "answers": found}
