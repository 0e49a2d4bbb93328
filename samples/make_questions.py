"""Write notes on deliveries with questions about them, of which some have no answer: SQuAD's own layout, and flat rows.

python samples/make_questions.py FOLDER [--seed 7] [--rows 1500]

train.json is nested as SQuAD's files are, holdout.jsonl has a row for each question, incoming.jsonl the same without
the answers. A quarter of the things, places, dates and names is kept for the holdout side.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bedplate.demo_templates import VALUES

HOLDOUT_SHARE = 0.2
SAID_SHARE = 0.75  # of what could be said of a thing
# What is said of a thing, with the question that it answers.
FACTS = {
    "city": ("The {thing} was sent to {city}.", "Where was the {thing} sent?"),
    "date": ("We packed the {thing} on {date}.", "When was the {thing} packed?"),
    "name": ("{name} signed for the {thing}.", "Who signed for the {thing}?"),
}
FILLER = (
    "Nobody answered the phone.",
    "The parcel was heavy.",
    "All of it was paid in advance.",
    "The driver came twice.",
)


def main() -> None:
    options = read_options()
    source = random.Random(options.seed)
    known, unseen = divide_values(source)
    held = round(options.rows * HOLDOUT_SHARE)
    options.folder.mkdir(parents=True, exist_ok=True)
    paragraphs = list(make_paragraphs(source, known, options.rows - held))
    write(options.folder / "train.json", [{"version": "1", "data": [{"title": "Parcels", "paragraphs": paragraphs}]}])
    rows = [row for paragraph in make_paragraphs(source, unseen, held) for row in flat(paragraph)]
    write(options.folder / "holdout.jsonl", rows)
    write(options.folder / "incoming.jsonl", [{key: row[key] for key in ("question", "context")} for row in rows[:50]])


def read_options() -> Any:
    parser = argparse.ArgumentParser(description="Write train.json, holdout.jsonl and incoming.jsonl: questions.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same bytes (%(default)s)")
    parser.add_argument("--rows", type=int, default=1500, help="questions in both files together (%(default)s)")
    return parser.parse_args()


def divide_values(source: random.Random) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Of each kind three quarters, and the rest."""
    known, unseen = {}, {}
    for kind in ("thing", *FACTS):
        values = source.sample(VALUES[kind], len(VALUES[kind]))
        known[kind], unseen[kind] = values[len(values) // 4 :], values[: len(values) // 4]
    return known, unseen


def make_paragraphs(source: random.Random, values: dict[str, list[str]], count: int) -> Iterable[dict[str, Any]]:
    """Notes on two things each, with three questions each, `count` of these together."""
    asked = 0
    while asked < count:
        things = source.sample(values["thing"], 2)
        said = {(thing, kind): source.choice(values[kind]) for thing in things for kind in FACTS}
        said = {key: value for key, value in said.items() if source.random() < SAID_SHARE}
        sentences = [FACTS[kind][0].format(**{"thing": thing, kind: value}) for (thing, kind), value in said.items()]
        sentences += source.sample(FILLER, 2)
        source.shuffle(sentences)
        context = " ".join(sentences)
        chosen = source.sample([(thing, kind) for thing in things for kind in FACTS], 3)
        questions = [make_question(context, *key, said.get(key), asked + place) for place, key in enumerate(chosen)]
        yield {"context": context, "qas": questions[: count - asked]}
        asked += len(questions)


def make_question(context: str, thing: str, kind: str, value: str | None, number: int) -> dict[str, Any]:
    """The answer is the value in the sentence about the thing: another thing may have the same."""
    sentence, question = FACTS[kind]
    answers = []
    if value is not None:
        whole = sentence.format(**{"thing": thing, kind: value})
        answers = [{"text": value, "answer_start": context.index(whole) + whole.index(value)}]
    asked = question.format(thing=thing)
    return {"id": str(number), "question": asked, "answers": answers, "is_impossible": value is None}


def flat(paragraph: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for asked in paragraph["qas"]:
        answers = {part: [one[part] for one in asked["answers"]] for part in ("text", "answer_start")}
        yield {"question": asked["question"], "context": paragraph["context"], "answers": answers}


def write(path: Path, rows: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
