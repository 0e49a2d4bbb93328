"""A task's parameters as one typed model: what is checked, what is documented and what a form is made of, in one place.

    class ClassificationParameters(Parameters):
        top_k: Annotated[int | None, Field(ge=1, description="How many labels an answer holds; else all.")] = None

    read_parameters(ClassificationParameters, {"top_k": 3}, "text-classification")

Names are those of the Hub's task pages. `null` is as good as not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bedplate_registry.errors import Refused, nearest

__all__ = ["Parameters", "read_parameters"]

PLAIN = {
    "a valid boolean": "true or false",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a string",
    "a valid list": "a list",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}
P = TypeVar("P", bound="Parameters")


class Parameters(BaseModel):
    """Base of every task's parameters: frozen, no unknown name, no number read out of a string."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def read_parameters(kind: type[P], raw: Mapping[str, Any], task: str) -> P:
    """The checked parameters. Raises Refused: unknown-parameter with the nearest known name, or bad-parameter."""
    try:
        return kind.model_validate({name: value for name, value in raw.items() if value is not None})
    except ValidationError as error:
        raise _refusal(error, list(kind.model_fields), task) from error


def _refusal(error: ValidationError, known: list[str], task: str) -> Refused:
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return Refused(f"{task} has no parameter {name[:100]!r}.", hint=nearest(name, known), code="unknown-parameter")
    said = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ").rstrip(".")
    for theirs, plain in PLAIN.items():
        said = said.replace(theirs, plain)
    if not name:
        return Refused(f"The parameters of {task} do not fit each other: {said}.", code="bad-parameter")
    return Refused(f"{name} is {_shown(first['input'])}; it must be {said}.", code="bad-parameter")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
