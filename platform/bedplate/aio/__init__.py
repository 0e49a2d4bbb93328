"""The Python client for asyncio: what `bedplate.client` has, with `await` before all that asks the server.

    async with bedplate.aconnect() as ws:
        job = await ws.finetune(…)
        await job.wait()
        model = await job.model

What comes piece by piece is taken so: `async for event in job.events()`. The modules beside this one are generated from
`bedplate/remote` (platform/make_twin.py), save for `seam.py`.
"""

from __future__ import annotations

from pathlib import Path

from bedplate.aio.audit import AuditEntry, Verdict
from bedplate.aio.batch_endpoints import BatchEndpoint
from bedplate.aio.catalog import CatalogModel
from bedplate.aio.connection import Connection
from bedplate.aio.datasets import Dataset
from bedplate.aio.endpoints import Endpoint
from bedplate.aio.evaluations import Report
from bedplate.aio.jobs import Job
from bedplate.aio.keys import Key
from bedplate.aio.models import Model
from bedplate.aio.users import User
from bedplate.aio.workspace import RemoteWorkspace
from bedplate.targets import find_target
from bedplate.text_streams import Event

__all__ = [
    "AuditEntry",
    "BatchEndpoint",
    "CatalogModel",
    "Dataset",
    "Endpoint",
    "Event",
    "Job",
    "Key",
    "Model",
    "RemoteWorkspace",
    "Report",
    "User",
    "Verdict",
    "connect",
]


def connect(url: str | None = None, *, token: str | None = None, home: str | Path | None = None) -> RemoteWorkspace:
    """As `bedplate.connect`. It asks nothing yet: `async with` starts the home's server where none runs.

    A workspace belongs to the event loop that it is first used in.
    """
    return RemoteWorkspace(Connection(find_target(url, token=token, home=home)))
