"""What a fine-tune will take and do, as far as it is known before it begins: the plan of its job, in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.setting_field import text_of
from bedplate.studio.parts.tables import Column, table
from bedplate_registry.sizes import size_text

__all__ = ["Pace", "forecast", "free_text", "pace_of"]

Json = Mapping[str, Any]
SOURCES = (Column("setting", "Setting"), Column("value", "Value"), Column("source", "Where it comes from"))
FEW_ROWS = 30  # of a test or a validation: the figures say little then
WEIGHT_BYTES = 4  # of a parameter, as it is trained and kept
LARGE_ON_CPU = 100_000_000  # parameters


class Pace:
    """How fast an earlier fine-tune of the same model went here."""

    def __init__(self, job_id: str, rows_per_second: float) -> None:
        self.job_id, self.rows_per_second = job_id, rows_per_second

    def text(self, spec: Json) -> str:
        """About how long this one takes."""
        settings = spec["forecast"]["values"]
        epochs = float(settings["num_train_epochs"])
        seconds = _train_rows(spec) * epochs / self.rows_per_second
        return f"about {_duration(seconds)}, at the pace of {self.job_id} ({self.rows_per_second:,.0f} rows a second)"


def pace_of(spec: Json, jobs: Iterable[Any]) -> Pace | None:
    """From the newest of these jobs that trained this model for this task on this device; None where none did."""
    alike = ("model", "task", "device", "processes")
    for job in jobs:
        same = all(job.data["spec"].get(name) == spec[name] for name in alike)
        speed = (job.data.get("result") or {}).get("samples_per_second")
        if same and speed and spec["forecast"]["values"]["max_steps"] < 0:
            return Pace(job.id, float(speed))
    return None


def forecast(plan: Json, compute: Json, model: Json, pace: Pace | None = None) -> None:
    """What a fine-tune takes of the machine, what is to be thought of, and every setting with its why."""
    spec, demand = plan["spec"], plan["demand"]
    facts(
        (
            ("Rows", _rows(spec)),
            ("Validation", _part(spec, "validation")),
            ("Test", _part(spec, "test")),
            ("Device", _device(spec, demand)),
            ("Cores", f"{demand['cores']} of {compute['cores']}"),
            ("Memory", f"about {size_text(demand['memory_bytes'])} of {size_text(compute['memory_bytes'])}"),
            ("Disk", _disk(spec, model)),
            ("Begins", _begins(demand, compute)),
            ("Time", pace.text(spec) if pace else "measured by its first steps; the job's page shows it then"),
            ("Result", f"{spec['output']}, with a report on the test rows"),
        )
    )
    _warnings(list(_doubts(spec, demand, compute, model)))
    with html.details().classes("bp-group"):
        with html.summary():
            ui.label("All settings, and where they come from").classes("bp-strong")
        table(SOURCES, list(_settings(spec)), name="Settings", page_rows=15)


def free_text(compute: Json) -> str:
    """What of the machine nobody has taken."""
    free, cards = compute["free"], compute["gpus"]
    parts = [f"{free['cores']} of {compute['cores']} cores", f"{size_text(free['memory_bytes'])} of memory"]
    parts.append(
        f"{_free_cards(compute)} of {len(cards)} GPU{'s' if len(cards) > 1 else ''}" if cards else "no GPU here"
    )
    return "Free now: " + ", ".join(parts)


def _free_cards(compute: Json) -> int:
    return sum(1 for card in compute["gpus"] if not card["problem"] and not card["held_by"])


def _warnings(doubts: Sequence[str]) -> None:
    if doubts:
        with html.ul(**{"aria-label": "To be thought of"}).classes("bp-warnings"):
            for doubt in doubts:
                html.li(doubt)


def _doubts(spec: Json, demand: Json, compute: Json, model: Json) -> Iterator[str]:
    if demand["memory_bytes"] > compute["memory_free_bytes"]:
        free = size_text(compute["memory_free_bytes"])
        yield f"Only {free} of memory are free at the moment, as others outside this server hold some."
    for part in ("validation", "test"):
        rows = _split_rows(spec, part)
        if rows is not None and rows < FEW_ROWS:
            yield f"Only about {rows} rows are for {part}: its figures will say little."
    if spec["device"] == "cpu" and model["parameters"] > LARGE_ON_CPU:
        yield f"On a CPU a model of {model['parameters'] / 1e6:,.0f} million parameters learns slowly."


def _rows(spec: Json) -> str:
    train = _train_rows(spec)
    return (
        f"{spec['rows']:,}" if train == spec["rows"] else f"{spec['rows']:,}, of which it learns from about {train:,}"
    )


def _part(spec: Json, part: str) -> str:
    value = spec[part]
    if isinstance(value, Mapping):
        return str(value["dataset"] or value["filename"])
    share = spec["settings"][f"{part}_fraction"]
    return f"about {_split_rows(spec, part):,} of the rows ({share:.0%}), drawn by seed"


def _split_rows(spec: Json, part: str) -> int | None:
    """How many rows are split off; None where they are given."""
    return None if isinstance(spec[part], Mapping) else round(spec["rows"] * spec["settings"][f"{part}_fraction"])


def _train_rows(spec: Json) -> int:
    return int(spec["rows"]) - sum(_split_rows(spec, part) or 0 for part in ("validation", "test"))


def _device(spec: Json, demand: Json) -> str:
    processes = spec["processes"]
    if demand["gpus"]:
        return f"{demand['gpus']} GPU{'s' if demand['gpus'] > 1 else ''}"
    return "CPU" if processes == 1 else f"CPU, in {processes} processes"


def _disk(spec: Json, model: Json) -> str:
    """At the most: each checkpoint holds the weights and two moments of each, and one more is written than is kept."""
    weights = model["parameters"] * WEIGHT_BYTES
    kept = int(spec["forecast"]["values"]["save_total_limit"])
    size = size_text((kept + 1) * 3 * weights + weights)
    return (
        f"up to about {size} while it runs ({kept + 1} checkpoints and the result), then {size_text(weights)} at most"
    )


def _begins(demand: Json, compute: Json) -> str:
    free = compute["free"]
    if compute["jobs_queued"]:
        return f"after {compute['jobs_queued']} jobs that wait, unless its priority is higher"
    lacks_cards = demand["gpus"] > _free_cards(compute)
    if lacks_cards or demand["cores"] > free["cores"] or demand["memory_bytes"] > free["memory_bytes"]:
        return "when what runs now has ended"
    return "at once"


def _settings(spec: Json) -> Iterator[dict[str, Any]]:
    """Those that were given or worked out come first."""
    values, sources = spec["forecast"]["values"], spec["forecast"]["sources"]
    for name in sorted(values, key=lambda name: sources[name] == "default"):
        yield {"name": name, "setting": name, "value": text_of(values[name]) or "none", "source": sources[name]}


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
