"""What a version is: its facts, what it takes of memory, and its card."""

from __future__ import annotations

from typing import Any

from nicegui import html

from bedplate.aio.models import Model
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.filters import TASK_NAMES
from bedplate.studio.parts.headings import section
from bedplate.studio.parts.model_evaluations import main_figure
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.tables import Column, table, when
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate.wire import model_path
from bedplate_registry.cards import card_body
from bedplate_registry.errors import BedplateError
from bedplate_registry.sizes import count_text, size_text

__all__ = ["overview"]

MOST_SHOWN = 30  # labels, languages, data
NEEDS = (
    Column("to", "To", sortable=False),
    Column("size_bytes", "Memory", "bytes", sortable=False),
    Column("assumed", "Assumes", sortable=False),
)
USES = {
    "serve_cpu": "Serve on a CPU",
    "serve_gpu": "Serve on a GPU",
    "finetune_full": "Fine-tune all weights",
    "finetune_lora": "Fine-tune with LoRA",
}
CAME_FROM = {"hub": "Hub", "folder": "Folder, by its digest", "job": "Job"}


async def overview(visit: Visit, model: Model) -> None:
    """Facts, memory and card, one below the other."""
    measured = (await model.lineage())["evaluations"]
    with section("Facts"), html.div().classes("bp-panel"):
        came_from = await _came_from(visit, model.data["source"])
        facts(_facts(model.data, main_figure(measured[0]) if measured else None, came_from))
    with section("Card"):
        await _card(model)
    await _memory(model)


async def _came_from(visit: Visit, source: dict[str, Any]) -> tuple[str, str | tuple[str, str]]:
    """What it was made of; a job is a link, where the visitor sees it."""
    name = CAME_FROM.get(source["kind"], "From")
    if source["kind"] != "job":
        return name, source["id"]
    try:
        job = await visit.ws.jobs.get(source["id"])
    except BedplateError:
        return name, source["id"]
    return name, (job.id, place("jobs", job.id))


async def _card(model: Model) -> None:
    address = card_address(model.ref)
    found = await _has_card(model)
    if found:
        html.iframe(
            src=address,
            sandbox="allow-popups allow-popups-to-escape-sandbox",
            title=f"Card of {model.ref}",
            referrerpolicy="no-referrer",
        ).classes("bp-frame")
    about = "What its author says of it, without anything active." if found else "Its author wrote no card."
    with html.p().classes("bp-hint"):
        html.span(f"{about} ")
        html.a("The whole card", href=f"{address}?whole=true", target="_blank")
        html.span(" has facts, samples and figures too.")


async def _has_card(model: Model) -> bool:
    """Whether its author wrote anything; where that cannot be read the frame says why."""
    try:
        return bool(card_body(await model.card(source=True)).strip())
    except BedplateError:
        return True


def card_address(ref: str) -> str:
    """Where the card's page is: a route of its own, whose rules let nothing run."""
    return "/cards" + model_path(ref).removeprefix("/api/v1/models")


async def _memory(model: Model) -> None:
    needs = await model.estimates()
    found, advised = needs["estimates"], needs["recommended"]
    rows = [{"to": title, **found[use]} for use, title in USES.items() if found.get(use)]
    with section("What it takes"):
        table(NEEDS, rows, name="What it takes")
        if model.data["finetunable_tasks"] and advised["batch_size"]:
            way = "all weights" if advised["method"] == "full" else "LoRA"
            hint(
                f"To fine-tune it on this machine: {advised['precision']} on {advised['device']}, {way}, "
                f"batches of {advised['batch_size']} ({advised['reasons'][0]})."
            )


def _facts(
    data: dict[str, Any], newest: tuple[str, str] | None, came_from: tuple[str, str | tuple[str, str]]
) -> list[tuple[str, Any]]:
    context = data["context_length"]
    return [
        ("Task", TASK_NAMES.get(data["task"] or "", data["task"]) or "None: a base, to be fine-tuned first"),
        ("Can be fine-tuned for", _some([TASK_NAMES.get(name, name) for name in data["finetunable_tasks"]])),
        ("Newest evaluation", newest),
        ("License", data["license_spdx"] or "None is named"),
        ("Parameters", count_text(data["parameters"])),
        ("Size", size_text(data["size_bytes"])),
        ("Type of weights", data["dtype"]),
        ("Architecture", data["architecture"]),
        ("Library", data["library"]),
        ("Context", f"{context:,} tokens" if context else None),
        ("Languages", _some(data["languages"])),
        ("Labels", _some(data["labels"])),
        ("Author", data["author"]),
        ("Base model, says its card", _some(data["base_model"])),
        ("Trained on, says its card", _some(data["datasets"])),
        came_from,
        ("Commit", data["source"]["commit"]),
        ("Here since", when(data["created"])),
        ("SHA-256 of its manifest", data["digest"]),
    ]


def _some(items: list[str]) -> str:
    more = f" and {len(items) - MOST_SHOWN:,} more" if len(items) > MOST_SHOWN else ""
    return ", ".join(items[:MOST_SHOWN]) + more
