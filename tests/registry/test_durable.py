"""Durable writes: whole or not at all, and a clear word when the disk will not."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bedplate_registry import durable
from bedplate_registry.errors import Unavailable


@pytest.fixture(autouse=True)
def _no_hook_left() -> Iterator[None]:
    yield
    durable.fault_hook = None


def fail_at(operation: str, number: int) -> None:
    def hook(name: str, path: Path) -> None:
        if name == operation:
            raise OSError(number, "injected")

    durable.fault_hook = hook


def test_write_json_replaces_what_was_there(tmp_path: Path) -> None:
    durable.write_json(tmp_path / "x.json", {"b": 1})
    durable.write_json(tmp_path / "x.json", {"ä": [1, None]})
    assert json.loads((tmp_path / "x.json").read_bytes()) == {"ä": [1, None]}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("operation", ["before write", "before fsync", "before rename"])
def test_a_write_that_fails_leaves_the_old_bytes_and_no_litter(tmp_path: Path, operation: str) -> None:
    durable.write_bytes(tmp_path / "x", b"old")
    fail_at(operation, errno.ENOSPC)
    with pytest.raises(Unavailable) as caught:
        durable.write_bytes(tmp_path / "x", b"new")
    assert caught.value.code == "disk-full" and "room" in caught.value.hint
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EDQUOT, "disk-full"), (errno.EIO, "disk-error"), (errno.EMFILE, "too-many-files")],
)
def test_each_kind_of_disk_trouble_has_its_code(tmp_path: Path, number: int, code: str) -> None:
    fail_at("before write", number)
    with pytest.raises(Unavailable) as caught:
        durable.write_bytes(tmp_path / "x", b"new")
    assert caught.value.code == code
    assert str(tmp_path) not in caught.value.message


def test_every_operation_is_told_before_and_after(tmp_path: Path) -> None:
    seen: list[str] = []
    durable.fault_hook = lambda name, path: seen.append(name)
    durable.write_bytes(tmp_path / "x", b"data")
    names = ["write", "fsync", "rename", "fsync-folder"]
    assert seen == [f"{when} {name}" for name in names for when in ("before", "after")]


def test_appended_lines_survive_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    durable.append_line(path, '{"n": 1}')
    with path.open("ab") as file:
        file.write(b'{"n": 2')
    assert durable.read_lines(path) == [{"n": 1}]
    durable.append_line(path, '{"n": 3}')
    assert durable.read_lines(path) == [{"n": 1}, {"n": 3}]


def test_a_published_folder_is_never_replaced(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        durable.write_bytes(tmp_path / name / "x", name.encode())
    durable.publish_folder(tmp_path / "one", tmp_path / "final")
    with pytest.raises(FileExistsError):
        durable.publish_folder(tmp_path / "two", tmp_path / "final")
    assert (tmp_path / "final" / "x").read_bytes() == b"one"


def test_replace_folder_leaves_the_new_one_alone(tmp_path: Path) -> None:
    for name in ("view", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    durable.replace_folder(tmp_path / "new", tmp_path / "view")
    assert [path.name for path in tmp_path.rglob("*")] == ["view", "new"]


def test_remove_folder_takes_it_away_with_all_in_it(tmp_path: Path) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    durable.remove_folder(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_half_a_surrogate_pair_is_kept_as_jsons_own_escape() -> None:
    value = {"text": "half a pair: \ud83d, and é"}
    written = durable.json_bytes(value)
    assert b"\\ud83d" in written and json.loads(written) == value
