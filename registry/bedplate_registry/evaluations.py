"""Evaluation reports, kept beside what they are about.

evaluations/<id>/report.json    the id sorts by time
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import durable
from .errors import BedplateError, NotFound, Refused

__all__ = ["Evaluations"]

log = logging.getLogger(__name__)
_ID = re.compile(r"ev-[0-9]{8}-[0-9]{6}-[0-9]{6}-[0-9a-f]{6}")


class Evaluations:
    """The evaluation reports of a registry."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, report: Mapping[str, Any]) -> str:
        """Keep a report and give its id."""
        now = datetime.now(UTC)
        id = f"ev-{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}"
        temp = durable.temp_beside(durable.make_folder(self.root) / id)
        durable.make_folder(temp)
        value = {**report, "id": id, "created": now.isoformat(timespec="seconds")}
        durable.write_json(temp / "report.json", value, mode=0o444)
        durable.publish_folder(temp, self.root / id)
        return id

    def get(self, id: str) -> dict[str, Any]:
        """The report, with its `id` and `created`."""
        path = self.root / id / "report.json"
        if not _ID.fullmatch(id) or not path.is_file():
            raise NotFound(f"There is no evaluation {id[:80]!r}.", hint="List them: bedplate models show REF")
        try:
            report = json.loads(path.read_bytes())
        except ValueError as exc:
            raise _damaged(id, str(exc)) from exc
        if not isinstance(report, dict):
            raise _damaged(id, "it is no object")
        return report

    def list(self, model: str | None = None) -> list[dict[str, Any]]:
        """All reports, or those about one model version (`org/name:3`), newest first. Damaged ones are left out."""
        ids = sorted((path.name for path in self.root.glob("ev-*")), reverse=True)
        reports = [report for id in ids if (report := self._readable(id)) is not None]
        return [report for report in reports if model is None or report.get("model") == model]

    def _readable(self, id: str) -> dict[str, Any] | None:
        try:
            return self.get(id)
        except BedplateError as exc:
            log.warning("%s", exc)
            return None


def _damaged(id: str, why: str) -> Refused:
    return Refused(
        f"The report of evaluation {id!r} is damaged ({why}).",
        hint="Take its report.json from a backup, or evaluate again.",
        code="bad-report",
    )
