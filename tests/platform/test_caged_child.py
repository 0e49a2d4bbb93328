"""The answer of a child that met a stranger's files: the last line that is one, whatever else was printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bedplate.workers.caged_child import run_caged
from bedplate_registry.errors import Refused

GOOD = '{"ok": true, "sample": {"n": 1}}'


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str, *walls: str) -> dict[str, Any]:
    (folder / "child_of_a_test.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    return run_caged("child_of_a_test", [], failed="It failed", code="bad", timeout_seconds=60, walls=walls)


@pytest.mark.parametrize(
    "noise",
    ["{not JSON}", '{"ok": 1}', '{"ok": false}', '{"ok": false, "error": "x"}', "[" * 100_000, '{"a": 1}', "{", "null"],
    ids=lambda text: text[:20],
)
def test_lines_after_the_answer_that_are_none_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: str
) -> None:
    answer = run(tmp_path, monkeypatch, f"print({GOOD!r})\nprint({noise!r})")
    assert answer["sample"] == {"n": 1}


def test_without_an_answer_the_last_of_its_log_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="It failed: because") as caught:
        run(tmp_path, monkeypatch, "import sys\nprint('{oops}')\nprint('because' + 'x' * 5000, file=sys.stderr)")
    assert caught.value.code == "bad" and len(caught.value.message) < 400


def test_a_child_cannot_change_what_is_walled_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    program = f"open({str(kept / 'new')!r}, 'w')"
    with pytest.raises(Refused) as caught:
        run(tmp_path, monkeypatch, program, f"--read-only={kept}")
    if "cage: running with" in caught.value.message:
        pytest.skip(f"bedplate doctor says so as well: {caught.value.message}")
    assert "Read-only file system" in caught.value.message
    assert not [*kept.iterdir()]
