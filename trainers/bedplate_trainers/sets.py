"""The rows of a fine-tune in their three parts: as given, or split off the training rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic

from bedplate_registry.errors import Refused
from bedplate_registry.progress import Reporter

from .messages import AUTO, DataFile, FinetuneRequest
from .settings import FinetuneSettings
from .splits import T, split_off, tell_twins

__all__ = ["Sets", "read_sets"]

FEWEST_TRAIN_ROWS = 10
TRAINING = "The training data"


@dataclass(frozen=True)
class Sets(Generic[T]):
    """Rows to train on, to judge by while training, and to report on at the end."""

    train: T
    validation: T | None
    test: T | None

    @property
    def held(self) -> dict[str, T]:
        """Those that are not trained on, by name."""
        parts = {"validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def counts(self) -> dict[str, int]:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: len(part.rows) if part is not None else 0 for name, part in parts.items()}


def read_sets(
    request: FinetuneRequest,
    settings: FinetuneSettings,
    read: Callable[[DataFile, str], T],
    reporter: Reporter,
    check_together: Callable[[Mapping[str, T]], None] = lambda files: None,
) -> Sets[T]:
    """Reads what is given and splits off the rest.

    `read(file, what)` gives the rows of a file, called `what` in messages; `check_together` sees all files.
    """
    rest = read(request.train, TRAINING)
    test = read(request.test, "The test data") if isinstance(request.test, DataFile) else None
    validation = read(request.validation, "The validation data") if isinstance(request.validation, DataFile) else None
    files = {TRAINING: rest, "The validation data": validation, "The test data": test}
    check_together({what: rows for what, rows in files.items() if rows is not None})
    count = len(rest.rows)  # fractions are of all rows, whichever part is split off first
    if request.test == AUTO:
        rest, test = _split(rest, settings.test_fraction, settings, "test", reporter)
    if request.validation == AUTO:
        fraction = settings.validation_fraction * count / len(rest.rows)
        rest, validation = _split(rest, fraction, settings, "validation", reporter)
    if len(rest.rows) < FEWEST_TRAIN_ROWS:
        raise Refused(
            f"There are {len(rest.rows)} rows to train on; at least {FEWEST_TRAIN_ROWS} are needed.",
            hint="Add rows, or give --validation and --test as files.",
            code="too-few-rows",
        )
    sets = Sets(rest, validation, test)
    for name, held in sets.held.items():
        tell_twins(held, rest, f"{name} rows", reporter)
    return sets


def _split(
    rows: T, fraction: float, settings: FinetuneSettings, purpose: str, reporter: Reporter
) -> tuple[T, T | None]:
    split = split_off(rows, fraction, settings.split_seed, purpose)
    if not split.held.rows:
        reporter.message(f"{len(rows.rows)} rows are too few to split off any for {purpose}: it is left out.")
        return rows, None
    return split.train, split.held
