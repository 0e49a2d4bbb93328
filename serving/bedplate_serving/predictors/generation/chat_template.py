"""A model's own chat template, rendered under limits.

    template = ChatTemplate({"default": source}, {"bos_token": "<s>"})
    template.render(parse_messages([{"role": "user", "content": "Hello"}]))

A template comes with a model, so it is a stranger's program: it runs in a child process of its own
(chat_template_child.py) with jinja2's sandbox, a bound on memory, on processor time and on what it writes. A child that
does not answer in time is killed; the next chat gets a new one.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.base import ItemError

__all__ = ["MAX_MESSAGES", "ChatTemplate", "ChatTemplateTimeout", "Message", "NoChatTemplate", "parse_messages"]

CHILD = Path(__file__).with_name("chat_template_child.py")
TEMPLATE_CHARACTERS = 256 * 1024
OUTPUT_CHARACTERS = 4 * 1024 * 1024
MEMORY_BYTES = 256 * 1024 * 1024
SECONDS = 2.0  # for one chat; a common template takes a millisecond
START_SECONDS = 10.0  # for a child to be there, on a busy machine
MAX_MESSAGES = 1024  # of one chat
ROLES = ("system", "developer", "user", "assistant", "tool")
KEYS = {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "refusal"}

Message = dict[str, Any]


class NoChatTemplate(Refused):
    """The model has none."""

    code = "no-chat-template"

    def __init__(self) -> None:
        super().__init__(
            "The model has no chat template.", hint="Send a prompt to be continued, or deploy a model tuned for chats."
        )


class BadChatTemplate(Refused):
    """It refuses these messages, or is broken."""

    code = "bad-chat-template"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The model's chat template could not write the prompt: {reason.rstrip('.')}.")


class ChatTemplateTimeout(Refused):
    """It took longer than a template may."""

    code = "chat-template-timeout"

    def __init__(self) -> None:
        super().__init__(f"The model's chat template did not end within {SECONDS:.0f} s.")


class ChatTemplate:
    """`templates` by their names: `default`, and `tool_use` where the model has one of its own for tools. The
    `variables` are the special tokens it may name. May be called from several threads.
    """

    def __init__(self, templates: Mapping[str, str], variables: Mapping[str, Any]) -> None:
        self._templates = dict(templates)
        self._variables = dict(variables)
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def render(self, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> str:
        """The prompt that asks for the assistant's next words. Raises NoChatTemplate, BadChatTemplate,
        ChatTemplateTimeout (all Refused). Blocks for up to two seconds.
        """
        variables = {**self._variables, "messages": list(messages), "add_generation_prompt": True}
        if tools:
            variables["tools"] = list(tools)
        request = {"template": self._source(bool(tools)), "variables": variables}
        with self._lock:
            answer = self._ask(json.dumps(request).encode() + b"\n")
        if "error" in answer:
            raise BadChatTemplate(answer["error"])
        return answer["text"]

    def check(self, *, with_tools: bool = False) -> None:
        """Raises what `render` would raise without looking at any message."""
        self._source(with_tools)

    def close(self) -> None:
        """Ends the child."""
        with self._lock:
            self._kill()

    def _source(self, with_tools: bool) -> str:
        source = (self._templates.get("tool_use") if with_tools else None) or self._templates.get("default")
        if not source:
            raise NoChatTemplate
        if len(source) > TEMPLATE_CHARACTERS:
            raise BadChatTemplate(f"it is longer than {TEMPLATE_CHARACTERS} characters")
        if with_tools and "tools" not in source:
            raise Refused("The model's chat template takes no tools.", code="unsupported-parameter")
        return source

    def _ask(self, line: bytes) -> dict[str, str]:
        child = self._child
        if child is None or child.poll() is not None:
            self._kill()
            child = self._start()
        try:
            answer = self._exchange(child, line, SECONDS)
        except BaseException:
            self._kill()  # else the next chat would read the end of this one's answer
            raise
        if answer is None:
            overran = child.poll() is None
            self._kill()
            if overran:
                raise ChatTemplateTimeout
            raise BadChatTemplate("it needs more time or memory than it may have")
        return dict(json.loads(answer))

    def _start(self) -> subprocess.Popen[bytes]:
        limits = [str(MEMORY_BYTES), str(int(SECONDS)), str(OUTPUT_CHARACTERS)]
        child = subprocess.Popen(
            [sys.executable, "-I", str(CHILD), *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LANG": "C.UTF-8"},
            cwd="/",
        )
        self._child = child
        self._ending = weakref.finalize(self, _end, child)  # also when this object goes
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        hello = json.dumps({"template": "ready", "variables": {}}).encode() + b"\n"
        if self._exchange(child, hello, START_SECONDS) is None:
            self._kill()
            raise BadChatTemplate("the process that renders it did not start")
        return child

    def _exchange(self, child: subprocess.Popen[bytes], line: bytes, seconds: float) -> bytes | None:
        """One line each way; None where the child has ended or the time is over."""
        assert child.stdin is not None
        assert child.stdout is not None
        until = time.monotonic() + seconds
        to_send, received = memoryview(line), bytearray()
        with selectors.DefaultSelector() as pipes:  # select.select knows no file number from 1024 on
            pipes.register(child.stdout, selectors.EVENT_READ)
            pipes.register(child.stdin, selectors.EVENT_WRITE)
            while not received.endswith(b"\n"):
                ready = {key.fileobj for key, _ in pipes.select(max(until - time.monotonic(), 0))}
                if not ready:
                    return None
                try:
                    if child.stdin in ready:
                        to_send = to_send[os.write(child.stdin.fileno(), to_send[:65536]) :]
                        if not to_send:
                            pipes.unregister(child.stdin)
                    if child.stdout in ready:
                        part = os.read(child.stdout.fileno(), 1 << 20)
                        if not part:
                            child.wait()
                            return None
                        received += part
                except BrokenPipeError:
                    child.wait()
                    return None
        return bytes(received)

    def _kill(self) -> None:
        if self._child is not None:
            self._ending()
            self._child = None


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        assert pipe is not None
        pipe.close()


def parse_messages(messages: Any) -> list[Message]:
    """The messages of a chat, checked; text parts become one text. Raises ItemError, which names the message."""
    if not isinstance(messages, list) or not messages:
        raise ItemError("messages must be a list with at least one message")
    if len(messages) > MAX_MESSAGES:
        raise ItemError(f"messages holds {len(messages)} of them; a chat has at most {MAX_MESSAGES}")
    return [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, dict):
        raise ItemError(f'{where} must be an object {{"role": …, "content": …}}')
    unknown = sorted(set(map(str, message)) - KEYS)
    if unknown:
        raise ItemError(f"{where} has the unknown key {unknown[0][:100]!r}; it may have {', '.join(sorted(KEYS))}")
    if message.get("role") not in ROLES:
        raise ItemError(f"{where}.role is {str(message.get('role'))[:100]!r}; it must be one of {', '.join(ROLES)}")
    content = _content(message.get("content"), where, may_lack=bool(message.get("tool_calls")))
    given = {key: value for key, value in message.items() if value is not None and key != "content"}
    return {**given, "content": content}


def _content(content: Any, where: str, *, may_lack: bool) -> str:
    if content is None and may_lack:
        return ""
    if isinstance(content, list):
        content = "\n".join(_part(part, f"{where}.content[{index}]") for index, part in enumerate(content))
    if not isinstance(content, str):
        raise ItemError(f"{where}.content must be a string or a list of text parts")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ItemError(f"{where}.content holds half a surrogate pair at character {error.start}") from error
    return content


def _part(part: Any, where: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if isinstance(kind, str) and kind != "text":
        raise ItemError(f"{where} is of type {kind[:100]!r}: this model reads text alone")
    raise ItemError(f'{where} must be {{"type": "text", "text": "…"}}')
