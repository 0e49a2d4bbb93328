"""`bedplate compute`: what the machine has, who holds what, who is next in line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bedplate.cli.output import Format, FormatOption, HomeOption, UrlOption, connect, show, size_text, time_text

__all__ = ["compute", "show_compute"]

HOLDERS = ("holder", "kind", "owner", "cores", "memory", "gpus", "since", "gives way")
QUEUE = ("place", "id", "kind", "owner", "priority", "waiting")


def compute(home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table) -> None:
    """Cores, memory and GPUs: what is free, who holds what since when, and who is next in line."""
    found = connect(home, url).compute()
    if format is Format.json:
        show(found, format)
    else:
        show_compute(found)


def show_compute(compute: Mapping[str, Any]) -> None:
    """One line for each resource, then a table of holders, then the head of the line."""
    free = compute["free"]
    lines = {"cores": f"{free['cores']} of {compute['cores']} free"}
    leased = f"{size_text(free['memory_bytes'])} of {size_text(compute['memory_bytes'])} free"
    lines["memory"] = f"{leased} ({size_text(compute['memory_free_bytes'])} unused at the moment)"
    lines |= {f"GPU {gpu['index']}": _gpu(gpu) for gpu in compute["gpus"]}
    show(lines if compute["gpus"] else {**lines, "GPUs": "none"}, Format.table)
    if compute["holders"]:
        print()
        index_of = {gpu["uuid"]: gpu["index"] for gpu in compute["gpus"]}
        show([_holder(holder, index_of) for holder in compute["holders"]], Format.table, columns=HOLDERS)
    if compute["queue"]:
        print()
        show([{**job, "place": job["position"]} for job in compute["queue"]], Format.table, columns=QUEUE)
        if (more := compute["jobs_queued"] - len(compute["queue"])) > 0:
            print(f"and {more} more: bedplate jobs list --state queued")


def _gpu(gpu: Mapping[str, Any]) -> str:
    name = f"{gpu['name']}: {size_text(gpu['free_bytes'])} of {size_text(gpu['memory_bytes'])} free"
    if gpu["problem"]:
        return f"{gpu['name']}: not used: {gpu['problem']} {gpu['remedy']}".rstrip()
    busy = "" if gpu["utilization"] is None else f"{gpu['utilization']} % busy"
    held = [f"held by {_who(holder)}{_since(holder['since'])}" for holder in gpu["held_by"]]
    others = [
        f"{other['name']} (pid {other['pid']}) uses {size_text(other['memory_bytes'])}" for other in gpu["others"]
    ]
    return "; ".join(filter(None, [name, busy, *held, *others]))


def _who(holder: Mapping[str, Any]) -> str:
    share = "" if holder["memory_bytes"] is None else size_text(holder["memory_bytes"])
    details = ", ".join(filter(None, [share, holder["owner"]]))
    return f"{holder['id']} ({details})" if details else str(holder["id"])


def _holder(holder: Mapping[str, Any], index_of: Mapping[str, int]) -> dict[str, Any]:
    return {
        "holder": holder["id"],
        "kind": holder["kind"],
        "owner": holder["owner"] or None,
        "cores": holder["cores"],
        "memory": size_text(holder["memory_bytes"]),
        "gpus": _gpus(holder["gpus"], index_of, holder["gpu_memory_bytes"]),
        "since": holder["since"],
        "gives way": "yes" if holder["preemptible"] else None,
    }


def _gpus(uuids: Iterable[str], index_of: Mapping[str, int], share: int | None) -> str | None:
    """By index; a card that is gone by its uuid."""
    names = ", ".join(str(index_of.get(uuid, uuid)) for uuid in uuids)
    return f"{names} ({size_text(share)})" if names and share is not None else names or None


def _since(seconds: float | None) -> str:
    return "" if seconds is None else f" since {time_text(seconds)}"
