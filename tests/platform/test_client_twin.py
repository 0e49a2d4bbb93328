"""The client for asyncio is what its source says, and has all that the other one has."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from bedplate import aio, client

PROGRAM = Path(__file__).resolve().parents[2] / "platform" / "make_twin.py"
SEAM = ast.parse("async def sleep(seconds: float) -> None: ...\nasync def chunks() -> object:\n yield b''")


@pytest.fixture(scope="module")
def make_twin() -> ModuleType:
    spec = spec_from_file_location("make_twin", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["make_twin"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def rewritten(make_twin: ModuleType, text: str) -> str:
    tree = ast.parse(text)
    rewriting = make_twin.Rewriting(make_twin.Source({"a.py": tree}, SEAM), text.encode())
    rewriting.visit(tree)
    return str(make_twin._edited(text.encode(), rewriting.edits))


def test_making_it_again_changes_nothing() -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_both_clients_have_the_same_objects_with_the_same_methods_and_parameters() -> None:
    assert aio.__all__ == client.__all__
    for name in client.__all__:
        ours, theirs = getattr(client, name), getattr(aio, name)
        if inspect.isclass(ours):
            assert [part for part in dir(ours) if part[0] != "_"] == [part for part in dir(theirs) if part[0] != "_"]
            for part, method in inspect.getmembers(ours, inspect.isfunction):
                if part[0] != "_":
                    assert list(inspect.signature(method).parameters) == list(
                        inspect.signature(getattr(theirs, part)).parameters
                    )


def test_every_public_object_and_method_says_what_it_is() -> None:
    plain = {"id", "name", "task", "license"}  # which say it themselves
    for name in client.__all__:
        thing = getattr(client, name)
        assert thing.__doc__, name
        for part, value in vars(thing).items() if inspect.isclass(thing) else ():
            if part[0] != "_" and isinstance(value, property | type(inspect.isclass)) and part not in plain:
                assert (value.fget if isinstance(value, property) else value).__doc__, f"{name}.{part}"


def test_what_waits_is_found_through_methods_properties_and_attributes(make_twin: ModuleType) -> None:
    source = """
class Part:
    def rest(self) -> Part:
        sleep(1.0)
        return self
    @property
    def model(self) -> Part:
        return self.rest().rest()
    def get(self, data: dict[str, int]) -> int:
        return data.get("ü", 0) or data["get"]
class Whole:
    def __init__(self) -> None:
        self.part = Part()
    def all(self) -> list[Part]:
        return [part for part in (self.part.model.rest(), other(self))]
def other(whole: Whole | str) -> Part:
    return whole.part.model
"""
    twin = """
class Part:
    async def rest(self) -> Part:
        await sleep(1.0)
        return self
    @property
    async def model(self) -> Part:
        return await (await self.rest()).rest()
    def get(self, data: dict[str, int]) -> int:
        return data.get("ü", 0) or data["get"]
class Whole:
    def __init__(self) -> None:
        self.part = Part()
    async def all(self) -> list[Part]:
        return [part for part in (await (await self.part.model).rest(), await other(self))]
async def other(whole: Whole | str) -> Part:
    return await whole.part.model
"""
    assert rewritten(make_twin, source) == twin


def test_what_comes_piece_by_piece_is_an_asynchronous_generator(make_twin: ModuleType) -> None:
    source = "def pieces() -> Iterator[bytes]:\n    for piece in chunks():\n        yield from split(piece)\n"
    twin = (
        "async def pieces() -> AsyncIterator[bytes]:\n    async for piece in chunks():\n"
        "        for item in split(piece): yield item\n"
    )
    assert rewritten(make_twin, source) == twin


def test_what_cannot_be_written_so_is_refused(make_twin: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"line 2: .* sleep\(1\)"):
        rewritten(make_twin, "def rest() -> None:\n    call(lambda: sleep(1))\n")
