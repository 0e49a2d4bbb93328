"""/api/v1/server and /api/v1/compute: the server itself."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request, Response
from pydantic import ConfigDict, Field

from bedplate.api.access import Routes, WorkspaceOf
from bedplate.api.bodies import Answer, json_answer
from bedplate.api.demands import HeldLease

__all__ = ["routes"]

routes = Routes("/api/v1", "server")
SHOWN_JOBS = 20  # of the line


class Server(Answer):
    """The server that answers."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "home": "/srv/bedplate",
                    "pid": 4711,
                    "private": False,
                    "url": "http://gpu01:8686",
                    "gateway_problem": None,
                    "jobs_running": 1,
                    "jobs_queued": 3,
                    "endpoints": 2,
                }
            ]
        }
    )

    home: str
    pid: int
    private: Annotated[bool, Field(description="Started by a command, and gone when nothing needs it.")]
    url: Annotated[str | None, Field(description="Where the gateway listens.")]
    gateway_problem: str | None
    jobs_running: int
    jobs_queued: int
    endpoints: int


class Check(Answer):
    """One thing that was looked at."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"check": "python", "status": "ok", "detail": "3.11.9, 16 cores", "remedy": ""}]
        }
    )

    check: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str


class Checks(Answer):
    """What works on the server's machine, and what to do about what does not."""

    items: list[Check]


class LicenseLists(Answer):
    """SPDX ids; `*` at the end of one stands for any rest. The longest entry that fits a license decides."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "allow": ["apache-2.0", "mit"],
                    "ask": ["llama3*"],
                    "deny": ["cc-by-nc-*"],
                    "set_by": {
                        "allow": "BEDPLATE_LICENSE_ALLOW",
                        "ask": "BEDPLATE_LICENSE_ASK",
                        "deny": "BEDPLATE_LICENSE_DENY",
                    },
                }
            ]
        }
    )

    allow: Annotated[list[str], Field(description="Where there are any, all others are denied.")]
    ask: Annotated[list[str], Field(description="Somebody accepts them by name.")]
    deny: list[str]
    set_by: Annotated[dict[str, str], Field(description="The variable of the server's environment for each list.")]


class Free(Answer):
    """What is not leased."""

    cores: int
    memory_bytes: int


class ShareHolder(Answer):
    """Who holds a card, or a share of it."""

    kind: Literal["job", "replica"]
    id: str
    owner: str
    memory_bytes: Annotated[int | None, Field(description="null: the card as a whole.")]
    since: float | None


class OtherProcess(Answer):
    """A process on a card that is not ours."""

    pid: int
    name: str
    memory_bytes: int


class Gpu(Answer):
    """One card."""

    index: int
    uuid: str
    name: str
    memory_bytes: int
    free_bytes: int
    capability: str | None
    utilization: Annotated[int | None, Field(description="In percent.")]
    problem: Annotated[str | None, Field(description="Why it is not used.")]
    remedy: str
    held_by: list[ShareHolder]
    others: list[OtherProcess]


class Holder(HeldLease):
    """Who holds what of the machine."""

    kind: Literal["job", "replica"]
    id: str
    owner: str
    preemptible: bool


class QueuedJob(Answer):
    """A job in line."""

    id: str
    kind: str
    owner: str
    priority: int
    position: int | None
    waiting: str | None
    waiting_for: str | None


class Compute(Answer):
    """The machine, and who waits for it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "cores": 16,
                    "memory_bytes": 68719476736,
                    "memory_free_bytes": 51539607552,
                    "free": {"cores": 12, "memory_bytes": 60129542144},
                    "gpus": [],
                    "holders": [
                        {
                            "kind": "job",
                            "id": "finetune-1a2b3c4d",
                            "owner": "ana",
                            "cores": 4,
                            "memory_bytes": 8589934592,
                            "gpus": [],
                            "gpu_memory_bytes": None,
                            "since": 1795449601.0,
                            "preemptible": False,
                        }
                    ],
                    "queue": [],
                    "jobs_queued": 0,
                    "jobs_running": ["finetune-1a2b3c4d"],
                }
            ]
        }
    )

    cores: int
    memory_bytes: int
    memory_free_bytes: Annotated[int, Field(description="At the moment; leases count against the whole.")]
    free: Free
    gpus: list[Gpu]
    holders: list[Holder]
    queue: Annotated[list[QueuedJob], Field(description="The head of the line.")]
    jobs_queued: int
    jobs_running: list[str]


@routes.route("GET", "/server", "read", response_model=Server)
def show_server(workspace: WorkspaceOf) -> Response:
    """Show the server: where it listens, and how much it has to do."""
    return json_answer(workspace.status())


@routes.route("GET", "/server/doctor", "operate", response_model=Checks)
def examine_server(workspace: WorkspaceOf) -> Response:
    """Look at what works on the server's machine: cards, torch, database, cage, disk, Hub. It takes some seconds."""
    from bedplate.doctor import examine  # what it needs is imported when somebody asks

    settings = workspace.settings
    return json_answer({"items": examine(settings, home=workspace.home.path, offline=settings.offline)})


@routes.route("GET", "/server/licenses", "read", response_model=LicenseLists)
def show_license_lists(workspace: WorkspaceOf) -> Response:
    """Show which licenses a model that is imported or deployed may have, and where that is set."""
    policy = workspace.settings.license_policy
    lists = {word: list(getattr(policy, word)) for word in ("allow", "ask", "deny")}
    return json_answer({**lists, "set_by": {word: f"BEDPLATE_LICENSE_{word.upper()}" for word in lists}})


@routes.route("POST", "/server/stop", "admin", status_code=202, response_model=Server)
def stop_server(
    request: Request,
    workspace: WorkspaceOf,
    everything: Annotated[bool, Query(description="Jobs, replicas and the gateway too.")] = False,
) -> Response:
    """Stop the server. Jobs and replicas go on and are found again, unless `everything` is to stop."""
    answer = workspace.status()
    if everything:
        workspace.stop_all()
    request.app.state.stop()
    return json_answer(answer, 202)


@routes.route("GET", "/compute", "read", response_model=Compute)
def show_compute(workspace: WorkspaceOf) -> Response:
    """Show what this machine has, what of it is free, who holds what since when, and who is next in line."""
    queue = workspace.describe_jobs(workspace.jobs.queue(SHOWN_JOBS))
    return json_answer(
        {
            **workspace.leases.describe(),
            "queue": [{name: job[name] for name in QueuedJob.model_fields} for job in queue],
            "jobs_queued": workspace.jobs.counts()["queued"],
            "jobs_running": [job.id for job in workspace.jobs.running()],
        }
    )
