"""A file that a browser sends becomes a dataset: kept, checked and found again like any other."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from nicegui import events, html, ui

from bedplate.remote.datasets import Dataset
from bedplate.studio.parts import notices
from bedplate.studio.parts.headings import action
from bedplate.studio.parts.notices import hint
from bedplate.studio.visit import Visit
from bedplate_registry.errors import BedplateError, NotFound, Refused
from bedplate_registry.names import Name, plain_name

__all__ = ["SUFFIXES", "dataset_name", "upload_dataset"]

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
LINES = ".txt"  # of predictions: one a line
Done = Callable[[str], Awaitable[None] | None]
# The library's own has a button without a name, and inside it a field, which here lies over the button for the mouse.
HEADER = """<div class="bp-upload-head">
  <q-btn flat icon="upload_file" label="%(label)s" :disable="!props.canAddFiles" @click="props.pickFiles"></q-btn>
  <q-uploader-add-trigger aria-hidden="true"></q-uploader-add-trigger>
  <q-circular-progress v-if="props.isUploading" indeterminate size="1.5rem"></q-circular-progress></div>"""


# What was chosen; the library's own list has a button without a name.
LIST = """<div v-for="file in props.files" :key="file.__key">{{ file.name }} ({{ file.__sizeLabel }})</div>"""


def upload_dataset(visit: Visit, on_done: Done, *, label: str = "Upload a file", lines: bool = False) -> ui.upload:
    """A field for one file of rows. `on_done` gets the reference of the dataset that it became, such as tickets:2.

    Nothing is sent before somebody has seen the name that it gets, and what has that name already. With `lines` it may
    be a .txt of predictions, which becomes a table with the column `predicted`.
    """
    return _Upload(visit, on_done, label, (*SUFFIXES, LINES) if lines else SUFFIXES).field


class _Upload:
    """The field, and below it, once a file was chosen, its name and the buttons."""

    def __init__(self, visit: Visit, on_done: Done, label: str, suffixes: Sequence[str]) -> None:
        self._visit, self._on_done, self._suffixes = visit, on_done, suffixes
        self.field = ui.upload(label=label, on_upload=self._keep, max_files=1)
        self.field.add_slot("header", HEADER % {"label": label})
        self.field.add_slot("list", LIST)
        self.field.props(f'flat bordered accept="{",".join(suffixes)}"').classes("bp-upload")
        self.field.on("added", lambda event: self._ask(str(event.args)), js_handler="(files) => emit(files[0].name)")
        self.field.on("rejected", lambda: notices.toast_problem(_not_taken("That file", suffixes)))
        self.field.on("failed", self._failed)
        self._asked = html.div()

    async def _ask(self, file: str) -> None:
        """Under which name?"""
        self._asked.clear()
        with self._asked:
            self._name = ui.input("Name of the dataset", value=dataset_name(file)).classes("bp-field")
            self._name.props("outlined dense debounce=250").on_value_change(self._tell)
            self._about = hint("").props("aria-live=polite")
            with html.div().classes("bp-actions"):
                action("Add", self._send, primary=True)
                action("Choose another file", self._forget)
        await self._tell()

    async def _tell(self) -> None:
        """Whether others' rows have this name."""
        name = str(self._name.value or "").strip()
        try:
            self._about.set_text(await _becomes(self._visit, name))
        except BedplateError as exc:
            self._about.set_text(f"{exc.message} {exc.hint}".strip())

    def _send(self) -> None:
        self._as = str(Name.parse(str(self._name.value or "").strip()))
        self._asked.clear()
        with self._asked:
            hint("It is sent and read …").props("role=status")
        self.field.run_method("upload")

    def _forget(self) -> None:
        self._asked.clear()
        self.field.reset()

    def _failed(self) -> None:
        self._forget()
        notices.toast_problem(Refused("The file did not arrive.", hint="Look whether it is too large; try again."))

    async def _keep(self, event: events.UploadEventArguments) -> None:
        try:
            ref = await _add(self._visit, self._as, event, self._suffixes)
        except BedplateError as exc:
            notices.toast_problem(exc)
        else:
            notices.toast(f"{event.file.name} is the dataset {ref} now.")
            answer = self._on_done(ref)
            if answer is not None:
                await answer
        finally:
            self._forget()


def _not_taken(file: str, suffixes: Sequence[str]) -> Refused:
    return Refused(f"{file} is no file of rows.", hint=f"Give one of {', '.join(suffixes)}.")


async def _becomes(visit: Visit, name: str) -> str:
    """What a file of this name will be. Raises Refused for what is no name."""
    Name.parse(name)
    try:
        there = list(await visit.ws.datasets.versions(name))
    except NotFound:
        there = []
    if not there:
        return f"This becomes a new dataset, {name}."
    newest = max(int(one.ref.rpartition(":")[2]) for one in there)
    return f"This becomes version {newest + 1} of {name}, which is there already. Change the name for one of its own."


async def _add(visit: Visit, name: str, event: events.UploadEventArguments, suffixes: Sequence[str]) -> str:
    """Through a file of our own, named by its form alone: the name that the browser gives is a label, not a path."""
    suffix = Path(event.file.name).suffix.lower()
    if suffix not in suffixes:
        raise _not_taken(repr(event.file.name), suffixes)
    with await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="bedplate-upload-") as folder:
        path = Path(folder) / f"rows{suffix}"
        await event.file.save(path)
        if suffix == LINES:
            path = await asyncio.to_thread(_table_of, path)
        added: Dataset = await visit.ws.datasets.add(name, path)  # type: ignore[assignment]
    return added.ref


def _table_of(lines: Path) -> Path:
    """The same predictions with a name, as a dataset has them."""
    table = lines.with_suffix(".jsonl")
    try:
        with lines.open(encoding="utf-8-sig") as found, table.open("w", encoding="utf-8") as made:
            made.writelines(json.dumps({"predicted": line.removesuffix("\n")}) + "\n" for line in found)
    except UnicodeDecodeError as exc:
        raise Refused("The file is no text in UTF-8.", hint="Save it as such.") from exc
    return table


def dataset_name(filename: str) -> str:
    """A name for what was in a file."""
    return plain_name(Path(filename).stem) or "rows"
