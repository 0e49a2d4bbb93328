"""Search spaces: of each setting that a sweep searches over the values to try, or a range to draw them from.

{"lora_r": [4, 8, 16], "learning_rate": {"from": 1e-5, "to": 1e-3, "scale": "log"},
 "num_train_epochs": {"from": 1, "to": 5, "whole": true}}
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from bedplate_registry.errors import Refused, nearest
from bedplate_trainers.settings import FinetuneSettings

__all__ = ["Choices", "Range", "Space", "corners_of", "read_search", "size_of", "space_of"]

MOST_COMBINATIONS = 10**9
SCALES = ("linear", "log")
KEYS = ("from", "to", "scale", "whole")
BY_FACTORS = ("learning_rate", "adam_epsilon")  # what matters in them is how many times as much: on a log scale
DIGITS = 4  # of a number that is drawn: more would say nothing, and people read them
# Trials that differ in these are judged on other rows, or for other labels: none could be called the best.
SHARED = ("split_seed", "validation_fraction", "test_fraction", "class_names")
Choices = list[Any]


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included."""

    low: float
    high: float
    scale: str
    whole: bool

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Range:
        return cls(value["from"], value["to"], value["scale"], value["whole"])

    def to_json(self) -> dict[str, Any]:
        return {"from": self.low, "to": self.high, "scale": self.scale, "whole": self.whole}

    def at(self, share: float) -> float | int:
        """The number at a share of the range, from 0 up to 1; of whole ones each has the same share of a linear one."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.scale == "log":
            found = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            found = low + share * (high - low)
        return self.near(found)

    def near(self, number: float) -> float | int:
        """The number of the range that is nearest to one, with as many digits as are told."""
        told = round(number) if self.whole else float(f"{number:.{DIGITS}g}")
        return type(told)(min(max(told, self.low), self.high))


Space = dict[str, Choices | Range]


def read_search(search: Mapping[str, Any], fixed: Mapping[str, Any], task: str) -> dict[str, Any]:
    """A search as it is kept: each value as the settings of a fine-tune read it, each range with its scale.

    Raises Refused.
    """
    if not search:
        raise Refused("search names no setting.", hint='Give {"learning_rate": [1e-4, 3e-4]}, for one.')
    found: dict[str, Any] = {}
    for name, value in search.items():
        if name in SHARED:
            raise Refused(f"{name} cannot be searched over: all trials share one split and its labels.")
        if name in fixed:
            raise Refused(f"{name} is both in settings and in search.", hint="Leave it out of one of them.")
        found[name] = _range(name, value, task).to_json() if isinstance(value, Mapping) else _choices(name, value, task)
    return found


def space_of(search: Mapping[str, Any]) -> Space:
    """What `read_search` gave, to be drawn from."""
    return {name: Range.from_json(each) if isinstance(each, Mapping) else each for name, each in search.items()}


def size_of(space: Space) -> int | None:
    """How many combinations there are; None where a range of any numbers has no end of them. Raises Refused."""
    if any(isinstance(each, Range) and not each.whole for each in space.values()):
        return None
    size = math.prod(int(each.high - each.low) + 1 if isinstance(each, Range) else len(each) for each in space.values())
    if size > MOST_COMBINATIONS and not any(isinstance(each, Range) for each in space.values()):
        raise Refused(f"search has {size} combinations, more than {MOST_COMBINATIONS}.", hint="Give fewer values.")
    return size


def corners_of(space: Space) -> Iterator[dict[str, Any]]:
    """Every combination of the values and of the ends of the ranges; the last setting changes first."""
    each = [[one.near(one.low), one.near(one.high)] if isinstance(one, Range) else one for one in space.values()]
    return (dict(zip(space, values, strict=True)) for values in itertools.product(*each))


def _choices(name: str, values: Any, task: str) -> Choices:
    if not isinstance(values, list | tuple) or not values:
        raise Refused(
            f"search: {name}={values!r} is not a list of values, and no range.",
            hint='Give one or more in a list, or {"from": 1e-5, "to": 1e-3}.',
        )
    read = [_read(name, value, task) for value in values]
    if twice := [value for at, value in enumerate(read) if value in read[:at]]:
        raise Refused(f"search: {name} has {twice[0]!r} twice.", hint="Give each value once.")
    return read


def _range(name: str, given: Mapping[str, Any], task: str) -> Range:
    for key in given:
        if key not in KEYS:
            raise Refused(f"search: {name} has {key!r}.", hint=nearest(str(key), KEYS), code="unknown-setting")
    if not {"from", "to"} <= given.keys():
        raise Refused(f"search: the range of {name} lacks an end.", hint='Give {"from": 1e-5, "to": 1e-3}.')
    low, high = (_end(name, given[key], task) for key in ("from", "to"))
    scale = given.get("scale") or ("log" if name in BY_FACTORS else "linear")
    if scale not in SCALES:
        raise Refused(f"search: {name} has the scale {scale!r}.", hint=nearest(str(scale), SCALES))
    is_whole = _kind(name) == "integer"
    whole = given.get("whole", is_whole)
    if not isinstance(whole, bool) or (is_whole and not whole):
        raise Refused(f"search: {name} has whole={whole!r}.", hint="Give true or false; true for what is always whole.")
    if not low < high:
        raise Refused(f"search: {name} goes from {low:g} to {high:g}.", hint="Give the lower end first.")
    if scale == "log" and low <= 0:
        raise Refused(f"search: {name} is from {low:g} on a log scale.", hint="Begin above 0, or take scale linear.")
    if whole and (low != int(low) or high != int(high)):
        raise Refused(f"search: {name} is whole, from {low:g} to {high:g}.", hint="Give ends that are whole numbers.")
    return Range(int(low), int(high), scale, whole) if whole else Range(low, high, scale, whole)


def _end(name: str, value: Any, task: str) -> float:
    """One end of a range, which the setting must take and which must be a number. What lies between is taken."""
    read = _read(name, value, task)
    if _kind(name) not in ("real", "integer") or isinstance(read, str):
        raise Refused(f"search: {name} has no range.", hint="Give its values in a list.")
    about = _about(name)
    if not about["low"] <= read <= about["high"]:  # such as -1 for none
        raise Refused(
            f"search: {name} is from {read:g}, which stands for something else than a number.",
            hint=f"Begin with {about['low']:g} or more.",
        )
    return float(read)


def _read(name: str, value: Any, task: str) -> Any:
    if value is None or value == "":  # alone it would be the default: a trial that nobody asked for
        raise Refused(f"search: {name} has an empty value.", hint="Leave it out; auto is written as auto.")
    return FinetuneSettings.each_from_mapping({name: value}, task).to_json(task)[name]


def _about(name: str) -> Mapping[str, Any]:
    return next(one.metadata for one in fields(FinetuneSettings) if one.name == name)


def _kind(name: str) -> str:
    return str(_about(name)["kind"])
