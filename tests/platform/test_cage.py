"""The cage, as real processes: what a worker of root and one of an ordinary user cannot do, and what they still can."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bedplate import cgroups
from bedplate.cage import WITHOUT
from harness import wait_for

SOURCES = ":".join(str(Path(__file__).resolve().parents[2] / floor) for floor in ("platform", "registry"))
NOBODY = 65534
IN_HOME = ("run", "logs", "registry/blobs", "jobs/mine", "jobs/other/outputs")
PRELUDE = """
import ctypes, errno, json, os, pathlib, shutil, socket, sys
LIBC = ctypes.CDLL(None, use_errno=True)
def check(answer):
    if answer: raise OSError(ctypes.get_errno(), "")
def tried(action):
    try: action()
    except OSError as exc: return errno.errorcode[exc.errno]
    return "done"
"""


@dataclass(frozen=True)
class Worker:
    """Runs Python in the cage, as some user; `models` is read-only for it but for `models/new`, `job` is its own.

    `home` is a server's: of what lies there only the registry and the folder of the job `mine` are visible.
    """

    python: str
    uid: int
    folder: Path

    def run(self, code: str, *options: str, cwd: str = ".", **env: str) -> Any:
        """What the code leaves in `answer`."""
        program = f"{PRELUDE}\n{code}\nprint(json.dumps(answer))"
        user: dict[str, Any] = {} if self.uid == os.getuid() else {"user": self.uid, "group": self.uid}
        if user:
            user["extra_groups"] = []
        done = subprocess.run(
            [self.python, "-m", "bedplate.cage", str(os.getpid()), *options, "--", self.python, "-c", program],
            env={"PYTHONPATH": SOURCES, "PATH": os.environ["PATH"], **env},
            cwd=self.folder / cwd,
            capture_output=True,
            text=True,
            check=False,
            **user,
        )
        if "cage: running with" in done.stderr:
            pytest.skip(f"bedplate doctor says so as well: {done.stderr}")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def walls(self) -> tuple[str, str]:
        return f"--read-only={self.folder / 'models'}", f"--writable={self.folder / 'models' / 'new'}"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def curtain(self) -> tuple[str, ...]:
        hidden = [self.home, *(self.home / name for name in ("run", "jobs", "logs"))]
        visible = [self.home / "registry", self.home / "jobs" / "mine"]
        return *(f"--hidden={path}" for path in hidden), *(f"--visible={path}" for path in visible)


@pytest.fixture(params=["the user of these tests", "an ordinary user"])
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    python, uid = sys.executable, os.getuid()
    if request.param == "an ordinary user":
        python, uid = _python_for_all(), NOBODY
    folder = Path(tempfile.mkdtemp(prefix="bp-cage-"))
    for name in ("models/new", "models/acme", "job", *(f"home/{name}" for name in IN_HOME)):
        (folder / name).mkdir(parents=True)
    for name in ("run/token", "bedplate.db", "bedplate.db-wal", "jobs/other/outputs/rows", "registry/blobs/one"):
        (folder / "home" / name).write_text("secret")
    (folder / "models" / "blob").write_text("weights")
    (folder / "models" / "blob").chmod(0o444)
    if uid != os.getuid():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, uid)
    yield Worker(python, uid, folder)
    shutil.rmtree(folder)


def _python_for_all() -> str:
    """An interpreter that a user may run who is nobody; pyenv keeps its own in a home."""
    if os.getuid() != 0:
        pytest.skip("these tests do not run as root: the other case is that of an ordinary user")
    for python in (sys.executable, "/usr/bin/python3"):
        probe = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(probe, user=NOBODY, group=NOBODY, extra_groups=[], check=False).returncode == 0:
                return python
        except OSError:
            continue
    pytest.skip("no Python that an ordinary user may run")


CHANGES = """
blob, models = pathlib.Path("models/blob"), pathlib.Path("models")
answer = {
    "write": tried(lambda: blob.open("r+b")),
    "mode": tried(lambda: blob.chmod(0o666)),
    "unlink": tried(lambda: blob.unlink()),
    "rename": tried(lambda: blob.rename("job/blob")),
    "link": tried(lambda: os.link(blob, "job/link")),
    "add": tried(lambda: (models / "more").touch()),
    "move away": tried(lambda: models.rename("elsewhere")),
}
"""
REFUSED = {"EROFS", "EPERM", "EBUSY", "EXDEV", "EACCES", "EINVAL"}


def test_a_worker_cannot_change_a_model_file_nor_put_another_in_its_place(worker: Worker) -> None:
    answer = worker.run(CHANGES, *worker.walls)
    assert set(answer.values()) <= REFUSED, answer
    assert (worker.folder / "models" / "blob").read_text() == "weights"


def test_without_the_cage_it_could(worker: Worker) -> None:
    answer = worker.run(CHANGES, "--network")
    assert answer["mode"] == answer["unlink"] == "done"


def test_it_cannot_lift_the_protection_not_even_in_a_namespace_of_its_own(worker: Worker) -> None:
    code = """
MS_REMOUNT, MS_BIND, MNT_DETACH, NEWNS, NEWUSER = 0x20, 0x1000, 2, 0x20000, 0x10000000
def remount(): check(LIBC.mount(None, b"models", None, ctypes.c_ulong(MS_REMOUNT | MS_BIND), None))
def umount(): check(LIBC.umount2(b"models", MNT_DETACH))
def bind(): check(LIBC.mount(b"models", b"job", None, ctypes.c_ulong(MS_BIND), None))
def write(): open("models/blob", "r+b")
def chmod(): os.chmod("models/blob", 0o666)
def outside(): os.chmod(f"/proc/{os.getppid()}/root{os.getcwd()}/models/blob", 0o666)
attempts = (remount, umount, write, chmod, outside)
answer = {attempt.__name__: tried(attempt) for attempt in attempts}
answer["namespace"] = tried(lambda: check(LIBC.unshare(NEWUSER | NEWNS)))
answer |= {f"{attempt.__name__} inside": tried(attempt) for attempt in (bind, *attempts)}
"""
    answer = worker.run(code, *worker.walls)
    answer.pop("namespace")
    bound = answer.pop("bind inside")  # a second view is as read-only as the first; it may as well be refused
    assert bound in {"done", *REFUSED}
    assert set(answer.values()) <= REFUSED, answer


def test_the_folder_it_starts_in_is_protected_too(worker: Worker) -> None:
    answer = worker.run("answer = tried(lambda: pathlib.Path('more').touch())", *worker.walls, cwd="models/acme")
    assert answer == "EROFS"


def test_it_can_read_the_models_and_write_where_it_may(worker: Worker) -> None:
    code = """
pathlib.Path("job/result").write_text("x")
pathlib.Path("models/new/blob").write_text("x")
pathlib.Path("models/new/blob").unlink()
answer = pathlib.Path("models/blob").read_text()
"""
    assert worker.run(code, *worker.walls) == "weights"
    assert (worker.folder / "job" / "result").stat().st_uid == worker.uid


LOOK = """
home, mine = pathlib.Path("../.."), pathlib.Path()
answer = {
    "socket": tried(lambda: socket.socket(socket.AF_UNIX).connect(str(home / "run/bedplate.sock"))),
    "token": tried(lambda: (home / "run/token").read_text()),
    "database": tried(lambda: (home / "bedplate.db").read_text()),
    "its log": tried(lambda: (home / "bedplate.db-wal").read_text()),
    "another job": tried(lambda: (home / "jobs/other/outputs/rows").read_text()),
    "by way of its parent": tried(lambda: open(f"/proc/{os.getppid()}/root{home.resolve()}/run/token")),
    "a journal": tried(lambda: (home / "bedplate.db-journal").write_text("forged")),
    "a socket in its place": tried(lambda: (home / "run").mkdir()),
    "move": tried(lambda: mine.resolve().rename(mine.resolve().with_name("moved"))),
}
"""
NOT_THERE = {"ENOENT", "EACCES"}


@pytest.fixture
def listening(worker: Worker) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as server:
        path = worker.home / "run" / "bedplate.sock"
        server.bind(str(path))
        path.chmod(0o777)  # an ordinary user may connect to what a test of root listens on
        server.listen()
        yield


def test_it_finds_neither_socket_nor_token_nor_database_nor_the_folder_of_another_job(
    worker: Worker, listening: None
) -> None:
    answer = worker.run(LOOK, *worker.curtain, cwd="home/jobs/mine")
    writes = {answer.pop(name) for name in ("a journal", "a socket in its place", "move")}
    assert writes <= REFUSED, writes
    assert set(answer.values()) <= NOT_THERE, answer
    found = sorted(path.name for path in (worker.home / "jobs").iterdir())
    assert found == ["mine", "other"]


def test_without_the_curtain_it_would(worker: Worker, listening: None) -> None:
    answer = worker.run(LOOK, cwd="home/jobs/mine")
    assert [answer[name] for name in ("socket", "token", "database", "another job")] == ["done"] * 4


def test_it_sees_the_registry_and_its_own_folder_and_nothing_beside_them(worker: Worker) -> None:
    code = """
home = pathlib.Path("../..")
pathlib.Path("result").write_text("x")
os.link(home / "registry/blobs/one", home / "registry/two")
answer = [sorted(os.listdir(home)), os.listdir(home / "jobs"), (home / "registry/two").read_text()]
"""
    answer = worker.run(code, *worker.curtain, cwd="home/jobs/mine")
    assert answer == [["jobs", "registry"], ["mine"], "secret"]
    assert (worker.home / "jobs" / "mine" / "result").stat().st_uid == worker.uid
    assert (worker.home / "registry" / "two").exists()


def test_it_cannot_take_away_what_hides_the_home(worker: Worker) -> None:
    code = """
MS_BIND, MNT_DETACH, NEWNS, NEWUSER = 0x1000, 2, 0x20000, 0x10000000
home = str(pathlib.Path("../..").resolve())
def umount(): check(LIBC.umount2(home.encode(), MNT_DETACH))
def bind(): check(LIBC.mount(os.path.dirname(home).encode(), b".", None, ctypes.c_ulong(MS_BIND), None))
def read(): open(f"{home}/run/token")
answer = {"umount": tried(umount), "bind": tried(bind), "read": tried(read)}
tried(lambda: check(LIBC.unshare(NEWUSER | NEWNS)))
answer |= {"umount inside": tried(umount), "bind inside": tried(bind), "read inside": tried(read)}
answer["read bound"] = tried(lambda: open("home/run/token"))
"""
    answer = worker.run(code, *worker.curtain, cwd="home/jobs/mine")
    assert set(answer.values()) <= REFUSED | NOT_THERE, answer


def test_links_in_the_home_lead_to_the_same_and_what_they_hide_is_hidden_there_too(worker: Worker) -> None:
    for name in ("jobs", "registry"):
        (worker.home / name).rename(worker.folder / f"disk {name}")
        (worker.home / name).symlink_to(f"../disk {name}")
    code = """
home = pathlib.Path(HOME)
seen = ["jobs/mine", "registry/blobs/one", "../disk registry/blobs/one", "../disk jobs/mine"]
answer = [[(home / path).exists() for path in seen], os.listdir(home / "jobs"), os.listdir(home / "../disk jobs")]
"""
    code = f"HOME = {str(worker.home)!r}\n{code}"
    assert worker.run(code, *worker.curtain, cwd="home/jobs/mine") == [[True] * 4, ["mine"], ["mine"]]


def test_what_its_python_needs_stays_visible_and_a_hidden_home_of_the_user_gives_way_to_its_own_folder(
    worker: Worker,
) -> None:
    (worker.home / "packages").mkdir()
    (worker.home / "packages" / "needed.py").write_text("WORD = 'found'")
    code = "import needed; answer = [needed.WORD, os.environ['HOME']]"
    path = f"{SOURCES}:{worker.home / 'packages'}"
    answer = worker.run(code, *worker.curtain, cwd="home/jobs/mine", HOME=str(worker.home), PYTHONPATH=path)
    assert answer == ["found", str(worker.home / "jobs" / "mine")]


def test_it_sees_a_loopback_only_and_can_use_it(worker: Worker) -> None:
    code = """
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
answer = [name for _, name in socket.if_nameindex()]
"""
    assert worker.run(code) == ["lo"]


def test_it_has_no_capability_and_cannot_gain_one(worker: Worker) -> None:
    code = """
lines = dict(line.split(":\\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
answer = {name: lines[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Uid")}
"""
    answer = worker.run(code, *worker.walls)
    assert answer.pop("NoNewPrivs") == "1"
    assert set(answer.pop("Uid").split()) == {str(worker.uid)}
    assert {int(mask, 16) for mask in answer.values()} == {0}


def test_a_worker_can_cage_a_child_of_its_own(worker: Worker) -> None:
    """As an import does, which has a network, with the process that first loads a stranger's model."""
    code = """
import subprocess
inner = [sys.executable, "-m", "bedplate.cage", str(os.getpid()), "--", sys.executable, "-c"]
inner += ["import socket; print([name for _, name in socket.if_nameindex()])"]
done = subprocess.run(inner, capture_output=True, text=True)
answer = done.stdout + done.stderr
"""
    assert worker.run(code, "--network", *worker.walls) == "['lo']\n"


def test_a_folder_that_cannot_be_made_writable_leaves_the_network_wall_standing(worker: Worker) -> None:
    code = "answer = [name for _, name in socket.if_nameindex()]"
    missing = worker.folder / "missing"
    command = [sys.executable, "-m", "bedplate.cage", str(os.getpid()), worker.walls[0], f"--writable={missing}", "--"]
    command += [sys.executable, "-c", f"{PRELUDE}\n{code}\nprint(answer)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"cage: running {WITHOUT['files']} ({missing}: No such file or directory)" in done.stderr
    if "with the machine's network" not in done.stderr:
        assert done.stdout == "['lo']\n"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    if reason := cgroups.problem():
        pytest.skip(f"bedplate doctor says so as well: {reason}")
    path = cgroups.path_for(tmp_path, 1)
    assert path is not None
    yield path
    cgroups.kill(path)
    cgroups.remove(path)


def test_all_in_a_control_group_end_at_one_word_and_the_group_can_be_removed(group: Path) -> None:
    cgroups.create(group)
    sleeper = [sys.executable, "-m", "bedplate.cage", str(os.getpid()), f"--cgroup={group}", "--", "sh", "-c"]
    with subprocess.Popen([*sleeper, "setsid sleep 60 & echo up; sleep 60"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        (group / "made by the worker").mkdir()
        cgroups.kill(group)
        assert process.stdout.read() == b""  # both ends of the pipe are closed: the one in another session is gone too
    wait_for(lambda: cgroups.remove(group))  # the kernel takes a moment to bury the dead


def test_a_limit_of_memory_is_set_only_where_that_controller_is_enabled(group: Path) -> None:
    cgroups.create(group, memory_max_bytes=1 << 30)
    limit = group / "memory.max"
    assert not limit.exists() or limit.read_text() == f"{1 << 30}\n"


def test_where_the_kernel_allows_no_namespace_the_worker_runs_without_and_its_log_says_so(tmp_path: Path) -> None:
    if not (shutil.which("unshare") and shutil.which("setpriv")):
        pytest.skip("util-linux is not installed")
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set -all --inh-caps -all"
    cage = f"{sys.executable} -m bedplate.cage $PPID --read-only={tmp_path} -- touch {tmp_path}/done"
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", f"{forbid} {cage}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip(f"no namespace to forbid namespaces in: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert [line.partition(" (")[0] for line in done.stderr.splitlines()] == [
        "cage: running with the machine's network",
        f"cage: running {WITHOUT['files']}",
    ]
    assert (tmp_path / "done").exists()
