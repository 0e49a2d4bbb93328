"""The same request as a command, as Python and as curl, to be copied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from shlex import quote
from typing import Any

from bedplate.studio.parts.how import code_tabs
from bedplate.studio.parts.notices import hint
from bedplate.studio.parts.try_call import DEPLOYMENT_HEADER, Call

__all__ = ["codes_of", "show_codes"]

PHOTO = "photo.png"
ABOUT = (
    "KEY is a key that may score: this endpoint's own, or one of `bedplate keys create NAME --scope infer`. The "
    "command and bedplate.connect() need none on this server; elsewhere they read BEDPLATE_URL and BEDPLATE_TOKEN."
)


def codes_of(call: Call, task: str, origin: str) -> dict[str, str]:
    """Titles and code. The command has no choice of a deployment: it is left out where one was chosen."""
    is_photo, is_drawn = task == "image-classification", task == "text-to-image"
    inputs, parameters = call.body["inputs"], call.body.get("parameters") or {}
    url = f"{origin}{call.path}"
    codes = {"Command": _command(call.endpoint, inputs, parameters, is_photo=is_photo, is_drawn=is_drawn)}
    codes["Python"] = _python(call.endpoint, inputs, parameters, is_photo=is_photo, is_drawn=is_drawn)
    if call.deployment:
        codes = {"Python": _python_of_deployment(url, call, is_photo=is_photo, is_drawn=is_drawn)}
    return {**codes, "curl": _curl(url, call, is_photo=is_photo, is_drawn=is_drawn)}


def show_codes(codes: Mapping[str, str]) -> None:
    """One tab each, and which key they need."""
    code_tabs(codes)
    hint(ABOUT)


def _command(endpoint: str, inputs: Any, parameters: Mapping[str, Any], *, is_photo: bool, is_drawn: bool) -> str:
    looks_plain = isinstance(inputs, str) and inputs[:1] not in ("[", "{", '"')
    given = f"--input {quote(inputs if looks_plain else _json(inputs))}"
    sets = "".join(f" --set {quote(f'{name}={_set(value)}')}" for name, value in parameters.items())
    head = f"base64 -w0 {PHOTO} > photo.txt\n" if is_photo else ""
    output = " --output image.png" if is_drawn else ""
    return f"{head}bedplate score {endpoint} {'--file photo.txt' if is_photo else given}{sets}{output}"


def _python(endpoint: str, inputs: Any, parameters: Mapping[str, Any], *, is_photo: bool, is_drawn: bool) -> str:
    shown = _encoded_photo() if is_photo else repr(inputs)
    arguments = "".join(f", {name}={value!r}" for name, value in parameters.items())
    score = f"endpoint.score({shown}{arguments})"
    last = f'Path("image.png").write_bytes({score})' if is_drawn else f"print({score})"
    head = [*(["import base64"] if is_photo else []), *(["from pathlib import Path"] if is_photo or is_drawn else [])]
    body = ["import bedplate", "", f'endpoint = bedplate.connect().endpoints.get("{endpoint}")', last]
    return "\n".join([*head, *([""] if head else []), *body])


def _python_of_deployment(url: str, call: Call, *, is_photo: bool, is_drawn: bool) -> str:
    parameters = f', "parameters": {call.body["parameters"]!r}' if call.body.get("parameters") else ""
    inputs = _encoded_photo() if is_photo else repr(call.body["inputs"])
    head = ["import base64", "import os"] if is_photo else ["import os"]
    head += ["from pathlib import Path"] if is_photo or is_drawn else []
    return "\n".join(
        [
            *head,
            "",
            "import httpx",
            "",
            f'headers = {{"Authorization": "Bearer " + os.environ["KEY"], "{DEPLOYMENT_HEADER}": {call.deployment!r}}}',
            f'body = {{"inputs": {inputs}{parameters}}}',
            f"answer = httpx.post({url!r}, json=body, headers=headers, timeout=120).raise_for_status()",
            'Path("image.png").write_bytes(answer.content)' if is_drawn else "print(answer.json())",
        ]
    )


def _curl(url: str, call: Call, *, is_photo: bool, is_drawn: bool) -> str:
    chosen = f" \\\n  -H {quote(f'{DEPLOYMENT_HEADER}: {call.deployment}')}" if call.deployment else ""
    output = " --output image.png" if is_drawn else ""
    if is_photo and not call.body.get("parameters"):
        sent = f"--data-binary @{PHOTO}"
    elif is_photo:
        body = _json({"inputs": "PHOTO", **{key: value for key, value in call.body.items() if key != "inputs"}})
        before, after = body.split("PHOTO", 1)
        sent = f"""-d {quote(before)}"$(base64 -w0 {PHOTO})"{quote(after)}"""
    else:
        sent = f"-d {quote(_json(call.body))}"
    return f'curl -s {quote(url)} -H "Authorization: Bearer $KEY"{chosen} \\\n  {sent}{output}'


def _encoded_photo() -> str:
    return f'base64.b64encode(Path("{PHOTO}").read_bytes()).decode()'


def _set(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
