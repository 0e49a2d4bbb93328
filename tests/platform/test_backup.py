"""A backup is made while a server works, and a home is made from it: the drill, and what must not pass."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bedplate.audit import AuditLog
from bedplate.backup import Backup, make_backup, read_backup
from bedplate.database import Database
from bedplate.home import Home
from bedplate.jobs import JobStore
from bedplate.keys import KeyStore
from bedplate.restore import restore_backup
from bedplate.settings import Settings
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry
from harness import run_cli, wait_for
from light_server import light_server


def settings_of(home: Path, url: str | None = None) -> Settings:
    environ = {"BEDPLATE_HOME": str(home), **({"BEDPLATE_DATABASE_URL": url} if url else {})}
    return Settings.from_environment(environ)


def add_dataset(registry: Registry, folder: Path, number: int) -> str:
    file = folder / f"{number}.csv"
    file.write_text(f"text,label\nrow {number},a\n")
    return registry.datasets.add(Name.parse(f"data-{number}"), file, file.name).ref


@pytest.fixture
def server() -> Iterator[Workspace]:
    with light_server() as workspace:
        yield workspace


@pytest.fixture
def filled(tmp_path: Path) -> Home:
    """A home without a server, with a dataset, a key, a job and an audit entry in it."""
    home = Home(tmp_path / "home")
    home.prepare()
    database = Database(home.database)
    KeyStore(database).create("ci", ["infer"])
    job = JobStore(database).submit("script", {"code": ""}, owner="ana")
    AuditLog(database).record("ana", "POST /api/v1/jobs", {"job": job.id})
    database.close()
    add_dataset(Registry(home.registry), tmp_path, 1)
    outputs = home.jobs / job.id / "outputs"
    outputs.mkdir(parents=True)
    (outputs / "rows.csv").write_text("a,b\n")
    (home.jobs / job.id / "started-1.json").write_text("{}")
    (home.jobs / job.id / "leak").symlink_to("/etc/passwd")
    return home


class _Load:
    """Submits jobs and adds datasets, one after the other, until it is left; keeps what was acknowledged."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self._workspace, self._folder = workspace, folder
        self.jobs: list[str] = []
        self.datasets: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._submit, self._add)]

    def __enter__(self) -> _Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _submit(self) -> None:
        while not self._over.wait(0.05):
            self.jobs.append(self._workspace.submit("script", {}, owner="ana").id)
            self._workspace.audit.record("ana", "POST /api/v1/jobs", {"job": self.jobs[-1]})

    def _add(self) -> None:
        while not self._over.wait(0.01):
            self.datasets.append(add_dataset(self._workspace.registry, self._folder, len(self.datasets)))


def test_what_was_acknowledged_under_load_is_there_after_a_restore_and_goes_on(
    server: Workspace, tmp_path: Path
) -> None:
    """The drill: a backup while jobs and data come in, the home lost, a server on what was restored."""
    _, text = server.keys.create("ci", ["infer"])
    with _Load(server, tmp_path) as load:
        wait_for(lambda: len(load.jobs) >= 5 and len(load.datasets) >= 5)
        jobs, datasets = list(load.jobs), list(load.datasets)
        make_backup(server.settings, server.home, tmp_path / "backup")
        wait_for(lambda: len(load.jobs) > len(jobs) and len(load.datasets) > len(datasets))
    restored = Home(tmp_path / "restored")
    restored.path.mkdir(mode=0o755)
    done = restore_backup(settings_of(restored.path), tmp_path / "backup", restored)

    modes = {path: path.stat().st_mode & 0o777 for path in (restored.path, restored.path / "id", restored.database)}
    assert [*modes.values()] == [0o700, 0o600, 0o600]
    assert done.audit_problem is None
    assert done.audit_entries >= len(jobs)
    assert restored.id == server.home.id
    registry = Registry(restored.registry)
    for ref in datasets:
        assert registry.datasets.path(registry.datasets.get(ref)).read_bytes()
    with light_server(home=restored.path) as again:
        assert again.keys.find(text) is not None
        assert {job.id for job in again.jobs.find(limit=1000)} >= set(jobs)
        last = again.submit("script", {})
        wait_for(lambda: all(again.jobs.get(job).is_final for job in (*jobs, last.id)))
        assert {again.jobs.get(job).state for job in (*jobs, last.id)} == {"succeeded"}


def test_a_backup_is_what_sha256sum_says_it_is(filled: Home, tmp_path: Path) -> None:
    made = make_backup(settings_of(filled.path), filled, tmp_path / "backup")
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path / "backup", check=False
    )
    assert done.returncode == 0
    assert made.files == len(read_backup(tmp_path / "backup")[1])


def test_links_and_files_about_processes_are_left_out(filled: Home, tmp_path: Path) -> None:
    make_backup(settings_of(filled.path), filled, tmp_path / "backup")
    names = {Path(path).name for path in read_backup(tmp_path / "backup")[1]}
    assert "rows.csv" in names
    assert not names & {"leak", "started-1.json", "token"}


def test_a_backup_is_for_its_user_alone(filled: Home, tmp_path: Path) -> None:
    make_backup(settings_of(filled.path), filled, tmp_path / "backup")
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700


def test_a_later_backup_shares_unchanged_files_with_an_earlier_one(filled: Home, tmp_path: Path) -> None:
    make_backup(settings_of(filled.path), filled, tmp_path / "first")
    add_dataset(Registry(filled.registry), tmp_path, 2)
    make_backup(settings_of(filled.path), filled, tmp_path / "second", base=tmp_path / "first")
    blobs = list((tmp_path / "second" / "registry" / "blobs").rglob("*/*/*"))
    assert sorted(blob.stat().st_nlink for blob in blobs) == [1, 2]
    restore_backup(settings_of(tmp_path / "restored"), tmp_path / "second", Home(tmp_path / "restored"))


@pytest.mark.parametrize("victim", ["blob", "manifest.json", "bedplate.db", "rows.csv", "SHA256SUMS"])
def test_one_changed_byte_anywhere_and_nothing_is_restored(victim: str, filled: Home, tmp_path: Path) -> None:
    make_backup(settings_of(filled.path), filled, tmp_path / "backup")
    found = (
        (tmp_path / "backup" / "registry" / "blobs").rglob("*/*/*")
        if victim == "blob"
        else (tmp_path / "backup").rglob(victim)
    )
    file = next(path for path in found if path.is_file())
    file.chmod(0o600)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BedplateError) as refused:
        restore_backup(settings_of(tmp_path / "restored"), tmp_path / "backup", Home(tmp_path / "restored"))
    assert refused.value.code == "damaged-backup"
    restored = tmp_path / "restored"
    assert not restored.exists() or [*restored.iterdir()] == []


def test_a_backup_that_was_cut_short_is_none(filled: Home, tmp_path: Path) -> None:
    make_backup(settings_of(filled.path), filled, tmp_path / "backup")
    (tmp_path / "backup" / "backup.json").unlink()
    with pytest.raises(BedplateError) as refused:
        restore_backup(settings_of(tmp_path / "restored"), tmp_path / "backup", Home(tmp_path / "restored"))
    assert refused.value.code == "no-backup"


def test_a_file_whose_bytes_rotted_is_left_out_and_named(filled: Home, tmp_path: Path) -> None:
    blob = next(path for path in (filled.registry / "blobs").rglob("*/*/*") if path.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"rotten")
    done = run_cli("backup", str(tmp_path / "backup"), "--format", "json", home=filled.path, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["damaged"] == [blob.name]
    assert blob.name in done.stderr


def test_a_home_with_something_in_it_is_not_written_over(filled: Home, tmp_path: Path) -> None:
    make_backup(settings_of(filled.path), filled, tmp_path / "backup")
    with pytest.raises(BedplateError) as refused:
        restore_backup(settings_of(filled.path), tmp_path / "backup", filled)
    assert refused.value.code == "not-empty"


def test_a_restore_that_was_killed_is_run_again(filled: Home, tmp_path: Path) -> None:
    make_backup(settings_of(filled.path), filled, tmp_path / "backup")
    (tmp_path / "restored" / "restore.tmp" / "registry").mkdir(parents=True)
    run_cli("restore", str(tmp_path / "backup"), home=tmp_path / "restored")
    assert Registry(tmp_path / "restored" / "registry").datasets.get("data-1").ref == "data-1:1"
    assert not (tmp_path / "restored" / "restore.tmp").exists()


@pytest.mark.parametrize(
    ("folder", "code"), [("home/backup", "backup-in-home"), ("taken", "not-empty")], ids=["inside", "taken"]
)
def test_a_place_that_is_none_is_refused(folder: str, code: str, filled: Home, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(BedplateError) as refused:
        make_backup(settings_of(filled.path), filled, tmp_path / folder)
    assert refused.value.code == code


def test_any_database_is_restored_into_any_other(database_url: str, filled: Home, tmp_path: Path) -> None:
    """From SQLite into each kind, from that into a backup again, and from there into SQLite."""
    make_backup(settings_of(filled.path), filled, tmp_path / "first")
    middle, last = Home(tmp_path / "middle"), Home(tmp_path / "last")
    restore_backup(settings_of(middle.path, database_url), tmp_path / "first", middle)
    made = make_backup(settings_of(middle.path, database_url), middle, tmp_path / "second")
    restored = restore_backup(settings_of(last.path), tmp_path / "second", last)

    assert isinstance(made, Backup)
    assert restored.audit_problem is None
    assert rows(last) == rows(filled)
    database = Database(middle.database, database_url, home_id=middle.id)
    try:
        jobs = JobStore(database)
        assert jobs.submit("script", {}).seq == 1 + max(job.seq for job in jobs.find() if job.owner == "ana")
    finally:
        database.close()


def rows(home: Home) -> dict[str, list[dict[str, object]]]:
    """All that the database of a home without a server holds."""
    from bedplate.database import metadata

    database = Database(home.database)
    try:
        return {name: database.rows(table.select()) for name, table in metadata.tables.items() if name != "home"}
    finally:
        database.close()
