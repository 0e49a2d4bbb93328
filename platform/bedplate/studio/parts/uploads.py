"""A file that a browser sends becomes a dataset: kept, checked and found again like any other."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from nicegui import events, ui

from bedplate.remote.datasets import Dataset
from bedplate.studio.parts import notices
from bedplate.studio.visit import Visit
from bedplate_registry.errors import BedplateError, Refused

__all__ = ["SUFFIXES", "dataset_name", "upload_dataset"]

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
Done = Callable[[str], Awaitable[None] | None]
# The library's own has a button without a name, and inside it a field, which here lies over the button for the mouse.
HEADER = """<div class="bp-upload-head">
  <q-btn flat icon="upload_file" label="%(label)s" :disable="!props.canAddFiles" @click="props.pickFiles"></q-btn>
  <q-uploader-add-trigger aria-hidden="true"></q-uploader-add-trigger>
  <q-circular-progress v-if="props.isUploading" indeterminate size="1.5rem"></q-circular-progress></div>"""


def upload_dataset(visit: Visit, on_done: Done, *, label: str = "Upload a file") -> ui.upload:
    """A field for one file of rows. `on_done` gets the reference of the dataset that it became, such as tickets:2."""

    async def keep(event: events.UploadEventArguments) -> None:
        try:
            ref = await _add(visit, event)
        except BedplateError as exc:
            notices.toast_problem(exc)
        else:
            notices.toast(f"{event.file.name} is the dataset {ref} now.")
            answer = on_done(ref)
            if answer is not None:
                await answer
        finally:
            field.reset()

    field = ui.upload(label=label, auto_upload=True, on_upload=keep, max_files=1)
    field.add_slot("header", HEADER % {"label": label})
    field.props(f'flat bordered accept="{",".join(SUFFIXES)}"').classes("bp-upload")
    field.on(
        "rejected",
        lambda: notices.toast_problem(Refused("That file is not taken.", hint=f"Give one of {', '.join(SUFFIXES)}.")),
    )
    return field


async def _add(visit: Visit, event: events.UploadEventArguments) -> str:
    """Through a file of our own, named by its form alone: the name that the browser gives is a label, not a path."""
    suffix = Path(event.file.name).suffix.lower()
    if suffix not in SUFFIXES:
        raise Refused(f"{event.file.name!r} is no file of rows.", hint=f"Give one of {', '.join(SUFFIXES)}.")
    with await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="bedplate-upload-") as folder:
        path = Path(folder) / f"rows{suffix}"
        await event.file.save(path)
        added: Dataset = await visit.ws.datasets.add(dataset_name(event.file.name), path)  # type: ignore[assignment]
    return added.ref


def dataset_name(filename: str) -> str:
    """A name for what was in a file: lower-case letters, digits and dashes."""
    stem = re.sub(r"[^a-z0-9]+", "-", Path(filename).stem.lower()).strip("-")[:48].rstrip("-")
    return stem if stem[:1].isalnum() else "rows"
