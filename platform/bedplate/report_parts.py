"""The parts of a report's page: what changed, slices, classes, confusions, wrong rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bedplate.report_html import Html, element, facts, figure_text, joined, table, value_text

__all__ = [
    "SLICED",
    "changed_rows",
    "changes_text",
    "class_table",
    "confusion",
    "latency_text",
    "rows_table",
    "slice_tables",
    "took_text",
    "wrong_rows",
]

MOST_LABELS = 24  # of a matrix that can still be read
MOST_PAIRS = 200
FIRST = ("row",)
LAST = (
    *("label", "precision", "recall", "f1", "support"),
    *("answers", "answer", "summary", "completion", "target", "tags", "before", "after", "predicted", "rank"),
    *("f1_score", "rougeL", "chrf", "log_probability", "wrong_words", "confidence", "n_best"),
)
SLICED = {"length": "By length of the input, in characters", "answer": "By whether there is an answer"}
CHANGES = {"fixed": "Fixed", "broken": "Broken"}


def took_text(report: Mapping[str, Any]) -> str | None:
    """How long it took, and at which pace; None where that is not known."""
    seconds, pace = report.get("seconds"), report.get("samples_per_second")
    if seconds is None:
        return None
    return f"{_digits(seconds)} s" + (f", {_digits(pace)} rows per second in batches" if pace else "")


def latency_text(latency: Any) -> str | None:
    """Of {"rows", "p50_ms", "p95_ms"}; None where it was not measured."""
    if not isinstance(latency, Mapping):
        return None
    half, most = (latency.get(name) or 0.0 for name in ("p50_ms", "p95_ms"))
    return f"half within {half:.3g} ms, 95 % within {most:.3g} ms (of {figure_text(latency.get('rows'))} rows)"


def changes_text(changed: Mapping[str, Any]) -> str:
    """How many rows were fixed and broken, and what that means."""
    counts = f"{changed.get('fixed', 0):,} rows fixed, {changed.get('broken', 0):,} broken."
    return f"{counts} Fixed is what was wrong and is right now; of written texts, what became clearly better."


def changed_rows(changed: Mapping[str, Any]) -> Html:
    """How many rows were fixed and broken, and examples of both."""
    parts = [element("p", changes_text(changed))]
    for kind, title in CHANGES.items():
        rows = [
            {name: value for name, value in row.items() if name != "change"}
            for row in changed["examples"]
            if row.get("change") == kind
        ]
        if rows:
            more = f" ({len(rows)} of {changed.get(kind):,})" if changed.get(kind, 0) > len(rows) else ""
            parts += [element("h3", title + more), rows_table(rows, title)]
    return joined(parts)


def slice_tables(slices: Sequence[Mapping[str, Any]]) -> Html:
    """A table for each thing that rows were sliced by; intervals in small letters."""
    parts: list[Html] = []
    for by in dict.fromkeys(str(one.get("by")) for one in slices):
        group = [one for one in slices if str(one.get("by")) == by]
        title = SLICED.get(by, f"By {by}")
        names = list(dict.fromkeys(name for one in group for name in one.get("metrics") or {}))
        rows = [[str(one.get("value")), _number(one.get("rows")), *_figures(one, names)] for one in group]
        parts += [element("h3", title), table([by.capitalize(), "Rows", *names], rows, name=title)]
    return joined(parts)


def class_table(classes: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], other: str) -> Html:
    """Figures of each class, with the F1 of another model beside them where there is one."""
    f1 = {str(one.get("label")): one.get("f1") for one in others}
    beside = f"F1 of {other}"
    rows = [{**one, **({beside: f1.get(str(one.get("label")))} if f1 else {})} for one in classes]
    own = _in_order(dict.fromkeys(key for one in classes for key in one if key != "label"))
    return rows_table(rows, "Each class", ["label", *own, *([beside] if f1 else [])])


def confusion(found: Mapping[str, Any]) -> Html:
    """`labels` and a `matrix` of right labels by said ones, or `per_label` [[tn, fp], [fn, tp]]."""
    labels, matrix = [str(label) for label in found["labels"]], found.get("matrix") or []
    if found.get("per_label"):
        return _each_label(labels, found["per_label"])
    return _matrix(labels, matrix) if len(labels) <= MOST_LABELS else _pairs(labels, matrix)


def rows_table(rows: Sequence[Mapping[str, Any]], name: str, keys: Sequence[str] = ()) -> Html:
    """A table of whatever the rows have, or of those keys of theirs."""
    keys = keys or _in_order(dict.fromkeys(key for row in rows for key in row))
    cells = ([_plain(row.get(key)) for key in keys] for row in rows)
    return table([_title(key) for key in keys], cells, name=name)


def wrong_rows(worst: Sequence[Mapping[str, Any]]) -> Html:
    """Each with what it is, what would have been right and what was said."""
    if any("tokens" in row for row in worst):
        return joined(_words(row) for row in worst)
    if all(not isinstance(value, list | Mapping) for row in worst for value in row.values()):
        return rows_table(worst, "Wrong rows")
    return joined(facts((_title(key), row[key]) for key in _in_order(row)) for row in worst)


def _matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Html:
    about = element("p", "Rows are right labels, columns what was said; the darker, the larger the share of its row.")
    rows = [
        [label, *(_shaded(count, sum(counts), said == right) for said, count in enumerate(counts))]
        for right, (label, counts) in enumerate(zip(labels, matrix, strict=False))
    ]
    return joined([about, table(["Right label", *labels], rows, name="Confusion matrix")])


def _shaded(count: int, whole: int, is_right: bool) -> Html:
    tone = "good" if is_right else "bad"
    style = f"background:color-mix(in srgb,var(--{tone}) {60 * count / max(whole, 1):.0f}%,transparent)"
    return element("td", f"{count:,}", class_="n", style=style)


def _pairs(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Html:
    about = f"{len(labels)} labels are too many for a matrix: what was taken for what, the commonest first"
    pairs = [
        (count, labels[right], labels[said])
        for right, counts in enumerate(matrix)
        for said, count in enumerate(counts)
        if count and right != said
    ]
    pairs.sort(key=lambda pair: -pair[0])
    rest = f", {MOST_PAIRS} of {len(pairs):,}" if len(pairs) > MOST_PAIRS else ""
    rows = [[right, said, _number(count)] for count, right, said in pairs[:MOST_PAIRS]]
    shown = table(["Right label", "What was said", "Rows"], rows, name="Confusions")
    return joined([element("p", f"{about}{rest}."), shown])


def _each_label(labels: Sequence[str], per_label: Sequence[Sequence[Sequence[int]]]) -> Html:
    rows = [
        [label, *map(_number, (hits, wrong, missed, rest))]
        for label, ((rest, wrong), (missed, hits)) in zip(labels, per_label, strict=False)
    ]
    headings = ["Label", "Rightly said", "Wrongly said", "Missed", "Rightly not said"]
    return table(headings, rows, name="Confusions of each label")


def _words(row: Mapping[str, Any]) -> Html:
    """Words with their tags; after a wrong one, what was said of it."""
    tags, said = row.get("tags") or [], row.get("predicted") or []
    parts: list[str] = []
    for at, word in enumerate(row.get("tokens") or []):
        tag = str(tags[at]) if at < len(tags) else "O"
        guess = str(said[at]) if at < len(said) else tag
        text = f"{word}" if tag == guess == "O" else f"{word} [{tag}]"
        parts += [text if guess == tag else element("mark", f"{word} [{tag}, said: {guess}]"), " "]
    rest = [
        f"{_title(key)} {value_text(row[key])}"
        for key in _in_order(row)
        if key not in ("row", "tokens", "tags", "predicted")
    ]
    return joined([element("h3", f"Row {row.get('row', '?')}"), element("div", *parts), element("p", ", ".join(rest))])


def _figures(one: Mapping[str, Any], names: Sequence[str]) -> list[Html]:
    metrics, ends = one.get("metrics") or {}, one.get("confidence") or {}
    return [
        element(
            "td", figure_text(metrics.get(name)), *([element("small", _range(ends[name]))] if ends.get(name) else [])
        )
        for name in names
    ]


def _range(ends: Sequence[Any]) -> str:
    return " to ".join(figure_text(end) for end in ends)


def _digits(value: float) -> str:
    """Three of them, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _plain(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return _number(value) if is_number else "" if value is None else value_text(value)


def _number(value: Any) -> Html:
    return element("td", figure_text(value), class_="n")


def _in_order(names: Iterable[str]) -> list[str]:
    """As people read them: which row, what it is, what is right, what was said, and how sure that was."""
    places = {name: place for place, name in enumerate((*FIRST, "", *LAST))}
    return sorted(names, key=lambda name: places.get(name, places[""]))


def _title(name: str) -> str:
    return name[:1].upper() + name[1:].replace("_", " ")
