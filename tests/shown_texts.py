"""What the last step of a wizard shows as CLI, Python, YAML and curl, run by somebody who copied it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from studio_browser import House

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["failed", "running", "shown_texts"]


def shown_texts(page: Page) -> dict[str, str]:
    """What the four tabs show."""
    found = {}
    for name in ("CLI", "Python", "YAML", "curl"):
        page.get_by_role("tab", name=name).click()
        found[name] = page.get_by_role("region", name=name, exact=True).inner_text()
    return found


@contextmanager
def running(house: House, texts: dict[str, str], kind: str) -> Iterator[dict[Path, subprocess.Popen[bytes]]]:
    """The four texts run as they are written, by somebody with a key, each with the file of what it says.

    Jobs of this kind are cancelled at the end.
    """
    key = house.ws.keys.create("wizard", ["train"]).text
    env = {**os.environ, "BEDPLATE_URL": house.url, "BEDPLATE_TOKEN": str(key)}
    program = f"bedplate() {{ {sys.executable} -c 'from bedplate.cli import main; main()' \"$@\"; }}\n"
    (house.home / "job.yaml").write_text(texts["YAML"])
    commands = (
        ["bash", "-c", program + texts["CLI"]],
        ["bash", "-c", program + texts["YAML"].splitlines()[0].removeprefix("# ")],
        ["bash", "-c", texts["curl"]],
        [sys.executable, "-c", texts["Python"]],
    )
    started = {}
    for number, command in enumerate(commands):
        said = house.home / f"said-{number}.txt"
        with said.open("wb") as out:
            process = subprocess.Popen(command, env=env, cwd=house.home, stdout=out, stderr=subprocess.STDOUT)
        started[said] = process
    try:
        yield started
    finally:
        for job in house.ws.jobs.list(kind=kind):
            if not job.is_final:
                job.cancel()
        for process in started.values():
            process.wait(timeout=30)


def failed(programs: dict[Path, subprocess.Popen[bytes]]) -> dict[str, str]:
    """By the file's name, what those said that ended with an error."""
    return {said.name: said.read_text()[-2000:] for said, process in programs.items() if process.poll()}
