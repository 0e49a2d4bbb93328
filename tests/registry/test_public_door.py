"""Each module says what it offers, and offers what it says."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import bedplate_registry

MODULES = [module.name for module in pkgutil.iter_modules(bedplate_registry.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_lists_its_public_names_in_order(name: str) -> None:
    module = importlib.import_module(f"bedplate_registry.{name}")
    offered = module.__all__
    assert module.__doc__
    assert all(hasattr(module, each) for each in offered)
    assert offered == sorted(offered, key=lambda each: (not each.isupper(), not each[0].isupper(), each))
