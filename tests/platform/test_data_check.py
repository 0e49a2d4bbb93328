"""The data check as a job: by command line and Python client, on files and datasets, with and without repairs."""

from __future__ import annotations

import csv
import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import bedplate
from bedplate.cli.app import app
from bedplate.kinds import KINDS
from bedplate.workers.token_counts import TokenCounts
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError, Refused
from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, Source
from bedplate_registry.names import Name
from harness import write_messages
from light_server import light_server

TASK = "text-classification"
MAPPED = ("--task", TASK, "--map", "sentence1=text", "--map", "label=intent")
COLUMNS = {"sentence1": "text", "label": "intent"}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def server() -> Iterator[Workspace]:
    with light_server() as workspace:
        yield workspace


@pytest.fixture
def run(server: Workspace) -> Iterator[Run]:
    """A command in this process: exit code, stdout, stderr. Raises what it refuses."""

    def invoke(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, [*arguments, "--home", str(server.home.path)])
        if isinstance(done.exception, BedplateError):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    yield invoke
    gc.collect()  # a connection that a command left open is a warning, and so an error


@pytest.fixture
def messages(tmp_path: Path) -> Path:
    return write_messages(tmp_path / "messages.csv", 60)


def spoiled(messages: Path, *more: str) -> Path:
    """The same with an empty text and the first row again, as rows 61 and 62, and more lines."""
    lines = messages.read_text().splitlines()
    path = messages.with_name("spoiled.csv")
    path.write_text("\n".join([*lines, "x,,card", lines[1], *more]) + "\n")
    return path


def test_good_data_is_told_so_and_the_code_is_0(run: Run, messages: Path) -> None:
    code, out, err = run("datasets", "check", str(messages), *MAPPED)
    assert (code, out) == (0, "")
    assert "60 rows: 0 errors, 0 warnings, 0 notes." in err


def test_findings_are_a_table_with_row_numbers_and_an_error_is_code_1(run: Run, messages: Path) -> None:
    code, out, err = run("datasets", "check", str(spoiled(messages, "one cell")), *MAPPED)
    assert code == 1
    assert [line.split()[:6] for line in out.splitlines()[1:]] == [
        ["error", "bad-row", "-", "1", "data", "63"],
        ["error", "empty-value", "sentence1", "1", "data", "61"],
        ["warning", "duplicate", "-", "1", "data", "62"],
    ]
    assert "63 rows: 2 errors, 1 warning, 0 notes." in err


def test_a_repaired_dataset_is_its_next_version_and_the_old_one_stays(
    run: Run, server: Workspace, messages: Path
) -> None:
    run("datasets", "add", "acme/spoiled", str(spoiled(messages)))
    code, out, _ = run("datasets", "check", "acme/spoiled", *MAPPED, "--fix", "--format", "json")
    fixed = json.loads(out)["fixed"]
    assert code == 0
    assert fixed["datasets"] == {"data": "acme/spoiled:2"}
    assert [(each["action"], each["code"], each["rows"]) for each in fixed["changes"]] == [
        ("dropped", "empty-value", [61]),
        ("dropped", "duplicate", [62]),
    ]
    datasets = server.registry.datasets
    assert datasets.path(datasets.get("acme/spoiled:2")).read_bytes() == messages.read_bytes().replace(b"\r\n", b"\n")
    assert datasets.get("acme/spoiled:1").rows == 62
    # A finish that runs again makes no version, also after somebody added one.
    job = next(job for job in server.jobs.find(kind="data-check") if job.result and job.result["fixed"])
    two = datasets.get("acme/spoiled:2")
    draft = datasets.draft(datasets.path(two), two.filename)
    assert (draft["rows"], len(draft["table_schema"])) == (60, len(two.columns))
    run("datasets", "add", "acme/spoiled", str(spoiled(messages, "y,other,card")))
    worker_said = {"report": {}, "fixed": {"drafts": {"data": draft}}}
    again = KINDS["data-check"].finish(server.context, job.id, job.spec, worker_said)
    assert again["fixed"] == {"datasets": {"data": "acme/spoiled:2"}}
    assert datasets.get("acme/spoiled").version == 3
    # What was good before the version that is repaired is written again: the newest one is to be good.
    later = {**job.spec, "splits": {"data": {**job.spec["splits"]["data"], "dataset": "acme/spoiled:3"}}}
    assert KINDS["data-check"].finish(server.context, job.id, later, worker_said)["fixed"]["datasets"] == {
        "data": "acme/spoiled:4"
    }
    assert run("datasets", "check", "acme/spoiled", *MAPPED, "--fix")[0] == 0
    assert datasets.get("acme/spoiled").version == 4


def test_the_python_client_checks_splits_and_fixes_the_one_that_leaks(server: Workspace, messages: Path) -> None:
    with messages.open() as file:
        rows = [*csv.reader(file)]
    test = messages.with_name("test.csv")
    with test.open("w", newline="") as file:
        csv.writer(file).writerows([*rows[:1], *([f"t{row[0]}", row[1].upper(), row[2]] for row in rows[1:4])])
    with bedplate.connect(home=server.home.path) as ws:
        job = ws.datasets.check(task=TASK, train=messages, test=test, columns=COLUMNS, fix=True, name="acme/fixed")
        result = job.wait().result
        assert [(each["code"], each["rows"]) for each in result["report"]["findings"]] == [
            ("leak", {"train": [1, 2, 3]})
        ]
        assert result["report"]["splits"]["train"]["label_count"] == 3
        assert result["fixed"]["datasets"] == {"train": "acme/fixed-train:1"}
        assert result["fixed"]["rows"] == {"train": 57}
        assert result["fixed"]["report"]["findings"] == []
        assert ws.datasets.get("acme/fixed-train").rows == 57


def test_what_would_be_empty_or_cannot_be_read_is_not_written(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("text,intent\n,a\n,b\n")
    code, out, _ = run("datasets", "check", str(path), *MAPPED, "--fix", "--name", "none", "--format", "json")
    assert code == 1
    assert json.loads(out)["fixed"]["left_out"] == {"data": "No row would be left."}
    assert json.loads(out)["fixed"]["datasets"] == {}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "either data or at least one"),
    ({"data": "d", "train": "d"}, "either data or at least one"),
    ({"data": "d", "task": "text-to-image"}, "nothing to check"),
    ({"data": "d", "task": "text-clasification"}, "not one of the nine tasks"),
    ({"data": "d", "columns": {}}, "No column is mapped"),
    ({"data": "d", "name": "x"}, "nothing is written without fix"),
    ({"data": "d", "name": "x", "fix": True}, "a dataset gets a new version"),
    ({"data": "d", "fix": "yes"}, "fix='yes' is not accepted"),
    ({"data": "d", "max_seq_length": 64}, "counts the tokens of a model"),
    ({"data": "d", "max_seq_length": 2}, "not accepted"),
    ({"data": "d", "class_names": "a"}, "not a list of names"),
    ({"data": "d", "repair": True}, "no setting 'repair'"),
]


@pytest.mark.parametrize(("request_", "message"), REFUSED)
def test_a_request_that_cannot_be_meant_so_is_refused(
    server: Workspace, messages: Path, request_: dict[str, Any], message: str
) -> None:
    server.registry.datasets.add(Name.parse("d"), messages, "messages.csv")
    with pytest.raises(Refused, match=message):
        server.plan("data-check", {"task": TASK, "columns": COLUMNS, **request_})


def test_two_versions_of_one_dataset_are_not_repaired_together(server: Workspace, messages: Path) -> None:
    added = [
        server.registry.datasets.add(Name.parse("twice"), path, "m.csv").ref for path in (messages, spoiled(messages))
    ]
    asked = {"task": TASK, "columns": COLUMNS, "train": added[1], "test": added[0]}
    server.plan("data-check", asked)
    with pytest.raises(Refused, match="train and test would both be versions of twice"):
        server.plan("data-check", {**asked, "fix": True})


def test_a_repaired_copy_gets_no_name_that_rest_cannot_ask_for(run: Run, messages: Path) -> None:
    for refused in (
        lambda: run("datasets", "check", str(messages), *MAPPED, "--fix", "--name", "acme/preview"),
        lambda: run("datasets", "add", "acme/preview", str(messages)),
    ):
        with pytest.raises(BedplateError, match="'acme/preview' is not a name: it ends in 'preview'"):
            refused()


def test_the_repaired_copy_of_a_file_needs_a_name(run: Run, messages: Path) -> None:
    with pytest.raises(BedplateError, match=r"messages\.csv needs a name"):
        run("datasets", "check", str(messages), *MAPPED, "--fix")
    with pytest.raises(BedplateError, match="either NAME"):
        run("datasets", "check", *MAPPED)
    with pytest.raises(BedplateError, match="needs a task"):
        run("datasets", "check", str(messages))


def word_tokenizer(folder: Path) -> Path:
    """A tokenizer of words that cuts at four tokens, as many are saved; a check is to see the whole length."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_tokens_are_counted_whole_of_texts_pairs_and_words(tmp_path: Path) -> None:
    counts = TokenCounts(word_tokenizer(tmp_path), 8)
    assert counts.count(["a b c d e f", "a"]) == [8, 3]
    assert counts.count([("a b", "c d")]) == [7]
    assert counts.count([["a", "b", "c"], ["a"]]) == [5, 3]
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(Refused, match="cannot be loaded"):
        TokenCounts(tmp_path, 8)


def test_the_rows_that_a_model_would_cut_are_counted_by_its_own_tokenizer(
    run: Run, server: Workspace, tmp_path: Path
) -> None:
    blob = server.registry.blobs.put_file(word_tokenizer(tmp_path) / "tokenizer.json")
    facts = ModelFacts("text-classification", "BertModel", "bert", 1000, "float32", 4000, context_length=16)
    files = (FileEntry("tokenizer.json", blob.size_bytes, blob.sha256),)
    server.registry.models.publish(ModelDraft(Name.parse("words"), files, facts, Source("folder", "words")))
    rows = [f"{'w ' * (number + 1)},{'ab'[number % 2]}" for number in range(20)]
    path = tmp_path / "long.csv"
    path.write_text("\n".join(["sentence1,label", *(row.replace(" ,", ",") for row in rows)]) + "\n")
    code, out, _ = run("datasets", "check", str(path), "--task", TASK, "--model", "words", "--format", "json")
    (finding,) = json.loads(out)["report"]["findings"]
    assert (code, finding["code"], finding["rows"]) == (0, "truncated", {"data": [15, 16, 17, 18, 19, 20]})
    with pytest.raises(BedplateError, match="reads 16 tokens, fewer than max_seq_length=32"):
        run("datasets", "check", str(path), "--task", TASK, "--model", "words", "--max-seq-length", "32")
