"""Parameters of a stranger's request cost no more to refuse than to read."""

from __future__ import annotations

import importlib
import pkgutil
import time
from typing import Any

import pytest

import bedplate_serving.predictors
from bedplate_serving.dialects.openai_bodies import ChatBody
from bedplate_serving.predictors.generation.parameters import GenerationParameters
from bedplate_serving.predictors.parameters import Parameters, WrongParameter, read_parameters


def all_kinds(kind: type[Parameters]) -> list[type[Parameters]]:
    return [one for child in kind.__subclasses__() for one in (child, *all_kinds(child))]


def unbounded_lists(schema: Any, path: str) -> list[str]:
    """Where a JSON schema has an array without `maxItems`."""
    if isinstance(schema, list):
        return [found for index, one in enumerate(schema) for found in unbounded_lists(one, f"{path}[{index}]")]
    if not isinstance(schema, dict):
        return []
    here = [path] if schema.get("type") == "array" and "maxItems" not in schema else []
    return here + [found for key, one in schema.items() for found in unbounded_lists(one, f"{path}.{key}")]


def test_no_list_among_all_parameters_is_without_a_bound() -> None:
    package = bedplate_serving.predictors
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("_child"):  # those are programs
            importlib.import_module(module.name)
    kinds = all_kinds(Parameters)
    assert len(kinds) > 5
    found = [one for kind in kinds for one in unbounded_lists(kind.model_json_schema(), kind.__name__)]
    assert [one for one in found if ".default" not in one] == []


@pytest.mark.parametrize(
    ("kind", "raw", "name"),
    [
        (GenerationParameters, {f"x{number}": 1 for number in range(300_000)}, "x0"),
        (GenerationParameters, {"n" * 1_000_000: 1}, "n" * 100),
        (GenerationParameters, {"stop": [1] * 1_000_000}, "stop"),
        (GenerationParameters, {"temperature": [[1] * 1_000_000]}, "temperature"),
        (ChatBody, {"messages": [1] * 1_000_000}, "messages"),
        (ChatBody, {"messages": [{}], "modalities": ["a"] * 1_000_000}, "modalities"),
        (ChatBody, {"messages": [{}], "stream_options": {f"x{i}": 1 for i in range(300_000)}}, "stream_options"),
    ],
    ids=["names", "a long name", "stops", "a deep value", "messages", "modalities", "names inside"],
)
def test_a_million_faults_are_refused_as_fast_as_one(kind: type[Parameters], raw: dict[str, Any], name: str) -> None:
    started = time.process_time()
    with pytest.raises(WrongParameter) as caught:
        read_parameters(kind, raw, "text-generation")
    assert time.process_time() - started < 0.5
    assert caught.value.name == name
    assert len(caught.value.message) < 1000
