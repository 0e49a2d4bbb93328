"""One setting in a form: its name, what it is for, a control of its kind, and what it is where nothing is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field
from typing import Any

from nicegui import html, ui

from bedplate_registry.errors import Refused
from bedplate_registry.tasks import get_task
from bedplate_trainers.parsing import AUTO, parse_settings

__all__ = ["SettingField", "text_of"]

DEFAULT = ""  # what a control holds where nothing is given
NOTHING = '""'  # what is written for an empty text where an empty control means something else


class SettingField:
    """A setting of the dataclass `kind`, as `field` describes it. `value` is None where it is not given."""

    def __init__(
        self, kind: type[Any], field: Field[Any], task: str, value: Any, on_change: Callable[[], None]
    ) -> None:
        self.name: str = field.name
        self._kind, self._field, self._task, self._on_change = kind, field, task, on_change
        self._options = _options(field, task)
        self._chosen: Any = None  # what `auto` was worked out to be
        self._is_filling = False
        self.row = html.div().classes("bp-setting")
        with self.row:
            self._describe()
            with html.div().classes("bp-setting-value"):
                self._control = self._make_control()
                self._why = ui.label().classes("bp-tiny")
                self._wrong = ui.label().classes("bp-wrong").props("role=alert")
        self.fill(value)

    # --- what it holds ---

    @property
    def is_given(self) -> bool:
        """Whether something is written in it."""
        return self._control.value not in (DEFAULT, None, [])

    @property
    def written(self) -> Any:
        """What stands in it, right or wrong."""
        return self._control.value or DEFAULT

    @property
    def value(self) -> Any:
        """What is given as JSON has it; None where that is the default. Raises Refused."""
        if not self.is_given:
            return None
        written = self._control.value
        settings = parse_settings(self._kind, {self.name: "" if written == NOTHING else written}, self._task, {}, {})
        parsed = getattr(settings, self.name)
        return None if parsed == self._field.default else _plain(parsed)

    def fill(self, value: Any) -> None:
        """Write a value into the control; None, or the default, empties it."""
        if value is None or value == _plain(self._field.default):
            self.write(DEFAULT)
        elif isinstance(value, list | tuple) and self._is_multiple:
            self.write(list(value))
        else:
            self.write(NOTHING if value == "" else text_of(value))

    def write(self, written: Any) -> None:
        """Let the control hold what was `written` in one like it. Of choices, those that are there."""
        self._is_filling = True
        if self._is_multiple:
            self._control.value = [one for one in written or () if one in self._control.options]
        elif self._options is None or written in self._control.options:
            self._control.value = written
        self._is_filling = False
        self._look()

    @property
    def _is_multiple(self) -> bool:
        return isinstance(self._control, ui.select) and self._control.multiple is True

    # --- what is told of it ---

    def explain(self, value: Any, reason: str | None) -> None:
        """Show what it will be, and why where that was worked out."""
        self._chosen = value if reason else None
        self._why.text = reason if reason and not self.is_given else ""
        self._why.set_visibility(bool(self._why.text))
        if self._options is None:
            self._control.props["placeholder"] = self._default_text()
        elif not self._control.multiple:
            self._control.set_options({DEFAULT: self._default_text()} | self._options)

    def refuse(self, error: Refused | None) -> None:
        """Say at the field what is wrong with it; None takes it back."""
        hint = "" if error is None or error.hint.startswith(f"{self.name}:") else error.hint  # which stands beside it
        self._wrong.text = f"{error.message} {hint}".strip() if error else ""
        self._wrong.set_visibility(error is not None)

    def matches(self, words: list[str]) -> bool:
        """Whether all words of a search are in its name or in what it is for."""
        about = f"{self.name} {self.name.replace('_', ' ')} {self._field.metadata['doc']}".lower()
        return all(word in about for word in words)

    # --- how it looks ---

    def _describe(self) -> None:
        with html.div():
            with html.div().classes("bp-row"):
                html.code(self.name)
                self._reset = html.button("reset", type="button").classes("bp-textlink")
                self._reset.props["aria-label"] = f"Reset {self.name}"
                self._reset.on("click", self._empty)
            ui.label(_sentence(self._field.metadata)).classes("bp-hint")

    def _make_control(self) -> Any:
        if self._options is None:
            made: Any = ui.input(placeholder=self._default_text(), on_change=self._changed)
            made.props("debounce=250 dense outlined")
        elif self._field.metadata["kind"] == "names":
            made = ui.select(self._options, label=self.name, value=[], multiple=True, on_change=self._changed)
            made.props("use-chips")
        else:
            options = {DEFAULT: self._default_text()} | self._options
            made = ui.select(options, label=self.name, value=DEFAULT, on_change=self._changed)
        made.props["aria-label"] = self.name  # a select's name is its label, which is not shown twice
        return made.props("dense outlined hide-bottom-space")

    def _default_text(self) -> str:
        usual = AUTO if self._chosen is None else f"{AUTO}: {text_of(self._chosen)}"
        default = self._field.default
        return usual if default == AUTO else f"{text_of(default) or 'none'} (default)"

    def _look(self) -> None:
        """Show whether it may be so, and that it is not as usual."""
        wrong = None
        try:
            _ = self.value
        except Refused as error:
            wrong = error
        self.refuse(wrong)
        self._reset.set_visibility(self.is_given)
        self._why.set_visibility(bool(self._why.text) and not self.is_given)

    def _changed(self) -> None:
        if not self._is_filling:
            self._look()
            self._on_change()

    def _empty(self) -> None:
        self.fill(None)
        self._on_change()


def text_of(value: Any) -> str:
    """A value as it is written in YAML and on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _options(field: Field[Any], task: str) -> dict[str, str] | None:
    """What may be chosen, without the default; None where it is written."""
    if field.name == "metric_for_best_model":
        return {name: name for name in (*get_task(task).metrics, "loss")}
    if field.name == "metrics":
        return {name: name for name in get_task(task).metrics}
    kind = field.metadata["kind"]
    found = ("true", "false") if kind == "flag" else field.metadata.get("options")
    return None if found is None else {name: name for name in found if name != text_of(field.default)}


def _plain(parsed: Any) -> Any:
    """As a person would have written it: 3 epochs, not 3.0."""
    if isinstance(parsed, float) and parsed.is_integer():
        return int(parsed)
    return list(parsed) if isinstance(parsed, tuple) else parsed


def _sentence(about: Mapping[str, Any]) -> str:
    doc: str = about["doc"]
    shown = "{:,}" if about["kind"] == "integer" else "{:g}"
    bounds = f" ({shown.format(about['low'])} to {shown.format(about['high'])})" if "low" in about else ""
    return f"{doc[0].upper()}{doc[1:]}{bounds}."
