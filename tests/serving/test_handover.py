"""Files that the gateway sends of itself."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from bedplate_serving.handover import send_file
from bedplate_serving.problems import Problem


def test_a_file_that_went_in_this_moment_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    with pytest.raises(Problem) as caught:
        asyncio.run(send_file(tmp_path / "gone", 200, [], send))
    assert (caught.value.status, caught.value.code, sent) == (503, "damaged-file", [])
    assert dict(caught.value.headers)["x-error-code"] == "DamagedFile"
    (tmp_path / "here").write_bytes(b"bytes")
    asyncio.run(send_file(tmp_path / "here", 200, [], send))
    assert b"".join(message.get("body", b"") for message in sent) == b"bytes"
