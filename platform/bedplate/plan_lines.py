"""An import plan for people: names with values, as the CLI and Studio show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedplate_registry.sizes import count_text, size_text

__all__ = ["plan_lines"]


def plan_lines(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Name and value, the problem last."""
    commit = f" at commit {plan['commit'][:12]}" if plan["commit"] else ""
    lines = {
        "model": f"{plan['model_id'] or plan['name']}{commit}",
        "task": plan["task"] or _base(plan),
        "architecture": plan["architecture"],
        "parameters": _parameters(plan),
        "base": _base_model(plan["base"]),
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


def _base_model(base: Mapping[str, Any] | None) -> str | None:
    """What an adapter is laid over."""
    if base is None:
        return None
    how = f"here as {base['here']}" if base["here"] else f"{size_text(base['fetch_bytes'])} to fetch before it"
    return f"{base['source']}, {how}; license {base['license']}"


def _base(plan: Mapping[str, Any]) -> str | None:
    tasks = ", ".join(plan["finetunable_tasks"])
    return f"none: a base, to be fine-tuned for {tasks}" if tasks else None


def _parameters(plan: Mapping[str, Any]) -> str | None:
    if plan["parameters"] is None:
        return None
    about = "" if plan["is_exact"] else "about "
    return f"{about}{count_text(plan['parameters'])}, {plan['dtype']}"


def _license(license: Mapping[str, Any]) -> str:
    decision = f": {license['decision']}" if license["decision"] else ""
    return f"{license['id']}{decision} {license['message'] and '— '}{license['message']}".rstrip()


def _fetch(plan: Mapping[str, Any]) -> str:
    count = len(plan["files"])
    room = "" if plan["free_bytes"] is None else f"; {size_text(plan['free_bytes'])} free on the disk"
    return f"{size_text(plan['fetch_bytes'])} of {size_text(plan['size_bytes'])} in {count} files{room}"


def _serving(estimate: Mapping[str, Any] | None) -> str | None:
    if estimate is None:
        return None
    cpu, gpu = (size_text(estimate[f"serve_{device}"]["size_bytes"]) for device in ("cpu", "gpu"))
    return f"{cpu} on a CPU, {gpu} on a GPU"


def _training(estimate: Mapping[str, Any] | None) -> str | None:
    if estimate is None or estimate["finetune_full"] is None:
        return None
    full, lora = (size_text(estimate[f"finetune_{method}"]["size_bytes"]) for method in ("full", "lora"))
    return f"{full}, {lora} with LoRA, a row at a time"


def _advice(found: Mapping[str, Any] | None) -> str | None:
    if found is None:
        return None
    where = "on the CPU" if found["device"] == "cpu" else "on a GPU"
    if found["batch_size"] is None:
        return f"no fine-tune {where}: {found['reasons'][-1]}"
    how = "" if found["method"] == "full" else " with LoRA"
    return f"fine-tune{how} in {found['precision']}, {found['batch_size']} rows of {found['tokens']} tokens {where}"
