"""One job: where it stands, its curves and its log as they grow, what it was asked to do and what it came to."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import html, ui

from bedplate.aio.jobs import Job
from bedplate.studio.frame import page
from bedplate.studio.parts.curves import Curves
from bedplate.studio.parts.headings import section, title
from bedplate.studio.parts.job_actions import JobActions
from bedplate.studio.parts.job_progress import JobProgress
from bedplate.studio.parts.job_result import show_result
from bedplate.studio.parts.job_spec import show_spec
from bedplate.studio.parts.job_words import subject_of
from bedplate.studio.parts.live import every
from bedplate.studio.parts.log import Log
from bedplate.studio.parts.trials import Trials
from bedplate.studio.visit import Visit
from bedplate.wire import url_path

LOOK_SECONDS = 1.5
ENDED_SECONDS = 15.0  # between looks at a job that has ended, which somebody may resume elsewhere


@page("/jobs/{job_id}", "Job {job_id}", section="Jobs")
async def job(visit: Visit, job_id: str) -> None:
    """Of whatever kind it is."""
    _JobPage(visit, await visit.ws.jobs.get(job_id)).begin()


class _JobPage:
    """The page of one job. It looks at it for as long as it is open, and seldom once it has ended.

    What the job itself says is there at once; its curves and its log come after the page was sent.
    """

    def __init__(self, visit: Visit, job: Job) -> None:
        self._visit, self._job = visit, job
        with title(job.id, f"{job.kind}: {subject_of(job.data)}"):
            self._actions = JobActions(visit, job, self._look_on)
        with html.div() as self._place:
            self._progress = JobProgress(job.data)
            self._result = html.div()
            self._trials = Trials(visit) if job.kind == "sweep" else None
            with html.div() as self._figures, section("Curves", name="curves"):
                self._curves = Curves()
            self._figures.visible = False
            with section("Log", name="log"):
                self._log = Log(visit, url_path("jobs", job.id, "log"))
            show_spec(job.data)
        self._seen: tuple[object, ...] = ()
        self._attempt, self._steps = 0, 0
        self._one_look = asyncio.Lock()
        self._timer: ui.timer | None = None
        self._show_state(job.data)

    def begin(self) -> None:
        """Look at once, and again and again."""
        if self._timer is not None:
            self._timer.cancel()
        with self._place:
            self._timer = every(LOOK_SECONDS, self._look)

    async def _look(self) -> bool:
        """Everything as it is now. It is never the end (False). Two looks at once would draw the same points twice."""
        async with self._one_look:
            data = (await self._job.refresh()).data
            with self._place:  # not where the button was that asked for it: that is gone
                self._progress.show(data)
                self._show_state(data)
                if self._trials is not None:
                    await self._trials.look(data)
                await self._draw(data["attempt"])
                await self._log.look()
            if self._timer is not None:
                self._timer.interval = ENDED_SECONDS if self._job.is_final else LOOK_SECONDS
            return False

    def _show_state(self, data: dict[str, Any]) -> None:
        """What changes rarely is made anew, and only when it does."""
        seen = (data["state"], data["attempt"], data["archived"], data["result"])
        if seen != self._seen:
            self._seen = seen
            self._actions.show()
            self._result.clear()
            with self._result:
                show_result(data)

    async def _draw(self, attempt: int) -> None:
        """The steps that were logged since the last look. Another attempt may have taken some of them again."""
        if attempt != self._attempt:
            self._attempt, self._steps = attempt, 0
            self._curves.clear()
        found = await self._visit.ws.connection.get(url_path("jobs", self._job.id, "metrics"), after=self._steps)
        self._steps += len(found["items"])
        self._curves.add(found["items"])
        self._figures.visible = self._steps > 0

    async def _look_on(self) -> None:
        """After something was done with it here; where it goes on, it is followed from now on."""
        await self._look()
        if not self._job.is_final:
            self.begin()
