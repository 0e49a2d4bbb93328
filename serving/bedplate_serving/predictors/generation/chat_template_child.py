"""The process that renders chat templates; `chat_template.ChatTemplate` starts it, feeds it and kills it.

    python -I chat_template_child.py MEMORY_BYTES CPU_SECONDS OUTPUT_CHARACTERS

    in   {"template": "…", "variables": {…}}     one JSON line a chat
    out  {"text": "…"} or {"error": "…"}         one JSON line each, in order

A template is a stranger's program. jinja2's sandbox keeps it from Python's insides; the limits of this process keep it
from taking the memory and the time of others. It imports jinja2 and nothing of ours.
"""

import json
import resource
import sys
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class GenerationTag(Extension):  # type: ignore[misc]  # jinja2 says it is Any
    """`{% generation %}` marks for a trainer what the assistant says. Here its body is text like any other."""

    tags: ClassVar[set[str]] = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; jinja2's own filter escapes what HTML would read."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message: Any) -> NoReturn:
    raise jinja2.TemplateError(str(message))


def now_as(pattern: str) -> str:
    return datetime.now().strftime(pattern)


@lru_cache(maxsize=4)
def compiled(source: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = now_as
    return environment.from_string(source)


def render(request: dict[str, Any], most_characters: int) -> dict[str, str]:
    parts, size = [], 0
    try:
        for part in compiled(request["template"]).generate(**request["variables"]):
            parts.append(part)
            size += len(part)
            if size > most_characters:
                return {"error": f"it writes more than {most_characters} characters"}
    except MemoryError:
        parts.clear()
        return {"error": "it needs more memory than it may have"}
    except RecursionError:
        return {"error": "it calls itself without an end"}
    except Exception as error:  # noqa: BLE001 - whatever a template does wrong is told, and the next one is rendered
        return {"error": f"{str(error).strip()[:300] or type(error).__name__}"}
    return {"text": "".join(parts)}


def limited(memory_bytes: int, cpu_seconds: int) -> Callable[[], None]:
    """Sets the limit of memory; gives a call that grants the next chat its processor seconds."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_CPU)

    def grant() -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(usage.ru_utime + usage.ru_stime) + 1 + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, most))

    return grant


def main() -> None:
    memory_bytes, cpu_seconds, most_characters = map(int, sys.argv[1:4])
    grant = limited(memory_bytes, cpu_seconds)
    for line in sys.stdin.buffer:
        grant()
        try:
            answer = json.dumps(render(json.loads(line), most_characters))
        except MemoryError:
            answer = '{"error": "it needs more memory than it may have"}'
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
