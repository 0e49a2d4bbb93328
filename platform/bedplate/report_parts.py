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
    "given",
    "in_label_order",
    "key_title",
    "latency_text",
    "number",
    "number_heading",
    "rows_table",
    "slice_tables",
    "took_text",
    "worst_heading",
    "wrong_rows",
]

EMPTY: tuple[Any, ...] = (None, "", [], (), {})
MOST_LABELS = 24  # of a matrix that can still be read
MOST_PAIRS = 200
WRITTEN = ("summarization", "translation", "text-generation")  # such texts are neither right nor wrong
FIRST = ("row",)
LAST = (
    *("label", "precision", "recall", "f1", "support"),
    *("answers", "answer", "summary", "completion", "target", "tags", "before", "after", "predicted", "rank"),
    *("f1_score", "rougeL", "chrf", "log_probability", "wrong_words", "confidence", "n_best"),
)
SLICED = {"length": "By length of the input, in characters", "answer": "By whether there is an answer"}
CHANGES = {"fixed": "Fixed", "broken": "Broken"}
FEW = 3  # of what belongs to a row; more of it is folded
LONG_CHARACTERS = 40  # of a text that is given room in a table
# What a row calls its inputs where they are wrong and where they changed, and what a newcomer cannot guess.
TITLES = {"sentence1": "Text", "sentence2": "Second text", "text_pair": "Second text", "n_best": "Best answers"}


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
    """How many rows were fixed and broken, and examples of both, folded: there may be a hundred."""
    parts = [element("p", changes_text(changed))]
    for kind, title in CHANGES.items():
        rows = [
            {name: value for name, value in row.items() if name != "change"}
            for row in changed["examples"]
            if row.get("change") == kind
        ]
        if rows:
            of_all = f" of {changed.get(kind):,}" if changed.get(kind, 0) > len(rows) else ""
            shown = rows_table(rows, title, as_cards=True)
            parts.append(element("details", element("summary", f"{title} ({len(rows)}{of_all})"), shown))
    return joined(parts)


def slice_tables(slices: Sequence[Mapping[str, Any]]) -> Html:
    """A table for each thing that rows were sliced by; intervals in small letters."""
    parts: list[Html] = []
    for by in dict.fromkeys(str(one.get("by")) for one in slices):
        group = [one for one in slices if str(one.get("by")) == by]
        title = SLICED.get(by, f"By {by}")
        names = list(dict.fromkeys(name for one in group for name in one.get("metrics") or {}))
        rows = [[str(one.get("value")), number(one.get("rows")), *_figures(one, names)] for one in group]
        headings = [by.capitalize(), *map(number_heading, ("Rows", *names))]
        parts += [element("h3", title), table(headings, rows, name=title)]
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


def worst_heading(report: Mapping[str, Any]) -> tuple[str, str]:
    """What the rows at the end of a report are, and in which order, where that does not say so."""
    return ("Lowest-scoring rows", "") if report.get("task") in WRITTEN else ("Wrong rows", ", the worst first")


def in_label_order(found: Mapping[str, Any], labels: Sequence[Any]) -> Mapping[str, Any]:
    """The same confusions with their labels in this order, where it is one of the same labels."""
    own, wanted = [str(label) for label in found["labels"]], [str(label) for label in labels]
    places = {label: place for place, label in enumerate(own)}
    if sorted(own) != sorted(wanted) or len(places) < len(own):
        return found
    order, matrix, each = [places[label] for label in wanted], found.get("matrix") or [], found.get("per_label") or []
    if any(len(part) not in (0, len(own)) for part in (matrix, each)) or any(len(row) != len(own) for row in matrix):
        return found
    ordered = [[matrix[right][said] for said in order] for right in order] if matrix else []
    return {**found, "labels": wanted, "matrix": ordered, "per_label": [each[place] for place in order] if each else []}


def rows_table(
    rows: Sequence[Mapping[str, Any]], name: str, keys: Sequence[str] = (), *, as_cards: bool = False
) -> Html:
    """A table of whatever the rows have, or of those keys of theirs; each row a card where the page is narrow."""
    keys = keys or _in_order(dict.fromkeys(key for row in rows for key in row))
    headings = [_heading(key, [row.get(key) for row in rows]) for key in keys]
    labels = [key_title(key) if as_cards else None for key in keys]
    cells = (
        [_cell(row.get(key), label, not at) for at, (key, label) in enumerate(zip(keys, labels, strict=True))]
        for row in rows
    )
    return table(headings, cells, name=name, class_="cards" if as_cards else None)


def number(value: Any) -> Html:
    """A cell."""
    return element("td", figure_text(value), class_="n")


def number_heading(title: str) -> Html:
    """What stands over a column of numbers, on their side."""
    return element("div", title, class_="n")


def wrong_rows(worst: Sequence[Mapping[str, Any]], name: str = "Wrong rows") -> Html:
    """Each with what it is, what would have been right and what was said."""
    if any("tokens" in row for row in worst):
        return joined(_words(row) for row in worst)
    if all(not isinstance(value, list | Mapping) for row in worst for value in row.values()):
        return rows_table(worst, name, as_cards=True)
    return joined(facts((key_title(key), _shown(row[key])) for key in _in_order(row)) for row in worst)


def _matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Html:
    about = element("p", "Rows are right labels, columns what was said; the darker, the larger the share of its row.")
    rows = [
        [label, *(_shaded(count, sum(counts), said == right) for said, count in enumerate(counts))]
        for right, (label, counts) in enumerate(zip(labels, matrix, strict=False))
    ]
    return joined([about, table(["Right label", *map(number_heading, labels)], rows, name="Confusion matrix")])


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
    rows = [[right, said, number(count)] for count, right, said in pairs[:MOST_PAIRS]]
    shown = table(["Right label", "What was said", number_heading("Rows")], rows, name="Confusions")
    return joined([element("p", f"{about}{rest}."), shown])


def _each_label(labels: Sequence[str], per_label: Sequence[Sequence[Sequence[int]]]) -> Html:
    rows = [
        [label, *map(number, (hits, wrong, missed, rest))]
        for label, ((rest, wrong), (missed, hits)) in zip(labels, per_label, strict=False)
    ]
    headings = map(number_heading, ("Rightly said", "Wrongly said", "Missed", "Rightly not said"))
    return table(["Label", *headings], rows, name="Confusions of each label")


def _words(row: Mapping[str, Any]) -> Html:
    """Words with their tags; after a wrong one, what was said of it."""
    tags, said = row.get("tags") or [], row.get("predicted") or []
    parts: list[str] = []
    for at, word in enumerate(row.get("tokens") or []):
        tag = str(tags[at]) if at < len(tags) else "O"
        guess = str(said[at]) if at < len(said) else tag
        text = f"{word}" if tag == guess == "O" else f"{word} [{tag}]"
        parts += [text if guess == tag else element("mark", f"{word} [{tag}, said: {guess}]"), " "]
    first, before, behind = _cut_off(row)
    parts = [*(["… "] if before else []), *parts, *(["…"] if behind else [])]
    part = [f"Words {first + 1:,} to {first + len(row['tokens']):,} of {row['words']:,}"] if before or behind else []
    told = ("row", "tokens", "tags", "predicted", "first_word", "words")
    rest = [f"{key_title(key)} {value_text(row[key])}" for key in _in_order(row) if key not in told]
    about = element("p", ", ".join([*part, *rest]))
    return joined([element("h3", f"Row {row.get('row', '?')}"), element("div", *parts), about])


def _cut_off(row: Mapping[str, Any]) -> tuple[int, int, int]:
    """Which of its words is shown first, and how many stand before the shown ones and behind them."""
    first, shown = row.get("first_word") or 0, len(row.get("tokens") or [])
    whole = row.get("words")
    return (first, first, max(whole - first - shown, 0)) if isinstance(whole, int) else (0, 0, 0)


def _figures(one: Mapping[str, Any], names: Sequence[str]) -> list[Html]:
    metrics, ends = one.get("metrics") or {}, one.get("confidence") or {}
    return [
        element(
            "td",
            figure_text(metrics.get(name)),
            *([element("small", _range(ends[name]))] if ends.get(name) else []),
            class_="n",
        )
        for name in names
    ]


def _range(ends: Sequence[Any]) -> str:
    return " to ".join(figure_text(end) for end in ends)


def _digits(value: float) -> str:
    """Three of them, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _heading(key: str, values: Sequence[Any]) -> str:
    are_numbers = all(value is None or _is_number(value) for value in values) and any(map(_is_number, values))
    return number_heading(key_title(key)) if are_numbers else key_title(key)


def _cell(value: Any, label: str | None, is_first: bool) -> Html:
    """`label` is its heading, which it repeats on a card. A text that is first heads its row."""
    if _is_number(value):
        return element("td", figure_text(value), class_="n", data_label=label)
    shown = _shown(value)
    name, scope = ("th", "row") if is_first else ("td", None)
    return element(name, shown, class_="t" if len(shown) > LONG_CHARACTERS else None, scope=scope, data_label=label)


def _shown(value: Any) -> str:
    """What is empty says so, or a label that was not given would look like one that the page leaves out."""
    if value is None:
        return ""
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        keys = list(dict.fromkeys(key for one in value for key in one))
        shown = rows_table(value, "Of this row", keys)
        return shown if len(value) <= FEW else element("details", element("summary", f"{len(value)} of them"), shown)
    return value_text(value) or element("small", "(none)")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_order(names: Iterable[str]) -> list[str]:
    """As people read them: which row, what it is, what is right, what was said, and how sure that was."""
    places = {name: place for place, name in enumerate((*FIRST, "", *LAST))}
    return sorted(names, key=lambda name: places.get(name, places[""]))


def given(value: Any) -> Any:
    """Without what is empty in it."""
    if not isinstance(value, Mapping):
        return value
    return {name: shown for name, one in value.items() if (shown := given(one)) not in EMPTY}


def key_title(name: str) -> str:
    return TITLES.get(name) or name[:1].upper() + name[1:].replace("_", " ")
