"""The program in real processes: data on stdout, messages on stderr, exit codes, errors that say what to do next."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from bedplate.cli.app import app
from bedplate.cli.config import EVALUATE, FINETUNE, read_config, read_request
from bedplate.cli.output import parse_settings, parse_values, run
from bedplate.console import Progress
from bedplate.workspace import Workspace
from bedplate_registry.errors import Refused
from bedplate_trainers.settings import EvaluateSettings
from harness import bedplate_home, environment, free_port, processes_of, run_cli, serving, wait_for, write_messages
from light_server import light_server


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with bedplate_home() as folder:
        yield folder


def test_help_answers_for_every_command(home: Path) -> None:
    listed = run_cli("--help", home=home).stdout
    for command in (
        "demo",
        "serve",
        "doctor",
        "import",
        "models",
        "datasets",
        "finetune",
        "evaluate",
        "evaluations",
        "deploy",
    ):
        assert command in listed
        assert "Usage: bedplate" in run_cli(command, "--help", home=home).stdout


def test_a_wrong_use_exits_with_2_and_points_to_the_help(home: Path) -> None:
    done = run_cli("models", "shw", home=home, check=False)
    assert done.returncode == 2
    assert "--help" in done.stderr
    assert done.stdout == ""


def test_a_failure_exits_with_1_and_one_sentence_that_says_what_to_do(home: Path) -> None:
    done = run_cli("models", "show", "acme/none", home=home, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: There is no model 'acme/none'")
    assert "bedplate import" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failure_is_an_object_where_json_was_asked_for(home: Path) -> None:
    done = run_cli("models", "show", "acme/none", "--format", "json", home=home, check=False)
    error = json.loads(done.stdout)["error"]
    assert set(error) == {"code", "message", "hint"}


def test_a_bad_setting_of_the_environment_is_named(home: Path) -> None:
    done = run_cli("models", "list", home=home, check=False, BEDPLATE_PORT="http")
    assert done.returncode == 1
    assert "BEDPLATE_PORT" in done.stderr


def test_serve_refuses_to_open_a_port_to_other_machines_without_protection(home: Path) -> None:
    done = run_cli("serve", "--host", "0.0.0.0", home=home, check=False)
    assert done.returncode == 1
    assert "--behind-proxy" in done.stderr


def test_a_home_that_is_served_is_not_taken_by_a_second_serve(tmp_path: Path) -> None:
    with bedplate_home() as served:
        port = free_port()
        with serving(served, port):
            done = run_cli("serve", "--port", str(free_port()), home=served, check=False)
            assert done.returncode == 1
            assert str(served) in done.stderr
            assert "stop it" in done.stderr
            assert run_cli("models", "list", home=served).returncode == 0


def test_lists_are_json_where_asked_for(home: Path) -> None:
    assert json.loads(run_cli("models", "list", "--format", "json", home=home).stdout) == []
    assert json.loads(run_cli("jobs", "list", "--format", "json", home=home).stdout) == []


def test_doctor_tells_what_works_here_with_a_remedy_for_what_does_not(home: Path) -> None:
    found = json.loads(run_cli("doctor", "--offline", "--format", "json", home=home).stdout)
    assert {"python", "home", "torch", "database", "cage network", "cage files", "cgroups", "hub"} <= {
        row["check"] for row in found
    }
    assert all(row["remedy"] for row in found if row["status"] != "ok")


def test_offline_refuses_an_import_from_a_hub_by_name(home: Path) -> None:
    run_cli("stop", home=home)
    done = run_cli("import", "acme/tiny", home=home, check=False, BEDPLATE_OFFLINE="1")
    run_cli("stop", home=home)
    assert done.returncode == 1
    assert "BEDPLATE_OFFLINE" in done.stderr


@pytest.mark.parametrize("hub", ["ftp://hub", "hub", "http://hub:port"])
def test_a_hub_that_is_no_url_is_refused_by_value(home: Path, hub: str) -> None:
    done = run_cli("import", "acme/tiny", "--hub", hub, home=home, check=False)
    assert done.returncode == 1
    assert hub in done.stderr


def test_importing_from_ones_own_hub_is_refused(home: Path) -> None:
    done = run_cli("import", "acme/tiny", "--hub", "http://localhost:8686/hub", home=home, check=False)
    assert done.returncode == 1
    assert "its own" in done.stderr or "own Hub" in done.stderr


def test_a_home_with_a_long_path_works(tmp_path: Path) -> None:
    long = tmp_path / ("deep" * 12) / ("deeper" * 12)
    try:
        assert json.loads(run_cli("models", "list", "--format", "json", home=long).stdout) == []
    finally:
        run_cli("stop", "--all", home=long)


def test_ctrl_c_cancels_the_job_and_leaves_no_process(home: Path, models: Path) -> None:
    import_ = [sys.executable, "-c", "from bedplate.cli import main; main()", "import", "--from"]
    process = subprocess.Popen(
        [*import_, str(models / "classifier"), "--name", "stopped"], env=environment(home), stderr=subprocess.PIPE
    )
    wait_for(lambda: processes_of(home, "bedplate.workers.import_model"), seconds=60)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"cancelled" in messages
    assert b"Traceback" not in messages
    assert not processes_of(home, "bedplate.workers.import_model")
    assert "cancelled" in run_cli("jobs", "list", home=home).stdout


def test_an_idle_private_server_leaves(home: Path) -> None:
    run_cli("stop", home=home)
    run_cli("models", "list", home=home, BEDPLATE_IDLE_SECONDS="1")
    wait_for(lambda: not processes_of(home, "bedplate.control_plane"), seconds=60)  # ten minutes without that second


WRONG_USES = {
    "neither --input nor --file": ["score", "support"],
    "a folder without a name": ["import", "--from", "."],
    "a folder and a revision": ["import", "--from", ".", "--name", "a", "--revision", "v1"],
    "a setting without a value": ["evaluate", "a", "--data", "b", "--set", "seed"],
    "a mapping without a column": ["finetune", "a", "--map", "label="],
    "no task": ["finetune", "a"],
    "two servers": ["models", "list", "--home", ".", "--url", "http://a"],
    "a port that is none": ["serve", "--port", "99999"],
    "two inputs and one file": ["batch", "a", "--input", "a.csv", "--input", "b.csv", "--output", "c.csv"],
    "a need without a value": ["batch", "a", "--input", "a.csv", "--output", "b.csv", "--need", "cores"],
    "no jobs": ["jobs", "list", "--limit", "0"],
    "gpus and processes": ["finetune", "a", "--gpus", "2", "--processes", "2"],
    "gpus on the cpu": ["finetune", "a", "--gpus", "2", "--device", "cpu"],
    "no gpus": ["finetune", "a", "--gpus", "0"],
    "half a percent": ["endpoints", "update", "a", "--traffic", "main=0.5"],
}


@pytest.mark.parametrize("arguments", WRONG_USES.values(), ids=WRONG_USES.keys())
def test_what_cannot_be_meant_so_exits_with_2(home: Path, arguments: list[str]) -> None:
    done = run_cli(*arguments, "--format", "json", home=home, check=False)
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "usage"


def test_every_command_takes_format() -> None:
    from typer.main import get_command

    from bedplate.cli.app import app

    def without(command: Any, name: str) -> Iterator[str]:
        for part, inner in getattr(command, "commands", {}).items():
            yield from without(inner, f"{name} {part}")
        if not hasattr(command, "commands") and not any("--format" in option.opts for option in command.params):
            yield name

    assert list(without(get_command(app), "bedplate")) == []


def test_stop_tells_in_json_and_a_home_may_begin_with_a_tilde(home: Path) -> None:
    done = run_cli("stop", "--home", f"~/{home.name}", "--format", "json", home=home, HOME=str(home.parent))
    assert json.loads(done.stdout)["home"] == str(home)


@pytest.mark.parametrize(
    "written", [b"model: a\n", b"columns: [text]\n", b"train: 5\n", b"\xff\xfe", b"- a\n", b"1: 2\n", b"a: b: c"]
)
def test_a_config_that_cannot_be_meant_so_is_refused_in_one_sentence(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "run.yaml").write_bytes(written)
    with pytest.raises(Refused, match=r"run\.yaml"):
        read_config(tmp_path / "run.yaml", FINETUNE)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("map: {label: intent}", "Here it is columns."),
        ("map: label=intent", "Here it is columns."),
        ("mapping: {label: intent}", "Known: "),
        ("column: {label: intent}", "Did you mean 'columns'?"),
        ("gpus: 2", "Here it is processes, with device: cuda."),
    ],
)
def test_a_config_that_uses_the_name_of_a_flag_is_told_what_it_is_called_here(
    tmp_path: Path, written: str, hint: str
) -> None:
    (tmp_path / "run.yaml").write_text(written)
    for flags in (FINETUNE, EVALUATE):
        with pytest.raises(Refused, match="there is no setting") as caught:
            read_config(tmp_path / "run.yaml", flags)
        assert caught.value.hint.startswith(hint)
        assert "columns" in caught.value.hint or written.startswith("gpus")


def test_a_config_has_flags_and_settings_by_their_names(tmp_path: Path) -> None:
    text = "task: t\ncolumns: {label: intent}\nlearning_rate: 3e-5\nself: 1\ntest:\npriority: 5\nneeds: {cores: 2}\n"
    (tmp_path / "run.yaml").write_text(text)
    flags = {"task": "t", "columns": {"label": "intent"}, "priority": 5, "needs": {"cores": 2}}
    settings = {"learning_rate": 3e-5, "self": 1}
    assert read_config(tmp_path / "run.yaml", FINETUNE) == {**flags, "settings": settings}


def test_a_config_of_an_evaluation_has_its_own_flags(tmp_path: Path) -> None:
    text = "task: t\ndata: tickets\npredictions: said.txt\nname: by hand\nslices: [channel]\ntest: auto\n"
    (tmp_path / "run.yaml").write_text(text)
    flags = {"task": "t", "data": "tickets", "predictions": "said.txt", "name": "by hand"}
    settings = {"slices": ["channel"], "test": "auto"}  # which evaluations do not have: the server refuses it by name
    assert read_config(tmp_path / "run.yaml", EVALUATE) == {**flags, "settings": settings}


def test_a_request_of_any_kind_is_a_file_of_its_fields(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("train: tickets\nsettings: {learning_rate: 3e-5}\nvalidation:\nrates: [1e-3]\n")
    assert read_request(tmp_path / "run.yaml") == {
        "train": "tickets",
        "settings": {"learning_rate": 3e-5},
        "rates": [1e-3],
    }


def test_values_are_what_they_look_like() -> None:
    given = {"a": "true", "b": "3e-5", "c": "seven", "d": "7", "e": "2024-01-01", "f": "[1, 2]", "g": "1E3"}
    expected = {"a": True, "b": 3e-5, "c": "seven", "d": 7, "e": "2024-01-01", "f": [1, 2], "g": 1000.0}
    assert parse_values(given) == expected


def test_a_setting_that_is_a_text_is_one_whatever_it_looks_like() -> None:
    given = ["positive_label=no", "source_lang='no'", "seed=7", "slices=2024", "target_lang=null"]
    found = parse_settings(given, EvaluateSettings)
    assert found == {"positive_label": "no", "source_lang": "no", "seed": 7, "slices": 2024, "target_lang": "null"}
    settings = EvaluateSettings.from_mapping({"positive_label": 0, "slices": 2024, "class_names": [0, "b"]})
    assert (settings.positive_label, settings.slices, settings.class_names) == ("0", ("2024",), ("0", "b"))


def test_a_detached_batch_of_two_files_is_waited_for_and_fetched_later(
    home: Path, models: Path, tmp_path: Path
) -> None:
    run_cli("import", "--from", str(models / "classifier"), "--name", "classifier", home=home)
    for name in ("one.csv", "two.csv"):
        write_messages(tmp_path / name, 5)
    (tmp_path / "scored").mkdir()
    inputs = ["--input", str(tmp_path / "one.csv"), "--input", str(tmp_path / "two.csv"), "--map", "sentence1=text"]
    output = ["--output", str(tmp_path / "scored")]
    done = run_cli("batch", "classifier", *inputs, *output, "--detach", "--format", "json", home=home)
    jobs = json.loads(done.stdout)
    assert [Path(job["output"]).name for job in jobs] == ["one.csv", "two.csv"]
    followed = run_cli("jobs", "logs", jobs[0]["id"], "--follow", home=home)
    assert "Traceback" not in followed.stdout + followed.stderr
    for job in jobs:
        run_cli("jobs", "wait", job["id"], "--output", job["output"], home=home)
        assert Path(job["output"]).read_text().count("\n") == 6


def test_a_file_that_is_not_utf8_is_refused_in_one_sentence(home: Path, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_bytes(b"\xff\xfe")
    done = run_cli("score", "support", "--file", str(tmp_path / "input.json"), home=home, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "UTF-8" in done.stderr


def test_the_offline_of_the_caller_counts_and_not_that_of_the_servers_start(home: Path) -> None:
    run_cli("models", "list", home=home)
    done = run_cli("import", "acme/tiny", "--format", "json", home=home, check=False, BEDPLATE_OFFLINE="1")
    assert json.loads(done.stdout)["error"]["code"] == "offline"


# --- jobs of a light kind, at a control plane in this process


@pytest.fixture(scope="module")
def light() -> Iterator[Workspace]:
    with light_server() as workspace:
        yield workspace


@pytest.fixture
def cli(light: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The program in this process: what it prints, or its error where it fails."""

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["bedplate", *arguments, "--home", str(light.home.path)])
        code = run(app)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return printed.err if code else printed.out

    return call


@pytest.fixture
def tell(cli: Callable[..., str]) -> Callable[..., Any]:
    return lambda *arguments: json.loads(cli(*arguments, "--format", "json"))


def test_a_job_of_any_kind_is_submitted_from_a_file_and_flags(
    light: Workspace, cli: Callable[..., str], tell: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text("code: print('from the file')\nneeds: {cores: 1, memory_gb: 1}\n")
    base = ["jobs", "submit", "script", "--config", str(tmp_path / "run.yaml"), "--need", "cores=2", "--priority", "4"]
    plan = tell(*base, "--dry-run")
    assert (plan["demand"]["cores"], plan["demand"]["memory_bytes"], plan["priority"]) == (2, 1 << 30, 4)
    assert light.jobs.find(archived=None) == []
    assert tell(*base, "--set", "demand={gpus: 0}") == {"value": 0}
    (tmp_path / "data.csv").write_text("text\na\n")
    assert "script has no setting 'data'" in cli(*base, "--file", f"data={tmp_path / 'data.csv'}")
    assert "Did you mean 'script'?" in cli("jobs", "submit", "scrpt")


def test_what_a_command_exits_with_is_what_the_program_exits_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(what: BaseException) -> Any:
        small = typer.Typer()

        @small.command()
        def fail() -> None:
            raise what

        return small

    monkeypatch.setattr(sys, "argv", ["bedplate"])
    assert [run(program(what)) for what in (typer.Exit(), typer.Exit(1), KeyboardInterrupt())] == [0, 1, 1]


def test_jobs_are_listed_shown_run_again_and_archived(cli: Callable[..., str], tell: Callable[..., Any]) -> None:
    job = tell("jobs", "submit", "script", "--set", "code=print('hello')", "--detach")["id"]
    tell("jobs", "wait", job)
    again = tell("jobs", "rerun", job)["id"]
    assert again != job
    assert cli("jobs", "logs", again, "--follow") == "hello\n"
    assert tell("jobs", "logs", again)["log"] == "hello\n"
    assert tell("jobs", "archive", again)["archived"]
    assert [row["id"] for row in tell("jobs", "list", "--archived")] == [again]
    assert again not in [row["id"] for row in tell("jobs", "list")]
    assert tell("jobs", "archive", again, "--undo")["archived"] is None
    assert [row["id"] for row in tell("jobs", "list", "--limit", "1")] == [again]
    assert "bedplate jobs rerun" in cli("jobs", "retry", again)


def test_a_waiting_job_is_listed_shown_and_followed_with_its_place_and_the_reason(
    light: Workspace, cli: Callable[..., str], tell: Callable[..., Any]
) -> None:
    sleep = ["jobs", "submit", "script", "--set", "code=import time; time.sleep(60)", "--detach"]
    first = tell(*sleep, "--set", "demand={cores: 3}", "--priority", "9")["id"]
    wait_for(lambda: light.jobs.get(first).state == "running")
    second = tell(*sleep, "--set", "demand={cores: 2}")["id"]
    wait_for(lambda: light.jobs.get(second).waiting_for == "cores")
    header, newest, *_ = cli("jobs", "list").splitlines()
    assert header.split() == ["id", "kind", "state", "priority", "owner", "created", "waiting"]
    assert second in newest
    assert first in newest
    shown = cli("jobs", "show", second)
    assert "2 cores, 0.0 GiB of memory" in shown
    assert "position" in shown
    holding = cli("jobs", "show", first)
    assert "3 cores, 0.0 GiB of memory, since 20" in holding
    wait = [sys.executable, "-c", "from bedplate.cli import main; main()", "jobs", "wait", second]
    follower = subprocess.Popen(wait, env=environment(light.home.path), stderr=subprocess.PIPE, text=True)
    assert follower.stderr is not None
    line = follower.stderr.readline()
    assert line.startswith(f"{second}: position 1 of 1, waits for 2 cores: ")
    light.cancel_job(second)
    light.cancel_job(first)
    assert follower.wait(20) == 1
    follower.stderr.close()


def test_a_place_that_moves_up_is_told_now_and_then_and_not_at_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    class Waiting:
        id, state, is_final = "batch-1", "queued", False
        data: dict[str, Any]

    job, progress = Waiting(), Progress()
    for place in (3, 2, 1):
        waiting = f"waits for 1 GPU: GPU 0 is held by a; jobs make room for it; position {place} of 3"
        job.data = {"waiting": waiting, "waiting_for": "gpus", "position": place}
        progress(job)
    told = "batch-1: position 3 of 3, waits for 1 GPU: GPU 0 is held by a; jobs make room for it\n"
    assert capsys.readouterr().err == told
