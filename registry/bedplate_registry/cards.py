"""What a model card says in its front matter: license, languages, task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .licenses import license_of

__all__ = ["CardFacts", "card_facts", "read_card"]

MAX_FRONT_BYTES = 256 << 10
OTHER = "other"


@dataclass(frozen=True)
class CardFacts:
    """The parts of a card that Bedplate goes by. None and () where the card does not say."""

    license: str | None = None  # as licenses.py has several
    languages: tuple[str, ...] = ()
    pipeline_tag: str | None = None


def card_facts(value: Mapping[str, Any]) -> CardFacts:
    """The facts in a card's metadata, as the Hub gives it or as the front matter holds it."""
    licenses = _texts(value.get("license"))
    if OTHER in licenses:  # which is none of the Hub's list: its name stands beside
        licenses += _texts(value.get("license_name"))
    tag = value.get("pipeline_tag")
    return CardFacts(
        license=license_of(*licenses),
        languages=tuple(_texts(value.get("language"))),
        pipeline_tag=tag if isinstance(tag, str) else None,
    )


def read_card(path: Path) -> CardFacts:
    """The facts in a README.md. A card without readable front matter says nothing; that is no error."""
    import yaml

    if not path.is_file():
        return CardFacts()
    with path.open("rb") as file:
        text = file.read(MAX_FRONT_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
    front, end, _ = text.removeprefix("---\n").partition("\n---")
    if not text.startswith("---\n") or not end:
        return CardFacts()
    try:
        value = yaml.safe_load(front)
    except (yaml.YAMLError, RecursionError, ValueError):
        return CardFacts()
    return card_facts(value) if isinstance(value, dict) else CardFacts()


def _texts(value: Any) -> list[str]:
    """A card writes one text or a list of them. YAML 1.1 reads the language `no` (Norwegian) as false."""
    items = value if isinstance(value, list) else [value]
    return ["no" if item is False else item for item in items if isinstance(item, str) or item is False]
