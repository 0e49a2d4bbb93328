"""The Python client: `bedplate.connect()` gives a workspace, over this machine's socket or over TCP, by one REST API.

ws = bedplate.connect()                                    this machine's home
ws = bedplate.connect("http://gpu01:8686", token="bp_…")   another server

`bedplate.aio` is the same for asyncio; docs/python.md shows both.
"""

from __future__ import annotations

from pathlib import Path

from bedplate.remote.audit import AuditEntry, Verdict
from bedplate.remote.batch_endpoints import BatchEndpoint
from bedplate.remote.catalog import CatalogModel
from bedplate.remote.connection import Connection
from bedplate.remote.datasets import Dataset
from bedplate.remote.endpoints import Endpoint
from bedplate.remote.evaluations import Report
from bedplate.remote.jobs import Job
from bedplate.remote.keys import Key
from bedplate.remote.models import Model
from bedplate.remote.users import User
from bedplate.remote.workspace import RemoteWorkspace
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
    """A workspace on this machine's home (BEDPLATE_HOME), or on the server at `url` (BEDPLATE_URL, BEDPLATE_TOKEN).

    Where no server runs for the home a private one is started. Raises Unavailable where none starts, Refused for what
    is no URL. A server elsewhere is asked nothing yet.
    """
    workspace = RemoteWorkspace(Connection(find_target(url, token=token, home=home)))
    workspace.connection.open()
    return workspace
