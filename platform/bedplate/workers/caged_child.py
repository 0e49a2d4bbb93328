"""A module run once in a cage by a worker that meets a stranger's files: no network, no tokens, one answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from bedplate.spawn import worker_environment
from bedplate_registry.errors import Refused

__all__ = ["run_caged"]


def run_caged(
    module: str,
    arguments: Sequence[str],
    *,
    failed: str,
    code: str,
    timeout_seconds: float,
    walls: Sequence[str] = (),
) -> dict[str, Any]:
    """What `python -m MODULE ARGUMENTS` printed last: a line of JSON with "ok". `walls` are options of the cage.

    Raises Refused: the error that it printed; or `failed` with `code` where it hangs, dies or prints none.
    """
    argv = [sys.executable, "-m", "bedplate.cage", str(os.getpid()), *walls, "--"]
    argv += [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(
            argv,
            env=worker_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise _refused(failed, f"it did not answer within {timeout_seconds:.0f} s", code) from exc
    sys.stderr.write(done.stderr)
    if done.returncode < 0:
        raise _refused(failed, f"its process was ended by signal {-done.returncode}", code)
    answer = _last_json(done.stdout)
    if answer is None:
        raise _refused(failed, (done.stderr.strip().splitlines() or ["it printed no answer"])[-1][:300], code)
    if not answer["ok"]:
        error = answer["error"]
        raise Refused(error["message"], hint=error["hint"] or "Nothing was published.", code=error["code"])
    return answer


def _refused(failed: str, why: str, code: str) -> Refused:
    return Refused(f"{failed}: {why}", hint="Nothing was published. The job's log says more.", code=code)


def _last_json(text: str) -> dict[str, Any] | None:
    """The last line that is an answer. A stranger's files may have had other lines printed."""
    for line in reversed(text.splitlines()):
        with suppress(ValueError, RecursionError):
            parsed = json.loads(line)
            if _is_answer(parsed):
                return dict(parsed)
    return None


def _is_answer(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("ok"), bool):
        return False
    error = value.get("error")
    parts = ("message", "hint", "code")
    return bool(value["ok"]) or (isinstance(error, dict) and all(isinstance(error.get(part), str) for part in parts))
