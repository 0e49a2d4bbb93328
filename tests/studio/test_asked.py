"""What a wizard shows as CLI, Python, YAML and curl: each runs as written, and all make the same job."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bedplate
from bedplate.cli.output import pairs, parse_values
from bedplate.studio.asked import Asked
from harness import bedplate_home, free_port, serving

WAYS = ("cli", "python", "yaml", "curl")
ROWS = "text,intent\nmy card is lost,card\nreset the password,login\nI want my money back,refund\n"
EVALUATE = {
    "model": "acme/tiny-classifier:1",
    "task": "text-classification",
    "data": "rows:1",
    "columns": {"sentence1": "text", "label": "intent"},
    "settings": {"metrics": ["accuracy", "f1_score_macro"], "confidence_draws": 10},
}


@pytest.fixture(scope="module")
def server(stock: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, str], str]]:
    """A client, the environment of somebody elsewhere who has a key, and the address."""
    port = free_port()
    rows = tmp_path_factory.mktemp("rows") / "rows.csv"
    rows.write_text(ROWS)
    with bedplate_home(stock) as home, serving(home, port), bedplate.connect(home=home) as ws:
        ws.datasets.add("rows", rows)
        key = ws.keys.create("elsewhere", scopes=["admin"])
        assert key.text
        origin = f"http://127.0.0.1:{port}"
        yield ws, {**os.environ, "BEDPLATE_URL": origin, "BEDPLATE_TOKEN": key.text}, origin


@pytest.fixture
def run(server: tuple[Any, dict[str, str], str], tmp_path: Path) -> Callable[[Asked, str], str]:
    """Does what one of the four texts says, as somebody would who copied it. Returns what it printed."""
    _, env, origin = server
    program = tmp_path / "bin" / "bedplate"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom bedplate.cli import main\nmain()\n")
    program.chmod(0o755)
    env = {**env, "PATH": f"{program.parent}:{env['PATH']}"}

    def done(asked: Asked, way: str) -> str:
        text = asked.curl(origin) if way == "curl" else getattr(asked, way)()
        command = ["bash", "-ec", text]
        if way == "python":
            command = [sys.executable, "-c", text]
        if way == "yaml":
            how, body = text.split("\n", 1)
            (tmp_path / re.findall(r"[a-z]+\.yaml", how)[0]).write_text(body)
            command = ["bash", "-ec", how.lstrip("# ")]
        ended = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return ended.stdout

    return done


def test_an_evaluation_is_the_same_job_by_all_ways(server: Any, run: Callable[[Asked, str], str]) -> None:
    ws, _, _ = server
    specs = []
    for way in WAYS:
        run(Asked("evaluate", EVALUATE), way)
        specs.append(json.dumps(ws.jobs.list(kind="evaluate", limit=1)[0].data["spec"]))
    assert len(set(specs)) == 1
    assert json.loads(specs[0])["settings"] == EVALUATE["settings"]


def test_a_batch_endpoint_is_made_by_all_ways(server: Any, run: Callable[[Asked, str], str]) -> None:
    ws, _, _ = server
    for way in WAYS:
        run(Asked("deploy-batch", {"model": "acme/tiny-classifier:1", "name": f"nightly-{way}"}), way)
    made = {one.name: one.deployments for one in ws.batch_endpoints.list()}
    assert set(made) == {f"nightly-{way}" for way in WAYS}
    assert {row["model"] for rows in made.values() for row in rows} == {"acme/tiny-classifier:1"}


def test_an_endpoint_is_made_by_all_ways(server: Any, run: Callable[[Asked, str], str]) -> None:
    ws, _, _ = server
    for number, way in enumerate(WAYS):
        body = {"model": "acme/tiny-classifier:1", "name": "support", "deployment": f"d-{way}", "instances": 1}
        run(Asked("deploy", body if number == 0 else {**body, "traffic": 10}), way)
        shares = ws.endpoints.get("support").traffic
        assert shares[f"d-{way}"] == (100 if number == 0 else 10)
        for other in [name for name in shares if name != "d-cli"]:
            ws.endpoints.get("support").update(traffic={**dict.fromkeys(shares, 0), "d-cli": 100})
            ws.endpoints.get("support").remove_deployment(other)


def test_an_import_is_asked_for_by_all_ways(server: Any, run: Callable[[Asked, str], str], hub: str) -> None:
    ws, _, _ = server
    specs = []
    for way in WAYS:
        run(Asked("import", {"model_id": "acme/tiny-masked", "hub": hub, "convert_weights": True}), way)
        specs.append(json.dumps(ws.jobs.list(kind="import", limit=1)[0].data["spec"]))
    assert len(set(specs)) == 1
    assert json.loads(specs[0])["convert_weights"] is True


@pytest.mark.parametrize("value", ["no", " of ", "summarize: ", "a, b", "[x]", "adafactor", "en_XX", 3e-5, True, ["a"]])
def test_a_setting_comes_back_from_the_command_as_it_was(value: Any) -> None:
    asked = Asked("evaluate", {"model": "m", "settings": {"it": value}})
    words = subprocess.run(
        ["bash", "-c", f"bedplate() {{ printf '%s\\0' \"$@\"; }}; {asked.cli()}"], capture_output=True, check=True
    )
    given = words.stdout.decode().split("\0")
    assert parse_values(pairs([given[given.index("--set") + 1]], "--set")) == {"it": value}


@pytest.mark.parametrize("name", ["it's", "a b", '"x"', "$(id)", "`id`", "a\nb", "--detach"])
def test_no_name_becomes_a_command(name: str) -> None:
    """What a stranger called his column stays one word for the shell, and a text for Python."""
    asked = Asked("evaluate", {**EVALUATE, "columns": {"sentence1": name}})
    words = subprocess.run(
        ["bash", "-c", f"bedplate() {{ printf '%s\\0' \"$@\"; }}; {asked.cli()}"], capture_output=True, check=True
    )
    assert f"sentence1={name}" in words.stdout.decode().split("\0")
    assert repr({"sentence1": name}) in asked.python()
