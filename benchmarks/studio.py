"""How long a page of Studio takes in Chromium on this machine, with many models and jobs in the home.

    python benchmarks/studio.py [--models 1000] [--jobs 1000] [--rounds 7]

For each page, the median over the rounds:

    first     ms in a browser that was never here, everything to be fetched, until the heading is there
    heading   the same in a browser that has been here
    usable    until its socket is connected too, so that it can be clicked
    answer    the bare HTML over HTTP, which is what the server itself takes

and once: the very first page after the server said that it is ready. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog import fill
from filled_homes import Places

import bedplate
from bedplate.studio.paths import place

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = "/usr/bin/chromium"
PORT = 8698
GOAL_MS = 1000.0
PAGES = ("", "catalog", "models", "datasets", "jobs", "evaluations", "endpoints", "batch", "compute", "settings")
PAGES += ("import", "finetune", "evaluate", "deploy")
PROGRAM = [sys.executable, "-c", "from bedplate.cli import main; main()"]


def main() -> None:
    from playwright.sync_api import sync_playwright

    options = _options()
    with (
        tempfile.TemporaryDirectory(prefix="bpu") as name,
        Places(Path(name), None).filled(options.jobs, queued=0) as at,
    ):
        fill(at.home.path / "registry", options.models)
        with _served(at.home.path) as ws, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            very_first = _new_browser(browser, ws, "")
            print(f"the very first page, sign-in included: {very_first:.0f} ms")
            results = [_measure(browser, ws, path, options.rounds) for path in PAGES]
            browser.close()
    worst = max(one["first"] for one in results)
    print(f"slowest page in a browser that was never here: {worst:.0f} ms, goal {GOAL_MS:.0f}")
    print(json.dumps({"cores": os.cpu_count(), "very_first": very_first, **vars(options), "results": results}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


@contextmanager
def _served(home: Path) -> Iterator[bedplate.RemoteWorkspace]:
    """A server as a team has it; the first line that it prints says that it is ready."""
    command = [*PROGRAM, "serve", "--home", str(home), "--port", str(PORT)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        with bedplate.connect(home=home) as ws:
            yield ws
    finally:
        process.terminate()
        process.wait(30)


# --- one page ---


def _measure(browser: Browser, ws: Any, path: str, rounds: int) -> dict[str, Any]:
    first = [_new_browser(browser, ws, path, is_signed_in=True) for _ in range(rounds)]
    context = browser.new_context()
    page = _sign_in(context.new_page(), ws)
    _open(page, path)
    heading, usable, answer = [], [], []
    for _ in range(rounds):
        seconds = _open(page, path)
        heading.append(seconds[0])
        usable.append(seconds[1])
        began = time.perf_counter()
        context.request.get(_address(path)).body()
        answer.append(1000 * (time.perf_counter() - began))
    context.close()
    measured = {"first": first, "heading": heading, "usable": usable, "answer": answer}
    found = {name: round(statistics.median(values), 1) for name, values in measured.items()}
    print(f"{path or 'home':<12}" + "".join(f"{name} {value:7.1f} ms   " for name, value in found.items()), flush=True)
    return {"page": path or "home", **found}


def _new_browser(browser: Browser, ws: Any, path: str, *, is_signed_in: bool = False) -> float:
    """Ms until the heading of a page in a window with an empty cache; without the sign-in, where that came before."""
    context = browser.new_context()
    page = context.new_page()
    link = str(ws.users.link()["url"])
    if is_signed_in:
        _exchange(context, link)
    began = time.perf_counter()
    page.goto(_address(path) if is_signed_in else link)
    page.wait_for_url("**/studio/**")  # the page that signs in has a heading too
    page.wait_for_selector("h1")
    taken = 1000 * (time.perf_counter() - began)
    context.close()
    return taken


def _exchange(context: Any, link: str) -> None:
    """Sign in by the link without fetching a page of Studio."""
    code = link.partition("#")[2]
    answer = context.request.post(f"http://127.0.0.1:{PORT}/api/v1/session", data={"code": code})
    assert answer.ok, answer.text()


def _sign_in(page: Page, ws: Any) -> Page:
    page.goto(str(ws.users.link()["url"]))
    page.wait_for_url("**/studio/**")
    return page


def _open(page: Page, path: str) -> tuple[float, float]:
    """Ms until the heading, and until it can be clicked."""
    began = time.perf_counter()
    page.goto(_address(path), wait_until="commit")
    page.wait_for_selector("h1")
    heading = time.perf_counter()
    page.wait_for_function("() => window.did_handshake")
    return 1000 * (heading - began), 1000 * (time.perf_counter() - began)


def _address(path: str) -> str:
    return f"http://127.0.0.1:{PORT}{place(path) if path else place()}"


if __name__ == "__main__":
    main()
