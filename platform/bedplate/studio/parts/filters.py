"""A search field and filters above a list. What they hold stands in the page's address too, so that a reload, a link
and the way back show the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nicegui import context, html, ui

from bedplate.studio.paths import place
from bedplate_registry.tasks import TASKS

__all__ = ["SIZES", "TASK_NAMES", "WORDS", "Choice", "Filters", "bounds_of"]

TASK_NAMES = {name: task.title for name, task in TASKS.items()}
TUNABLE = {name: task.title for name, task in TASKS.items() if task.finetunable}
SIZES = {"0-100": "Up to 100 million", "100-1000": "100 million to 1 billion", "1000-": "Over 1 billion"}
WORDS = "query"  # the key of what is searched for
PAUSE_MS = 250  # without a key being pressed, before a search begins


@dataclass(frozen=True)
class Choice:
    """One filter: what REST calls it, its label, and its options by value; without options any text, with `ideas`.

    `none` is what it says while nothing is chosen.
    """

    key: str
    label: str
    options: Mapping[str, str] = field(default_factory=dict)
    ideas: Sequence[str] = ()
    none: str = ""

    @classmethod
    def task(cls) -> Choice:
        return cls("task", "Task", TASK_NAMES)

    @classmethod
    def finetunable_for(cls) -> Choice:
        return cls("finetunable_for", "Fine-tune for", TUNABLE)

    @classmethod
    def size(cls) -> Choice:
        return cls("size", "Parameters", SIZES)


def bounds_of(size: str) -> dict[str, int]:
    """A value of SIZES as what REST takes: min_parameters and max_parameters."""
    least, _, most = size.partition("-")
    found = {"min_parameters": least, "max_parameters": most}
    return {name: int(millions) * 1_000_000 for name, millions in found.items() if millions not in ("", "0")}


class Filters:
    """`look(values)` is called now by `begin`, and when something was chosen: once at a time, the last word last."""

    def __init__(self, where: str, search: str, choices: Sequence[Choice], look: Callable[[], Awaitable[None]]) -> None:
        self._where, self._look = where, look
        given = context.client.request.query_params
        self._values = {key: given.get(key, "") for key in (WORDS, *(choice.key for choice in choices))}
        self._is_looking = self._is_stale = False
        self._search = search
        self._fields: list[ui.input | ui.select] = []
        self._shown = html.div(role="search").classes("bp-find")

    @property
    def values(self) -> dict[str, str]:
        """What is chosen, by its key; what is not is left out."""
        return {key: value for key, value in self._values.items() if value}

    def get(self, key: str) -> str:
        return self._values.get(key, "")

    def show(self, first: Sequence[Choice], more: Sequence[Choice] = ()) -> None:
        """The fields; those of `more` are folded away until one of them is used."""
        with self._shown:
            with html.div().classes("bp-filters"):
                self._words()
                for choice in first:
                    self._add(choice)
            if more:
                is_used = any(self._values[choice.key] for choice in more)
                with html.details(**({"open": True} if is_used else {})).classes("bp-more"):
                    html.summary("More filters")
                    with html.div().classes("bp-filters"):
                        for choice in more:
                            self._add(choice)

    def offer(self, key: str, *, is_offered: bool) -> None:
        """Whether a filter means anything at the moment."""
        for found in self._fields:
            if found.props.get("data-key") == key:
                found.set_enabled(is_offered)

    async def begin(self) -> None:
        """Look now. What is chosen meanwhile is looked for afterwards, so that the last word is shown last."""
        self._is_stale = True
        if self._is_looking:
            return
        self._is_looking = True
        try:
            while self._is_stale:
                self._is_stale = False
                await self._look()
        finally:
            self._is_looking = False

    def _words(self) -> None:
        made = ui.input(self._search, value=self._values[WORDS]).classes("bp-words")
        made.props(f'outlined dense clearable type="search" debounce="{PAUSE_MS}" maxlength="300"')
        self._keep(made, WORDS)

    def _add(self, choice: Choice) -> None:
        value = self._values[choice.key]
        if choice.options:
            options = {**({"": choice.none} if choice.none else {}), **choice.options}
            options |= {value: value} if value and value not in options else {}
            chosen = value if choice.none else value or None
            made = ui.select(options, label=choice.label, value=chosen, clearable=not choice.none)
        else:
            ideas = [*choice.ideas, *([value] if value and value not in choice.ideas else [])]
            made = ui.select(
                ideas,
                label=choice.label,
                value=value or None,
                with_input=True,
                new_value_mode="add-unique",
                clearable=True,
            )
        made.props("outlined dense options-dense hide-bottom-space")
        self._keep(made, choice.key)

    def _keep(self, made: ui.input | ui.select, key: str) -> None:
        made.props["data-key"] = key
        self._fields.append(made)

        async def changed() -> None:
            value = str(made.value or "")
            if value == self._values[key]:
                return
            self._values[key] = value
            ui.navigate.history.replace(place(self._where, **self.values))
            await self.begin()

        made.on_value_change(changed)
