"""What all tests stand on: a clean environment, short folders for sockets, real servers, a real loopback Hub."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bedplate
from canary import HF_TOKEN, check_no_secrets, homes_below
from harness import bedplate_home, run_cli, wait_for

HERE = Path(__file__).resolve().parent
SHARED_DATA = HERE.parents[1] / "shared" / "data"
LONG_FIRST = ("e2e", "studio", "trainers", "serving", "platform")
# Before anything imports torch in this process; see platform/bedplate/spawn.py.
os.environ["OMP_WAIT_POLICY"] = "passive"
# Its threads spin as well: a linear baseline on a thousand rows then takes three times the processor.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
# Hundreds of processes of ours would each compile the whole program anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
for name in [name for name in os.environ if name.startswith("BEDPLATE_") and name != "BEDPLATE_TEST_POSTGRES"]:
    del os.environ[name]
os.environ["HF_TOKEN"] = HF_TOKEN


@pytest.fixture(scope="session", autouse=True)
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No secret lies in a home that a test made; those of harness.py and light_server.py are looked through there."""
    yield
    for home in set(homes_below(tmp_path_factory.getbasetemp())):
        check_no_secrets(home)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)
    if SHARED_DATA.is_dir():
        return
    skip = pytest.mark.skip(reason=f"the folder of real datasets is not there: {SHARED_DATA}")
    for item in items:
        if item.get_closest_marker("shared_data"):
            item.add_marker(skip)


def _turn(item: pytest.Item) -> int:
    """Folders whose files take long go first, so that at the end no worker waits for another one's last file."""
    folder = item.path.relative_to(HERE).parts[0]
    return LONG_FIRST.index(folder) if folder in LONG_FIRST else len(LONG_FIRST)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    return SHARED_DATA


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`made_once(name, make)`: a folder that `make(folder)` fills, once for all workers of a run; only to be read."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder, part = shared / name, shared / f"{name}.part"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir()
                make(part)
                part.rename(folder)
        return folder

    return get


@pytest.fixture(scope="session")
def models(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Folders of tiny models: `encoder` (a base), `masked` (a base with its pretraining's head) and `classifier`."""
    return made_once("models", _make_models)


def _make_models(folder: Path) -> None:
    """By a child, so that this process stays light."""
    code = (
        "import sys; from pathlib import Path; from bedplate_serving.testing import tiny_encoder, tiny_text_classifier;"
        "root = Path(sys.argv[1]); tiny_encoder(root / 'encoder');"
        "tiny_text_classifier(root / 'classifier', labels=('card', 'login', 'refund'));"
        "import shutil; shutil.copytree(root / 'encoder', root / 'masked');"
        "from transformers import BertConfig, BertForMaskedLM;"
        "BertForMaskedLM(BertConfig.from_pretrained(root / 'masked')).save_pretrained(root / 'masked')"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True)


@pytest.fixture(scope="session")
def stock(models: Path, made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The registry folder of a home that imported `acme/tiny-encoder` and `acme/tiny-classifier`; give it a copy."""

    def fill(folder: Path) -> None:
        with bedplate_home() as home:
            with bedplate.connect(home=home) as ws:
                jobs = [
                    ws.submit_import_folder(models / name, f"acme/tiny-{name}") for name in ("encoder", "classifier")
                ]
                for job in jobs:
                    job.wait(timeout_seconds=240)
            run_cli("stop", home=home)
            shutil.copytree(home / "registry", folder / "registry", symlinks=True)

    return made_once("stock", fill) / "registry"


@pytest.fixture(scope="session")
def hub(models: Path) -> Iterator[str]:
    """A Hub on loopback that serves acme/tiny-encoder and acme/tiny-classifier."""
    import uvicorn

    from bedplate_registry.hubserver import FolderSource, create_hub_app

    source = FolderSource(
        {
            "acme/tiny-encoder": (models / "encoder", "a" * 40, {"pipeline_tag": "sentence-similarity"}),
            "acme/tiny-masked": (models / "masked", "c" * 40, {"pipeline_tag": "fill-mask"}),
            "acme/tiny-classifier": (models / "classifier", "b" * 40, {"pipeline_tag": "text-classification"}),
        }
    )
    config = uvicorn.Config(create_hub_app(source), port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, seconds=60)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(5)
