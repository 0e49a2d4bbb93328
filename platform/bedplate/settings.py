"""Every environment variable that Bedplate reads, and each default, in one place.

A bad value stops the program with the variable, the value and what is accepted. Secrets are hidden in `repr`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bedplate_registry.errors import Refused
from bedplate_registry.licenses import LicensePolicy

__all__ = ["DEFAULT_HUB_URL", "DEFAULT_PORT", "Settings"]

DEFAULT_PORT = 8686
DEFAULT_HUB_URL = "https://huggingface.co"
TRUE = ("1", "true", "yes", "on")
FALSE = ("", "0", "false", "no", "off")
HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*\*?|\*")
LICENSES = "SPDX ids, such as apache-2.0 or cc-by-nc-*, and 'unknown' for none"
ORIGIN = re.compile(rf"https?://({HOST.pattern})(:[0-9]{{1,5}})?")


@dataclass(frozen=True)
class Settings:
    """What the environment says. `home` is BEDPLATE_HOME, and so on for the rest.

    `key_rate` is in requests a second; it and `key_concurrency` hold for keys that name none, and 0 is no limit.
    """

    home: Path
    url: str | None = None
    token: str | None = field(default=None, repr=False)
    port: int = DEFAULT_PORT
    offline: bool = False
    hub_url: str = DEFAULT_HUB_URL
    names_hub: bool = False  # whether hub_url was said, and is not the default
    hf_token: str | None = field(default=None, repr=False)
    hf_token_file: Path | None = None
    database_url: str | None = field(default=None, repr=False)
    max_jobs: int = 16
    endpoint_gpus: int = 0
    idle_seconds: float = 600.0
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    key_rate: float = 0.0
    key_concurrency: int = 0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_upload_gb: int = 100
    access_log: bool = False
    session_hours: int = 12
    license_allow: tuple[str, ...] = ()
    license_ask: tuple[str, ...] = ()
    license_deny: tuple[str, ...] = ()

    @property
    def license_policy(self) -> LicensePolicy:
        """Which licenses a model that is imported or deployed may have."""
        return LicensePolicy(self.license_allow, self.license_ask, self.license_deny)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings. Raises Refused, which names the variable."""
        env = os.environ if environ is None else environ
        return cls(
            home=Path(env.get("BEDPLATE_HOME") or "~/.bedplate").expanduser().absolute(),
            url=env.get("BEDPLATE_URL") or None,
            token=env.get("BEDPLATE_TOKEN") or None,
            port=_integer(env, "BEDPLATE_PORT", DEFAULT_PORT, 0, 65535),
            offline=_flag(env, "BEDPLATE_OFFLINE") or _flag(env, "HF_HUB_OFFLINE"),
            hub_url=(env.get("BEDPLATE_HUB_URL") or env.get("HF_ENDPOINT") or DEFAULT_HUB_URL).rstrip("/"),
            names_hub=bool(env.get("BEDPLATE_HUB_URL") or env.get("HF_ENDPOINT")),
            hf_token=env.get("HF_TOKEN") or None,
            hf_token_file=_token_file(env),
            database_url=env.get("BEDPLATE_DATABASE_URL") or None,
            max_jobs=_integer(env, "BEDPLATE_MAX_JOBS", 16, 1, 1024),
            endpoint_gpus=_integer(env, "BEDPLATE_ENDPOINT_GPUS", 0, 0, 1024),
            idle_seconds=float(_integer(env, "BEDPLATE_IDLE_SECONDS", 600, 1, 10**7)),
            allowed_hosts=_list(env, "BEDPLATE_ALLOWED_HOSTS", HOST, "host names without a port, such as gpu01.lan"),
            allowed_origins=_list(env, "BEDPLATE_ALLOWED_ORIGINS", ORIGIN, "origins, such as https://studio.lan:8443"),
            key_rate=_number(env, "BEDPLATE_KEY_RATE", 0.0, 10.0**6),
            key_concurrency=_integer(env, "BEDPLATE_KEY_CONCURRENCY", 0, 0, 10**6),
            tls_cert=_path(env, "BEDPLATE_TLS_CERT"),
            tls_key=_path(env, "BEDPLATE_TLS_KEY"),
            max_upload_gb=_integer(env, "BEDPLATE_MAX_UPLOAD_GB", 100, 1, 10**6),
            access_log=_flag(env, "BEDPLATE_ACCESS_LOG"),
            session_hours=_integer(env, "BEDPLATE_SESSION_HOURS", 12, 1, 24 * 366),
            license_allow=_list(env, "BEDPLATE_LICENSE_ALLOW", LICENSE, LICENSES),
            license_ask=_list(env, "BEDPLATE_LICENSE_ASK", LICENSE, LICENSES),
            license_deny=_list(env, "BEDPLATE_LICENSE_DENY", LICENSE, LICENSES),
        )


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").strip().lower()
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise Refused(f"{name}={env[name]!r} is neither on nor off.", hint=f"Set {name} to 1 or 0.")


def _integer(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise Refused(f"{name}={text!r} is not accepted.", hint=f"Set {name} to a whole number from {low} to {high}.")
    return int(text)


def _number(env: Mapping[str, str], name: str, default: float, high: float) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    with suppress(ValueError):
        if math.isfinite(value := float(text)) and 0 <= value <= high:
            return value
    raise Refused(f"{name}={text!r} is not accepted.", hint=f"Set {name} to a number from 0 to {high:.0f}.")


def _list(env: Mapping[str, str], name: str, form: re.Pattern[str], what: str) -> tuple[str, ...]:
    values = [value.strip().lower() for value in env.get(name, "").split(",") if value.strip()]
    bad = next((value for value in values if not form.fullmatch(value)), None)
    if bad is not None:
        raise Refused(f"{name} names {bad!r}, which is not accepted.", hint=f"List {what}, with commas between them.")
    return tuple(values)


def _token_file(env: Mapping[str, str]) -> Path | None:
    """Where the Hub's clients keep the token; None where there is no home to look in."""
    if env.get("HF_TOKEN_PATH", "").strip():
        return _path(env, "HF_TOKEN_PATH")
    if home := _path(env, "HF_HOME"):
        return home / "token"
    cache = _path(env, "XDG_CACHE_HOME") or (Path(env["HOME"]) / ".cache" if env.get("HOME") else None)
    return cache / "huggingface" / "token" if cache else None


def _path(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name, "").strip()
    return Path(text).expanduser().absolute() if text else None
