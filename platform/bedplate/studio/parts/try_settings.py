"""The parameters of a request as inputs: a few that people ask for at once, and all others of the schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nicegui import html, ui

from bedplate.studio.parts.notices import hint
from bedplate_registry.errors import Refused

__all__ = ["MAIN", "Setting", "SettingInputs", "settings_of"]

Kind = Literal["whole", "number", "text", "yes", "choice", "json"]
YES = {"true": True, "false": False}


@dataclass(frozen=True)
class Setting:
    """One parameter of a task, by its name on the wire."""

    name: str
    kind: Kind
    about: str = ""
    choices: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()


STRATEGIES = ("none", "simple", "first", "average", "max")
# What is asked for first, by task; the rest, and every parameter of a task that is not here, comes from the schema.
MAIN: Mapping[str, tuple[Setting, ...]] = {
    "text-classification": (Setting("top_k", "whole"),),
    "token-classification": (Setting("aggregation_strategy", "choice", choices=STRATEGIES),),
    "question-answering": (Setting("top_k", "whole"), Setting("handle_impossible_answer", "yes")),
    "summarization": (Setting("max_new_tokens", "whole"), Setting("num_beams", "whole")),
    "translation": (Setting("src_lang", "text"), Setting("tgt_lang", "text"), Setting("num_beams", "whole")),
    "fill-mask": (Setting("top_k", "whole"),),
    "text-generation": (
        Setting("max_new_tokens", "whole"),
        Setting("temperature", "number"),
        Setting("top_p", "number"),
        Setting("seed", "whole"),
    ),
    "image-classification": (Setting("top_k", "whole"),),
    "text-to-image": (
        Setting("negative_prompt", "text"),
        Setting("width", "whole"),
        Setting("height", "whole"),
        Setting("num_inference_steps", "whole"),
        Setting("guidance_scale", "number"),
        Setting("seed", "whole"),
    ),
}


def settings_of(schema: Mapping[str, Any], *, but: set[str]) -> list[Setting]:
    """All parameters of a JSON schema whose names are not in `but`, without those that are there to be refused."""
    found = [_setting(name, one) for name, one in schema["properties"].items() if name not in but]
    return [setting for setting in found if not setting.about.startswith("Refused")]


def _setting(name: str, schema: Mapping[str, Any]) -> Setting:
    kinds = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    one = kinds[0] if len(kinds) == 1 else {}
    about = str(schema.get("description") or one.get("description") or "")
    if "enum" in one:
        return Setting(name, "choice", about, tuple(map(str, one["enum"])))
    by_type: Mapping[str, Kind] = {"integer": "whole", "number": "number", "string": "text", "boolean": "yes"}
    return Setting(name, by_type.get(str(one.get("type")), "json"), about)


class SettingInputs:
    """Inputs for some settings. An empty one is not sent, so that the model's own default holds."""

    def __init__(
        self, settings: tuple[Setting, ...] | list[Setting], values: Mapping[str, Any], on_change: Callable[[], Any]
    ) -> None:
        self._settings = settings
        self._inputs: dict[str, Any] = {}
        with html.div().classes("bp-try-settings"):
            for setting in settings:
                with html.div():
                    self._inputs[setting.name] = _input(setting, values.get(setting.name), on_change)
                    if setting.about:
                        hint(setting.about)

    def values(self) -> dict[str, Any]:
        """Of those that are given. Raises Refused for what cannot be read."""
        read = {setting.name: _value(setting, self._inputs[setting.name].value) for setting in self._settings}
        return {name: value for name, value in read.items() if value is not None}


def _input(setting: Setting, value: Any, on_change: Callable[[], Any]) -> Any:
    if setting.kind in ("whole", "number"):
        made: Any = ui.number(setting.title, value=value, step=1 if setting.kind == "whole" else 0.1)
    elif setting.kind in ("yes", "choice"):
        choices = ["true", "false"] if setting.kind == "yes" else list(setting.choices)
        shown = json.dumps(value) if isinstance(value, bool) else value
        made = ui.select(choices, label=setting.title, value=shown if shown in choices else None, clearable=True)
    else:
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
        made = ui.input(setting.title if setting.kind == "text" else f"{setting.title} (JSON)", value=text)
    return made.props("outlined dense").classes("w-full").on_value_change(on_change)


def _value(setting: Setting, value: Any) -> Any:
    if value is None or value == "":
        return None
    match setting.kind:
        case "whole":
            return int(value) if float(value).is_integer() else value  # the endpoint says what it must be
        case "yes":
            return YES[value]
        case "json":
            return _read(setting, value)
    return value


def _read(setting: Setting, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        example = 'Write it as in ["one", "two"].'
        raise Refused(f"{setting.title} is not JSON: {text[:100]!r}.", hint=example, code="bad-json") from exc
