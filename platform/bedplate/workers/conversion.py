"""Write safetensors of weights that are pickles, in a caged process that can change its own folder alone."""

from __future__ import annotations

from pathlib import Path

from bedplate.workers.caged_child import run_caged

__all__ = ["convert_weights"]

TIMEOUT_SECONDS = 3600  # a model of seventy billion parameters is read and written at the pace of the disk


def convert_weights(folder: Path, target: Path, *, registry: Path) -> dict[str, str]:
    """The versions of what did it. Raises Refused where there is more in the pickles than weights, by name."""
    answer = run_caged(
        "bedplate_serving.predictors.convert",
        [str(folder), str(target)],
        failed="The weights cannot be converted",
        code="bad-pickle",
        timeout_seconds=TIMEOUT_SECONDS,
        walls=[f"--read-only={registry}", f"--writable={target}"],
    )
    tools: dict[str, str] = answer["tools"]
    return tools
