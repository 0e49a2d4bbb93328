"""Write small things that a model can be asked without being fine-tuned: words to guess, texts to go on, pictures.

python samples/make_evaluation_data.py FOLDER [--seed 7] [--pictures 6]

words.jsonl holds {"text", "answer", "topic"} with [MASK] in each text, prompts.jsonl {"prompt", "completion", "topic"}.
pictures/LABEL/N.png are drawn; their labels are those that models of ImageNet know.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

FACTS = (  # what they are on, how a sentence begins, and each thing with the word that ends it
    (
        "capitals",
        "{} is the capital of",
        "Paris France, Rome Italy, Berlin Germany, Madrid Spain, Tokyo Japan, Athens Greece, Cairo Egypt, Oslo Norway",
    ),
    (
        "opposites",
        "The opposite of {} is",
        "hot cold, big small, day night, black white, old new, left right, first last, up down, rich poor, good bad",
    ),
    (
        "days",
        "The day after {} is",
        "Monday Tuesday, Tuesday Wednesday, Thursday Friday, Friday Saturday, Saturday Sunday, Sunday Monday",
    ),
)
SIZE = 224
Row = dict[str, str]
Draw = Callable[[ImageDraw.ImageDraw, random.Random], None]


def main() -> None:
    options = read_options()
    options.folder.mkdir(parents=True, exist_ok=True)
    write(options.folder / "words.jsonl", [word(*fact) for fact in facts()])
    write(options.folder / "prompts.jsonl", [prompt(*fact) for fact in facts()])
    source = random.Random(options.seed)
    for label, draw in PICTURES.items():
        for number in range(options.pictures):
            picture(options.folder / "pictures" / label / f"{number}.png", draw, source)
    print(options.folder / "pictures")


def read_options() -> Any:
    parser = argparse.ArgumentParser(description="Write words.jsonl, prompts.jsonl and pictures.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7, help="the same seed draws the same pictures (%(default)s)")
    parser.add_argument("--pictures", type=int, default=6, help="pictures of each label (%(default)s)")
    return parser.parse_args()


def facts() -> Iterator[tuple[str, str, str]]:
    """What is asked about, how a sentence on it begins, and how it ends."""
    for topic, start, pairs in FACTS:
        for asked, answer in (pair.split() for pair in pairs.split(", ")):
            yield topic, start.format(asked), answer


def word(topic: str, start: str, answer: str) -> Row:
    return {"text": f"{start} [MASK].", "answer": answer, "topic": topic}


def prompt(topic: str, start: str, answer: str) -> Row:
    """The blank between the two belongs to the completion."""
    return {"prompt": start, "completion": f" {answer}.", "topic": topic}


def write(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(path)


# --- pictures ---


def picture(path: Path, draw: Draw, source: random.Random) -> None:
    """Something in the middle of a plain ground."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ground = tuple(source.randint(150, 230) for _ in range(3))
    image = Image.new("RGB", (SIZE, SIZE), ground)
    draw(ImageDraw.Draw(image), source)
    image.save(path)


def clock(draw: ImageDraw.ImageDraw, source: random.Random) -> None:
    middle, radius = SIZE / 2, source.randint(75, 95)
    draw.ellipse(around(middle, radius), fill="white", outline="black", width=8)
    for hour in range(12):
        x, y = hand(middle, radius * 0.78, hour / 12)
        draw.text((x, y), str(hour or 12), fill="black", anchor="mm", font_size=18)
    for length, width in ((0.5, 7), (0.7, 4)):
        draw.line([(middle, middle), hand(middle, radius * length, source.random())], fill="black", width=width)


def envelope(draw: ImageDraw.ImageDraw, source: random.Random) -> None:
    left, top, tone = source.randint(20, 40), source.randint(55, 75), source.randint(235, 250)
    right, bottom = SIZE - left, SIZE - top
    draw.rectangle((left, top, right, bottom), fill=(tone, tone - 10, tone - 35), outline="gray", width=2)
    draw.line([(left, top), (SIZE / 2, SIZE / 2 + 10), (right, top)], fill="gray", width=3, joint="curve")
    draw.line([(left, bottom), (SIZE / 2 - 25, SIZE / 2)], fill="lightgray", width=2)
    draw.line([(right, bottom), (SIZE / 2 + 25, SIZE / 2)], fill="lightgray", width=2)


def crossword(draw: ImageDraw.ImageDraw, source: random.Random) -> None:
    cell = SIZE // 11
    for place in range(11 * 11):
        y, x = divmod(place, 11)
        box = (x * cell, y * cell, (x + 1) * cell, (y + 1) * cell)
        is_black = source.random() < 0.25
        draw.rectangle(box, fill="black" if is_black else "white", outline="black")
        if not is_black:
            draw.text((box[0] + 10, box[1] + 10), source.choice("AEINORST"), fill="black", anchor="mm", font_size=13)


def traffic_light(draw: ImageDraw.ImageDraw, source: random.Random) -> None:
    middle, lit = SIZE / 2, source.randrange(3)
    draw.rectangle((middle - 6, 180, middle + 6, SIZE), fill="dimgray")
    draw.rounded_rectangle((middle - 38, 15, middle + 38, 190), radius=12, fill=(25, 25, 25))
    for number, color in enumerate(("red", "orange", "lime")):
        shown = color if number == lit else {"red": "#400", "orange": "#420", "lime": "#040"}[color]
        draw.ellipse((middle - 24, 25 + 54 * number, middle + 24, 73 + 54 * number), fill=shown)


def around(middle: float, radius: float) -> tuple[float, float, float, float]:
    return (middle - radius, middle - radius, middle + radius, middle + radius)


def hand(middle: float, length: float, turn: float) -> tuple[float, float]:
    """Where a hand of a clock ends; a whole turn is 1."""
    return middle + length * math.sin(2 * math.pi * turn), middle - length * math.cos(2 * math.pi * turn)


PICTURES: Mapping[str, Draw] = {
    "analog clock": clock,
    "crossword puzzle, crossword": crossword,
    "envelope": envelope,
    "traffic light, traffic signal, stoplight": traffic_light,
}


if __name__ == "__main__":
    main()
