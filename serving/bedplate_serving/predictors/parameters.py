"""A task's parameters as one typed model: what is checked, what is documented and what a form is made of, in one place.

    class ClassificationParameters(Parameters):
        top_k: Annotated[int | None, Field(ge=1, description="How many labels an answer holds; else all.")] = None

    read_parameters(ClassificationParameters, {"top_k": 3}, "text-classification")

Names are those of the Hub's task pages. `null` is as good as not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import Repr
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bedplate_registry.errors import Refused, nearest

__all__ = ["Parameters", "WrongParameter", "read_parameters"]

MAX_NAMES = 100  # in one object: pydantic makes a fault of every unknown one
MAX_NAME_CHARACTERS = 100

PLAIN = {
    "a valid boolean": "true or false",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a string",
    "a valid list": "a list",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}
BRIEF = Repr()  # never writes the whole of a large value
BRIEF.maxlevel, BRIEF.maxstring, BRIEF.maxother, BRIEF.maxlong = 3, 100, 100, 100
P = TypeVar("P", bound="Parameters")


class Parameters(BaseModel):
    """Base of every task's parameters: frozen, no unknown name, no number read out of a string."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _has_few_names(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and len(raw) > MAX_NAMES:
            raise ValueError(f"an object has at most {MAX_NAMES} names, not {len(raw)}")
        return raw


class WrongParameter(Refused):
    """Raised for a parameter that is unknown, missing or cannot be so; `name` is empty where several do not fit."""

    def __init__(self, message: str, *, name: str = "", hint: str = "", code: str, is_missing: bool = False) -> None:
        super().__init__(message, hint=hint, code=code)
        self.name, self.is_missing = name[:MAX_NAME_CHARACTERS], is_missing


def read_parameters(kind: type[P], raw: Mapping[str, Any], task: str) -> P:
    """The checked parameters. Raises WrongParameter: unknown-parameter with the nearest name, or bad-parameter."""
    given = {name: value for name, value in raw.items() if value is not None}
    unknown = next((name for name in given if name not in kind.model_fields), None)
    if unknown is not None:
        raise _unknown(unknown, kind, task)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _refusal(error, task) from error


def _unknown(name: str, kind: type[Parameters], task: str) -> WrongParameter:
    name = name[:MAX_NAME_CHARACTERS]
    hint = nearest(name, kind.model_fields)
    return WrongParameter(f"{task} has no parameter {name!r}.", name=name, hint=hint, code="unknown-parameter")


def _refusal(error: ValidationError, task: str) -> WrongParameter:
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":  # inside of a parameter that is an object
        inner = ".".join(str(part)[:MAX_NAME_CHARACTERS] for part in first["loc"])
        return WrongParameter(f"{task} has no parameter {inner!r}.", name=name, code="unknown-parameter")
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return WrongParameter(f"{task} needs {name!r}.", name=name, code="bad-parameter", is_missing=True)
    said = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ").rstrip(".")
    for theirs, plain in PLAIN.items():
        said = said.replace(theirs, plain)
    if not name:
        return WrongParameter(f"The parameters of {task} do not fit each other: {said}.", code="bad-parameter")
    return WrongParameter(f"{name} is {_shown(first['input'])}; it must be {said}.", name=name, code="bad-parameter")


def _shown(value: Any) -> str:
    text = BRIEF.repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
