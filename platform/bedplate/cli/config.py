"""YAML files of `name: value` lines: that of `finetune --config`, by the names of the flags and of the settings, and
that of `jobs submit --config`, which is a request as REST takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bedplate.cli.output import parse_value, read_text
from bedplate_registry.errors import Refused

__all__ = ["read_config", "read_request"]

TEXTS = ("task", "train", "validation", "test", "output", "device")
NUMBERS = ("processes", "priority")  # which the server checks
MAPPINGS = ("columns", "settings", "needs")
HINT = "Give a file of `name: value` lines."


def read_config(path: Path) -> dict[str, Any]:
    """A request: what flags give by their names, and everything else among `settings`. Raises Refused."""
    loaded = _load(path)
    for name, value in loaded.items():
        _check(path, name, value)
    settings = {**loaded.pop("settings", {})}
    flags = {name: loaded.pop(name) for name in (*TEXTS, *NUMBERS, "columns", "needs") if name in loaded}
    return {**flags, "settings": {name: parse_value(value) for name, value in {**settings, **loaded}.items()}}


def read_request(path: Path) -> dict[str, Any]:
    """The body of a request; what it may hold is the server's to say. Raises Refused."""
    loaded = _read(path)
    for name in loaded:
        _check_name(path, name)
    return {name: parse_value(value) for name, value in loaded.items() if value is not None}


def _load(path: Path) -> dict[Any, Any]:
    flags = (*TEXTS, *NUMBERS, *MAPPINGS)
    return {k: v for k, v in _read(path).items() if v is not None or k not in flags}  # `train:` alone gives none


def _read(path: Path) -> dict[Any, Any]:
    import yaml

    try:
        loaded = yaml.safe_load(read_text(path))
    except (ValueError, RecursionError, yaml.YAMLError) as exc:
        raise Refused(f"{path} cannot be read as YAML: {exc}", hint=HINT) from exc
    if not isinstance(loaded, dict):
        raise Refused(f"{path} holds no settings.", hint=HINT)
    return loaded


def _check(path: Path, name: Any, value: Any) -> None:
    _check_name(path, name)
    if name == "model":
        raise Refused(f"{path}: the model is not set by a file.", hint="Take out `model`; write: bedplate finetune REF")
    if name in TEXTS and not isinstance(value, str):
        raise Refused(f"{path}: {name}: {value!r} is not a text.", hint="Put it in quotes.")
    if name in MAPPINGS and not (isinstance(value, dict) and all(isinstance(key, str) for key in value)):
        hint = "Write `key: value` lines below it, each further in."
        raise Refused(f"{path}: {name}: {value!r} is not a mapping.", hint=hint)


def _check_name(path: Path, name: Any) -> None:
    if not isinstance(name, str):
        raise Refused(f"{path}: {name!r} is not a name.", hint=HINT)
