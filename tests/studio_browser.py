"""A real browser before a real server: signed in, every request and every word of its console kept."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import bedplate

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["ABSENT", "House", "Window", "chromium", "run_apart"]

CHROMIUM = Path("/usr/bin/chromium")
ABSENT = [
    *([] if importlib.util.find_spec("playwright") else ["the package playwright"]),
    *([] if CHROMIUM.exists() else [f"{CHROMIUM} (Debian: apt-get install chromium)"]),
]


class House:
    """A server that runs as a process of its own; `ws` is its admin's client."""

    def __init__(self, home: Path, port: int, ws: bedplate.RemoteWorkspace) -> None:
        self.home, self.port, self.ws = home, port, ws
        self.url = f"http://127.0.0.1:{port}"

    def link(self, user: str | None = None) -> str:
        """What signs a browser in, once; as this machine's user where nobody is named."""
        return str(self.ws.users.link(user)["url"])


class Window:
    """A window of a browser, signed in. At the end nothing may have failed, nor been asked of anybody else."""

    def __init__(self, house: House, context: BrowserContext, user: str | None = None) -> None:
        self.house, self.context = house, context
        context.set_default_timeout(30_000)
        self.page: Page = context.new_page()
        self.asked: list[str] = []
        self.failed: list[str] = []
        self.said: list[str] = []
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("response", self._note)
        context.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        context.on("weberror", lambda error: self.said.append(f"uncaught: {error.error}"))
        self.page.goto(house.link(user))
        self.page.wait_for_url(f"{house.url}/studio/**")

    def _note(self, response: object) -> None:
        if response.status >= 400:  # type: ignore[attr-defined]
            self.failed.append(f"{response.status} {response.url}")  # type: ignore[attr-defined]

    def open(self, path: str) -> Page:
        """A page of Studio: open("/models"). Returns when it can be used: its socket is connected."""
        self.page.goto(f"{self.house.url}/studio{path}")
        self.page.wait_for_selector("h1")
        self.page.wait_for_function("() => window.did_handshake")
        return self.page

    @property
    def strangers(self) -> list[str]:
        """What was asked of any other host, and is not made by the page itself."""
        own = urlsplit(self.house.url).netloc
        places = (urlsplit(url) for url in self.asked)
        return [place.geturl() for place in places if place.scheme not in ("data", "blob") and place.netloc != own]

    @property
    def errors(self) -> list[str]:
        """What the console took for an error, and answers that failed."""
        return [text for text in self.said if text.startswith(("error", "uncaught"))] + self.failed


def run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a thread of its own: the browser of other tests has a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser process; each window is a context of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()
