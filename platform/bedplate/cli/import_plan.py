"""How `bedplate import --dry-run` shows its plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from bedplate.cli.output import Format, show

__all__ = ["show_import_plan"]


def show_import_plan(plan: Mapping[str, Any], format: Format) -> None:
    """The plan, for people or as JSON. Exits with 1 where the import would be refused."""
    if format is Format.json:
        show(dict(plan), format)
    else:
        show(_lines(plan), format)
        print()
        files = [
            {**file, "bytes": file["size_bytes"], "here": "yes" if file["here"] else "-"} for file in plan["files"]
        ]
        show(files, format, columns=("path", "bytes", "here"))
    if plan["problem"] is not None:
        raise typer.Exit(1)


def _lines(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Name and value, the problem last."""
    commit = f" at commit {plan['commit'][:12]}" if plan["commit"] else ""
    lines = {
        "model": f"{plan['model_id'] or plan['name']}{commit}",
        "task": plan["task"] or _base(plan),
        "architecture": plan["architecture"],
        "parameters": _parameters(plan),
        "license": _license(plan["license"]),
        "already here": plan["here"],
        "to fetch": _fetch(plan),
        "to serve": _serving(plan["estimate"]),
        "to fine-tune": _training(plan["estimate"]),
        "on this machine": _advice(plan["recommendation"]),
    }
    if plan["problem"] is not None:
        lines["problem"] = f"{plan['problem']['message']} {plan['problem']['hint']}".rstrip()
    return lines


def _base(plan: Mapping[str, Any]) -> str | None:
    tasks = ", ".join(plan["finetunable_tasks"])
    return f"none: a base, to be fine-tuned for {tasks}" if tasks else None


def _parameters(plan: Mapping[str, Any]) -> str | None:
    if plan["parameters"] is None:
        return None
    about = "" if plan["is_exact"] else "about "
    return f"{about}{plan['parameters'] / 1e6:,.1f} million, {plan['dtype']}"


def _license(license: Mapping[str, Any]) -> str:
    decision = f": {license['decision']}" if license["decision"] else ""
    return f"{license['id']}{decision} {license['message'] and '— '}{license['message']}".rstrip()


def _fetch(plan: Mapping[str, Any]) -> str:
    count = len(plan["files"])
    room = "" if plan["free_bytes"] is None else f"; {_size(plan['free_bytes'])} free on the disk"
    return f"{_size(plan['fetch_bytes'])} of {_size(plan['size_bytes'])} in {count} files{room}"


def _serving(estimate: Mapping[str, Any] | None) -> str | None:
    if estimate is None:
        return None
    return (
        f"{_size(estimate['serve_cpu']['size_bytes'])} on a CPU, {_size(estimate['serve_gpu']['size_bytes'])} on a GPU"
    )


def _training(estimate: Mapping[str, Any] | None) -> str | None:
    if estimate is None or estimate["finetune_full"] is None:
        return None
    full, lora = (_size(estimate[f"finetune_{method}"]["size_bytes"]) for method in ("full", "lora"))
    return f"{full}, {lora} with LoRA, a row at a time"


def _advice(found: Mapping[str, Any] | None) -> str | None:
    if found is None:
        return None
    where = "on the CPU" if found["device"] == "cpu" else "on a GPU"
    if found["batch_size"] is None:
        return f"no fine-tune {where}: {found['reasons'][-1]}"
    how = "" if found["method"] == "full" else " with LoRA"
    return f"fine-tune{how} in {found['precision']}, {found['batch_size']} rows of {found['tokens']} tokens {where}"


def _size(size_bytes: int) -> str:
    """In powers of 1000, as disks and Hubs count."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
