"""When a private server leaves: not while a request is open, however long that takes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace

from bedplate.server_process import socket_client
from harness import wait_for
from light_server import light_server


def test_a_private_server_stays_while_a_request_is_open() -> None:
    started, go_on = threading.Event(), threading.Event()

    def body() -> Iterator[bytes]:
        yield b"half"
        started.set()
        go_on.wait(60)
        yield b"half"

    with light_server() as workspace, socket_client(workspace.home) as client:
        workspace.settings = replace(workspace.settings, idle_seconds=0.0)
        assert workspace.may_leave
        path = f"/api/v1/uploads/{hashlib.sha256(b'halfhalf').hexdigest()}"
        caller = threading.Thread(target=lambda: client.put(path, content=body()))
        caller.start()
        assert started.wait(60)
        wait_for(lambda: not workspace.may_leave)
        go_on.set()
        caller.join(60)
        wait_for(lambda: workspace.may_leave)
