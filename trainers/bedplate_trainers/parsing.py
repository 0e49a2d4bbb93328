"""Settings as frozen dataclasses: each field says its kind, its range and what it is for, and one function checks them.

Values may come from YAML, JSON or a command line, so a number written as text (`3e-5` in YAML is one) is read as such.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any, NoReturn, TypeVar

from bedplate_registry.errors import Refused, nearest

__all__ = ["AUTO", "choice", "flag", "integer", "names", "of_task", "parse_settings", "real", "text", "words"]

AUTO = "auto"
T = TypeVar("T")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


# `tasks` are those that a setting belongs to; none means all of them.
Tasks = tuple[str, ...]


def real(default: Any, low: float, high: float, doc: str, *, auto: bool = False, tasks: Tasks = ()) -> Any:
    return _field(default, kind="real", low=low, high=high, auto=auto, doc=doc, tasks=tasks)


def integer(
    default: Any, low: int, high: int, doc: str, *, auto: bool = False, also: Iterable[int] = (), tasks: Tasks = ()
) -> Any:
    return _field(default, kind="integer", low=low, high=high, auto=auto, also=tuple(also), doc=doc, tasks=tasks)


def choice(default: str, options: Iterable[str], doc: str, *, tasks: Tasks = ()) -> Any:
    return _field(default, kind="choice", options=tuple(options), doc=doc, tasks=tasks)


def flag(default: bool | str, doc: str, *, auto: bool = False, tasks: Tasks = ()) -> Any:
    return _field(default, kind="flag", auto=auto, doc=doc, tasks=tasks)


def text(default: str, doc: str, *, tasks: Tasks = ()) -> Any:
    return _field(default, kind="text", doc=doc, tasks=tasks)


def words(default: str, doc: str, *, tasks: Tasks = ()) -> Any:
    """A text that is taken as it is: blanks at its ends count, and it may be empty."""
    return _field(default, kind="words", doc=doc, tasks=tasks)


def names(doc: str, *, auto: bool = False, tasks: Tasks = ()) -> Any:
    return _field(AUTO if auto else (), kind="names", auto=auto, doc=doc, tasks=tasks)


def _field(default: Any, **about: Any) -> Any:
    return field(default=default, metadata=about)


def of_task(kind: type[Any], task: str) -> dict[str, Field[Any]]:
    """The settings that a task has, by name."""
    return {item.name: item for item in fields(kind) if task in (item.metadata["tasks"] or (task,))}


def parse_settings(
    kind: type[T], values: Mapping[str, Any], task: str, renamed: Mapping[str, str], unsupported: Mapping[str, str]
) -> T:
    """The settings of a mapping, or Refused naming the first one that is unknown, of other tasks, or wrong."""
    known = of_task(kind, task)
    parsed = {}
    for name, value in values.items():
        if name not in known:
            _refuse_other_task(kind, str(name), task)
            _unknown(str(name), known, renamed, unsupported)
        parsed[name] = _parse(known[name], value)
    return kind(**parsed)


def _refuse_other_task(kind: type[Any], name: str, task: str) -> None:
    tasks = next((item.metadata["tasks"] for item in fields(kind) if item.name == name), ())
    if tasks:
        raise Refused(
            f"{task} has no setting {name!r}.", hint=f"It is one of {' and '.join(tasks)}.", code="unknown-setting"
        )


def _unknown(name: str, known: Iterable[str], renamed: Mapping[str, str], unsupported: Mapping[str, str]) -> NoReturn:
    if name in renamed:
        raise Refused(f"There is no setting {name!r}.", hint=f"Here it is {renamed[name]}.", code="renamed-setting")
    if name in unsupported:
        hint = f"Leave it out: {unsupported[name]}."
        raise Refused(f"The setting {name!r} is not supported.", hint=hint, code="unsupported-setting")
    raise Refused(f"There is no setting {name!r}.", hint=nearest(name, known), code="unknown-setting")


def _parse(spec: Field[Any], value: Any) -> Any:
    about = spec.metadata
    if about.get("auto") and value == AUTO:
        return AUTO
    if value is None and spec.default is not MISSING:
        return spec.default
    return _PARSERS[about["kind"]](spec.name, value, about)


def _real(name: str, value: Any, about: Mapping[str, Any]) -> float:
    number = _number(value)
    if number is None or not about["low"] <= number <= about["high"]:
        _wrong(name, value, f"a number from {about['low']:g} to {about['high']:g}", about)
    return number


def _integer(name: str, value: Any, about: Mapping[str, Any]) -> int:
    number = _number(value)
    fits = number is not None and number == int(number)
    if not fits or not (about["low"] <= int(number or 0) <= about["high"] or number in about["also"]):
        also = "".join(f" or {other}" for other in about["also"])
        _wrong(name, value, f"a whole number from {about['low']} to {about['high']}{also}", about)
    return int(number or 0)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _choice(name: str, value: Any, about: Mapping[str, Any]) -> str:
    # YAML reads a bare `no` as False, and `no` is a choice of eval_strategy.
    wanted = "no" if value is False and "no" in about["options"] else str(value)
    if wanted not in about["options"]:
        _wrong(name, value, "one of " + ", ".join(about["options"]), about)
    return wanted


def _flag(name: str, value: Any, about: Mapping[str, Any]) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() not in _TRUTH:
        _wrong(name, value, "true or false", about)
    return _TRUTH[str(value).lower()]


def _text(name: str, value: Any, about: Mapping[str, Any]) -> str:
    if not isinstance(value, str) or not value.strip():
        _wrong(name, value, "a text", about)
    return value.strip()


def _words(name: str, value: Any, about: Mapping[str, Any]) -> str:
    if _is_whole(value):
        return str(value)  # a label may be a number
    if not isinstance(value, str):
        _wrong(name, value, "a text, in quotes where it would be read as something else, or ends with a blank", about)
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _names(name: str, value: Any, about: Mapping[str, Any]) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else [value] if _is_whole(value) else value
    if isinstance(items, list | tuple):
        items = [str(item) if _is_whole(item) else item for item in items]  # a column or a class may be one
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) and item.strip() for item in items):
        _wrong(name, value, "a list of names", about)
    stripped = tuple(item.strip() for item in items)
    if len(set(stripped)) < len(stripped):
        _wrong(name, value, "a list of names without a double", about)
    return stripped


_PARSERS = {
    "real": _real,
    "integer": _integer,
    "choice": _choice,
    "flag": _flag,
    "text": _text,
    "words": _words,
    "names": _names,
}


def _wrong(name: str, value: Any, accepted: str, about: Mapping[str, Any]) -> NoReturn:
    raise Refused(
        f"The setting {name} is {value!r}; it must be {accepted}{', or auto' if about.get('auto') else ''}.",
        hint=f"{name}: {about['doc']}.",
        code="bad-setting",
    )
