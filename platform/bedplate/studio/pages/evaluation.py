"""One evaluation: its metrics beside those of what it is held against, each class, the confusions, the wrong rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nicegui import html

from bedplate.report_metrics import P_VALUE, about_intervals, in_order, not_computed, p_values, tiles
from bedplate.report_parts import given, in_label_order, key_title, latency_text, took_text, worst_heading
from bedplate.studio.frame import page
from bedplate.studio.parts.confusion import show_confusion
from bedplate.studio.parts.evaluated_rows import evaluated_rows
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.filters import TASK_NAMES
from bedplate.studio.parts.headings import action, section, title
from bedplate.studio.parts.job_spec import value_text
from bedplate.studio.parts.job_words import data_text
from bedplate.studio.parts.live import later
from bedplate.studio.parts.metric_table import metric_table
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.report_depth import show_calibration, show_changed, show_curves, show_slices
from bedplate.studio.parts.report_rows import class_table, rows_table, show_wrong_rows
from bedplate.studio.parts.tables import when
from bedplate.studio.parts.tiles import show_tiles
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path

# What has a place of its own on the page; all else that a report may hold is shown below, as it is.
SHOWN = {"id", "created", "model", "task", "kind", "job", "data", "metrics", "not_computed", "confidence", "baselines"}
SHOWN |= {"against", "difference", "seconds", "samples_per_second", "latency", "worst", "classes", "confusion"}
SHOWN |= {"multi_label", "notes", "predictions", "predictions_of"}
FILE = "predictions"  # the kind of a report on a file of them, which no model here has made
# Parts that a report may hold: its key, without which of its keys it is of a shape unknown here, heading and how shown.
DEPTH = (
    ("slices", "", "Slices", show_slices),
    ("curves", "", "Curves", show_curves),
    ("calibration", "bins", "Calibration", show_calibration),
)


@page("/evaluations/{evaluation_id}", "Evaluation {evaluation_id}", section="Evaluations")
async def evaluation(visit: Visit, evaluation_id: str) -> None:
    """Whatever the task: a report is read by the names that all of them share."""
    report = (await visit.ws.evaluations.get(evaluation_id)).data
    model, against = str(report["model"]), report.get("against") or {}
    task = str(report.get("task", "evaluation"))
    with title(f"{model}: {TASK_NAMES.get(task, task)}", _about(report)):
        if report.get("kind") != FILE:
            action("Its model", place("models", model))
        if report.get("job"):
            action("Its job", place("jobs", str(report["job"])))
        where = url_path("evaluations", str(report["id"]))
        if report.get("predictions"):
            action("Its predictions", f"{where}/predictions")
        action("As one file", f"{where}/page")
    show_tiles(tiles(report))
    with html.div().classes("bp-panel"):
        facts(_facts(report))
    with section("Metrics", about_intervals(report), name="metrics"):
        _metrics(report)
    shown = set(SHOWN)
    if (report.get("changed") or {}).get("examples"):
        shown.add("changed")
        with section(f"What changed against {against.get('model') or 'the other model'}", name="changed"):
            show_changed(report["changed"])
    if report.get("classes"):
        with section("Each class", name="classes"):
            class_table(report["classes"], against.get("classes"), str(against.get("model", "")))
    for whose, each in (("", report), (f" of {against.get('model')}", against)):
        if each.get("confusion"):
            with section(f"Confusions{whose}", name=f"confusion{'-against' if whose else ''}"):
                show_confusion(in_label_order(each["confusion"], (report.get("confusion") or {}).get("labels") or ()))
    for key, needed, heading, show in DEPTH:
        if report.get(key) and (not needed or report[key].get(needed)):
            shown.add(key)
            with section(heading, name=key):
                show(report[key])
    for whose, each in (("", report), (f" of {against.get('model')}", against)):
        if each.get("worst"):
            heading, _ = worst_heading(report)
            with section(f"{heading}{whose}", "The worst first.", name=f"worst{'-against' if whose else ''}"):
                show_wrong_rows(each["worst"], heading)
    if report.get("predictions"):
        with section(
            "All rows", "What the model said of each, to look for what its errors have in common.", name="rows"
        ):
            later(lambda: evaluated_rows(visit, report))
    _rest({name: value for name, value in report.items() if name not in shown})


def _about(report: Mapping[str, Any]) -> str:
    if report.get("kind") == "probe":
        return "A probe: a logistic regression on the features of a base, which has no head of its own."
    return f"Evaluation {report['id']}"


def _facts(report: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    data, against = report.get("data") or {}, report.get("against") or {}
    dataset = data.get("dataset")
    if report.get("kind") == FILE:
        yield "Predictions", data_text(report.get("predictions_of"))
    else:
        yield "Model", (str(report["model"]), place("models", str(report["model"])))
    if against.get("model"):
        yield "Against", (str(against["model"]), place("models", str(against["model"])))
    yield "Data", (str(dataset), place("datasets", str(dataset))) if dataset else data_text(data)
    if data.get("split"):
        yield "Part of it", f"{data['split']}, split off the training rows"
    yield "Rows", f"{data['rows']:,}" if isinstance(data.get("rows"), int) else None
    yield "Noted", "\n".join(map(str, report.get("notes") or ()))
    yield "Digest", data.get("sha256")
    yield "Columns", value_text(data.get("columns") or {})
    yield "When", when(report["created"])
    yield "Took", took_text(report)
    yield "One row at a time", latency_text(report.get("latency"))


def _metrics(report: Mapping[str, Any]) -> None:
    against, difference = report.get("against") or {}, report.get("difference") or {}
    columns, intervals = {"This model": report["metrics"]}, {"This model": report.get("confidence") or {}}
    if against:
        name = str(against.get("model") or "The other model")
        columns[name], intervals[name] = against.get("metrics") or {}, against.get("confidence") or {}
        columns["Difference"] = {metric: one.get("value") for metric, one in difference.items()}
        intervals["Difference"] = {
            metric: [one["low"], one["high"]] for metric, one in difference.items() if "low" in one and "high" in one
        }
    chances = p_values(report) if against else {}
    columns |= {"p": chances} if chances else {}
    for name, metrics in (report.get("baselines") or {}).items():
        columns[f"Without a model: {name}"] = metrics
    names = in_order(report, (metric for metrics in columns.values() for metric in metrics))
    metric_table(columns, name="Metrics", intervals=intervals, names=names)
    for note in (*([P_VALUE] if chances else []), *not_computed(report)):
        hint(note)


def _rest(report: Mapping[str, Any]) -> None:
    """What a report holds besides, without what is empty: lists of rows as tables, all else as facts."""
    rest = given(report)
    tables = {
        name: value
        for name, value in rest.items()
        if isinstance(value, list) and all(isinstance(row, Mapping) for row in value)
    }
    for name, rows in tables.items():
        with section(key_title(name)):
            rows_table(rows, name=key_title(name))
    if facts_of := [(key_title(name), value_text(value)) for name, value in rest.items() if name not in tables]:
        with section("More", name="more"):
            facts(facts_of)
