"""The catalog before import: the shipped list of well-known models (catalog.yaml), and what is asked of it.

    - {id: org/name, task: fill-mask, model_type: bert, license: MIT, parameters: 1_000, languages: [en], about: …}

What the Hub itself has is asked by `hubsearch`, with the same filters and the same entries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import Refused, nearest
from .names import Name
from .tasks import finetunable_tasks, get_task

__all__ = ["CatalogEntry", "Wanted", "parse_catalog", "shipped_catalog"]

SHIPPED = Path(__file__).with_name("catalog.yaml")
REQUIRED = {"id": str, "model_type": str, "license": str, "parameters": int, "about": str}
OPTIONAL = {"task": str, "languages": list}


@dataclass(frozen=True)
class CatalogEntry:
    """A model that can be imported."""

    model_id: str
    task: str | None  # one of the nine; None: a base, or a Hub's tag that says none of them
    model_type: str | None
    license: str | None
    parameters: int | None  # approximate in the shipped list
    languages: tuple[str, ...] = ()
    finetunable_tasks: tuple[str, ...] = ()
    about: str = ""  # what it is for
    gated: bool | None = None  # None: not known
    downloads: int | None = None  # in the last month, as the Hub counts

    def to_json(self) -> dict[str, Any]:
        return {key: list(item) if isinstance(item, tuple) else item for key, item in asdict(self).items()}


@dataclass(frozen=True)
class Wanted:
    """What an entry must be to be shown; what is None or empty says nothing."""

    query: str = ""  # each word in its id or in what it is for
    task: str | None = None
    finetunable_for: str | None = None
    license: str | None = None
    language: str | None = None
    min_parameters: int | None = None
    max_parameters: int | None = None

    def __post_init__(self) -> None:
        for task in (self.task, self.finetunable_for):
            if task is not None:
                get_task(task)

    def fits(self, entry: CatalogEntry, *, with_words: bool = True) -> bool:
        """Whether it is to be shown. `with_words=False` where somebody else matched the query."""
        text = f"{entry.model_id} {entry.about}".lower()
        return (
            self.task in (None, entry.task)
            and (self.finetunable_for is None or self.finetunable_for in entry.finetunable_tasks)
            and (self.license is None or self.license.lower() == (entry.license or "unknown").lower())
            and (self.language is None or self.language.lower() in entry.languages)
            and self._fits_in_size(entry.parameters)
            and (not with_words or all(word in text for word in self.query.lower().split()))
        )

    def _fits_in_size(self, parameters: int | None) -> bool:
        if self.min_parameters is None and self.max_parameters is None:
            return True
        low, high = self.min_parameters or 0, self.max_parameters
        return parameters is not None and parameters >= low and (high is None or parameters <= high)

    def among(self, entries: Iterable[CatalogEntry]) -> list[CatalogEntry]:
        """Those that fit, by id."""
        return sorted((entry for entry in entries if self.fits(entry)), key=lambda entry: entry.model_id)


@cache
def shipped_catalog() -> tuple[CatalogEntry, ...]:
    """The list that comes with Bedplate."""
    import yaml

    return parse_catalog(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))


def parse_catalog(items: Any) -> tuple[CatalogEntry, ...]:
    """The entries of a list. Raises Refused for what is missing, unknown or of the wrong kind, and for an id twice."""
    if not isinstance(items, list):
        raise _bad("", "is no list of models")
    entries = tuple(_entry(item) for item in items)
    ids = [entry.model_id for entry in entries]
    if twice := sorted({model_id for model_id in ids if ids.count(model_id) > 1}):
        raise _bad(twice[0], "is there twice")
    return entries


def _entry(item: Any) -> CatalogEntry:
    if not isinstance(item, dict):
        raise _bad(str(item)[:80], "is no mapping")
    model_id, known = str(item.get("id"))[:200], {**REQUIRED, **OPTIONAL}
    for key, value in item.items():
        if key not in known:
            raise Refused(
                f"The catalog's {model_id!r} has an unknown key {key!r}.", hint=nearest(str(key), known), code=CODE
            )
        if type(value) is not known[key] or not value:
            raise _bad(model_id, f"has a wrong {key}: {value!r}")
    if missing := sorted(REQUIRED.keys() - item.keys()):
        raise _bad(model_id, f"has no {', '.join(missing)}")
    return CatalogEntry(
        model_id=str(Name.parse(model_id)),
        task=get_task(item["task"]).name if "task" in item else None,
        model_type=item["model_type"],
        license=item["license"],
        parameters=item["parameters"],
        languages=tuple(item.get("languages", ())),
        finetunable_tasks=finetunable_tasks(item["model_type"]),
        about=item["about"],
    )


CODE = "bad-catalog"


def _bad(model_id: str, why: str) -> Refused:
    return Refused(f"The catalog's {model_id!r} {why}.", hint="See the head of catalog.yaml for its form.", code=CODE)
