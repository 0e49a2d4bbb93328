"""Studio as people see it: Chromium before a server that runs as a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bedplate
from harness import bedplate_home, free_port, serving
from studio_browser import ABSENT, House, Window, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser these tests are skipped, with the reason."""
    mark = pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(mark)


@pytest.fixture(scope="session")
def house(stock: Path) -> Iterator[House]:
    """A server with acme/tiny-encoder and acme/tiny-classifier in its registry, for all tests of a worker.

    What a test makes there, it names after itself: others see it.
    """
    port = free_port()
    with bedplate_home(stock) as home, serving(home, port), bedplate.connect(home=home) as ws:
        for name, role in (("vic", "viewer"), ("ana", "user"), ("olga", "operator"), ("adam", "admin")):
            ws.users.create(name, role=role)
        yield House(home, port, ws)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A file's own: while it is there, its loop runs in this thread, and other tests are refused asyncio.run()."""
    with chromium() as made:
        yield made


@pytest.fixture
def window(house: House, browser: Browser) -> Iterator[Window]:
    """A window of this machine's user, who may everything; errors and requests to strangers fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made = Window(house, context)
    yield made
    context.close()
    assert made.strangers == []
    assert made.errors == []
