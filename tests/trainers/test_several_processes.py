"""Several processes, on one machine or on two, train the model that one process trains."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import Refused
from bedplate_serving.testing import seq2seq, tiny_encoder
from bedplate_trainers.finetune import FinetuneRequest, finetune
from bedplate_trainers.launch import Machines, launch_command, launch_environment
from bedplate_trainers.settings import FinetuneSettings
from bedplate_trainers.sharding import accelerate_config, write_accelerate_config
from bedplate_trainers.standalone import main
from question_rows import question_rows

Maker = Callable[..., FinetuneRequest]
NEAR: dict[str, Any] = {"rel": 1e-4, "abs": 1e-4}  # sums in another order, some steps of Adam long
SETTINGS = {"max_steps": 8, "logging_steps": 1, "eval_strategy": "no"}
WAIT_SECONDS = 240


@pytest.fixture
def one_by_one(make_request: Maker, base_dir: Path, tmp_path: Path) -> FinetuneRequest:
    """A request for one process, of a model without dropout."""
    folder = tmp_path / "calm"
    shutil.copytree(base_dir, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return make_request(model_dir=folder, settings=SETTINGS)


def start_machine(request: FinetuneRequest, folder: Path, rank: int, port: int) -> subprocess.Popen[str]:
    folder.mkdir()
    (folder / "request.json").write_text(json.dumps(request.to_json()))
    where = ["--num_machines", "2", "--machine_rank", str(rank)]
    where += ["--main_process_address", "127.0.0.1", "--main_process_port", str(port)]
    return subprocess.Popen(
        [sys.executable, "-m", "bedplate_trainers.standalone", str(folder / "request.json"), *where],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def losses(lines: list[dict[str, float]]) -> list[float]:
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.timeout(400)
def test_two_processes_and_two_machines_have_the_loss_curve_of_one_process(
    one_by_one: FinetuneRequest,
    recorder: Any,
    start_worker: Callable[..., Any],
    result_of: Callable[..., Any],
    tmp_path: Path,
) -> None:
    finetune(one_by_one, recorder, resume=False)
    expected = [values["loss"] for _, values in recorder.figures if "loss" in values]
    assert len(expected) == SETTINGS["max_steps"]

    halves = {**one_by_one.settings, "per_device_train_batch_size": 16}
    two = replace(one_by_one, processes=2, settings=halves, work_dir=tmp_path / "two", output_dir=tmp_path / "both")
    result = result_of(start_worker(two))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses(lines) == pytest.approx(expected, **NEAR)

    port = free_port()
    machines = [start_machine(two, tmp_path / f"machine-{rank}", rank, port) for rank in range(2)]
    printed = [machine.communicate(timeout=WAIT_SECONDS)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], printed
    lines = [json.loads(line) for line in printed[0].splitlines() if line.startswith("{")]
    assert losses(lines) == pytest.approx(expected, **NEAR)
    assert not losses([json.loads(line) for line in printed[1].splitlines() if line.startswith("{")])
    there = json.loads((tmp_path / "machine-0" / "result.json").read_text())
    assert there["metrics"] == pytest.approx(result["metrics"])
    assert not (tmp_path / "machine-1" / "result.json").exists()


def question_answering(folder: Path) -> list[dict[str, Any]]:
    tiny_encoder(folder)
    return question_rows(60, without=0.3)


def translation(folder: Path) -> list[dict[str, Any]]:
    seq2seq.tiny_marian(folder, languages=())
    words = random.Random(0)
    sources = [words.choices(("card", "phone", "order", "invoice", "late"), k=words.randint(1, 9)) for _ in range(60)]
    return [{"source": " ".join(source), "target": " ".join(reversed(source))} for source in sources]


def without_dropout(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {name: 0.0 for name in config if "dropout" in name and config[name]}))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("rows_of", [question_answering, translation])
def test_two_processes_learn_spans_and_texts_as_one_does(
    rows_of: Callable[[Path], list[dict[str, Any]]],
    make_request: Maker,
    recorder: Any,
    start_worker: Callable[..., Any],
    result_of: Callable[..., Any],
    tmp_path: Path,
) -> None:
    base = tmp_path / "base"
    rows, task = rows_of(base), rows_of.__name__.replace("_", "-")
    without_dropout(base)
    settings = SETTINGS | {"eval_strategy": "epoch", "per_device_train_batch_size": 8}
    held = {"task": task, "columns": {}, "test": None, "model_dir": base}
    one = make_request(rows, settings=settings, **held)
    alone = finetune(one, recorder, resume=False)
    expected = [values["loss"] for _, values in recorder.figures if "loss" in values]
    assert alone is not None
    assert len(expected) == SETTINGS["max_steps"]
    assert expected[-1] < expected[0]

    halves = one.settings | {"per_device_train_batch_size": 4}
    two = replace(one, processes=2, settings=halves, work_dir=tmp_path / "two", output_dir=tmp_path / "both")
    result = result_of(start_worker(two))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses(lines) == pytest.approx(expected, **NEAR)
    assert result["metrics"] == pytest.approx(alone.metrics, abs=1e-3)


def short_of_memory(request: FinetuneRequest, folder: Path, most_rows: int, fits: int) -> tuple[list[Any], str, Any]:
    """Two processes, the second with little memory: the figures, what was told, and the result."""
    folder.mkdir()
    (folder / "request.json").write_text(json.dumps(request.to_json()))
    arguments = [str(folder / "request.json"), str(most_rows), str(fits)]
    command = launch_command("short_worker", arguments, device="cpu", processes=2, threads=1)
    environment = os.environ | launch_environment(device="cpu", processes=2, threads=1)
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return lines, done.stdout, json.loads((folder / "result.json").read_text())


@pytest.mark.timeout(400)
def test_where_one_of_two_processes_runs_out_of_memory_both_go_on_from_the_last_checkpoint_in_smaller_parts(
    one_by_one: FinetuneRequest, recorder: Any, tmp_path: Path
) -> None:
    finetune(one_by_one, recorder, resume=False)
    expected = {step: values["loss"] for step, values in recorder.figures if "loss" in values}

    settings = one_by_one.settings | {"per_device_train_batch_size": 16, "save_steps": 3}
    two = replace(one_by_one, processes=2, settings=settings, work_dir=tmp_path / "two", output_dir=tmp_path / "both")
    lines, told, result = short_of_memory(two, tmp_path / "short", most_rows=8, fits=5)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 4, 5, 6, 7, 8]
    for line in lines:
        assert line.get("loss", expected[line["step"]]) == pytest.approx(expected[line["step"]], **NEAR)
    assert "16 rows a step now go through the model in 2 parts of 8. The result stays the same. Process 1 of 2" in told
    assert "Resuming from checkpoint-3." in told
    assert result["resolved"]["changed"] == {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}


@pytest.mark.timeout(400)
def test_where_one_of_two_processes_has_memory_for_an_adapter_only_both_train_one(
    one_by_one: FinetuneRequest, tmp_path: Path
) -> None:
    settings = one_by_one.settings | {"per_device_train_batch_size": 1, "activation_checkpointing": True}
    two = replace(one_by_one, processes=2, settings=settings)
    lines, told, result = short_of_memory(two, tmp_path / "short", most_rows=0, fits=3)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8]
    assert "the run starts again, and a LoRA adapter and the head are trained" in told
    assert result["resolved"]["changed"] == {"apply_lora": True}


@pytest.mark.parametrize(
    ("machines", "processes", "message"),
    [
        (Machines(2, 2, "host", 1), 2, "no machine 2 of 2"),
        (Machines(2, 0), 2, "where they meet"),
        (Machines(2, 0, "host", 1), 3, "3 processes cannot be dealt to 2 machines"),
    ],
)
def test_machines_that_cannot_meet_are_refused(machines: Machines, processes: int, message: str) -> None:
    with pytest.raises(Refused, match=message):
        launch_command("worker", [], device="cpu", processes=processes, machines=machines)


def test_each_machine_starts_its_share_of_the_processes_with_its_share_of_the_cores() -> None:
    machines = Machines(2, 1, "10.0.0.1", 29500)
    command = launch_command("worker", [], device="cuda", processes=8, machines=machines)
    shown = " ".join(command)
    assert "--num_processes 8 --num_machines 2 --machine_rank 1 --main_process_ip 10.0.0.1" in shown
    alone = launch_environment(device="cuda", processes=4)["OMP_NUM_THREADS"]
    assert launch_environment(device="cuda", processes=8, machines=machines)["OMP_NUM_THREADS"] == alone


def test_a_request_without_a_device_is_refused(
    one_by_one: FinetuneRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(replace(one_by_one, device="auto").to_json()))
    assert main([str(path)]) == 1
    assert "Say cpu or cuda" in capsys.readouterr().err


@pytest.mark.parametrize(("settings", "kind"), [({"fsdp": True}, "FSDP"), ({"deepspeed_stage": "3"}, "DEEPSPEED")])
def test_accelerate_reads_the_file_that_shards_a_model(settings: dict[str, Any], kind: str, tmp_path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    path = write_accelerate_config(vars(FinetuneSettings.from_mapping(settings)), tmp_path)
    assert path is not None
    read = load_config_from_file(str(path))
    assert read.distributed_type == kind
    assert (read.fsdp_config.get("fsdp_version"), read.deepspeed_config.get("zero_stage")) in ((2, None), (None, 3))
    command = launch_command("worker", [], device="cuda", processes=2, config=path)
    assert "--multi_gpu" not in command
    assert command[command.index("--config_file") + 1] == str(path)


def test_a_model_that_is_not_sharded_needs_no_file(tmp_path: Path) -> None:
    assert accelerate_config(vars(FinetuneSettings())) is None
    assert write_accelerate_config(vars(FinetuneSettings()), tmp_path) is None
