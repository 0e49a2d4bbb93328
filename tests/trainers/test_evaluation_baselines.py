"""Yardsticks of real data, made without us, come out to the digit where their predictions are evaluated as files."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
QUICK = (
    *("banking77 majority", "emotion TF-IDF", "wnut17 tags", "scitldr lead", "dialogsum lead", "multi30k copy, 2016"),
    *("scitldr lead, of any", "dialogsum lead, of any", "dialogsum people, of any"),
)


@pytest.mark.shared_data
@pytest.mark.parametrize("name", QUICK)
def test_a_yardstick_is_what_it_was_worked_out_to_be(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from evaluation_baselines import BASELINES, figures_of

    assert figures_of(BASELINES[name], tmp_path) == BASELINES[name].reported
