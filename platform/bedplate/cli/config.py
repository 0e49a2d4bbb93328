"""The flat YAML file of `finetune --config`: `name: value` lines, by the names of the flags and of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bedplate.cli.output import parse_value, read_text
from bedplate_registry.errors import Refused

__all__ = ["read_config"]

TEXTS = ("task", "train", "validation", "test", "output", "device")
MAPPINGS = ("columns", "settings")
HINT = "Give a file of `name: value` lines."


def read_config(path: Path) -> dict[str, Any]:
    """A request: what flags give by their names, and everything else among `settings`. Raises Refused."""
    loaded = _load(path)
    for name, value in loaded.items():
        _check(path, name, value)
    settings = {**loaded.pop("settings", {})}
    flags = {name: loaded.pop(name) for name in (*TEXTS, "columns", "processes") if name in loaded}
    return {**flags, "settings": {name: parse_value(value) for name, value in {**settings, **loaded}.items()}}


def _load(path: Path) -> dict[Any, Any]:
    import yaml

    try:
        loaded = yaml.safe_load(read_text(path))
    except (ValueError, RecursionError, yaml.YAMLError) as exc:
        raise Refused(f"{path} cannot be read as YAML: {exc}", hint=HINT) from exc
    if not isinstance(loaded, dict):
        raise Refused(f"{path} holds no settings.", hint=HINT)
    flags = (*TEXTS, *MAPPINGS, "processes")
    return {k: v for k, v in loaded.items() if v is not None or k not in flags}  # `train:` alone gives none


def _check(path: Path, name: Any, value: Any) -> None:
    if not isinstance(name, str):
        raise Refused(f"{path}: {name!r} is not a name.", hint=HINT)
    if name == "model":
        raise Refused(f"{path}: the model is not set by a file.", hint="Take out `model`; write: bedplate finetune REF")
    if name in TEXTS and not isinstance(value, str):
        raise Refused(f"{path}: {name}: {value!r} is not a text.", hint="Put it in quotes.")
    if name in MAPPINGS and not (isinstance(value, dict) and all(isinstance(key, str) for key in value)):
        hint = "Write `key: value` lines below it, each further in."
        raise Refused(f"{path}: {name}: {value!r} is not a mapping.", hint=hint)
