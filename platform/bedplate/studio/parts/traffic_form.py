"""How an endpoint's traffic is shared among its deployments: a field for each, and a button once they add up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from nicegui import html, ui

from bedplate.studio.parts.notices import hint

__all__ = ["TrafficForm"]


class TrafficForm:
    """Shares in percent. `share` is given what was typed."""

    def __init__(
        self,
        traffic: Mapping[str, int],
        share: Callable[[dict[str, int]], Awaitable[None]],
        *,
        about: str,
        why_not: str = "",
    ) -> None:
        self._traffic, self._why_not = dict(traffic), why_not
        self._fields: dict[str, ui.number] = {}
        hint(about)
        with html.div().classes("bp-row"):
            for name, percent in traffic.items():
                field = ui.number(name, value=percent, min=0, max=100, step=5, format="%d", suffix="%")
                field.props("outlined dense").on_value_change(self._add_up)
                field.set_enabled(not why_not)
                self._fields[name] = field
        with html.div().classes("bp-row"):
            self._button = html.button("Share the traffic", type="button").classes("bp-button bp-primary")
            self._button.on("click", lambda: share(self.typed))
            self._sum = hint("")
        self._add_up()

    @property
    def typed(self) -> dict[str, int]:
        return {name: int(field.value or 0) for name, field in self._fields.items()}

    @property
    def is_typing(self) -> bool:
        """Whether what is typed is not yet shared so."""
        return self.typed != self._traffic

    def _add_up(self) -> None:
        total = sum(self.typed.values())
        self._sum.text = self._why_not or ("" if total == 100 else f"These are {total} % together.")
        self._button.props["disabled"] = total != 100 or bool(self._why_not)
        self._button.update()
