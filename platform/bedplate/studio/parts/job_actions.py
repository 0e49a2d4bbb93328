"""What can be done with a job: each button where it applies, and elsewhere with the reason why not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import html

from bedplate.aio.jobs import Job
from bedplate.api.access import DATA, MAY_SEND_DATA
from bedplate.kinds import KINDS
from bedplate.studio.parts.headings import action
from bedplate.studio.parts.notices import toast
from bedplate.studio.paths import go, place
from bedplate.studio.visit import Visit

__all__ = ["JobActions", "wizard_of"]

GOES_ON = ("failed", "cancelled")
LEARN = ("finetune", "sweep")
Act = Callable[[], Awaitable[None]]


def wizard_of(kind: str, job_id: str, spec: Mapping[str, Any]) -> str | None:
    """The page on which another job like it is made, with changes; None where there is none."""
    match kind:
        case "evaluate" if spec.get("predictions"):
            return place("evaluate", "predictions", from_job=job_id)
        case "finetune" | "evaluate":
            return place(kind, from_job=job_id)
        case "import" if spec.get("model_id"):
            return place("import", model_id=spec["model_id"])
        case "batch":
            return place("batch", "new", model=spec["model"], input=spec["input"].get("dataset"))
    return None


class JobActions:
    """The buttons of one job. `show` makes them anew, when its state has changed."""

    def __init__(self, visit: Visit, job: Job, look: Act) -> None:
        """`look` shows the job as it is now: after each action, and after a refusal, where somebody was faster."""
        self._visit, self._job, self._look = visit, job, look
        self._place = html.div().classes("bp-actions")
        self.show()

    def show(self) -> None:
        """The buttons for the state that the job is in now."""
        job, no = self._job, self._why_may_not()
        self._place.clear()
        with self._place:
            self._show_uses()
            if not job.is_final:
                action("Cancel", self._then_look(self._cancel), danger=True, why_not=no)
            else:
                again = no or self._why_not_again()
                action("Resume", self._then_look(self._resume), why_not=again)
                action("Retry from the start", self._then_look(self._retry), why_not=again)
            action("Run again", self._rerun, why_not=no or self._why_no_other())
            if wizard := wizard_of(job.kind, job.id, job.data["spec"]):
                action("Run again with changes", wizard, why_not=no)
            if job.kind == "finetune":
                action("Compare", place("compare", jobs=job.id))
            if job.data.get("archived"):
                action("Show in lists again", self._then_look(self._unarchive), why_not=no)
            else:
                not_yet = "" if job.is_final else "it has not ended yet"
                action("Archive", self._then_look(self._archive), why_not=no or not_yet)

    def _show_uses(self) -> None:
        """What one does next with the model that it made."""
        model = (self._job.data.get("result") or {}).get("model")
        if model and self._job.kind in LEARN:
            action("Deploy", place("deploy", model=model), primary=True, why_not=self._lacks("operate"))
            action("Evaluate", place("evaluate", model=model), why_not=self._lacks("train"))
            action("Batch score", place("batch", "new", model=model), why_not=self._lacks("batch"))

    def _lacks(self, permission: str) -> str:
        return "" if self._visit.may(permission) else f"your role, {self._visit.role}, may not"

    def _why_may_not(self) -> str:
        kind = KINDS.get(self._job.kind)
        scope = kind.scope if kind else "admin"
        may = bool(self._visit.permissions & MAY_SEND_DATA) if scope == DATA else self._visit.may(scope)
        return "" if may else f"your role, {self._visit.role}, may not do this with jobs of this kind"

    def _why_not_again(self) -> str:
        return "" if self._job.state in GOES_ON else "it has succeeded; only a failed or cancelled job goes on"

    def _why_no_other(self) -> str:
        kind = KINDS.get(self._job.kind)
        if kind is None or kind.request is None:
            return "the server submits jobs of this kind by itself"
        return "it is part of a sweep: run that again" if self._job.data.get("parent") else ""

    def _then_look(self, act: Act) -> Act:
        async def act_and_look() -> None:
            try:
                await act()
            finally:
                await self._look()

        return act_and_look

    async def _cancel(self) -> None:
        await self._job.cancel()
        toast("It is being cancelled, with all its processes." if not self._job.is_final else "It is cancelled.")

    async def _resume(self) -> None:
        await self._job.resume()
        toast("It is queued again, and goes on from its last complete checkpoint.")

    async def _retry(self) -> None:
        await self._job.retry()
        toast("It is queued again, and starts over.")

    async def _rerun(self) -> None:
        go("jobs", (await self._job.rerun()).id)

    async def _archive(self) -> None:
        await self._job.archive()
        toast("It is hidden from lists. Nothing of it is deleted.")

    async def _unarchive(self) -> None:
        await self._job.archive(archived=False)
        toast("It is in lists again.")
