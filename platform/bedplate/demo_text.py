"""From phrases to the text of one message: filling in the templates, then writing as customers do.

`Writer` fills templates for one message and never uses a value twice in it. `scruffy` and `retouched` add what
keyboards and haste add; neither harms the short words ("not", "never", "but") that carry the meaning.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from bedplate.demo_templates import CHATTER, CLOSINGS, GREETINGS, VALUES

__all__ = ["Writer", "retouched", "scruffy"]

_STATUS = re.compile(r"<([^<>/]*)/([^<>/]*)>")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([a-z]+)\d?\}")
_SENTENCE_START = re.compile(r"(^|[.!?] )([a-z])")
_LONG_WORD = re.compile(r"\b[a-z]{6,}\b")

_MISSPELLINGS = {
    "canceled": "cancelled", "received": "recieved", "refund": "refud", "address": "adress", "account": "acount",
    "charged": "chraged", "parcel": "parcle", "ordered": "orderd", "payment": "paymnet", "although": "altough",
    "through": "thru", "because": "bc", "please": "pls", "email": "e-mail", "money": "mony", "arrived": "arived",
}  # fmt: skip
_CONTRACTIONS = {
    "did not": "didn't", "do not": "don't", "does not": "doesn't", "was not": "wasn't", "is not": "isn't",
    "has not": "hasn't", "have not": "haven't", "I am": "I'm", "cannot": "can't", "could not": "couldn't",
    "it is": "it's", "that is": "that's", "I have": "I've", "I would like": "I'd like",
}  # fmt: skip


class Writer:
    """Fills the templates of one message."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._used: set[str] = set()

    def say(self, template: str, *, settled: bool = False) -> str:
        """One phrase. A slot that stands twice in the same phrase gets the same value."""
        known: dict[str, str] = {}
        text = _STATUS.sub(lambda m: m[2] if settled else m[1], template)
        while _CHOICE.search(text):
            text = _CHOICE.sub(lambda m: self._rng.choice(m[1].split("|")), text)
        while _SLOT.search(text):
            text = _SLOT.sub(lambda m: known.get(m[0]) or known.setdefault(m[0], self._value(m[1])), text)
        return text.strip()

    def letter(self, body: str) -> str:
        """The body with whatever greeting, chatter and closing this customer adds."""
        greeting = self._rng.choice(GREETINGS) + self._rng.choice((", ", "! ", ". ")) if self._chance(0.3) else ""
        chatter = self.say(self._rng.choice(CHATTER)) + ". " if self._chance(0.08) else ""
        closing = " " + self.say(self._rng.choice(CLOSINGS)) if self._chance(0.25) else ""
        end = "" if body.endswith("?") else "."
        return f"{greeting}{chatter}{body}{end}{closing}"

    def _value(self, slot: str) -> str:
        makers: dict[str, Callable[[], str]] = {"order": self._order, "amount": self._amount}
        make = makers.get(slot, lambda: self._rng.choice(VALUES[slot]))
        value = make()
        while value in self._used:
            value = make()
        self._used.add(value)
        return value

    def _order(self) -> str:
        number = self._rng.randint(1_000, 9_999)
        by_number = (f"order {number}", f"order #{number}", f"order no {number}")
        return self._rng.choice((*by_number, "my order from {date}", "the order to {city}"))

    def _amount(self) -> str:
        whole, cents = self._rng.randint(6, 240), self._rng.choice(("", "", ".50", ".99"))
        return self._rng.choice((f"${whole}{cents}", f"{whole}{cents} dollars", f"{whole}{cents} euros"))

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share


def scruffy(rng: random.Random, text: str) -> str:
    """The text as this customer types it: contractions, misspellings, casing, punctuation."""
    if rng.random() < 0.5:
        text = _replace_words(text, _CONTRACTIONS)
    if rng.random() < 0.15:
        text = text.replace("'", "")
    if rng.random() < 0.3:
        text = _replace_words(text, dict(rng.sample(list(_MISSPELLINGS.items()), 5)))
    if rng.random() < 0.2:
        text = _slip(rng, text)
    return _punctuate(rng, _case(rng, text))


def retouched(rng: random.Random, text: str) -> str:
    """A near-duplicate: the same message sent again with a slip of the finger or another ending."""
    change = rng.choice((_slip, _slip, _case, _punctuate))
    return change(rng, text)


def _replace_words(text: str, words: dict[str, str]) -> str:
    for word, other in words.items():
        text = re.sub(rf"\b{word}\b", other, text)
    return text


def _slip(rng: random.Random, text: str) -> str:
    """One letter of one long word dropped, doubled or swapped with the next."""
    words = list(_LONG_WORD.finditer(text))
    if not words:
        return text.rstrip(".!") + "!"
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 2)
    two = text[at : at + 2]
    return text[:at] + rng.choice((two[1], two[0] + two, two[::-1])) + text[at + 2 :]


def _case(rng: random.Random, text: str) -> str:
    style = rng.random()
    if style < 0.62:
        return _SENTENCE_START.sub(lambda m: m[1] + m[2].upper(), text)
    return text.upper() if style > 0.97 else text.lower()


def _punctuate(rng: random.Random, text: str) -> str:
    style = rng.random()
    if style < 0.2:
        return text.rstrip(".!")
    if style < 0.3:
        return text.rstrip(".!?") + rng.choice(("!!", "...", "!", "???" if text.endswith("?") else " :("))
    return text.replace(". ", " ") if style < 0.36 else text
