"""YAML files of `name: value` lines: that of `--config`, by the names of the flags and of the settings, and that of
`jobs submit --config`, which is a request as REST takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedplate.cli.output import parse_value, read_text
from bedplate_registry.errors import Refused, nearest

__all__ = ["EVALUATE", "FINETUNE", "Flags", "merged", "read_config", "read_request"]

MAPPINGS = ("columns", "settings", "needs")
# A flag that a file has by another name -> that name.
RENAMED = {"map": "columns", "set": "settings", "need": "needs", "gpus": "processes, with device: cuda"}
HINT = "Give a file of `name: value` lines."


@dataclass(frozen=True)
class Flags:
    """What of a command's request a file may hold beside its settings."""

    command: str
    texts: tuple[str, ...]
    numbers: tuple[str, ...]  # which the server checks

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.texts, *self.numbers, *MAPPINGS)


FINETUNE = Flags("finetune", ("task", "train", "validation", "test", "output", "device"), ("processes", "priority"))
EVALUATE = Flags("evaluate", ("task", "data", "train", "against", "predictions", "name", "device"), ("priority",))


def merged(request: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The request with what is given in its place; of columns, settings and needs name by name."""
    inside = {name: {**request.get(name, {}), **(given.get(name) or {})} for name in ("columns", "settings", "needs")}
    return {**request, **{name: value for name, value in given.items() if value is not None}, **inside}


def read_config(path: Path, flags: Flags) -> dict[str, Any]:
    """A request: what flags give by their names, and everything else among `settings`. Raises Refused."""
    names = flags.names
    loaded = {k: v for k, v in _read(path).items() if v is not None or k not in names}  # `train:` alone gives none
    for name, value in loaded.items():
        _check(path, name, value, flags)
    settings = {**loaded.pop("settings", {})}
    flags_given = {name: loaded.pop(name) for name in names if name in loaded}
    return {**flags_given, "settings": {name: parse_value(value) for name, value in {**settings, **loaded}.items()}}


def read_request(path: Path) -> dict[str, Any]:
    """The body of a request; what it may hold is the server's to say. Raises Refused."""
    loaded = _read(path)
    for name in loaded:
        _check_name(path, name)
    return {name: parse_value(value) for name, value in loaded.items() if value is not None}


def _read(path: Path) -> dict[Any, Any]:
    import yaml

    try:
        loaded = yaml.safe_load(read_text(path))
    except (ValueError, RecursionError, yaml.YAMLError) as exc:
        raise Refused(f"{path} cannot be read as YAML: {exc}", hint=HINT) from exc
    if not isinstance(loaded, dict):
        raise Refused(f"{path} holds no settings.", hint=HINT)
    return loaded


def _check(path: Path, name: Any, value: Any, flags: Flags) -> None:
    _check_name(path, name)
    if name == "model":
        hint = f"Take out `model`; write: bedplate {flags.command} REF"
        raise Refused(f"{path}: the model is not set by a file.", hint=hint)
    if name in flags.texts and not isinstance(value, str):
        raise Refused(f"{path}: {name}: {value!r} is not a text.", hint="Put it in quotes.")
    if name not in flags.names and (name in RENAMED or isinstance(value, dict)):
        here = f"Here it is {RENAMED[name]}." if name in RENAMED else nearest(name, MAPPINGS)
        raise Refused(f"{path}: there is no setting {name!r}.", hint=here)
    if name in MAPPINGS and not (isinstance(value, dict) and all(isinstance(key, str) for key in value)):
        hint = "Write `key: value` lines below it, each further in."
        raise Refused(f"{path}: {name}: {value!r} is not a mapping.", hint=hint)


def _check_name(path: Path, name: Any) -> None:
    if not isinstance(name, str):
        raise Refused(f"{path}: {name!r} is not a name.", hint=HINT)
