"""What somebody has filled in for a deployment: the names that are proposed, what comes of it, its request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain, count
from typing import Any

from bedplate.studio.asked import Asked
from bedplate_registry.names import Ref

__all__ = [
    "asked_of",
    "blank",
    "here_already",
    "propose",
    "propose_deployment",
    "target",
]

Draft = dict[str, Any]
Json = Mapping[str, Any]  # an endpoint, a model or the machine, as REST shows it
MOST_NAME = 32
ONLY_REAL_TIME = ("instances", "device", "gpu_memory_gb")


def blank(model: str, endpoint: str) -> Draft:
    """Nothing is filled in yet but what the address says."""
    draft: Draft = {"model": model or None, "kind": "real-time", "name": endpoint, "deployment": "main"}
    draft |= {"is_name_proposed": not endpoint, "is_deployment_proposed": True}
    draft |= {"instances": 1, "traffic": None, "device": "auto", "gpu_memory_gb": None}
    return {**draft, "accept_license": False, "accepted_for": None}


def asked_of(draft: Json, there: Json | None) -> Asked:
    """Without what is as usual, and for a batch endpoint without what it has not.

    One that is there beside others keeps its share where no other one is said: without a word it would lose it.
    """
    is_batch = draft["kind"] == "batch"
    usual = blank("", "")
    given = {name: draft[name] for name in ("model", "name")}
    for name in ("deployment", "instances", "traffic", "device", "gpu_memory_gb", "accept_license"):
        if draft[name] != usual[name] and not (is_batch and name in ONLY_REAL_TIME):
            given[name] = draft[name]
    mine = here_already(there, draft["deployment"])
    if mine is not None and draft["traffic"] is None and there is not None and len(there["deployments"]) > 1:
        given["traffic"] = mine["traffic"]
    return Asked("deploy-batch" if is_batch else "deploy", given)


def here_already(there: Json | None, deployment: str) -> Json | None:
    """The deployment of that name, where the endpoint has it."""
    return next((row for row in (there or {"deployments": ()})["deployments"] if row["name"] == deployment), None)


# --- names ---


def propose(draft: Draft, model: Json, endpoints: Mapping[str, Json]) -> None:
    """Names for the endpoint and the deployment, unless they were chosen: after the model, and free or fit to join."""
    if draft["is_name_proposed"]:
        free = (
            name
            for name in _numbered(_short(model["ref"]))
            if name not in endpoints or _is_alike(endpoints[name], draft["kind"], model["task"])
        )
        draft["name"] = next(free)
    propose_deployment(draft, model, endpoints)


def _is_alike(there: Json, kind: str, task: str) -> bool:
    return bool(there["kind"] == kind and there["task"] == task)


def propose_deployment(draft: Draft, model: Json, endpoints: Mapping[str, Json]) -> None:
    """A name for the deployment at the endpoint that is named now, unless it was chosen."""
    if draft["is_deployment_proposed"]:
        draft["deployment"] = _deployment(endpoints.get(draft["name"]), model["ref"])


def _short(ref: str) -> str:
    """The model's own name, as an endpoint may be called."""
    short = re.sub(r"[^a-z0-9]+", "-", str(Ref.parse(ref).name).rpartition("/")[2].lower()).strip("-")
    name = short if short[:1].isalpha() and len(short) > 2 else f"model-{short}"
    return name[:MOST_NAME].rstrip("-")


def _deployment(there: Json | None, model: str) -> str:
    """The one that serves this version already; else a name that is free there."""
    rows = there["deployments"] if there else ()
    taken = {row["name"]: row["model"] for row in rows}
    mine = next((name for name, served in taken.items() if served == model), None)
    if mine is not None or "main" not in taken:
        return mine or "main"
    return next(name for name in chain([f"version-{Ref.parse(model).version}"], _numbered("main")) if name not in taken)


def _numbered(name: str) -> Iterator[str]:
    """name, name-2, name-3 …"""
    yield name
    for number in count(2):
        yield f"{name[: MOST_NAME - 1 - len(str(number))].rstrip('-')}-{number}"


# --- the endpoint ---


def target(draft: Json, there: Json | None) -> str:
    """What will come of it, in words: a new endpoint, one more deployment, or one that is there set anew."""
    name, deployment = draft["name"], draft["deployment"]
    if there is None:
        return f"{name}, which is made now"
    if here_already(there, deployment) is not None:
        return f"{name}, whose deployment {deployment} serves this version already: it is set anew"
    beside = ", ".join(f"{row['name']} ({row['model']})" for row in there["deployments"])
    return f"{name}, where it stands beside {beside}" if beside else f"{name}, which has no deployment now"
