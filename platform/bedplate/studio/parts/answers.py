"""Answers of the nine tasks, as people read them. A task that is not here shows its answer as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nicegui import html, ui

from bedplate.studio.parts.notices import hint

__all__ = ["bars", "raw", "show_answer", "span_text"]

MOST_BARS = 30
MOST_RAW = 50_000  # characters of JSON on a page
TINTS = 6  # in the style sheet: bp-tint-0 …


def show_answer(task: str, answer: Any, *, text: str = "", prompt: str = "") -> None:
    """One answer. `text` is what it points into; `prompt` says what an image shows."""
    show = SHOWN.get(task)
    try:
        if isinstance(answer, bytes):
            _image(answer, prompt)
        elif show is None:
            raw(answer)
        else:
            show(answer, text)
    except (KeyError, TypeError, IndexError, AttributeError):  # a model may answer in a way of its own
        hint("This answer is not as those of its task are.")
        raw(answer)


def bars(rows: Iterable[tuple[str, float]], *, name: str) -> None:
    """Labels with a score each, the highest as it comes; `name` says what they are."""
    rows = list(rows)
    with html.div(role="list", **{"aria-label": name}):
        for label, score in rows[:MOST_BARS]:
            with html.div(role="listitem").classes("bp-bar-line"):
                ui.label(label).classes("bp-bar-name")
                with html.div(**{"aria-hidden": "true"}).classes("bp-bar-track"):
                    html.div().classes("bp-bar-fill").style(f"width: {100 * min(1.0, max(0.0, score)):.1f}%")
                ui.label(_score(score)).classes("bp-bar-value")
    if len(rows) > MOST_BARS:
        hint(f"The first {MOST_BARS} of {len(rows):,}.")


def span_text(text: str, spans: Sequence[tuple[int, int, str]]) -> None:
    """A text with marked parts: (start, end, label) in characters, in their order; of two that overlap, the first."""
    tints = {label: at % TINTS for at, label in enumerate(dict.fromkeys(label for *_, label in spans))}
    with html.div().classes("bp-marked"):
        done = 0
        for start, end, label in spans:
            if start < done or end <= start:
                continue
            html.span(text[done:start])
            with html.mark().classes(f"bp-tint-{tints[label]}"):
                html.span(text[start:end])
                if label:
                    html.small(label)
            done = end
        html.span(text[done:])


def raw(answer: Any) -> None:
    """As JSON."""
    text = f"(an image of {len(answer):,} bytes)" if isinstance(answer, bytes) else _json(answer)
    cut = "" if len(text) <= MOST_RAW else f"\n… and {len(text) - MOST_RAW:,} characters more"
    html.pre(text[:MOST_RAW] + cut, tabindex="0").classes("bp-log")


def _labels(answer: Any, text: str) -> None:
    rows = answer[0] if isinstance(answer[0], list) else answer
    bars(((str(row["label"]), row["score"]) for row in rows), name="Labels")


def _entities(answer: Any, text: str) -> None:
    rows = [row for row in answer if row.get("start") is not None]
    spans = [(row["start"], row["end"], _label(row)) for row in rows]
    span_text(text, spans)
    counts: dict[str, int] = {}
    for *_, label in spans:
        counts[label] = counts.get(label, 0) + 1
    if not spans:
        hint("No entity was found.")
        return
    with html.ul(**{"aria-label": "Legend"}).classes("bp-legend"):
        for at, (label, count) in enumerate(counts.items()):
            with html.li():
                html.span(label).classes(f"bp-chip bp-tint-{at % TINTS}")
                html.span(f"{count:,}")
    bars(((f"{row['word']} ({_label(row)})", row["score"]) for row in rows), name="Entities")


def _label(row: Mapping[str, Any]) -> str:
    return str(row.get("entity_group") or row.get("entity"))


def _found(answer: Any, text: str) -> None:
    """The best answer in its context, the others below."""
    rows = answer if isinstance(answer, list) else [answer]
    best = rows[0]
    if best["answer"]:
        span_text(text, [(best["start"], best["end"], "")])
    else:
        hint("The context does not say.")
        span_text(text, [])
    bars(((str(row["answer"]) or "(no answer)", row["score"]) for row in rows), name="Answers")


def _masks(answer: Any, text: str) -> None:
    masks = answer if answer and isinstance(answer[0], list) else [answer]
    for at, rows in enumerate(masks, 1):
        if len(masks) > 1:
            html.h3(f"Mask {at}")
        bars(((str(row["token_str"]), row["score"]) for row in rows), name=f"Mask {at}")
    if len(masks) == 1 and masks[0]:
        html.p(str(masks[0][0]["sequence"])).classes("bp-written")


def _written(key: str) -> Callable[[Any, str], None]:
    def show(answer: Any, text: str) -> None:
        for row in answer if isinstance(answer, list) else [answer]:
            html.p(str(row[key]) or "(an empty text)").classes("bp-written")
            if row.get("finish_reason"):
                hint(f"It ends because of: {row['finish_reason']}.")

    return show


def _image(image: bytes, prompt: str) -> None:
    url = f"data:{_media_type(image)};base64,{base64.b64encode(image).decode()}"
    html.img(src=url, alt=prompt[:200] or "The image").classes("bp-drawn")
    html.a("Keep this image", href=url, download="image.png")


def _media_type(image: bytes) -> str:
    return "image/jpeg" if image.startswith(b"\xff\xd8") else "image/webp" if image.startswith(b"RIFF") else "image/png"


def _score(score: float) -> str:
    return f"{score:.1%}" if 0 <= score <= 1 else f"{score:.3g}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


SHOWN: Mapping[str, Callable[[Any, str], None]] = {
    "text-classification": _labels,
    "image-classification": _labels,
    "token-classification": _entities,
    "question-answering": _found,
    "fill-mask": _masks,
    "summarization": _written("summary_text"),
    "translation": _written("translation_text"),
    "text-generation": _written("generated_text"),
}
