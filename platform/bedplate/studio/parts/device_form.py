"""Where a job runs and when: the device, how many processes, its priority, and what is free now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.forecast import free_text
from bedplate.studio.parts.notices import hint
from bedplate.studio.visit import Visit

__all__ = ["DEVICES", "device_form"]

DEVICES = {"auto": "auto: a GPU where there is one, else the CPU", "cpu": "CPU", "cuda": "GPU"}
MOST_PROCESSES = 64


def device_form(visit: Visit, draft: dict[str, Any], compute: Mapping[str, Any]) -> None:
    """Fields for `device`, `processes` and `priority` of a draft, beside what the machine has."""
    hint(free_text(compute))
    cards = [card for card in compute["gpus"] if not card["problem"]]
    usable = {name: text for name, text in DEVICES.items() if name != "cuda" or cards or draft["device"] == "cuda"}
    with html.div().classes("bp-form"):
        device = ui.select(usable, label="Device", value=draft["device"]).props("outlined dense")
        device.on_value_change(lambda event: draft.update(device=event.value))
        if not cards:
            hint(_why_none(compute["gpus"]))
        _number(draft, "processes", "GPUs, or processes on the CPU", 1, MOST_PROCESSES)
        if draft["device"] != "cpu" and len(cards) > 1:
            hint(f"Up to {len(cards)} GPUs train one model together, each on its part of every batch.")
        _number(draft, "priority", "Priority: the higher, the sooner", -100, 100 if visit.may("operate") else 0)


def _why_none(cards: Sequence[Mapping[str, Any]]) -> str:
    """Why no GPU can be chosen."""
    if not cards:
        return "No GPU is in this machine."
    return " ".join(f"{card['name']}: {card['problem']}. {card['remedy']}".strip() for card in cards)


def _number(draft: dict[str, Any], key: str, label: str, low: int, high: int) -> None:
    def take(event: Any) -> None:
        draft[key] = max(low, 0) if event.value is None else int(event.value)

    field = ui.number(label, value=draft[key], min=low, max=high, precision=0, on_change=take)
    field.props("outlined dense")
