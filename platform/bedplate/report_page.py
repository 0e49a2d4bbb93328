"""An evaluation report as one HTML file for people: nothing in it runs, and nothing is fetched from anywhere.

Labels, texts and names of columns come from strangers: all of them are text (report_html.py), and the page's own policy
says the same once more, also where the file was saved and is opened from a disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bedplate.report_charts import calibration_chart, interval_bar, precision_recall_chart, roc_chart
from bedplate.report_html import Html, element, facts, figure_text, joined, table, value_text
from bedplate.report_metrics import P_VALUE, Tile, about_intervals, in_order, interval_of, not_computed, p_values, tiles
from bedplate.report_parts import (
    changed_rows,
    class_table,
    confusion,
    given,
    in_label_order,
    latency_text,
    number_heading,
    rows_table,
    slice_tables,
    took_text,
    worst_heading,
    wrong_rows,
)
from bedplate_registry.tasks import TASKS

__all__ = ["REPORT_POLICY", "report_page"]

REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
# What has a place of its own; all else that a report holds is shown at the end, as it is.
SHOWN = {"id", "created", "model", "task", "kind", "job", "data", "metrics", "not_computed", "confidence", "baselines"}
SHOWN |= {"against", "difference", "seconds", "samples_per_second", "latency", "settings", "parameters", "signatures"}
SHOWN |= {"multi_label", "notes", "predictions", "predictions_of"}
BREAK = Html("<wbr/>")
BINS = ("low", "high", "rows", "confidence", "accuracy")
STYLE = (
    ":root{color-scheme:light dark;--ground:#f6f5f2;--paper:#fff;--ink:#1d2322;--soft:#566060;--line:#dcdad3;"
    "--accent:#1f5f5b;--bad:#9b2c1f;--good:#24643b}"
    "@media(prefers-color-scheme:dark){:root{--ground:#151918;--paper:#1d2221;--ink:#e8ebe9;--soft:#a3adaa;"
    "--line:#343b39;--accent:#6db8b0;--bad:#f0a195;--good:#8fd0a3}}"
    "body{margin:0;color:var(--ink);background:var(--ground);overflow-wrap:anywhere;"
    'font:15px/1.5 system-ui,-apple-system,"Segoe UI","Noto Sans",sans-serif}'
    "main{max-width:72rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}"
    "h1{margin:0;font-size:1.5rem;line-height:1.25}h2{margin:2rem 0 .4rem;font-size:1.15rem}"
    "summary{cursor:pointer}h3{margin:1rem 0 .3rem;font-size:1rem}"
    "p,figcaption{color:var(--soft);margin:.3rem 0;font-size:.9rem}"
    "dl{display:grid;grid-template-columns:minmax(8rem,max-content) 1fr;gap:.3rem 1.25rem;margin:.75rem 0;"
    "background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:1rem 1.25rem}"
    "dt{color:var(--soft)}dd{margin:0;min-width:0;unicode-bidi:isolate;white-space:pre-wrap}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(12rem,1fr));gap:.75rem;margin:1rem 0}"
    ".tiles>div{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:.7rem 1rem}"
    ".tiles strong{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}"
    "small{color:var(--soft);display:block;white-space:nowrap}"
    ".scroll{overflow-x:auto;margin:.5rem 0}"
    "table{border-collapse:collapse;background:var(--paper);font-size:.92rem;font-variant-numeric:tabular-nums}"
    "th,td{padding:.4rem .8rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);"
    "unicode-bidi:isolate;min-width:4rem;max-width:26rem;white-space:pre-wrap;overflow-wrap:break-word}"
    "thead th{color:var(--soft);font-size:.85rem;white-space:normal}tbody th{font-weight:500;min-width:6rem}"
    ".n{text-align:right}.t{min-width:14rem}.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:1rem}"
    "figure{margin:.5rem 0;background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:1rem}"
    "mark{background:color-mix(in srgb,var(--bad) 18%,transparent);color:var(--bad);border-radius:4px}"
    "details{margin:.5rem 0}"
    "@media(max-width:40rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}"
    "th,td{padding:.35rem .5rem}tbody th{min-width:5.5rem;max-width:7.5rem}"
    "tbody th,thead th:first-child:not(:has(.n)){position:sticky;left:0;background:var(--paper)}"
    "th.t,dl tbody th{position:static;max-width:none}dl .t{min-width:0}"
    ".cards,.cards tbody{display:block}.cards thead,.cards :empty{display:none}"
    ".cards tr{display:block;padding:.5rem .75rem;border-bottom:1px solid var(--line)}"
    ".cards th,.cards td{display:grid;grid-template-columns:5.5rem 1fr;gap:.5rem;padding:.1rem 0;border:0;"
    "min-width:0;max-width:none;text-align:left;position:static}.cards .t,.cards .t::before{display:block}"
    ".cards [data-label]::before{content:attr(data-label);color:var(--soft);font-size:.85rem}}"
)


def report_page(report: Mapping[str, Any]) -> str:
    """The whole page. Of a report only `metrics` need be there."""
    task = str(report.get("task") or "evaluation")
    heading = f"{report.get('model')}: {TASKS[task].title if task in TASKS else task}"
    body = element("main", element("h1", heading), *_head(report), *_sections(report))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=REPORT_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", heading),
        element("style", Html(STYLE)),
    )
    page = element("html", head, element("body", body), lang="en")
    return f"<!doctype html>{page}\n"


def _head(report: Mapping[str, Any]) -> Iterator[Html]:
    if report.get("kind") == "probe":
        yield element("p", "A probe: a linear model on the features of a base, which has no head of its own.")
    if report.get("kind") == "predictions":
        yield element("p", "Predictions that came as a file, one for each row: no model was run.")
    yield facts(_facts(report))
    yield element("div", *map(_tile, tiles(report)), class_="tiles")


def _facts(report: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    data, against = report.get("data") or {}, report.get("against") or {}
    yield "Model", report.get("model")
    predictions = report.get("predictions_of") or {}
    yield "Its file", predictions.get("dataset") or predictions.get("filename")
    yield "Digest of its file", predictions.get("sha256")
    yield "Against", against.get("model")
    yield "Data", " – ".join(str(data[name]) for name in ("dataset", "filename") if data.get(name))
    yield "Part of it", f"{data['split']}, split off the training rows" if data.get("split") else None
    yield "Rows", data.get("rows")
    yield "Noted", "\n".join(map(str, report.get("notes") or ()))
    yield "Digest", data.get("sha256")
    yield "Columns", data.get("columns")
    yield "When", report.get("created")
    yield "Evaluation", report.get("id")
    yield "Job", report.get("job")
    yield "Took", took_text(report)
    yield "One row at a time", latency_text(report.get("latency"))


def _sections(report: Mapping[str, Any]) -> Iterator[Html]:
    """Each part that the report holds, below a heading; parts in shapes that no part knows, and all others, last."""
    against, shown = report.get("against") or {}, set(SHOWN)
    other = str(against.get("model") or "the other model")
    yield _section("Metrics", _metrics(report, other), about_intervals(report))
    for key, title, part in _parts(report, against, other):
        shown.add(key)
        yield _section(title, part)
    told = {name: value for name in ("settings", "parameters", "signatures") if (value := given(report.get(name)))}
    if told:
        yield _section("Settings", facts((_title(name), value) for name, value in told.items()))
    rest = given({name: value for name, value in report.items() if name not in shown})
    tables = [name for name, value in rest.items() if _is_table(value)]
    for name in tables:
        yield _section(_title(name), rows_table(rest[name], _title(name)))
    if len(rest) > len(tables):
        yield _section("More", facts((_title(name), value) for name, value in rest.items() if name not in tables))


def _parts(report: Mapping[str, Any], against: Mapping[str, Any], other: str) -> Iterator[tuple[str, str, Html]]:
    """(the report's key, heading, what is shown)"""
    curves, calibration = report.get("curves") or {}, report.get("calibration") or {}
    if (report.get("changed") or {}).get("examples") is not None:
        yield "changed", f"What changed against {other}", changed_rows(report["changed"])
    if report.get("slices"):
        yield "slices", "Slices", slice_tables(report["slices"])
    if report.get("classes"):
        yield "classes", "Each class", class_table(report["classes"], against.get("classes") or (), other)
    labels = (report.get("confusion") or {}).get("labels") or ()
    for whose, each in (("", report), (f" of {other}", against)):
        if (each.get("confusion") or {}).get("labels"):
            yield "confusion", f"Confusions{whose}", confusion(in_label_order(each["confusion"], labels))
    kinds = {"precision_recall": precision_recall_chart, "roc": roc_chart}
    if drawn := [draw(curves[name]) for name, draw in kinds.items() if curves.get(name)]:
        yield "curves", "Curves", element("div", *drawn, class_="two")
    if calibration.get("bins"):
        error = calibration.get("expected_calibration_error")
        about = element("p", f"Expected calibration error: {figure_text(error)}. Below the diagonal it is too sure.")
        bins = rows_table(calibration["bins"], "Calibration", BINS)
        charts = [calibration_chart(calibration["bins"]), bins]
        yield "calibration", "Calibration", joined([about, element("div", *charts, class_="two")])
    heading, order = worst_heading(report)
    if report.get("worst"):
        yield "worst", f"{heading}{order}", wrong_rows(report["worst"], heading)
    if against.get("worst"):
        shown = element("details", element("summary", "Show them"), wrong_rows(against["worst"], heading))
        yield "worst", f"{heading} of {other}", shown


def _tile(tile: Tile) -> Html:
    parts = [tile.metric, element("strong", figure_text(tile.value))]
    if tile.interval:
        parts.append(element("small", _range(tile.interval)))
        parts += [interval_bar(tile.value, tile.interval, tile.whole, tile.other)] if tile.whole else []
    if tile.other is not None:
        parts.append(element("small", f"against {figure_text(tile.other)}"))
    return element("div", *parts)


def _metrics(report: Mapping[str, Any], other: str) -> Html:
    """A column for the model, for what it is held against, for their difference and its p, and for each baseline."""
    against, difference = report.get("against") or {}, report.get("difference") or {}
    columns: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    columns["This model"] = (report.get("metrics") or {}, report.get("confidence") or {})
    chances = p_values(report) if against else {}
    if against:
        columns[other] = (against.get("metrics") or {}, against.get("confidence") or {})
        apart = {name: [one.get("low"), one.get("high")] for name, one in difference.items()}
        columns["Difference"] = ({name: one.get("value") for name, one in difference.items()}, apart)
        columns |= {"p": (chances, {})} if chances else {}
    for name, metrics in (report.get("baselines") or {}).items():
        columns[f"Without a model: {name}"] = (metrics, {})
    names = in_order(report, (name for metrics, _ in columns.values() for name in metrics))
    rows = [
        [_breakable(name), *(_figure(metrics.get(name), ends.get(name)) for metrics, ends in columns.values())]
        for name in names
    ]
    shown = table(["Metric", *map(number_heading, columns)], rows, name="Metrics")
    notes = [*([P_VALUE] if chances else []), *not_computed(report)]
    return joined([shown, *(element("p", note) for note in notes)])


def _breakable(name: str) -> Html:
    """Long names go on in a new line after a word of theirs."""
    first, *rest = name.split("_")
    return joined([first, *(part for word in rest for part in ("_", BREAK, word))])


def _figure(value: Any, ends: Any) -> Html:
    interval = interval_of(ends)
    return element("td", figure_text(value), *([element("small", _range(interval))] if interval else []), class_="n")


def _range(interval: tuple[float, float]) -> str:
    return f"{figure_text(interval[0])} to {figure_text(interval[1])}"


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, Mapping) for row in value)


def _section(title: str, part: Html, about: str = "") -> Html:
    return element("section", element("h2", title), *([element("p", about)] if about else []), part)


def _title(name: str) -> str:
    return value_text(name).replace("_", " ").capitalize()
