"""One version of a dataset: what its columns hold, its rows, whether it is in order for a task, its other versions."""

from __future__ import annotations

from typing import Any

from nicegui import html, ui

from bedplate.aio.datasets import Dataset
from bedplate.studio.frame import page
from bedplate.studio.parts.data_check import DataCheck
from bedplate.studio.parts.dialogs import confirm
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.headings import action, section, title
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.preview import Preview
from bedplate.studio.parts.tables import Column, table, when
from bedplate.studio.paths import go, place
from bedplate.studio.visit import Visit
from bedplate.wire import url_path
from bedplate_registry.sizes import size_text

SCHEMA = (
    Column("name", "Column"),
    Column("type", "Type"),
    Column("looks_like", "Looks like"),
    Column("missing", "Missing", "number"),
    Column("empty", "Empty", "number"),
    Column("different", "Different values"),
    Column("characters", "Characters"),
)
VERSIONS = (
    Column("ref", "Version", link="url"),
    Column("rows", "Rows", "number"),
    Column("size_bytes", "Size", "bytes"),
    Column("made", "Created", "time"),
    Column("state", "State", "state"),
)


@page("/datasets/{name:path}", "Dataset {name}", section="Datasets")
async def dataset(visit: Visit, name: str, check: str = "") -> None:
    """`check` is the job that looks through it."""
    found = await visit.ws.datasets.get(name)
    with title(found.ref, f"{_counted(found.rows, 'row')}, {_counted(len(found.columns), 'column')}."):
        _actions(visit, found)
    if found.state == "archived":
        hint("It is archived: it is in no list, and used by its number alone.")
    problems = html.div(role="status")
    _facts(visit, found, problems)
    with section("Columns", "What each one holds, over all rows."):
        _schema(found)
    with section("Rows"):
        await _rows(visit, found)
    with section("Data check", "Is it in order for a task? A short job looks at every row.", name="check"):
        checked = DataCheck(visit, found)
        if check:
            checked.watch(check)
    with section("Versions"):
        await _versions(visit, found)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _actions(visit: Visit, found: Dataset) -> None:
    """Where it can be used, and what can be done with it."""
    archived = "it is archived" if found.state == "archived" else ""
    train = archived or ("" if visit.may("train") else f"the role {visit.role} may not")
    batch = archived or ("" if visit.may("batch") else f"the role {visit.role} may not")
    operate = "" if visit.may("operate") else "it takes the role operator"
    action("Fine-tune", place("finetune", train=found.ref), primary=True, why_not=train)
    action("Evaluate", place("evaluate", data=found.ref), why_not=train)
    action("Score in batch", place("batch", "new", input=found.ref), why_not=batch)

    async def archive() -> None:
        await visit.ws.datasets.archive(found.ref)
        go("datasets", found.ref)

    async def restore() -> None:
        await visit.ws.datasets.restore(found.ref)
        go("datasets", found.ref)

    async def delete() -> None:
        question = f"Delete {found.ref} for good? Its number is never given again."
        if await confirm(question, button="Delete it", type_in=found.ref):
            await visit.ws.datasets.delete(found.ref)
            go("datasets")

    if archived:
        action("Restore", restore, why_not=operate)
    else:
        action("Archive", archive, why_not=operate)
    action("Delete", delete, danger=True, why_not=operate)


def _facts(visit: Visit, found: Dataset, told: html.div) -> None:
    images = f"{found.images:,}, {size_text(found.data['images_bytes'])}" if found.images else None

    async def verify() -> None:
        [verdict] = await visit.ws.datasets.verify(found.ref)
        told.clear()
        with told, html.div().classes("bp-problem" if verdict["problems"] else "bp-calmbox"):
            for problem in verdict["problems"]:
                ui.label(problem)
            if not verdict["problems"]:
                ui.label("Every byte agrees with its digest.")

    with html.div().classes("bp-panel"):
        facts(
            (
                ("State", found.state),
                ("File", found.data["filename"]),
                ("Format", found.format),
                ("Size", size_text(found.size_bytes)),
                ("Images", images),
                ("Created", when(found.created)),
                ("SHA-256", found.data["sha256"]),
            )
        )
        with html.div().classes("bp-actions bp-below"):
            action("Read every byte again", verify)


def _schema(found: Dataset) -> None:
    if not found.schema:
        hint("Nothing is known of them: it was added by a version of Bedplate that did not look. Add the file again.")
        return
    table(SCHEMA, [_column(column) for column in found.schema], name="Columns")


def _column(column: dict[str, Any]) -> dict[str, Any]:
    least, mean, most = (column[f"{name}_characters"] for name in ("min", "mean", "max"))
    return {
        **column,
        "different": f"{'more than ' if column['is_more'] else ''}{column['distinct']:,}",
        "characters": "" if least is None else f"{least:,} to {most:,}, {mean:,.0f} on average",
    }


async def _rows(visit: Visit, found: Dataset) -> None:
    path = url_path("datasets", *found.ref.split("/"), "preview")

    async def fetch(after: int, limit: int) -> dict[str, Any]:
        return await visit.ws.connection.get(path, limit=limit, after=after)

    await Preview(fetch, found.columns, found.rows, name=f"Rows of {found.ref}").begin()


async def _versions(visit: Visit, found: Dataset) -> None:
    versions = await visit.ws.datasets.versions(found.name)
    rows = [{**each.data, "made": each.created, "url": place("datasets", each.ref)} for each in reversed(versions)]
    table(VERSIONS, rows, name="Versions")
