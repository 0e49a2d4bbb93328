"""The asyncio client as a test that blocks sees it: what would be awaited is run to its end.

One suite asks both clients the same; see tests/platform/test_client_everywhere.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from inspect import isawaitable, ismethod
from typing import Any

__all__ = ["Awaited"]


class Awaited:
    """An object of `bedplate.aio`. Whatever it hands out is seen in the same way."""

    def __init__(self, thing: Any, runner: asyncio.Runner) -> None:
        self._thing, self._runner = thing, runner

    def __getattr__(self, name: str) -> Any:
        return self._seen(getattr(self._thing, name))

    def __enter__(self) -> Awaited:
        self._runner.run(self._thing.__aenter__())
        return self

    def __exit__(self, *exc: object) -> None:
        self._runner.run(self._thing.__aexit__(*exc))

    def __eq__(self, other: object) -> bool:
        return bool(self._thing == _plain(other))

    def __hash__(self) -> int:
        return hash(self._thing)

    def __repr__(self) -> str:
        return repr(self._thing)

    def _seen(self, value: Any) -> Any:
        if isawaitable(value):
            return self._seen(self._runner.run(_awaited(value)))
        if isinstance(value, AsyncIterator):
            return self._pieces(value)
        if isinstance(value, list):
            value[:] = [self._seen(item) for item in value]
            return value
        if ismethod(value):
            return self._call(value)
        is_ours = type(value).__module__.startswith("bedplate.aio") and not isinstance(value, dict)
        return Awaited(value, self._runner) if is_ours else value

    def _call(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            plain = {name: _plain(value) for name, value in kwargs.items()}
            return self._seen(method(*map(_plain, args), **plain))

        return call

    def _pieces(self, stream: AsyncIterator[Any]) -> Iterator[Any]:
        while True:
            try:
                yield self._seen(anext(stream))
            except StopAsyncIteration:
                return


async def _awaited(value: Any) -> Any:
    return await value


def _plain(value: Any) -> Any:
    return value._thing if isinstance(value, Awaited) else value
