"""Logs: one JSON object a line on standard error, in every process of ours that is more than a wrapper.

    {"time": "2026-11-24T16:20:01.123456Z", "level": "info", "logger": "bedplate.scheduler", "event": "…", …}

Code logs with Python's own `logging`; `extra={"name": value}` adds fields. What is `bound` around a call is in each
line that the call writes, in the threads of anyio and `asyncio.to_thread` too: so a request id is carried along.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from bedplate_serving.out_of_sight import out_of_sight

with out_of_sight("rich"):  # structlog loads it for colors on a terminal: 45 ms that no log of ours shows
    import structlog

__all__ = ["bound", "configure_logs"]

FIRST = ("time", "level", "logger", "event")
LEFT_OUT = ("color_message",)  # uvicorn's event again, for a terminal
# Who is listened to at INFO; of all other libraries warnings are enough.
OURS = ("bedplate", "bedplate_registry", "bedplate_serving", "bedplate_trainers", "alembic", "uvicorn")
Event = MutableMapping[str, Any]


def configure_logs(**fixed: object) -> None:
    """Send everything that is logged, warned and not caught in this process to standard error. `fixed` is in each line.

    What a value is made of does not matter: it stays within its line, and no control character gets out of it.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(fixed))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _last_words
    threading.excepthook = _last_words_of_a_thread


def bound(**fields: object) -> AbstractContextManager[None]:
    """Fields of every line that is logged inside the block, by whatever it calls or awaits."""
    return structlog.contextvars.bound_contextvars(**fields)


def _formatter(fixed: Mapping[str, object]) -> logging.Formatter:
    def add_fixed(logger: Any, method: str, event: Event) -> Event:
        return {**fixed, **event}

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            add_fixed,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _in_order,
            structlog.processors.JSONRenderer(serializer=_one_line),
        ],
    )


def _in_order(logger: Any, method: str, event: Event) -> Event:
    first = {name: event[name] for name in FIRST if name in event}
    return first | {name: value for name, value in event.items() if name not in LEFT_OUT}


def _one_line(event: Event, **options: Any) -> str:
    """In ASCII: neither a newline, nor a terminal's escape, nor half a character leaves the quotes."""
    return json.dumps(event, default=repr)


def _last_words_of_a_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:  # None while the interpreter is taken down
        name = arguments.thread.name if arguments.thread else "?"
        logging.getLogger("bedplate").error("the thread %s ended", name, exc_info=arguments.exc_value)


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("bedplate").critical("this process ends", exc_info=(kind, error, trace))
