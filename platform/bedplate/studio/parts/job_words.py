"""What is said of a job in a few words: what it is about, how far it is, how long it took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bedplate_registry.sizes import size_text

__all__ = ["amount_text", "data_text", "duration_text", "how_far", "seconds_taken", "subject_of"]

SHOWN_CHARACTERS = 160
ABOUT = ("model", "model_id", "name")  # of a spec: the first of them that is there
DATA = ("data", "input", "train")


def subject_of(job: Mapping[str, Any]) -> str:
    """The model that it is about, or its data, and what comes of it. Read off the spec, whatever the kind."""
    spec = job.get("spec") or {}
    about = next((str(spec[name]) for name in ABOUT if spec.get(name)), "")
    if not about:
        splits = spec.get("splits") or {}
        about = ", ".join(data_text(value) for value in splits.values()) or str(spec.get("task") or "")
    if spec.get("against"):
        about += f" against {spec['against']}"
    made = str(spec.get("output") or "")
    text = f"{about} → {made}" if made else about
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def data_text(value: Any) -> str:
    """Data as a spec names it: a dataset, the name of an uploaded file, or a word such as `auto`."""
    if isinstance(value, Mapping):
        return str(value.get("dataset") or value.get("filename") or value.get("sha256") or "")
    return "" if value is None else str(value)


def how_far(job: Mapping[str, Any]) -> str:
    """Why it waits, or what it is doing and how much of that is done and left; nothing once it has ended."""
    if job["state"] == "queued":
        return str(job.get("waiting") or "waits for its turn")
    progress = job.get("progress")
    if job["state"] != "running":
        return ""
    if not progress:
        return "starting"
    percent, left = progress.get("percent"), progress.get("seconds_left")
    parts = [str(progress["phase"]), amount_text(progress), "" if percent is None else f"{percent:g} %"]
    parts += ["" if left is None else f"{duration_text(left)} left", str(progress.get("message") or "")]
    return ", ".join(part for part in parts if part)


def amount_text(progress: Mapping[str, Any]) -> str:
    """How much is done of all; empty where it is not counted in anything."""
    done, total, unit = progress.get("done"), progress.get("total"), progress.get("unit")
    if not unit or done is None:
        return ""
    if unit == "bytes":
        return f"{size_text(int(done))} of {size_text(int(total or 0))}"
    return f"{done:,.0f} of {total:,.0f} {unit}" if total else f"{done:,.0f} {unit}"


def seconds_taken(job: Mapping[str, Any]) -> float | None:
    """Since it began first, until it ended or until now."""
    if job.get("started") is None:
        return None
    return max(0.0, float(job.get("finished") or time.time()) - float(job["started"]))


def duration_text(seconds: float | None) -> str:
    """`42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds is None:
        return ""
    whole = round(seconds)
    for large, small, size, unit in ((60, 1, "min", "s"), (3600, 60, "h", "min"), (86400, 3600, "d", "h")):
        if whole < large:
            break
        found = f"{whole // large} {size} {whole % large // small} {unit}"
    return f"{whole} s" if whole < 60 else found
