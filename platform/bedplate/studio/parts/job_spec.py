"""What a job was asked to do, resolved: its settings with where each value comes from, its data, and all else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from bedplate.report_html import separated
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.headings import section
from bedplate.studio.parts.job_words import data_text
from bedplate.studio.parts.tables import Column, table, when
from bedplate.studio.paths import place
from bedplate_registry.sizes import size_text
from bedplate_trainers.settings import EvaluateSettings, FinetuneSettings

__all__ = ["show_spec", "value_text"]

SETTINGS = (
    Column("name", "Setting"),
    Column("value", "Value"),
    Column("source", "Where it comes from"),
    Column("about", "What it is"),
)
SPLITS = ("train", "validation", "test", "data", "input", "predictions")
MODELS = ("model", "against", "base")
ELSEWHERE = {*SPLITS, *MODELS, "splits", "columns", "settings", "forecast", "trials", "search", "files", "needs"}
EXPLAINED = {
    one.name: str(one.metadata["doc"]) for kind in (EvaluateSettings, FinetuneSettings) for one in fields(kind)
}


def show_spec(job: Mapping[str, Any]) -> None:
    """Sections of a job's page, for whatever kind it is of."""
    spec = job.get("spec") or {}
    if told := [*_models(spec), *_data(spec), *_columns(spec)]:  # an import begins with none of them
        with section("Data and model", name="data"):
            facts(told)
    if rows := _settings(spec):
        with section("Settings", _about(spec), name="settings"):
            table(SETTINGS, rows, name="Settings")
    with section("About this job", name="about"):
        facts([*_rest(spec), *_of_the_machine(job)])


def _about(spec: Mapping[str, Any]) -> str:
    if "forecast" not in spec:
        return ""
    return (
        "As worked out when it was submitted; the worker, which knows the split and the labels, works them out again."
    )


def _models(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in MODELS:
        if spec.get(name):
            yield name.capitalize(), (str(spec[name]), place("models", str(spec[name])))


def _data(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    given = {name: spec[name] for name in SPLITS if spec.get(name)} | dict(spec.get("splits") or {})
    for name, value in given.items():
        dataset = value.get("dataset") if isinstance(value, Mapping) else None
        if dataset:
            yield name.capitalize(), (str(dataset), place("datasets", str(dataset)))
        elif isinstance(value, Mapping):
            yield name.capitalize(), f"{data_text(value)} (uploaded, sha256 {str(value.get('sha256'))[:12]}…)"
        else:
            yield name.capitalize(), "split off the training rows" if value == "auto" else data_text(value)


def _columns(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if columns := spec.get("columns"):
        yield "Columns", ", ".join(f"{key} = {column}" for key, column in columns.items())


def _settings(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The given ones first, then those that were chosen, then defaults."""
    forecast, given = spec.get("forecast") or {}, spec.get("settings") or {}
    values = forecast.get("values") or given
    sources = forecast.get("sources") or dict.fromkeys(given, "given")
    rows = [
        {
            "id": name,
            "name": name,
            "value": value_text(value),
            "source": str(sources.get(name, "default")),
            "about": EXPLAINED.get(name, ""),
        }
        for name, value in values.items()
    ]
    return sorted(rows, key=lambda row: (row["source"] != "given", row["source"] == "default"))


def _rest(spec: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return ((name.replace("_", " ").capitalize(), value_text(spec[name])) for name in spec if name not in ELSEWHERE)


def _of_the_machine(job: Mapping[str, Any]) -> list[tuple[str, Any]]:
    needs, parent = job["demand"], job.get("parent")
    gpus = f", {needs['gpus']} GPUs" if needs.get("gpus") else ""
    return [
        ("Owner", job["owner"]),
        ("Kind", job["kind"]),
        ("Its trials", ("show them", place("jobs", parent=job["id"])) if job["kind"] == "sweep" else None),
        ("Part of", (parent, place("jobs", parent)) if parent else None),
        ("Priority", job["priority"]),
        ("Makes room for endpoints", "yes" if job["preemptible"] else "no"),
        ("Needs", f"{needs['cores']} cores, {size_text(needs['memory_bytes'])} of memory{gpus}"),
        ("Created", when(job["created"])),
        ("Started", when(job["started"])),
        ("Ended", when(job["finished"])),
        ("Archived", when(job["archived"])),
        ("Request", job.get("request_id")),
    ]


def value_text(value: Any) -> str:
    """A setting as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {value_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return separated([value_text(item) for item in value])
    return "" if value is None else str(value)
