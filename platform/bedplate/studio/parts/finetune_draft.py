"""What somebody has filled in for a fine-tune: the request it makes, and how it begins from a job that was."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bedplate.finetune_requests import PARTS, request_of
from bedplate.studio.parts.device_form import MOST_PROCESSES
from bedplate.studio.parts.mapping import columns_of
from bedplate_registry.errors import Refused
from bedplate_trainers.settings import FinetuneSettings

__all__ = [
    "AS_IT_WAS",
    "AUTO",
    "PARTS",
    "blank",
    "body_of",
    "body_so_far",
    "draft_of_job",
    "fill_output",
    "settings_for",
]

Draft = dict[str, Any]
AUTO = "auto"
AS_IT_WAS = "as it was"  # the uploaded file of the job that this one is made from, which is no dataset
MOST_NAME = 60  # characters of the name that is proposed
STAND_IN = "not-named-yet"  # for the name of the result, which is asked for last


def blank(model: str | None, train: str | None) -> Draft:
    """Nothing is filled in yet but what the address says."""
    draft: Draft = {"model": model, "task": None, "train": train, "validation": AUTO, "test": AUTO}
    draft |= {"uploads": {}, "mapping": {}, "settings": {}, "written": {}}
    draft |= {"output": "", "is_proposed": True}
    return {**draft, "device": AUTO, "processes": 1, "priority": 0}


def draft_of_job(job: Mapping[str, Any]) -> Draft:
    """What was asked for in a fine-tune, to be asked for again with changes."""
    request = request_of(job)
    draft = blank(request["model"], None) | {"mapping": request.pop("columns"), "is_proposed": False}
    for part in PARTS:
        if isinstance(request.get(part), Mapping):
            draft["uploads"][part] = request[part]
            request[part] = AS_IT_WAS
    return draft | request


def body_of(draft: Mapping[str, Any]) -> dict[str, Any]:
    """The request, without what is as usual."""
    data = {part: _data(draft, part) for part in PARTS}
    return {
        "model": draft["model"],
        "task": draft["task"],
        **{part: value for part, value in data.items() if value != AUTO},
        "columns": columns_of(draft["task"], draft["mapping"]),
        "settings": dict(draft["settings"]),
        "output": draft["output"],
        **({"device": draft["device"]} if draft["device"] != AUTO else {}),
        **({"processes": draft["processes"]} if draft["processes"] != 1 else {}),
        **({"priority": draft["priority"]} if draft["priority"] else {}),
        **({"needs": draft["needs"]} if draft.get("needs") else {}),  # of the job that this one is made from
    }


def body_so_far(draft: Mapping[str, Any]) -> dict[str, Any]:
    """The request for the steps before the device and the name: what is wrong with an answer there is said there.

    How many processes, where so many can be, decide what `auto` is, so they are told.
    """
    body = body_of(draft) | {"output": STAND_IN}
    late = ("priority", "needs", *(() if draft["processes"] in range(1, MOST_PROCESSES + 1) else ("processes",)))
    return {name: value for name, value in body.items() if name not in late}


def fill_output(draft: Draft) -> None:
    """Propose a name for the result, unless one was chosen: the model's with the data's."""
    if draft["is_proposed"] and draft["model"]:
        owner, _, name = _name(draft["model"]).rpartition("/")
        given = str(draft["train"] or "")
        data = "tuned" if given in ("", AS_IT_WAS) else _name(given).rpartition("/")[2]
        joined = re.sub(r"[^A-Za-z0-9._]+", "-", f"{name}-{data}")[:MOST_NAME].strip("-.")
        draft["output"] = f"{owner}/{joined}" if owner else joined


def settings_for(
    task: str, settings: Mapping[str, Any], parse: Callable[..., object] = FinetuneSettings.each_from_mapping
) -> dict[str, Any]:
    """Those that the task has, with values that it takes: what is left when another task is chosen.

    `parse` raises Refused for {name: value} that the task has not.
    """
    return {name: value for name, value in settings.items() if _fits(parse, task, name, value)}


def _fits(parse: Callable[..., object], task: str, name: str, value: Any) -> bool:
    try:
        parse({name: value}, task)
    except Refused:
        return False
    return True


def _data(draft: Mapping[str, Any], part: str) -> Any:
    return draft["uploads"].get(part) if draft[part] == AS_IT_WAS else draft[part]


def _name(ref: str) -> str:
    return re.split(r"[:@]", ref)[0]
