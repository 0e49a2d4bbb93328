"""The card of a model version, in Markdown: what it is, how to use it, where it comes from, what was measured on it.

Below that what its author wrote, cleaned. Whatever else is not ours in it is escaped, or stands in blocks of code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bedplate.model_needs import needs_of
from bedplate.model_samples import brief, samples
from bedplate.report_metrics import in_order
from bedplate_registry.cards import card_body
from bedplate_registry.errors import BedplateError
from bedplate_registry.estimates import Estimate, Recommendation
from bedplate_registry.license_texts import license_texts
from bedplate_registry.lineage import Relative, children, evaluations_of, parents
from bedplate_registry.markdown import MAX_CHARACTERS, clean_markdown, code_block, code_span, plain, table
from bedplate_registry.models import ModelVersion
from bedplate_registry.sizes import size_text
from bedplate_registry.store import ARCHIVED

if TYPE_CHECKING:
    from bedplate.workspace import Workspace

__all__ = ["card_of"]

MOST_SHOWN = 50  # labels, languages, data, children
MOST_REPORTS = 20
MOST_METRICS = 4


def card_of(workspace: Workspace, version: ModelVersion) -> str:
    """The whole card. What of it cannot be read, such as a damaged file, is named there; the rest stays."""
    needs = needs_of(workspace.registry, workspace.machine, version)
    parts = [
        [f"# {plain(version.ref)}"],
        _state(version),
        [_facts(version)],
        _use(version, workspace.address.url),
        _license(workspace, version),
        _origin(workspace, version),
        _measured(workspace, version),
        _family(workspace, version),
        _memory(version, *needs),
        _sample(version),
        _author(workspace, version),
    ]
    return "\n\n".join(block for part in parts for block in part if block) + "\n"


def _state(version: ModelVersion) -> Iterator[str]:
    if version.state == ARCHIVED:
        yield (
            "**It is archived**: it can be read, and is not deployed or fine-tuned any more. Bring it back with "
            f"{code_span(f'bedplate models restore {version.ref}')}."
        )


def _facts(version: ModelVersion) -> str:
    facts = version.facts
    rows: list[tuple[str, Any]] = [
        ("task", facts.task or "none: a base, to be fine-tuned first"),
        ("architecture", facts.architecture),
        ("model type", facts.model_type),
        ("library", facts.library),
        ("parameters", f"{facts.parameters:,}"),
        ("type of weights", facts.dtype),
        ("size", size_text(facts.size_bytes)),
        ("context", facts.context_length and f"{facts.context_length:,} tokens"),
        ("labels", _some(facts.labels)),
        ("languages", _some(facts.languages)),
        ("can be fine-tuned for", _some(facts.finetunable_tasks)),
        ("author", facts.author),
        ("made of, says its card", _some(facts.base_model)),
        ("trained on, says its card", _some(facts.datasets)),
        ("license", facts.license_spdx or "none is named"),
    ]
    return table(("fact", "value"), [(name, plain(value)) for name, value in rows if value])


def _use(version: ModelVersion, url: str) -> Iterator[str]:
    found = samples(version, url)
    if found:
        yield "## How to use it"
    for sample in found:
        yield f"### {sample.title}"
        yield sample.about
        yield code_block(sample.code, sample.language)


def _license(workspace: Workspace, version: ModelVersion) -> Iterator[str]:
    yield "## License"
    facts = version.facts
    named = f"{plain(facts.license_spdx)}, on the Hub spelled {code_span(facts.license)}." if facts.license_spdx else ""
    yield named or "Its card and its Hub name no license."
    try:
        paths = [text.path for text in license_texts(workspace.registry.models, version)]
    except BedplateError as exc:
        yield plain(exc.message)
        return
    if paths:
        command = code_span(f"bedplate models license {version.ref}")
        yield f"Its text came with it ({plain(', '.join(paths))}): {command}"


def _origin(workspace: Workspace, version: ModelVersion) -> Iterator[str]:
    source, lineage = version.source, version.lineage
    yield "## Where it comes from"
    data = lineage.get("data") if isinstance(lineage.get("data"), Mapping) else {}
    rows: list[tuple[str, Any]] = [
        (
            {"hub": "Hub", "folder": "folder, by the digest of its files", "job": "job"}.get(source.kind, "from"),
            source.id,
        ),
        ("address", source.url),
        ("commit", source.commit),
        ("here since", version.created),
        ("SHA-256 of its manifest", version.digest),
        *((f"{part} data", _data(value)) for part, value in (data or {}).items()),
    ]
    yield table(("what", "which"), [(plain(name), plain(value)) for name, value in rows if value])
    for each in workspace.registry.models.licenses.all(version.name):
        yield f"The license {plain(each.license)} was accepted by {plain(each.by)} on {plain(each.when)}."


def _data(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return str(value.get("dataset") or value.get("filename") or "") or None
    return "taken from the training data" if value == "auto" else None


def _measured(workspace: Workspace, version: ModelVersion) -> Iterator[str]:
    reports = evaluations_of(workspace.registry.evaluations, version.ref)
    if not reports:
        return
    yield "## What was measured"
    shown = [each for each in reports[:MOST_REPORTS] if isinstance(each["metrics"], Mapping)]
    names = list(dict.fromkeys(name for each in shown for name in in_order(each, each["metrics"])))[:MOST_METRICS]
    rows = [
        [
            plain(_text(each["data"], each["split"])),
            *(_figure(each["metrics"].get(name)) for name in names),
            plain(each["created"][:10]),
            code_span(each["id"], in_table=True),
        ]
        for each in shown
    ]
    yield table(["data", *(plain(name) for name in names), "on", "report"], rows)
    if len(reports) > len(shown):
        yield f"And {len(reports) - len(shown)} earlier ones."


def _family(workspace: Workspace, version: ModelVersion) -> Iterator[str]:
    models = workspace.registry.models
    rows = [("base", each) for each in parents(models, version)]
    rows += [("made of it", each) for each in children(models, version)]
    if rows:
        yield "## Base and children"
        yield table(("what", "which", "how"), [_relative(what, each) for what, each in rows[:MOST_SHOWN]])
        if len(rows) > MOST_SHOWN:
            yield f"And {len(rows) - MOST_SHOWN} more: {code_span(f'bedplate models lineage {version.ref}')}"
    if version.aliases:
        yield "## Aliases"
        moves = [models.alias_history(version.name, alias)[-1] for alias in version.aliases]
        rows_of = [(plain(move.alias), plain(move.when), plain(move.by), plain(move.why or "-")) for move in moves]
        yield table(("alias", "since", "by", "why"), rows_of)


def _relative(what: str, each: Relative) -> Sequence[str]:
    how = each.relation if each.state == "active" else f"{each.relation}, {each.state}"
    return what, code_span(each.ref, in_table=True), plain(how)


def _memory(version: ModelVersion, found: Estimate, recommended: Recommendation) -> Iterator[str]:
    yield "## What it takes"
    rows = [("serve on a CPU", found.serve_cpu), ("serve on a GPU", found.serve_gpu)]
    if version.facts.finetunable_tasks and found.finetune_full and found.finetune_lora:
        rows += [("fine-tune all weights", found.finetune_full), ("fine-tune with LoRA", found.finetune_lora)]
    yield table(
        ("to", "memory", "reckoned with"), [(to, size_text(m.size_bytes), plain(_some(m.assumed))) for to, m in rows]
    )
    if version.facts.finetunable_tasks and recommended.batch_size:
        yield (
            f"To fine-tune it on this machine: {recommended.precision} on {recommended.device}, "
            f"{'all weights' if recommended.method == 'full' else 'LoRA'}, batches of {recommended.batch_size} "
            f"({plain(recommended.reasons[0])})."
        )


def _sample(version: ModelVersion) -> Iterator[str]:
    if version.sample:
        yield "## What it answered when it was checked"
        yield code_block(json.dumps(brief(version.sample), indent=2, ensure_ascii=False), "json")


def _author(workspace: Workspace, version: ModelVersion) -> Iterator[str]:
    try:
        text = card_body(workspace.registry.models.card(version))
    except BedplateError as exc:
        yield plain(exc.message)
        return
    if cleaned := _cleaned(text[: MAX_CHARACTERS + 1]):
        yield "## From the author's card"
        yield cleaned


@lru_cache(maxsize=64)
def _cleaned(text: str) -> str:
    """Kept for a while: it takes a millisecond for each kilobyte, and a hostile one seconds."""
    return clean_markdown(text, heading_shift=2)


def _some(items: Iterable[str]) -> str:
    every = list(items)
    more = f" and {len(every) - MOST_SHOWN} more" if len(every) > MOST_SHOWN else ""
    return ", ".join(every[:MOST_SHOWN]) + more


def _text(*parts: Any) -> str:
    return " ".join(str(part) for part in parts if part) or "-"


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else "-"
