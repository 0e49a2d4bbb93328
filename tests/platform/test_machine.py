"""The machine's inventory: cards through a small stand-in for NVML, limits through small cgroup trees."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest

from bedplate.compute import GIB, Demand, Lease, place
from bedplate.doctor import _gpus
from bedplate.machine import LocalMachine, SimulatedMachine, limits, simulated
from bedplate.torch_wheel import TorchWheel
from bedplate_registry.errors import Refused
from harness import wait_for

OLD_WHEEL = TorchWheel("2.13.0+cu126", "12.6", ("sm_70", "sm_80", "sm_90"))
NEW_WHEEL = TorchWheel("2.13.0+cu130", "13.0", ("sm_75", "sm_80", "sm_90"))

# What we use of nvidia-ml-py. `cards` and `fails` are set by the tests.
FAKE_NVML = """
from types import SimpleNamespace

class NVMLError(Exception): ...
class NVMLError_NotSupported(NVMLError): ...
class NVMLError_NoPermission(NVMLError): ...
class NVMLError_FunctionNotFound(NVMLError): ...
class NVMLError_LibraryNotFound(NVMLError): ...
class NVMLError_GpuIsLost(NVMLError): ...

NVML_DEVICE_MIG_ENABLE = 1
cards = []
fails = {}  # name of a function, or (name, index): what it raises
hangs = None  # an event that the library waits for
opened = 0

def _check(name, index=None):
    if hangs is not None:
        hangs.wait()
    for key in (name, (name, index)):
        if key in fails:
            raise fails[key]

def _asks(name):
    def ask(handle):
        _check(name, handle["index"])
        return handle[name]
    return ask

def nvmlInit():
    global opened
    _check("nvmlInit")
    opened += 1

def nvmlDeviceGetCount():
    _check("nvmlDeviceGetCount")
    return len(cards)

def nvmlDeviceGetHandleByIndex(index):
    _check("nvmlDeviceGetHandleByIndex", index)
    return {**cards[index], "index": index}

def card(uuid, processes=(), graphics=(), used=0, **more):
    running = [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in processes]
    drawing = [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in graphics]
    return {
        "nvmlDeviceGetUUID": uuid,
        "nvmlDeviceGetName": "Tesla V100-SXM2-32GB",
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=32 << 30, used=used, free=(32 << 30) - used),
        "nvmlDeviceGetCudaComputeCapability": (7, 0),
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=35, memory=10),
        "nvmlDeviceGetMigMode": (0, 0),
        "nvmlDeviceGetComputeRunningProcesses": running,
        "nvmlDeviceGetGraphicsRunningProcesses": drawing,
        **more,
    }

for name in card("any"):
    globals()[name] = _asks(name)
"""


@pytest.fixture
def nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two V100 that nobody uses."""
    yield from imported(tmp_path, monkeypatch, FAKE_NVML)


def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> Iterator[ModuleType | None]:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "pynvml.py").write_text(source)
    before = sys.modules.pop("pynvml", None)
    monkeypatch.syspath_prepend(folder)
    try:
        fake = importlib.import_module("pynvml")
        fake.cards.extend([fake.card("GPU-aaaa"), fake.card("GPU-bbbb")])
        yield fake
    except ImportError:
        yield None
    finally:
        sys.modules.pop("pynvml", None)
        if before is not None:
            sys.modules["pynvml"] = before


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """The device files of two cards."""
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (folder / name).touch()
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "run").mkdir(parents=True)
    return tmp_path / "home"


def local(home: Path, **more: Any) -> LocalMachine:
    return LocalMachine(home, **{"refresh_seconds": 0.0, "wheel": OLD_WHEEL, "environ": {}, **more})


@pytest.fixture
def processes(home: Path) -> Iterator[tuple[int, int]]:
    """The pids of a worker of this home and of a process of someone else."""
    code = [sys.executable, "-S", "-c", "input()"]
    environment = {**os.environ, "BEDPLATE_ATTEMPT": f"{home}/jobs/finetune-1:1"}
    with (
        subprocess.Popen(code, stdin=subprocess.PIPE, env=environment, stderr=subprocess.DEVNULL) as ours,
        subprocess.Popen(code, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as other,
    ):
        yield ours.pid, other.pid
        for process in (ours, other):
            process.kill()


def test_a_machine_without_cards_is_a_machine(home: Path, nvml: Any, tmp_path: Path) -> None:
    nvml.fails["nvmlInit"] = nvml.NVMLError_LibraryNotFound("NVML Shared Library Not Found")
    machine = local(home, devices=tmp_path)
    inventory = machine.inventory()
    assert 1 <= inventory.cores <= len(os.sched_getaffinity(0))
    assert 0 < inventory.memory_free_bytes <= inventory.memory_bytes
    assert inventory.gpus == ()
    assert machine.gpu_problem is None


def test_device_files_without_a_driver_are_a_problem_that_is_told_and_goes(
    home: Path, nvml: Any, devices: Path
) -> None:
    nvml.fails["nvmlInit"] = nvml.NVMLError("Driver Not Loaded")
    machine = local(home, devices=devices)
    assert machine.inventory().gpus == ()
    assert machine.gpu_problem == "NVML: Driver Not Loaded"
    nvml.fails.clear()
    assert len(machine.inventory().gpus) == 2
    assert machine.gpu_problem is None


def test_a_missing_library_is_told(home: Path, tmp_path: Path, devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in imported(tmp_path, monkeypatch, "raise ImportError('none here')"):
        machine = local(home, devices=devices)
        assert machine.inventory().gpus == ()
        assert machine.gpu_problem == "the Python package nvidia-ml-py is not installed"


def test_cards_are_told_with_memory_capability_and_load(home: Path, nvml: Any) -> None:
    first, second = local(home).inventory().gpus
    assert (first.index, first.uuid, first.name) == (0, "GPU-aaaa", "Tesla V100-SXM2-32GB")
    assert (first.memory_bytes, first.capability, first.utilization) == (32 * GIB, (7, 0), 35)
    assert (first.others, first.problem) == ((), None)
    assert second.uuid == "GPU-bbbb"


def test_processes_of_others_are_told_and_ours_are_not(home: Path, nvml: Any, processes: tuple[int, int]) -> None:
    ours, other = processes
    nvml.cards[0] = nvml.card("GPU-aaaa", [(ours, 8 * GIB), (other, 3 * GIB)], graphics=[(other, 3 * GIB)])
    first, second = local(home).inventory().gpus
    assert [(process.pid, process.memory_bytes) for process in first.others] == [(other, 3 * GIB)]
    assert first.others[0].name.startswith("python")
    assert second.others == ()
    (home.parent / "home-2").mkdir()
    (home.parent / "link").symlink_to(home)
    neighbor = local(home.parent / "home-2").inventory().gpus[0]
    assert {process.pid for process in neighbor.others} == {ours, other}
    linked = local(home.parent / "link").inventory().gpus[0]
    assert {process.pid for process in linked.others} == {other}


def test_memory_that_is_not_told_is_what_the_others_leave_unexplained(
    home: Path, nvml: Any, processes: tuple[int, int]
) -> None:
    ours, other = processes
    nvml.cards[0] = nvml.card("GPU-aaaa", [(ours, 8 * GIB), (other, None)], used=20 * GIB)
    assert local(home).inventory().gpus[0].others_bytes == 12 * GIB


def test_a_pid_that_is_gone_or_outside_of_this_container_counts_for_nobody(home: Path, nvml: Any) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as gone:
        pass
    nvml.cards[0] = nvml.card("GPU-aaaa", [(gone.pid, 8 * GIB)])
    assert local(home).inventory().gpus[0].others == ()


def test_a_card_that_fails_is_shown_with_its_problem_and_the_other_goes_on(home: Path, nvml: Any) -> None:
    machine = local(home)
    machine.inventory()
    lost = nvml.NVMLError_GpuIsLost("GPU is lost")
    nvml.fails[("nvmlDeviceGetHandleByIndex", 1)] = lost
    first, second = machine.inventory().gpus
    assert first.is_usable
    assert (second.uuid, second.problem) == ("GPU-bbbb", "NVML: GPU is lost")
    assert second.remedy
    assert [gpu.index for gpu in local(home).inventory().gpus] == [0, 1]
    nvml.fails = {("nvmlDeviceGetComputeRunningProcesses", 0): lost}
    first, second = machine.inventory().gpus
    assert (first.problem, second.problem) == ("NVML: GPU is lost", None)


def test_cards_that_are_no_longer_listed_stay_with_their_problem(home: Path, nvml: Any) -> None:
    machine = local(home)
    machine.inventory()
    del nvml.cards[1]
    assert [gpu.problem for gpu in machine.inventory().gpus] == [None, "the driver no longer lists it"]
    nvml.fails["nvmlDeviceGetCount"] = nvml.NVMLError("Unknown Error")
    assert [gpu.problem for gpu in machine.inventory().gpus] == ["NVML: Unknown Error"] * 2
    nvml.fails.clear()
    assert machine.inventory().gpus[0].is_usable
    assert nvml.opened == 2  # once at first, once after the failure


def test_what_a_card_does_not_support_is_left_out(home: Path, nvml: Any) -> None:
    for name in ("UtilizationRates", "MigMode", "GraphicsRunningProcesses", "CudaComputeCapability"):
        nvml.fails[f"nvmlDeviceGet{name}"] = nvml.NVMLError_NotSupported("Not Supported")
    gpu = local(home).inventory().gpus[0]
    assert (gpu.utilization, gpu.capability, gpu.others, gpu.problem) == (None, None, (), None)


def test_a_card_in_mig_mode_is_shown_and_not_leased(home: Path, nvml: Any) -> None:
    nvml.cards[0] = nvml.card("GPU-aaaa", nvmlDeviceGetMigMode=(1, 1))
    inventory = local(home).inventory()
    assert inventory.gpus[0].problem == "MIG mode is on"
    answer = place(inventory, [], Demand(gpus=1))
    assert isinstance(answer, Lease)
    assert answer.gpus == ("GPU-bbbb",)


def test_a_library_that_hangs_holds_nobody_up(home: Path, nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedplate.machine.PATIENCE_SECONDS", 0.05)
    machine = local(home)
    machine.inventory()
    nvml.hangs = released = Event()
    for _ in range(2):
        assert all("not answered" in (gpu.problem or "") for gpu in machine.inventory().gpus)
    nvml.hangs = None
    released.set()
    wait_for(lambda: all(gpu.is_usable for gpu in machine.inventory().gpus))


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        ("", []),
        ("-1", []),
        ("1", ["GPU-bbbb"]),
        ("1,0", ["GPU-aaaa", "GPU-bbbb"]),
        ("GPU-b", ["GPU-bbbb"]),
        ("0,7,1", ["GPU-aaaa"]),
    ],
)
def test_cuda_visible_devices_of_the_server_narrows(home: Path, nvml: Any, visible: str, uuids: list[str]) -> None:
    machine = local(home, environ={"CUDA_VISIBLE_DEVICES": visible})
    assert [gpu.uuid for gpu in machine.inventory().gpus] == uuids


def test_a_wheel_without_the_cards_architecture_is_the_cards_problem(home: Path, nvml: Any) -> None:
    assert all(gpu.is_usable for gpu in local(home, wheel=OLD_WHEEL).inventory().gpus)
    gpu = local(home, wheel=NEW_WHEEL).inventory().gpus[0]
    assert "sm_70" in (gpu.problem or "")
    assert "https://download.pytorch.org/whl/cu126" in gpu.remedy
    nvml.cards[0] = nvml.card("GPU-aaaa", nvmlDeviceGetCudaComputeCapability=(8, 6))
    assert local(home, wheel=NEW_WHEEL).inventory().gpus[0].is_usable


def test_the_wheel_is_asked_for_beside_and_the_card_is_usable_until_it_is_known(home: Path, nvml: Any) -> None:
    kept = {
        "installed": importlib.metadata.version("torch"),
        "version": NEW_WHEEL.version,
        "cuda": NEW_WHEEL.cuda,
        "architectures": list(NEW_WHEEL.architectures),
    }
    (home / "run" / "torch-wheel.json").write_text(json.dumps(kept))
    machine = local(home, wheel=None)
    assert len(machine.inventory().gpus) == 2
    wait_for(lambda: not machine.inventory().usable_gpus)


FLAKY_TORCH = """
import os
from pathlib import Path
from types import SimpleNamespace

if not Path(__file__).with_name("mended").exists():
    os._exit(0)
__version__ = "2.13.0+cu130"
version = SimpleNamespace(cuda="13.0")
cuda = SimpleNamespace(get_arch_list=lambda: ["sm_75"])
"""


def test_a_wheel_that_did_not_answer_is_asked_again(
    home: Path, nvml: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bedplate.machine.WHEEL_RETRY_SECONDS", 0.01)
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "torch.py").write_text(FLAKY_TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    machine = local(home, wheel=None)
    assert len(machine.inventory().usable_gpus) == 2
    wait_for(lambda: "was not found out" in caplog.text)
    (tmp_path / "fake" / "mended").touch()
    wait_for(lambda: not machine.inventory().usable_gpus)


def test_the_inventory_is_looked_at_once_in_a_while(home: Path, nvml: Any) -> None:
    now = 100.0
    machine = local(home, refresh_seconds=2.0, clock=lambda: now)
    machine.inventory()
    nvml.cards.append(nvml.card("GPU-cccc"))
    now = 101.9
    assert len(machine.inventory().gpus) == 2
    now = 102.0
    assert len(machine.inventory().gpus) == 3


def test_doctor_tells_of_each_card_and_lets_torch_compute_on_the_good_ones(
    home: Path, nvml: Any, devices: Path
) -> None:
    nvml.cards[0] = nvml.card("GPU-aaaa", nvmlDeviceGetMigMode=(1, 1))
    mig, good, cuda = _gpus(local(home, devices=devices))
    assert (mig["status"], mig["remedy"]) == ("fail", "Turn it off: nvidia-smi -i 0 -mig 0")
    assert (good["status"], good["detail"]) == ("ok", "GPU 1 (Tesla V100-SXM2-32GB), 32 GiB")
    assert cuda["status"] == "fail"  # there is no such card here, or no torch for it
    assert cuda["remedy"]
    nvml.fails["nvmlDeviceGetCount"] = nvml.NVMLError("Driver Not Loaded")
    (told,) = _gpus(local(home, devices=devices))
    assert (told["check"], told["status"]) == ("gpu", "warn")
    assert "Driver Not Loaded" in told["detail"]


def test_the_real_library_has_every_name_that_is_used() -> None:
    real = pytest.importorskip("pynvml")
    names = [line.split()[1].split("(")[0] for line in FAKE_NVML.splitlines() if line.startswith("class NVML")]
    names += [word.strip('":,') for word in FAKE_NVML.split() if word.startswith('"nvmlDevice')]
    names += ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "NVML_DEVICE_MIG_ENABLE"]
    assert len(names) > 15
    for name in (name.split('"')[0] for name in names):
        assert hasattr(real, name), name


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/a/b\n", {"a/cpu.max": "250000 100000", "a/b/cpu.max": "max 100000"}, (2, None)),
        ("0::/a\n", {"a/cpu.max": "50000 100000", "a/memory.max": "4096", "memory.max": "8192"}, (1, 4096)),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, (None, None)),
        ("0::/gone\n", {}, (None, None)),
        (
            "4:memory:/c\n1:cpu,cpuacct:/c\n",
            {
                "memory/c/memory.limit_in_bytes": "4096",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "cpu,cpuacct/c/cpu.cfs_quota_us": "400000",
                "cpu,cpuacct/c/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            },
            (4, 4096),
        ),
    ],
)
def test_cgroups_lower_cores_and_memory(
    tmp_path: Path, membership: str, files: dict[str, str], expected: tuple[int | None, int | None]
) -> None:
    (tmp_path / "self").write_text(membership)
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text + "\n")
    assert limits(tmp_path / "fs", tmp_path / "self") == expected


def test_a_simulated_machine_has_what_it_is_told_to_have() -> None:
    machine = simulated("1xA100-80GB,2xV100-32GB", cores=16, memory_gb=128)
    inventory = machine.inventory()
    assert (inventory.cores, inventory.memory_bytes) == (16, 128 * GIB)
    assert [(gpu.name, gpu.memory_bytes // GIB, gpu.capability) for gpu in inventory.gpus] == [
        ("A100-80GB", 80, (8, 0)),
        ("V100-32GB", 32, (7, 0)),
        ("V100-32GB", 32, (7, 0)),
    ]
    assert len({gpu.uuid for gpu in inventory.gpus}) == 3
    machine.set(simulated(cores=2).inventory())
    assert machine.inventory().gpus == ()
    assert isinstance(machine, SimulatedMachine)


@pytest.mark.parametrize("cards", ["V100", "2xV100", "1xK80-12GB", "x"])
def test_a_simulated_card_that_nobody_makes_is_refused(cards: str) -> None:
    with pytest.raises(Refused, match="simulated card"):
        simulated(cards)
