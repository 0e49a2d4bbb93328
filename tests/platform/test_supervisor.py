"""Supervisor and worker, as real processes: groups that die whole, beats that stand still, secrets that stay out."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bedplate import spawn
from bedplate.compute import Lease
from bedplate.home import Home
from bedplate.kinds import KINDS, Kind
from bedplate.kinds.base import Command
from bedplate.processes import ProcessId
from bedplate.settings import Settings
from bedplate.supervisor import open_log
from bedplate.workspace import Workspace
from bedplate_serving.unix_sockets import is_listening, listen
from harness import wait_for


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for epoch in (1, 2, 3, 12):
        wait_for(spawn.Held(tmp_path, epoch).kill, seconds=60)
    spawn.reap()


def run(folder: Path, code: str, epoch: int = 1, **options: object) -> spawn.Held:
    spawn.start(folder, epoch, [sys.executable, "-c", code], log=folder / "log", **options)  # type: ignore[arg-type]
    held = spawn.Held(folder, epoch)
    wait_for(lambda: held.supervisor is not None, seconds=60)
    return held


def written(folder: Path, name: str) -> str:
    """What the worker writes there, once it has."""
    wait_for(lambda: (folder / name).exists() and (folder / name).read_text(), seconds=60)
    return (folder / name).read_text()


def ended(held: spawn.Held) -> dict[str, object]:
    wait_for(lambda: held.exit is not None, seconds=60)
    assert held.exit is not None
    return held.exit


def test_the_exit_code_of_a_worker_is_kept_with_its_epoch(folder: Path) -> None:
    answer = ended(run(folder, "raise SystemExit(7)", epoch=3))
    assert (answer["returncode"], answer["epoch"], answer["stopped"]) == (7, 3, False)


def test_stopping_ends_the_whole_group_within_five_seconds_though_it_ignores_sigterm(folder: Path) -> None:
    code = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "open('pids', 'w').write(f'{os.getpid()} {child.pid}'); time.sleep(60)"
    )
    held = run(folder, code)
    written(folder, "pids")
    asked = time.monotonic()
    held.stop()
    assert ended(held)["stopped"] is True
    assert time.monotonic() - asked < 5.5
    assert all(ProcessId.of(int(pid)) is None for pid in (folder / "pids").read_text().split())


def test_a_child_that_left_the_group_is_ended_too(folder: Path) -> None:
    code = (
        "import subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True);"
        "open('pid', 'w').write(str(child.pid))"
    )
    ended(run(folder, code))
    assert ProcessId.of(int((folder / "pid").read_text())) is None


SLEEPING = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
# A grandchild in a session of its own whose parent has ended: neither group nor parent lead to it.
DAEMON = (
    "import os, subprocess, sys, time;"
    'daemon = \'import os, time; open("daemon", "w").write(str(os.getpid())); time.sleep(60)\';'
    "child = f'import subprocess, sys; subprocess.Popen([sys.executable, \"-c\", {daemon!r}], start_new_session=True)';"
    "subprocess.run([sys.executable, '-c', child]); time.sleep(60)"
)


def test_a_killed_supervisor_takes_its_worker_along_and_the_attempt_has_died(folder: Path) -> None:
    held = run(folder, SLEEPING)
    worker = ProcessId.of(int(written(folder, "pid")))
    assert worker is not None
    assert not held.has_died
    assert held.supervisor is not None
    held.supervisor.signal(signal.SIGKILL)
    wait_for(lambda: not worker.is_alive, seconds=60)
    wait_for(lambda: held.has_died, seconds=60)


def test_an_attempt_that_ended_or_has_not_come_up_has_not_died(folder: Path) -> None:
    held = run(folder, "")
    ended(held)
    wait_for(lambda: not held.is_alive)
    assert not held.has_died
    assert not spawn.Held(folder, 2).has_died


@pytest.mark.parametrize("with_group", [True, False])
def test_killing_finds_a_daemon_whose_supervisor_is_dead_already(
    folder: Path, with_group: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_group:  # as where the machine has none
        monkeypatch.setattr("bedplate.cgroups.own_group", lambda: None)
    held = run(folder, DAEMON)
    daemon = ProcessId.of(int(written(folder, "daemon")))
    assert daemon is not None
    assert held.supervisor is not None
    held.supervisor.signal(signal.SIGKILL)
    wait_for(lambda: held.has_died, seconds=60)
    assert ProcessId.of(daemon.pid) == daemon
    spec = json.loads((folder / "supervisor-1.json").read_text())
    assert held.kill()
    assert not daemon.is_alive
    assert spec["cgroup"] is None or not Path(spec["cgroup"]).exists()


def test_killing_ends_stopped_processes_and_touches_no_other_attempt(folder: Path) -> None:
    held = run(folder, SLEEPING)
    other = run(folder, "import time; time.sleep(60)", epoch=12)
    worker = ProcessId.of(int(written(folder, "pid")))
    assert worker is not None
    assert held.supervisor is not None
    for process in (worker, held.supervisor):
        process.signal(signal.SIGSTOP)
    assert held.kill()
    assert not worker.is_alive
    assert not held.is_alive
    assert held.has_died
    assert other.is_alive


def test_a_stopped_worker_is_ended_all_the_same_and_can_act_on_it(folder: Path) -> None:
    code = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3));"
        "open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    )
    held = run(folder, code)
    os.kill(int(written(folder, "pid")), signal.SIGSTOP)
    held.stop()
    assert ended(held)["returncode"] == 3


def test_the_beat_stands_still_while_supervisor_worker_or_grandchild_is_stopped(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "open('pids', 'w').write(f'{os.getppid()} {os.getpid()} {child.pid}'); time.sleep(60)"
    )
    folders = [tmp_path / name for name in ("supervisor", "worker", "grandchild", "none")]
    for folder in folders:
        folder.mkdir()
    *frozen, untouched = [run(folder, code) for folder in folders]
    try:
        stopped = [int(written(held.folder, "pids").split()[part]) for part, held in enumerate(frozen)]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        wait_for_beats(untouched, 1)  # one that was being written as we stopped it
        before = [held.beat for held in frozen]
        wait_for_beats(untouched, 2)
        assert [held.beat for held in frozen] == before
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        for held in frozen:
            wait_for_beats(held, 1)
    finally:
        for held in (*frozen, untouched):
            held.kill()


def wait_for_beats(held: spawn.Held, number: int) -> None:
    before = held.beat or 0
    wait_for(lambda: (held.beat or 0) >= before + number, seconds=60)


def test_before_it_came_up_an_attempt_has_no_beat(folder: Path) -> None:
    assert spawn.Held(folder, 1).beat is None


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_is_counted_from_the_last_new_sign_and_only_while_we_look() -> None:
    clock = Clock()
    silence = spawn.Silence(clock, longest_gap_seconds=5.0)
    assert silence.seconds("job", 1) == 0.0
    clock.now += 3
    assert silence.seconds("job", 1) == 3.0
    clock.now += 86_400  # we slept, or the machine did
    assert silence.seconds("job", 1) == 8.0
    assert silence.seconds("another job", 1) == 0.0
    clock.now += 1
    assert silence.seconds("job", 2) == 0.0
    clock.now += 1
    assert silence.seconds("job", 2) == 1.0
    silence.keep({"job"})
    clock.now += 1
    assert silence.seconds("job", 2) == 2.0
    silence.forget("job")
    assert silence.seconds("job", 2) == 0.0
    clock.now += 1
    silence.keep({"another job"})
    assert silence.seconds("job", 2) == 0.0


def test_no_token_key_or_database_url_is_in_the_environment_of_a_worker(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "canary-1234"
    for name in ("HF_TOKEN", "BEDPLATE_TOKEN", "BEDPLATE_DATABASE_URL", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, secret)
    code = (
        "import json, sys; open('given', 'w').write(sys.stdin.read()); sys.stdout.close(); import time; time.sleep(60)"
    )
    held = run(folder, code, secrets={"hf_token": secret})
    assert json.loads(written(folder, "given")) == {"hf_token": secret}
    assert held.supervisor is not None
    worker = json.loads((folder / "started-1.json").read_text())["worker"]
    for pid in (held.supervisor.pid, worker):
        seen = Path(f"/proc/{pid}/environ").read_text()
        assert "OMP_WAIT_POLICY=passive" in seen
        assert f"BEDPLATE_ATTEMPT={folder}:1\0" in seen
        assert secret not in seen
    assert secret not in (folder / "supervisor-1.json").read_text()


def test_a_worker_cannot_look_into_its_supervisor(folder: Path) -> None:
    code = (
        "import os; name = f'/proc/{os.getppid()}/environ'\n"
        "try: seen = open(name).read()\n"
        "except PermissionError: seen = 'refused'\n"
        "open('seen', 'w').write(seen)"
    )
    ended(run(folder, code))
    if "cage: running with" in (folder / "log").read_text():
        pytest.skip("this kernel allows no namespaces: bedplate doctor says so")
    assert (folder / "seen").read_text() == "refused"


def test_a_worker_cannot_change_what_is_read_only_for_it_but_its_own_folder(folder: Path, tmp_path: Path) -> None:
    models, draft = tmp_path / "models", tmp_path / "models" / "draft"
    draft.mkdir(parents=True)
    code = (
        "import pathlib, sys; models = pathlib.Path('models'); (models / 'draft' / 'blob').touch()\n"
        "try: (models / 'blob').touch()\n"
        "except OSError as exc: sys.exit(exc.errno)"
    )
    answer = ended(run(folder, code, read_only=[models], writable=[draft]))
    if "cage: running with" in (folder / "log").read_text():
        pytest.skip("this kernel allows no namespaces: bedplate doctor says so")
    assert answer["returncode"] == errno.EROFS
    assert (draft / "blob").exists()


def test_a_replica_listens_in_its_own_folder_and_reaches_no_other_socket(tmp_path: Path) -> None:
    home = Home(tmp_path / ("a home with a long name " * 5))
    home.prepare()
    replica = home.run / "r" / "one"
    replica.mkdir(parents=True)
    code = (
        "import sys, time; from pathlib import Path; from bedplate_serving.unix_sockets import is_listening, listen;"
        "own, *others = map(Path, sys.argv[1:]); listening = listen(own);"
        "Path('seen').write_text(str([path.exists() or is_listening(path) for path in others])); time.sleep(60)"
    )
    argv = [sys.executable, "-c", code, *map(str, (replica / "s", home.socket, home.token_file))]
    with listen(home.socket):
        spawn.start(replica, 1, argv, log=home.logs / "log", hidden=home.private_folders, visible=[home.registry])
        seen = written(replica, "seen")
        if "cage: running with" in (home.logs / "log").read_text():
            pytest.skip("this kernel allows no namespaces: bedplate doctor says so")
        assert seen == "[False, False]"
        assert is_listening(replica / "s")
    wait_for(spawn.Held(replica, 1).kill, seconds=60)


def test_a_job_sees_of_the_home_the_registry_and_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os; open('seen', 'w').write(' '.join(sorted(os.listdir('../..')) + os.listdir('..')))"
    kind = Kind("look", scope="", prepare=lambda *_: {}, command=lambda *_: Command([sys.executable, "-c", code]))
    monkeypatch.setitem(KINDS, "look", kind)
    workspace = Workspace(Settings(tmp_path), address=None)
    lease = Lease(cores=1, memory_bytes=1)
    job = workspace.jobs.claim(workspace.jobs.submit("look", {}), lease)
    assert job is not None
    workspace.attempts.start(job, lease)
    folder = tmp_path / "jobs" / job.id
    ended(spawn.Held(folder, job.epoch))
    workspace.database.close()
    if "cage: running with" in (folder / "worker.log").read_text():
        pytest.skip("this kernel allows no namespaces: bedplate doctor says so")
    assert (folder / "seen").read_text() == f"jobs registry {job.id}"


def test_a_worker_leaves_nothing_that_the_next_supervisor_would_import_or_write_through(folder: Path) -> None:
    code = (
        "import os; os.mkdir('bedplate'); open('bedplate/__init__.py', 'w').write('import os; os.abort()');"
        "open('json.py', 'w').write('import os; os.abort()'); os.symlink('elsewhere', 'heartbeat-2')"
    )
    ended(run(folder, code))
    assert ended(run(folder, "import time; time.sleep(0.5)", epoch=2))["returncode"] == 0
    assert not (folder / "elsewhere").exists()
    (folder / "log").unlink()
    (folder / "log").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        run(folder, "", epoch=3)


@pytest.mark.parametrize("network", [False, True])
def test_only_a_worker_that_imports_sees_the_machines_network(folder: Path, network: bool) -> None:
    code = "import socket; open('names', 'w').write(' '.join(name for _, name in socket.if_nameindex()))"
    ended(run(folder, code, network=network))
    if "cage: running with the machine's network" in (folder / "log").read_text():
        pytest.skip("this kernel allows no network namespace: bedplate doctor says so")
    names = (folder / "names").read_text().split()
    machine = [entry.name for entry in Path("/sys/class/net").iterdir() if entry.is_dir()]
    assert sorted(names) == (sorted(machine) if network else ["lo"])


def test_a_caged_worker_can_use_its_own_loopback(folder: Path) -> None:
    code = (
        "import socket; server = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(server.getsockname()).close(); open('done', 'w').write('yes')"
    )
    assert ended(run(folder, code))["returncode"] == 0
    assert (folder / "done").read_text() == "yes"


def forge(folder: Path, name: str, shape: str) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    if shape == "pipe":
        os.mkfifo(path)
    elif shape == "folder":
        path.mkdir()
    elif shape == "link":
        (folder / "elsewhere").write_text('{"returncode": 0, "pid": 1, "start_time": 1}')
        path.symlink_to("elsewhere")
    else:
        path.write_text(shape)


@pytest.mark.parametrize(
    "shape", ["pipe", "folder", "link", "[]", "{}", "[" * 100_000, '{"pid": 1e999}', f'{{"pid": {"9" * 300}}}']
)
def test_files_that_are_not_as_a_supervisor_writes_them_say_nothing_and_hold_nobody_up(
    tmp_path: Path, shape: str
) -> None:
    for name in ("started-1.json", "exit-1.json", "heartbeat-1"):
        forge(tmp_path, name, shape)
    held = spawn.Held(tmp_path, 1)
    assert (held.supervisor, held.exit, held.beat) == (None, None, None)
    assert not held.is_alive
    assert not held.has_died
    assert not held.was_ordered
    held.stop()
    assert held.kill()


def test_a_pipe_is_no_log_whether_or_not_someone_reads_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with pytest.raises(OSError, match="log"):
        open_log(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(OSError, match="not a plain file"):
            open_log(tmp_path / "log")
    finally:
        os.close(reader)


def test_a_pipe_in_place_of_the_heartbeat_does_not_hold_up_the_supervisor(folder: Path) -> None:
    os.mkfifo(folder / "heartbeat-1")
    held = run(folder, SLEEPING)
    written(folder, "pid")
    held.stop()
    assert ended(held)["stopped"] is True


def test_a_process_or_folder_that_a_worker_names_is_not_touched(folder: Path) -> None:
    held = run(folder, SLEEPING)
    worker = ProcessId.of(int(written(folder, "pid")))
    assert worker is not None
    outside = folder / "outside"
    outside.mkdir()
    spec = json.loads((folder / "supervisor-1.json").read_text())
    (folder / "supervisor-1.json").write_text(json.dumps({**spec, "cgroup": str(outside)}))
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as foreign:
        for pid in (foreign.pid, os.getpid()):
            named = ProcessId.of(pid)
            assert named is not None
            (folder / "started-1.json").write_text(json.dumps(named.to_json()))
            assert (
                held.has_died or held.exit is not None
            )  # it may have told the end of its worker when both were killed
            held.stop()
            assert held.kill()
            assert foreign.poll() is None
        assert not worker.is_alive
        foreign.communicate(b"\n")
    assert foreign.returncode == 0  # no signal came
    assert outside.exists()
    assert spec["cgroup"] is None or not Path(spec["cgroup"]).exists()


def test_only_supervisors_are_collected_and_other_children_keep_their_exit_code(folder: Path) -> None:
    other = subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(7)"])
    wait_for(lambda: ProcessId.of(other.pid) is None)
    spawn.reap()
    assert other.wait() == 7
    held = run(folder, "")
    assert held.supervisor is not None
    pid = held.supervisor.pid
    ended(held)
    wait_for(lambda: ProcessId.of(pid) is None)
    spawn.reap()
    assert not Path(f"/proc/{pid}").exists()


def test_a_pid_used_again_is_not_taken_for_the_old_process() -> None:
    me = ProcessId.of(os.getpid())
    assert me is not None
    assert me.is_alive
    other = ProcessId(me.pid, me.start_time + 1)
    assert not other.is_alive
    assert not other.signal(signal.SIGTERM)
