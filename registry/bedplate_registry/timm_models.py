"""Models of timm as the Hub holds them: a config.json of timm's own, which transformers reads as a wrapper's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .errors import Refused

__all__ = ["WRAPPER", "check_timm", "is_timm", "timm_labels"]

WRAPPER = "TimmWrapperForImageClassification"
_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
# Arguments of timm's create_model that read other files than those of the model, or fetch some.
_READING = re.compile(r"pretrained\w*|checkpoint_path|cache_dir")


def is_timm(config: Mapping[str, Any]) -> bool:
    return "pretrained_cfg" in config or config.get("model_type") == "timm_wrapper"


def check_timm(config: Mapping[str, Any]) -> None:
    """Refuse what would have timm build something else than a model it knows: it takes `hf-hub:…` as a name, too."""
    name = config.get("architecture")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _bad(f"names the architecture {str(name)[:80]!r}, which is no model of timm")
    arguments = config.get("model_args") or {}
    if not isinstance(arguments, dict):
        raise _bad("has model_args that are not an object")
    for key in arguments:
        if _READING.fullmatch(key):
            raise _bad(f"has {key!r} in model_args, which has the weights read from elsewhere")


def timm_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels that config.json itself names. (For ImageNet timm knows them, and config.json does not.)"""
    names = config.get("label_names")
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def _bad(what: str) -> Refused:
    hint = "Fix it in a copy of the model, and import that with --from DIR."
    return Refused(f"config.json {what}.", hint=hint, code="bad-config")
