"""What a job came to: the model, the evaluation and the files that it made, its figures, its findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nicegui import html

from bedplate.report_metrics import in_order
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.headings import section
from bedplate.studio.parts.job_findings import show_check
from bedplate.studio.parts.job_spec import value_text
from bedplate.studio.parts.job_words import duration_text
from bedplate.studio.parts.metric_table import figure_text, metric_table
from bedplate.studio.parts.notices import hint
from bedplate.studio.paths import place
from bedplate.wire import url_path

__all__ = ["main_metrics", "show_result"]

# What has a place of its own on the page, or is the worker's business.
APART = {"model", "evaluation", "output", "metrics", "test_metrics", "baselines", "trials", "best", "report", "fixed"}
APART |= {"forecast", "rows", "seconds"}
MOST_METRICS = 3


def show_result(job: Mapping[str, Any]) -> None:
    """Sections, where the job has a result; of whatever kind it is."""
    result = job.get("result") or {}
    told, figures = list(_facts(result)), _figures(job, result)
    if told or figures:
        with section("Result", name="result"):
            facts(told)
            if name := result.get("output"):
                href = url_path("jobs", job["id"], "outputs", str(name))
                html.a(f"Download {name}", href=href).classes("bp-button bp-below")
            if figures:
                _tiles(job, result)
                with html.details().classes("bp-more"):
                    html.summary("All metrics")
                    metric_table(figures, name="Metrics")
    if result.get("report"):
        show_check(result["report"], result.get("fixed"))


def main_metrics(job: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """The few that its task is judged by first: of the test rows, where there are some."""
    metrics = result.get("test_metrics") or result.get("metrics") or {}
    names = in_order({"task": (job.get("spec") or {}).get("task") or result.get("task")}, metrics)
    return {name: metrics[name] for name in names[:MOST_METRICS]}


def _tiles(job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    hint("On the test rows:" if result.get("test_metrics") else "On the rows it was measured on:")
    with html.dl().classes("bp-tiles"):
        for name, value in main_metrics(job, result).items():
            with html.div():
                html.dt(name)
                html.dd(figure_text(value))


def _figures(job: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Columns of metrics, by what they were measured on."""
    found = {"Validation rows" if job["kind"] == "finetune" else "Value": result.get("metrics")}
    found |= {"Test rows": result.get("test_metrics")}
    found |= {f"Without a model: {name}": each for name, each in (result.get("baselines") or {}).items()}
    return {title: each for title, each in found.items() if each}


def _facts(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if result.get("model"):
        yield "Model", (str(result["model"]), place("models", str(result["model"])))
    if result.get("evaluation"):
        yield "Evaluation", (str(result["evaluation"]), place("evaluations", str(result["evaluation"])))
    if best := result.get("best"):
        yield "Best trial", (f"{best['trial']}: {value_text(best['settings'])}", place("jobs", str(best["job"])))
    for split, ref in ((result.get("fixed") or {}).get("datasets") or {}).items():
        yield f"Repaired {split}", (str(ref), place("datasets", str(ref)))
    if result.get("rows") is not None:
        yield "Rows", value_text(result["rows"])
    if result.get("seconds") is not None:
        yield "Work took", duration_text(float(result["seconds"]))
    for name, value in result.items():
        if name not in APART and value not in (None, "", {}, []):
            yield name.replace("_", " ").capitalize(), value_text(value)
