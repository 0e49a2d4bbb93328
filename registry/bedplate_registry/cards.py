"""What a model card says in its front matter: license, languages, task, author, data and base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .licenses import license_of
from .texts import one_line

__all__ = ["CardFacts", "card_body", "card_facts", "read_card"]

MAX_FRONT_BYTES = 256 << 10
OTHER = "other"
MOST_NAMED = 50  # of a list in a card; none that people write is so long
MOST_READ = 1000
MOST_LEVELS = 50


@dataclass(frozen=True)
class CardFacts:
    """The parts of a card that Bedplate goes by. None and () where the card does not say."""

    license: str | None = None  # as licenses.py has several
    languages: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    author: str | None = None
    datasets: tuple[str, ...] = ()  # ids on the Hub
    base_model: tuple[str, ...] = ()  # ids on the Hub


def card_facts(value: Mapping[str, Any]) -> CardFacts:
    """The facts in a card's metadata, as the Hub gives it or as the front matter holds it."""
    licenses = _named(value.get("license"))
    if OTHER in licenses:  # which is none of the Hub's list: its name stands beside
        licenses += _named(value.get("license_name"))
    tag = value.get("pipeline_tag")
    return CardFacts(
        license=license_of(*licenses),
        languages=_named(value.get("language")),
        pipeline_tag=one_line(tag) or None if isinstance(tag, str) else None,
        author=next(iter(_named(value.get("author") or value.get("authors"))), None),
        datasets=_named(value.get("datasets")),
        base_model=_named(value.get("base_model")),
    )


def read_card(path: Path) -> CardFacts:
    """The facts in a README.md. A card without readable front matter says nothing; that is no error."""
    import yaml

    if not path.is_file():
        return CardFacts()
    with path.open("rb") as file:
        front, _ = _split(file.read(MAX_FRONT_BYTES).decode("utf-8", "replace"))
    try:
        value = yaml.load(front, Loader=_loader()) if _is_shallow(front) else None  # noqa: S506 - a safe one
    except (yaml.YAMLError, RecursionError, ValueError):
        return CardFacts()
    return card_facts(value) if isinstance(value, dict) else CardFacts()


def _is_shallow(front: str) -> bool:
    """Whether it has few levels: the reader in C would end this process at many."""
    import yaml

    depth = 0
    for event in yaml.parse(front, Loader=_loader()):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_LEVELS:
            return False
    return True


def _loader() -> Any:
    """YAML's safe one, in C where it is there, since cards with results are long. Without merges (`<<`): a few lines of
    them spell more than any memory holds."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return type("_Loader", (loader,), {"flatten_mapping": lambda self, node: None})


def card_body(text: str) -> str:
    """A card without its front matter."""
    return _split(text)[1]


def _split(text: str) -> tuple[str, str]:
    """Front matter, empty where there is none, and the rest."""
    text = text.replace("\r\n", "\n")
    front, end, rest = text.removeprefix("---\n").partition("\n---")
    if not text.startswith("---\n") or not end:
        return "", text
    return front, rest.partition("\n")[2]


def _named(value: Any) -> tuple[str, ...]:
    """Short texts of one line, each once."""
    return tuple(dict.fromkeys(line for text in _texts(value) if (line := one_line(text))))[:MOST_NAMED]


def _texts(value: Any) -> list[str]:
    """A card writes one text or a list of them. YAML 1.1 reads the language `no` (Norwegian) as false."""
    items = value if isinstance(value, list) else [value]
    return ["no" if item is False else item for item in items[:MOST_READ] if isinstance(item, str) or item is False]
