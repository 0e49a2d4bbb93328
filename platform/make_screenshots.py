"""Pictures of every page of Studio, in both themes, on the sample data of `bedplate demo`: docs/studio/*.png.

    make screenshots                                   about ten minutes on two cores, most of them the demo
    python platform/make_screenshots.py --home DIR     on a home that has gone through the demo already

Needs Debian's chromium and the packages playwright and pillow.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bedplate
from bedplate.demo import run_demo
from bedplate.home import Home
from bedplate.server_process import stop_running
from bedplate.studio.paths import place

CHROMIUM = "/usr/bin/chromium"
FOLDER = Path(__file__).parents[1] / "docs" / "studio"
PORT = 8697
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SETTLE_MS = 1200  # charts draw themselves
COLORS = 128
# A user each: a wizard begins at the step where its user left it.
WINDOWS: Any = (("ana", "light", WIDE), ("ben", "dark", WIDE), ("cleo", "light", NARROW), ("dan", "dark", NARROW))
NARROW_ONES = ("catalog", "model", "job-finetune", "finetune", "endpoint")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--only", default="", help="pages whose name holds this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bp") as folder:
        home = options.home or Path(folder)
        if options.home is None:
            run_demo(home)
        with _served(home) as ws:
            _sweep(ws)
            FOLDER.mkdir(parents=True, exist_ok=True)
            take(ws, _pages(ws), options.only)


@contextmanager
def _served(home: Path) -> Iterator[bedplate.RemoteWorkspace]:
    """A server as a team has it, which is what has Studio."""
    program = [sys.executable, "-c", "from bedplate.cli import main; main()", "serve"]
    process = subprocess.Popen([*program, "--home", str(home), "--port", str(PORT)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        with bedplate.connect(home=home) as ws:
            yield ws
    finally:
        stop_running(Home(home), everything=True)
        process.wait(30)


def _sweep(ws: bedplate.RemoteWorkspace) -> None:
    """Runs to compare, which the demo does not make."""
    if ws.jobs.list(kind="sweep"):
        return
    spec = next(iter(ws.jobs.list(kind="finetune"))).data["spec"]
    search = {"learning_rate": {"from": 1e-4, "to": 3e-3}, "num_train_epochs": [2, 3], "seed": [1, 2]}
    how = {"method": "random", "trials": 8, "parallel": 1, "columns": spec["columns"]}
    train = spec["train"]["dataset"]
    ws.sweep(spec["model"], task=spec["task"], train=train, search=search, output="support-swept", **how).wait()


def _predictions(ws: bedplate.RemoteWorkspace) -> str:
    """The job that judged a file of predictions, one intent for all; the demo makes none."""
    for job in ws.jobs.list(kind="evaluate"):
        if job.data["spec"].get("predictions"):
            return job.id
    holdout = ws.datasets.get("support-holdout")
    [first] = ws.datasets.preview(holdout.ref, limit=1)
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "one-intent.csv"
        said.write_text("predicted\n" + f"{first['intent']}\n" * holdout.rows)
        predictions = ws.datasets.add("one-intent", said).ref
    how: dict[str, Any] = {"task": "text-classification", "columns": {"sentence1": "text", "label": "intent"}}
    return ws.evaluate(None, predictions=predictions, data=holdout.ref, name="one intent", **how).wait().id


def _pages(ws: bedplate.RemoteWorkspace) -> dict[str, str]:
    """A name for each page, and its address."""
    judged = _predictions(ws)
    ended = [job for job in reversed(ws.jobs.list()) if job.id != judged]
    jobs = {job.kind: job.id for job in ended if not job.data.get("parent")}
    trials = [job.id for job in ended if job.data.get("parent") == jobs["sweep"]]
    model = ws.models.get("support-intent").ref
    report = next(iter(ws.evaluations.list(model=model))).id
    board = max(ws.evaluations.leaderboard(), key=lambda board: int(board["models"]))
    return {
        "home": place(),
        "catalog": place("catalog"),
        "models": place("models"),
        "model": place("models", model),
        "datasets": place("datasets"),
        "dataset": place("datasets", "support-train"),
        "jobs": place("jobs"),
        **{f"job-{kind}": place("jobs", job) for kind, job in jobs.items() if kind != "graph"},
        "evaluations": place("evaluations"),
        "evaluation": place("evaluations", report),
        "leaderboard": place("leaderboard", task=board["task"], data=board["id"]),
        "compare": place("compare", jobs=",".join(trials[:3])),
        "endpoints": place("endpoints"),
        "endpoint": place("endpoints", "support"),
        "batch": place("batch"),
        "batch-job": place("batch", "jobs", jobs["batch"]),
        "compute": place("compute"),
        "settings": place("settings"),
        **{f"settings-{name}": place("settings", name) for name in ("users", "keys", "audit", "doctor")},
        "import": place("import"),
        "evaluate": place("evaluate", from_job=jobs["evaluate"]),
        "evaluate-predictions": place("evaluate", "predictions", from_job=judged),
        "finetune": place("finetune", from_job=jobs["finetune"]),
        "deploy": place("deploy", model=model),
        "batch-new": place("batch", "new", model=model),
    }


def take(ws: bedplate.RemoteWorkspace, pages: dict[str, str], only: str) -> None:
    """Every page in both themes, some as a telephone shows them; a wizard's further steps by its button Next."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for user, theme, width in WINDOWS:
            if user not in [one.name for one in ws.users.list()]:
                ws.users.create(user, role="admin")
            page = browser.new_context(viewport=width, color_scheme=theme).new_page()
            page.goto(str(ws.users.link(user)["url"]))
            page.wait_for_url("**/studio/**")
            for name, address in pages.items():
                if only in name:
                    _take(page, name, address, theme, is_narrow=width is NARROW)
        browser.close()


def _take(page: Any, name: str, address: str, theme: str, *, is_narrow: bool) -> None:
    page.goto(f"http://127.0.0.1:{PORT}{address}")
    page.wait_for_selector("h1")
    page.get_by_text("This takes some seconds").wait_for(state="hidden")  # the doctor looks around
    page.wait_for_timeout(SETTLE_MS)
    _keep(page, name, theme, is_narrow=is_narrow)
    for number in range(2, 8):
        button = page.locator(".q-stepper button:visible", has_text="Next")
        if not button.count():
            return
        button.click()
        page.wait_for_timeout(SETTLE_MS)
        if page.get_by_role("alert").count():  # it wants an answer that nobody gives here
            return
        _keep(page, f"{name}-{number}", theme, is_narrow=is_narrow)


def _keep(page: Any, name: str, theme: str, *, is_narrow: bool) -> None:
    from PIL import Image

    if is_narrow and name not in NARROW_ONES:
        return
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB").quantize(COLORS)
    target = FOLDER / f"{name}-{theme}{'-narrow' if is_narrow else ''}.png"
    picture.save(target, optimize=True)
    print(f"{target.name}  {target.stat().st_size // 1000} kB", flush=True)


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"in {time.monotonic() - began:.0f} s")
