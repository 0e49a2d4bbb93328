"""The sample data of `bedplate demo`: support messages of an online shop, each with what the customer wants handled.

    generate(seed)         labeled messages, each marked train or holdout
    write(folder, seed)    train.csv, holdout.csv (id, text, intent) and incoming.csv (id, text) for the batch step

The same seed gives the same bytes. Most messages also speak of a second matter that is settled, denied or somebody
else's, so that a model has to read the sentence and not only its words.

The split is by wording, not by row. Before anything is written, one wording of every phrase and one in five of the
frames around the phrases are kept for the holdout side, which uses no others; so a holdout message is put in words that
no training message has, whether as its subject or in passing (greetings, names and things are shared). Near-duplicates
stay on the side of their original, and all intents come in the same proportions on both sides.
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bedplate.demo_intents import INTENTS, Intent
from bedplate.demo_templates import CONTRAST_FRAMES, SETTLED_FRAMES
from bedplate.demo_text import Writer, retouched, scruffy

__all__ = ["EXAMPLE_MESSAGES", "LABELS", "ROWS", "SEED", "DemoFiles", "Message", "generate", "write"]

Side = Literal["train", "holdout"]

SEED = 7
ROWS = 1800
INCOMING_ROWS = 200
MINIMUM_ROWS = 20 * len(INTENTS)
LABELS: tuple[str, ...] = tuple(intent.name for intent in INTENTS)

HOLDOUT_SHARE = 0.2
NEAR_DUPLICATE_SHARE = 0.07
PLAIN_SHARE, CONTRAST_SHARE = 0.38, 0.22  # the rest tells of a settled matter besides
OPPOSITE_SHARE = 0.35

EXAMPLE_MESSAGES: tuple[str, ...] = (
    "Hi, last week I wrote that my refund was late, that is settled. Now you canceled order 4821 without asking me.",
    "I do not want to close my account, but the toaster was missing from the parcel.",
    "the order for the lamp went thru but my card was never charged, how do I pay?",
)


@dataclass(frozen=True)
class Message:
    """One customer message. `group` names the phrase it is built on; a group is never on both sides."""

    id: str
    text: str
    intent: str
    group: str
    side: Side


@dataclass(frozen=True)
class DemoFiles:
    """Where `write` put the files."""

    train: Path
    holdout: Path
    incoming: Path


def generate(seed: int = SEED, rows: int = ROWS) -> list[Message]:
    """`rows` labeled messages, training ones first. All texts differ."""
    if rows < MINIMUM_ROWS:
        raise ValueError(f"{rows} rows are too few for {len(LABELS)} intents. Ask for at least {MINIMUM_ROWS}.")
    rng = random.Random(seed)
    pools = _deal(rng)
    holdout_rows = round(rows * HOLDOUT_SHARE)
    seen: set[str] = set()
    train = _messages(rng, pools["train"], "train", rows - holdout_rows, seen)
    return train + _messages(rng, pools["holdout"], "holdout", holdout_rows, seen)


def write(folder: Path, seed: int = SEED, rows: int = ROWS) -> DemoFiles:
    """Write the three files into `folder`, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    files = DemoFiles(folder / "train.csv", folder / "holdout.csv", folder / "incoming.csv")
    messages = generate(seed, rows)
    for path, side in ((files.train, "train"), (files.holdout, "holdout")):
        _write_csv(path, ("id", "text", "intent"), [(m.id, m.text, m.intent) for m in messages if m.side == side])
    _write_csv(files.incoming, ("id", "text"), _incoming(seed))
    return files


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


# --- dealing out the phrases -------------------------------------------------------------------------------------

_DEALT = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True)
class _Phrase:
    """One wording of one phrase."""

    group: str
    template: str


@dataclass(frozen=True)
class _Pool:
    """The wordings of one side, by intent, and its frames."""

    clauses: dict[str, list[_Phrase]]
    asks: dict[str, list[_Phrase]]
    fine: dict[str, list[_Phrase]]
    settled_frames: list[str]
    contrast_frames: list[str]


def _deal(rng: random.Random) -> dict[Side, _Pool]:
    clauses = {i.name: _deal_wordings(rng, i.name, "clause", i.clauses) for i in INTENTS}
    asks = {i.name: _deal_wordings(rng, i.name, "ask", i.asks) for i in INTENTS}
    fine = {i.name: _deal_wordings(rng, i.name, "fine", i.fine) for i in INTENTS}
    settled, contrast = _deal_frames(rng, SETTLED_FRAMES), _deal_frames(rng, CONTRAST_FRAMES)
    sides: tuple[Side, Side] = ("train", "holdout")
    return {
        side: _Pool(
            {name: dealt[side] for name, dealt in clauses.items()},
            {name: dealt[side] for name, dealt in asks.items()},
            {name: dealt[side] for name, dealt in fine.items()},
            settled[side],
            contrast[side],
        )
        for side in sides
    }


def _deal_wordings(rng: random.Random, intent: str, kind: str, phrases: Sequence[str]) -> dict[Side, list[_Phrase]]:
    """Of every phrase, one wording to the holdout side and the others to the training side."""
    dealt: dict[Side, list[_Phrase]] = {"train": [], "holdout": []}
    for number, phrase in enumerate(phrases, start=1):
        match = _DEALT.search(phrase)
        assert match, f"{phrase!r} has no (a / b / c)"
        options = match[1].split(" / ")
        kept = rng.randrange(len(options))
        for n, option in enumerate(options):
            wording = phrase[: match.start()] + option + phrase[match.end() :]
            side: Side = "holdout" if n == kept else "train"
            dealt[side].append(_Phrase(f"{intent}/{kind}-{number}.{n + 1}", wording))
    return dealt


def _deal_frames(rng: random.Random, frames: Sequence[str]) -> dict[Side, list[str]]:
    shuffled = rng.sample(frames, len(frames))
    cut = round(len(frames) * HOLDOUT_SHARE)
    return {"train": shuffled[cut:], "holdout": shuffled[:cut]}


# --- messages ----------------------------------------------------------------------------------------------------


def _messages(rng: random.Random, pool: _Pool, side: Side, rows: int, seen: set[str]) -> list[Message]:
    drafts: list[_Draft] = []
    for intent, count in zip(INTENTS, _counts(rows), strict=True):
        originals = round(count * (1 - NEAR_DUPLICATE_SHARE))
        own: list[_Draft] = []
        while len(own) < count:
            draft = _draft(rng, pool, intent) if len(own) < originals else _again(rng, rng.choice(own))
            if draft.text not in seen:
                seen.add(draft.text)
                own.append(draft)
        drafts += own
    rng.shuffle(drafts)
    return [Message(f"{side}-{n:04d}", d.text, d.intent, d.group, side) for n, d in enumerate(drafts, start=1)]


def _counts(rows: int) -> list[int]:
    """How many rows each intent gets: by weight, and what rounding leaves over goes to the first ones."""
    whole = sum(intent.weight for intent in INTENTS)
    counts = [rows * intent.weight // whole for intent in INTENTS]
    return [count + (n < rows - sum(counts)) for n, count in enumerate(counts)]


@dataclass(frozen=True)
class _Draft:
    text: str
    intent: str
    group: str


def _draft(rng: random.Random, pool: _Pool, intent: Intent) -> _Draft:
    writer, kind = Writer(rng), rng.random()
    plain_ask = kind < PLAIN_SHARE * 0.6
    phrase = rng.choice((pool.asks if plain_ask else pool.clauses)[intent.name])
    body = writer.say(phrase.template)
    if kind >= PLAIN_SHARE + CONTRAST_SHARE:
        body = _with_settled(rng, writer, pool, intent, body)
    elif kind >= PLAIN_SHARE:
        body = _with_fine(rng, writer, pool, intent, body)
    return _Draft(scruffy(rng, writer.letter(body)), intent.name, phrase.group)


def _again(rng: random.Random, draft: _Draft) -> _Draft:
    return replace(draft, text=retouched(rng, draft.text))


def _with_settled(rng: random.Random, writer: Writer, pool: _Pool, intent: Intent, live: str) -> str:
    """The live problem in a frame that also tells of one which is settled or never was."""
    frame = writer.say(rng.choice(pool.settled_frames))
    other = rng.choice(pool.clauses[_other(rng, intent).name]).template
    told = writer.say(other, settled="{P}" in frame)
    return frame.replace("{L}", live).replace("{S}", told).replace("{P}", told)


def _with_fine(rng: random.Random, writer: Writer, pool: _Pool, intent: Intent, live: str) -> str:
    """The live problem beside something that is all right."""
    other = _other(rng, intent, but=intent.clashes)
    fine = writer.say(rng.choice(pool.fine[other.name]).template)
    return writer.say(rng.choice(pool.contrast_frames)).replace("{L}", live).replace("{F}", fine)


def _other(rng: random.Random, intent: Intent, but: str = "") -> Intent:
    """Any other intent, the opposite one of its pair more often than the rest."""
    place = INTENTS.index(intent)
    opposite = INTENTS[place + 1 if place % 2 == 0 else place - 1]
    if opposite.name != but and rng.random() < OPPOSITE_SHARE:
        return opposite
    return rng.choice([i for i in INTENTS if i.name not in (intent.name, but)])


def _incoming(seed: int) -> list[tuple[str, str]]:
    """Unlabeled mail for the batch step, with the two awkward rows that real mail has: an empty and an endless one."""
    texts = [m.text for m in generate(seed + 1_000_003, max(MINIMUM_ROWS, 5 * INCOMING_ROWS)) if m.side == "holdout"]
    texts = texts[:INCOMING_ROWS]
    texts[INCOMING_ROWS // 3] = ""
    texts[INCOMING_ROWS // 2] = " ".join(texts[:80])
    return [(f"incoming-{n:04d}", text) for n, text in enumerate(texts, start=1)]
