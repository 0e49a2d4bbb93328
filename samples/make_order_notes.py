"""Write notes on orders with a summary of each, or, with --german, order lines in English with their German.

python samples/make_order_notes.py FOLDER [--german] [--seed 7] [--rows 1200]

train.jsonl and holdout.jsonl hold {"document", "summary"} or {"source", "target"}; incoming.jsonl has no answers.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedplate.demo_templates import VALUES

HOLDOUT_SHARE = 0.2
EVENTS = {
    "the {thing} came broken": "broken {thing}",
    "the {thing} has not come": "missing {thing}",
    "there were two of the {thing} in the box": "one {thing} too many",
    "we were charged twice for the {thing}": "{thing} charged twice",
}
SAID = (
    "{name} from {city} called on {date} and said that {event}.",
    "A letter from {city}: {event}. It is signed by {name}.",
    "On {date} {name} wrote that {event}.",
)
REST = (
    "The line was bad.",
    "I could not find the invoice at once.",
    "The weather in {city} is no help.",
    "Somebody else had asked already.",
    "Please call back in the afternoon.",
)
COUNTS = {"one": "ein", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf"}
COLORS = {"red": "rot", "blue": "blau", "green": "grün", "black": "schwarz", "white": "weiß"}
GOODS = {"lamp": "Lampe", "tent": "Zelt", "kettle": "Kessel", "chair": "Stuhl", "bag": "Tasche", "clock": "Uhr"}
LINES = {
    "please send {count} {good} , {color}": "bitte {count} mal {good} senden , {color}",
    "the {good} is {color} and not {other}": "{good} : {color} und nicht {other}",
    "I ordered {count} {good} and got {more}": "bestellt : {count} mal {good} , bekommen : {more}",
}
Row = dict[str, str]


def main() -> None:
    options = read_options()
    source = random.Random(options.seed)
    make = german_line if options.german else order_note
    rows = [make(source) for _ in range(options.rows)]
    held = round(options.rows * HOLDOUT_SHARE)
    options.folder.mkdir(parents=True, exist_ok=True)
    write(options.folder / "train.jsonl", rows[held:])
    write(options.folder / "holdout.jsonl", rows[:held])
    asked = "source" if options.german else "document"
    write(options.folder / "incoming.jsonl", [{asked: row[asked]} for row in rows[:20]])


def read_options() -> Any:
    parser = argparse.ArgumentParser(description="Write train.jsonl, holdout.jsonl and incoming.jsonl.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--german", action="store_true", help="order lines with their German, not notes")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same bytes (%(default)s)")
    parser.add_argument("--rows", type=int, default=1200, help="rows in both files together (%(default)s)")
    return parser.parse_args()


def order_note(source: random.Random) -> Row:
    """What happened, somewhere in a note, and who says so."""
    values = {kind: source.choice(VALUES[kind]) for kind in ("name", "city", "date", "thing")}
    event = source.choice(list(EVENTS))
    said = source.choice(SAID).format(event=event.format(**values), **values)
    sentences = [part.format(**values) for part in source.sample(REST, source.randint(1, 3))]
    sentences.insert(source.randint(0, len(sentences)), said)
    return {"document": " ".join(sentences), "summary": f"{values['name']}: {EVENTS[event].format(**values)}."}


def german_line(source: random.Random) -> Row:
    """An order line and its German."""
    line = source.choice(list(LINES))
    (count, more), (color, other) = source.sample(list(COUNTS), 2), source.sample(list(COLORS), 2)
    good = source.choice(list(GOODS))
    english = {"count": count, "more": more, "color": color, "other": other, "good": good}
    german = {name: {**COUNTS, **COLORS, **GOODS}[word] for name, word in english.items()}
    return {"source": line.format(**english), "target": LINES[line].format(**german)}


def write(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
