"""What the processes of the control plane may import: nothing heavy, and only downward."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "datasets", "evaluate", "accelerate", "peft", "pandas", "numpy", "sklearn")
ROOT = Path(__file__).resolve().parents[2]


def imported_by(code: str) -> set[str]:
    program = f"{code}\nimport sys; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "bedplate.control_plane",
        "bedplate.serve",
        "bedplate.cli.app",
        "bedplate.demo",
        "bedplate.client",
        "bedplate.aio",
        "bedplate.supervisor",
        "bedplate_serving.gateway",
        "bedplate_trainers.settings",
    ],
)
def test_the_control_plane_imports_no_torch_and_nothing_like_it(module: str) -> None:
    assert not imported_by(f"import {module}") & set(HEAVY)


def test_the_supervisor_imports_the_standard_library_and_ourselves_only() -> None:
    ours = {"bedplate", "bedplate_registry"}
    loaded = imported_by("import bedplate.supervisor, bedplate.cage") - imported_by("")  # Debian's Python has hooks
    assert {name for name in loaded if name not in sys.stdlib_module_names and not name.startswith("_")} <= ours


def test_help_imports_typer_and_the_standard_library_only() -> None:
    loaded = imported_by("import bedplate.cli.app")
    assert not loaded & {"httpx", "fastapi", "pydantic", "yaml", "sqlalchemy", "numpy", "rich"}


def test_importing_bedplate_does_no_work() -> None:
    assert not imported_by("import bedplate") & {"httpx", "fastapi", "typer", *HEAVY}


def test_a_client_at_work_loads_no_server_and_nothing_heavy() -> None:
    code = """
import bedplate
from bedplate_registry.errors import Unavailable
ws = bedplate.connect("http://127.0.0.1:1")
for ask in (ws.jobs.list, lambda: ws.import_model("acme/tiny")):
    try:
        ask()
    except Unavailable:
        pass
"""
    assert not imported_by(code) & {"fastapi", "uvicorn", "sqlalchemy", "pydantic", "typer", "numpy", "pyarrow", *HEAVY}


def test_a_command_at_work_loads_nothing_that_only_other_peoples_programs_show() -> None:
    code = """
from bedplate.cli.output import connect
connect(None, "http://127.0.0.1:1")
"""
    assert not imported_by(code) & {"rich", "click", "pygments", "fastapi", "uvicorn", "sqlalchemy"}


def test_pythons_own_platform_module_is_not_hidden_from_programs_started_here() -> None:
    subprocess.run([sys.executable, "-c", "import uuid, platform; platform.system()"], cwd=ROOT, check=True)
    assert not (ROOT / "platform" / "__init__.py").exists()
