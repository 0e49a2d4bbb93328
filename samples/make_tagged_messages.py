"""Write messages whose names, cities, dates and products are tagged, word for word, in BIO.

python samples/make_tagged_messages.py FOLDER [--seed 7] [--rows 1200]

train.jsonl and holdout.jsonl hold {"tokens": […], "tags": […]}, incoming.jsonl the tokens alone. A quarter of the
values is kept for the holdout side, so that a model has to tell a city it has never seen by what stands around it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedplate.demo_templates import VALUES

HOLDOUT_SHARE = 0.2
TYPES = {"name": "NAME", "city": "CITY", "date": "DATE", "thing": "PRODUCT"}
SENTENCES = (
    "the {thing} was sent to {city} on {date}",
    "{name} from {city} has returned the {thing}",
    "my {thing} is broken since {date} , please answer {name}",
    "is there a {thing} in your shop in {city} ?",
    "I paid for a {thing} and a {thing} on {date} and got only one",
    "the parcel for {name} went to {city} instead of {city}",
    "{name} signed for it on {date} , but nobody of that name lives here",
    "please change the address to {city} until {date}",
    "can I have my money back for the {thing} ? thanks , {name}",
    "nobody answers the phone on {date} , regards {name} , {city}",
    "where is my order ? I have waited for weeks now",
    "the {thing} that {name} bought in {city} has no plug",
)
Row = dict[str, list[str]]


def main() -> None:
    options = read_options()
    source = random.Random(options.seed)
    known, unseen = divide_values(source)
    held = round(options.rows * HOLDOUT_SHARE)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = [make_row(source, known) for _ in range(options.rows - held)]
    write(options.folder / "train.jsonl", rows)
    holdout = [make_row(source, unseen) for _ in range(held)]
    write(options.folder / "holdout.jsonl", holdout)
    write(options.folder / "incoming.jsonl", [{"tokens": row["tokens"]} for row in holdout[:50]])


def read_options() -> Any:
    parser = argparse.ArgumentParser(description="Write train.jsonl, holdout.jsonl and incoming.jsonl: tagged words.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same bytes (%(default)s)")
    parser.add_argument("--rows", type=int, default=1200, help="rows in both files together (%(default)s)")
    return parser.parse_args()


def divide_values(source: random.Random) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Of each kind three quarters, and the rest."""
    known, unseen = {}, {}
    for kind in TYPES:
        values = source.sample(VALUES[kind], len(VALUES[kind]))
        known[kind], unseen[kind] = values[len(values) // 4 :], values[: len(values) // 4]
    return known, unseen


def make_row(source: random.Random, values: dict[str, list[str]]) -> Row:
    """A sentence in lower or its own case, filled in."""
    row: Row = {"tokens": [], "tags": []}
    for piece in re.split(r"(\{[a-z]+\})", source.choice(SENTENCES)):
        kind = piece.strip("{}") if piece.startswith("{") else ""
        words = source.choice(values[kind]).split() if kind else piece.split()
        row["tokens"] += words
        row["tags"] += tags_of(words, TYPES.get(kind))
    if source.random() < 0.3:
        row["tokens"] = [word.lower() for word in row["tokens"]]
    return row


def tags_of(words: Sequence[str], type: str | None) -> list[str]:
    if type is None:
        return ["O"] * len(words)
    return [f"B-{type}", *[f"I-{type}"] * (len(words) - 1)]


def write(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
