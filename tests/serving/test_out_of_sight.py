"""How libraries are loaded in less time."""

from __future__ import annotations

import gc

import pytest

from bedplate_serving.out_of_sight import uncollected


def test_garbage_is_looked_for_again_when_modules_are_loaded_or_failed_to() -> None:
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled(), "the outer block goes on"
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError), uncollected():
        import no_such_module  # noqa: F401
    assert gc.isenabled()
