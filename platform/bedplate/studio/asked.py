"""What somebody is about to do, as REST takes it, and the same as YAML, as a command, in Python and as a call of curl.

Each of the four runs as written and makes the same job: there is one body, and they are ways to write it down.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

import yaml

__all__ = ["Asked"]

Values = Mapping[str, Any]


@dataclass(frozen=True)
class _Form:
    """How one kind is written: its command and method, the field that comes first, and options with their names."""

    command: str
    method: str
    first: str
    route: str = "/api/v1/jobs"
    keywords: Mapping[str, str] = field(default_factory=dict)  # where they are not the body's
    options: Mapping[str, str] = field(default_factory=dict)  # of the command, where they are not the keywords
    flags: tuple[str, ...] = ()  # true or not there
    file_out: bool = False


_FORMS = {
    "import": _Form("import", "import_model", "model_id", flags=("accept_license", "convert_weights")),
    "finetune": _Form("finetune", "finetune", "model"),
    "evaluate": _Form("evaluate", "evaluate", "model", options={"predictions": "from-predictions"}),
    "batch": _Form("batch", "batch", "model", file_out=True),
    "data-check": _Form("datasets check", "datasets.check", "data"),
    "deploy": _Form(
        "deploy", "deploy", "model", route="/api/v1/endpoints", keywords={"name": "endpoint"}, flags=("accept_license",)
    ),
    "deploy-batch": _Form(
        "deploy --batch", "deploy", "model", route="/api/v1/batch-endpoints", keywords={"name": "endpoint"},
        flags=("accept_license",),
    ),
}  # fmt: skip
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")  # no number, and nothing that YAML reads a meaning into
DEPLOY = "bedplate deploy --config deploy.yaml"
_PAIRS = {"columns": "--map", "settings": "--set", "parameters": "--set", "needs": "--need"}


@dataclass(frozen=True)
class Asked:
    """A request that is not sent yet: `kind` as in REST, or deploy and deploy-batch; `body` without what is None."""

    kind: str
    body: Values

    @property
    def form(self) -> _Form:
        """How this kind is written."""
        return _FORMS[self.kind]

    @property
    def given(self) -> dict[str, Any]:
        """The body without what says nothing."""
        return {name: value for name, value in self.body.items() if value not in (None, {}, "")}

    @property
    def is_job(self) -> bool:
        """Whether it becomes a job, and not a deployment."""
        return self.form.route == "/api/v1/jobs"

    def rest(self) -> dict[str, Any]:
        """What is sent to `form.route`."""
        return {"kind": self.kind, **self.given} if self.is_job else self.given

    def yaml(self) -> str:
        """The body as a file, below the command that takes it."""
        how = f"bedplate jobs submit {self.kind} --config job.yaml" if self.is_job else DEPLOY
        body = {**self.given, **({"batch": True} if self.kind == "deploy-batch" else {})}
        return f"# {how}\n{yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=120)}"

    def cli(self) -> str:
        """The command, in lines that the shell reads as one."""
        body, first = self.given, self.form.first
        subject = [quote(str(body.pop(first)))] if first in body else []
        options = (part for name, value in body.items() for part in self._options(name, value))
        return " \\\n    ".join([" ".join(["bedplate", self.form.command, *subject]), *options])

    def _options(self, name: str, value: Any) -> Iterator[str]:
        if name in _PAIRS:
            write = str if name == "columns" else _value
            yield from (f"{_PAIRS[name]} {quote(f'{key}={write(item)}')}" for key, item in value.items())
        elif name in self.form.flags:
            yield from [f"--{name.replace('_', '-')}"] if value else []
        else:
            option = self.form.options.get(name) or self.form.keywords.get(name, name)
            yield f"--{option.replace('_', '-')} {quote(_plain(value))}"

    def python(self) -> str:
        """A few lines of Python. The server and the key come from the environment, as for the command."""
        body = self.given
        first = repr(body.pop(self.form.first, None))
        named = [f"{self.form.keywords.get(name, name)}={value!r}" for name, value in body.items()]
        if self.kind == "deploy-batch":
            named.append("batch=True")
        call = _call(f"ws.{self.form.method}", [first, *named])
        return f"import bedplate\n\nws = bedplate.connect()\n{_ENDINGS[self.kind](call)}\n"

    def curl(self, origin: str) -> str:
        """The REST call; the key is in BEDPLATE_TOKEN."""
        body = json.dumps(self.rest(), ensure_ascii=False, indent=1)
        return (
            f'curl -sS {quote(origin + self.form.route)} \\\n  -H "Authorization: Bearer $BEDPLATE_TOKEN" \\\n'
            f"  -H 'Content-Type: application/json' \\\n  -d {quote(body)}"
        )


_ENDINGS: Mapping[str, Callable[[str], str]] = {
    "import": lambda call: f"model = {call}\nprint(model.ref)",
    "finetune": lambda call: f"job = {call}\njob.wait()\nprint(job.model.ref)",
    "evaluate": lambda call: f"job = {call}\nprint(job.wait().report.metrics)",
    "batch": lambda call: f"job = {call}\njob.wait()",
    "data-check": lambda call: f"job = {call}\nprint(job.wait().result)",
    "deploy": lambda call: f"endpoint = {call}\nprint(endpoint.url, endpoint.key)",
    "deploy-batch": lambda call: f"endpoint = {call}\nprint(endpoint.name)",
}


def _call(name: str, arguments: list[str]) -> str:
    line = f"{name}({', '.join(arguments)})"
    if len(line) <= 88:
        return line
    return f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def _value(value: Any) -> str:
    """As --set and --need take it, which read YAML: a text that may look like anything else stands in quotes."""
    is_plain = isinstance(value, str) and WORD.fullmatch(value) and yaml.safe_load(value) == value
    return value if is_plain else json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> str:
    """As a command's option: texts as they are, everything else as JSON, which is read back as the same."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
