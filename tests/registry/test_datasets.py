"""Datasets and evaluation reports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry import datasets
from bedplate_registry.errors import Conflict, NotFound, Refused, Unavailable
from bedplate_registry.gc import collect
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry
from bedplate_registry.tables import read_rows

TICKETS = Name.parse("tickets")


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    path = tmp_path / "upload-7f3a"
    path.write_bytes(b'text,label\r\n"lost\r\ncard",card\r\nrefund please,refund\r\n')
    return path


def test_a_dataset_is_counted_described_and_previewed(registry: Registry, tickets: Path) -> None:
    version = registry.datasets.add(TICKETS, tickets, "tickets.csv")
    assert (version.ref, version.rows, version.columns, version.format) == ("tickets:1", 2, ("text", "label"), "csv")
    assert registry.datasets.path(version).read_bytes() == tickets.read_bytes()
    assert registry.datasets.preview(version, 1) == [{"text": "lost\r\ncard", "label": "card"}]
    assert registry.datasets.get("tickets") == registry.datasets.list()[0] == version
    assert json.loads(json.dumps(version.to_json()))["ref"] == "tickets:1"


def test_the_same_bytes_again_are_no_new_version_and_others_are(registry: Registry, tickets: Path) -> None:
    first = registry.datasets.add(TICKETS, tickets, "tickets.csv")
    assert registry.datasets.add(TICKETS, tickets, "tickets.csv") == first
    tickets.write_bytes(tickets.read_bytes() + b"hello,greeting\r\n")
    assert registry.datasets.add(TICKETS, tickets, "tickets.csv").ref == "tickets:2"
    assert registry.datasets.get("tickets:1").rows == 2


@pytest.mark.parametrize(
    ("data", "filename", "code"),
    [
        (b"a,b\n1\n", "x.csv", "bad-row"),
        (b"a,b\n", "x.csv", "empty-table"),
        (b"", "x.jsonl", "empty-table"),
        (b"a,b\n1,2\n", "x.xlsx", "bad-format"),
        (b"a,b\n1,2\n", "x.parquet", "bad-table"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_when_it_is_added(
    registry: Registry, tmp_path: Path, data: bytes, filename: str, code: str
) -> None:
    (tmp_path / "upload").write_bytes(data)
    with pytest.raises(Refused) as caught:
        registry.datasets.add(TICKETS, tmp_path / "upload", filename)
    assert caught.value.code == code
    assert registry.datasets.list() == []


def test_a_dataset_that_takes_long_to_read_keeps_its_file_from_a_collection(
    registry: Registry, tickets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(path: Path, format: str) -> Iterator[dict[str, Any]]:
        collect(registry, grace_seconds=-60)  # as if all of this took longer than the grace period
        return read_rows(path, format)

    monkeypatch.setattr(datasets, "read_rows", slowly)
    version = registry.datasets.add(TICKETS, tickets, "tickets.csv")
    assert registry.blobs.verify(version.sha256)


def test_a_dataset_whose_file_went_while_it_was_read_is_not_published(
    registry: Registry, tickets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losing(path: Path, format: str) -> list[dict[str, Any]]:
        rows = [*read_rows(path, format)]
        path.unlink()
        return rows

    monkeypatch.setattr(datasets, "read_rows", losing)
    monkeypatch.setattr(datasets, "columns_of", lambda path, format: ["text", "label"])
    with pytest.raises(NotFound, match=r"tickets\.csv") as caught:
        registry.datasets.add(TICKETS, tickets, "tickets.csv")
    assert caught.value.code == "missing-blob"
    assert registry.datasets.list() == []


def test_what_columns_hold_is_kept_and_what_was_added_before_that_was_is_read(
    registry: Registry, tickets: Path
) -> None:
    version = registry.datasets.add(TICKETS, tickets, "tickets.csv")
    assert [(each.name, each.type, each.distinct) for each in version.schema] == [
        ("text", "text", 2),
        ("label", "text", 2),
    ]
    path = registry.root / "datasets/_/tickets/1/manifest.json"
    path.chmod(0o644)
    old = {key: item for key, item in json.loads(path.read_bytes()).items() if key != "table_schema"}
    path.write_text(json.dumps(old))
    assert registry.datasets.get("tickets") == replace(version, schema=())


# --- states


def test_an_archived_version_is_in_no_list_and_is_used_by_its_number(registry: Registry, tickets: Path) -> None:
    registry.datasets.add(TICKETS, tickets, "tickets.csv")
    tickets.write_bytes(b"text,label\nhello,greeting\n")
    registry.datasets.add(TICKETS, tickets, "tickets.csv")
    archived = registry.datasets.archive("tickets:2", by="olga", why="wrong labels")
    assert archived.state == registry.datasets.get("tickets:2").state == "archived"
    assert registry.datasets.get("tickets").ref == "tickets:1"
    assert [(each.ref, each.state) for each in registry.datasets.versions(TICKETS)] == [
        ("tickets:1", "active"),
        ("tickets:2", "archived"),
    ]
    registry.datasets.archive("tickets:1", by="olga")
    assert registry.datasets.list() == []
    assert registry.datasets.add(TICKETS, tickets, "tickets.csv").ref == "tickets:3"
    assert registry.datasets.restore("tickets:1", by="olga").state == "active"


def test_a_deleted_version_is_gone_its_number_too_and_its_file_goes_with_the_garbage(
    registry: Registry, tickets: Path
) -> None:
    version = registry.datasets.add(TICKETS, tickets, "tickets.csv")
    registry.datasets.archive("tickets:1", by="olga")
    assert collect(registry, grace_seconds=-60).garbage == ()
    registry.datasets.delete("tickets:1", by="olga")
    with pytest.raises(NotFound, match="was deleted by olga"):
        registry.datasets.get("tickets:1")
    assert [each.name for each in collect(registry, grace_seconds=-60).garbage] == [version.sha256]
    assert registry.datasets.add(TICKETS, tickets, "tickets.csv").ref == "tickets:2"


def test_a_damaged_file_and_a_damaged_manifest_are_found_and_the_version_can_be_deleted(
    registry: Registry, tickets: Path
) -> None:
    version = registry.datasets.add(TICKETS, tickets, "tickets.csv")
    assert registry.datasets.verify("tickets") == []
    path = registry.datasets.path(version)
    path.chmod(0o644)
    path.write_bytes(b"?")
    assert "damaged" in registry.datasets.verify("tickets")[0]
    assert "set aside" in registry.datasets.verify("tickets")[0]
    manifest = registry.root / "datasets/_/tickets/1/manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    assert "manifest" in registry.datasets.verify("tickets:1")[0]
    assert [str(ref) for ref in registry.datasets.refs()] == ["tickets:1"]
    registry.datasets.delete("tickets:1", by="olga")
    assert [*registry.datasets.refs()] == []


def test_a_dataset_that_is_not_there_says_how_to_add_it(registry: Registry) -> None:
    with pytest.raises(NotFound) as caught:
        registry.datasets.get("tickets")
    assert "bedplate datasets add tickets FILE" in caught.value.hint


def test_evaluations_are_kept_by_time_and_found_by_model(registry: Registry) -> None:
    ids = [registry.evaluations.add({"model": f"acme/x:{n}", "metrics": {"accuracy": 0.5}}) for n in (1, 2, 1)]
    assert registry.evaluations.get(ids[0])["metrics"] == {"accuracy": 0.5}
    assert [report["id"] for report in registry.evaluations.heads()] == ids[::-1]
    assert [report["id"] for report in registry.evaluations.heads("acme/x:1")] == [ids[2], ids[0]]
    for wrong in ("ev-1", "../models", "", ids[0] + "/.."):
        with pytest.raises(NotFound):
            registry.evaluations.get(wrong)


@pytest.mark.parametrize("data", [b"", b'{"model": "acme/x:1", "met', b"[]", b"\xff\xfe"])
def test_a_damaged_report_is_named_and_hides_no_other(
    registry: Registry, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kept, damaged = (registry.evaluations.add({"model": "acme/x:1"}) for _ in range(2))
    path = registry.root / "evaluations" / damaged / "report.json"
    path.chmod(0o644)
    path.write_bytes(data)
    assert [report["id"] for report in registry.evaluations.heads()] == [kept]
    assert damaged in caplog.text and "WARNING" in caplog.text
    with pytest.raises(Refused, match=damaged) as caught:
        registry.evaluations.get(damaged)
    assert caught.value.code == "bad-report"
    path.unlink()
    assert [report["id"] for report in registry.evaluations.heads("acme/x:1")] == [kept]
    with pytest.raises(NotFound):
        registry.evaluations.get(damaged)


def test_a_damaged_dataset_is_named_and_hides_no_other(
    registry: Registry, tickets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.datasets.add(TICKETS, tickets, "tickets.csv")
    other = registry.datasets.add(Name.parse("other"), tickets, "tickets.csv")
    path = registry.root / "datasets" / "_" / "tickets" / "1" / "manifest.json"
    path.chmod(0o644)
    whole = json.loads(path.read_bytes())
    for value in (
        {**whole, "extra": 1},
        {key: item for key, item in whole.items() if key != "columns"},
        whole["columns"],
    ):
        path.write_text(json.dumps(value))
        assert registry.datasets.list() == [other]
        with pytest.raises(Refused, match="manifest of dataset 'tickets:1' is damaged") as caught:
            registry.datasets.get("tickets")
        assert caught.value.code == "bad-manifest"
    assert caplog.text.count("tickets:1") == 3


# --- what is refused, and what is said of what is not there


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'{"a\\ud800": 1}\n', r"'a\\ud800' has half a surrogate pair"),
        (b'{"a": 1}\n' * 2000 + b'{"b\\udc00": 1}\n', r"'b\\udc00' has half a surrogate pair"),
        (json.dumps({f"c{n}": n for n in range(1001)}).encode(), "1,001 columns"),
    ],
    ids=["first row", "late row", "many"],
)
def test_columns_that_cannot_be_kept_are_refused(registry: Registry, tmp_path: Path, data: bytes, what: str) -> None:
    (tmp_path / "upload").write_bytes(data)
    with pytest.raises(Refused, match=what) as caught:
        registry.datasets.add(TICKETS, tmp_path / "upload", "x.jsonl")
    assert caught.value.code == "bad-table" and registry.datasets.list() == []


def test_a_name_whose_versions_are_all_archived_means_none_and_says_how_to_bring_one_back(
    registry: Registry, tickets: Path
) -> None:
    registry.datasets.add(TICKETS, tickets, "tickets.csv")
    registry.datasets.archive("tickets:1", by="olga")
    with pytest.raises(Conflict, match="Every version of the dataset 'tickets' is archived") as caught:
        registry.datasets.get("tickets")
    assert (caught.value.code, "datasets restore tickets:1" in caught.value.hint) == ("archived", True)
    assert [each.ref for each in registry.datasets.versions(TICKETS)] == ["tickets:1"]
    assert registry.datasets.get("tickets:1").rows == 2


@pytest.mark.parametrize("is_there", [True, False])
def test_rows_of_a_damaged_table_are_not_read(registry: Registry, tickets: Path, is_there: bool) -> None:
    version = registry.datasets.add(TICKETS, tickets, "tickets.csv")
    path = registry.datasets.path(version)
    path.chmod(0o644)
    path.write_bytes(b"?") if is_there else path.unlink()
    with pytest.raises(Unavailable, match=r"tickets:1 is not whole.*tickets\.csv") as caught:
        registry.datasets.preview(version)
    assert caught.value.code == "damaged-dataset"
