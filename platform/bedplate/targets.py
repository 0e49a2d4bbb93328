"""Where a server is reached: by the sockets of its home, or over TCP with a key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from bedplate.caller import LOOPBACK
from bedplate.home import Home
from bedplate.server_process import ensure_server
from bedplate.settings import Settings
from bedplate_registry.errors import Refused
from bedplate_serving.unix_sockets import short_path

__all__ = ["Target", "find_target"]


@dataclass(frozen=True)
class Target:
    """The way to one server. A home's own server runs in the caller's name and is started where none runs."""

    url: str
    token: str | None = field(default=None, repr=False)
    home: Home | None = None

    @property
    def is_local(self) -> bool:
        return self.home is not None

    @property
    def is_here(self) -> bool:
        """Whether the server is one of this machine."""
        return self.is_local or urlsplit(self.url).hostname in LOOPBACK

    @property
    def socket(self) -> str | None:
        """Where the control plane of the home listens."""
        return None if self.home is None else short_path(self.home.socket)

    @property
    def scoring_socket(self) -> str | None:
        """Where the gateway of the home scores for its own user, once it has opened it."""
        if self.home is None or not self.home.scoring_socket.exists():
            return None
        return short_path(self.home.scoring_socket)

    def open(self) -> str | None:
        """Start the home's server where none runs; what scores over TCP: the home's token. Raises Unavailable."""
        if self.home is None:
            return self.token
        ensure_server(self.home)
        return self.home.token()


def find_target(url: str | None = None, *, token: str | None = None, home: str | Path | None = None) -> Target:
    """The way to this machine's home (BEDPLATE_HOME), or to the server at `url` (BEDPLATE_URL). Raises Refused."""
    settings = Settings.from_environment()
    if home is None and (url := url or settings.url):
        return _tcp_target(url, token or settings.token)
    place = Home(Path(home).expanduser().absolute() if home else settings.home)
    place.prepare()  # a socket in a folder that is not there yet has no short path
    return Target("http://bedplate", home=place)


def _tcp_target(url: str, token: str | None) -> Target:
    """Raises Refused for what is no URL, or a token that no header can carry."""
    hint = "Give it as in --url http://gpu01:8686, or in BEDPLATE_URL."
    try:
        base = httpx.URL(url.rstrip("/"))
        parts = urlsplit(url)
        is_url = base.scheme in ("http", "https") and bool(base.host) and not parts.query and (parts.port or 1) > 0
    except (httpx.InvalidURL, ValueError) as exc:
        raise Refused(f"{url!r} is not the URL of a server: {exc}.", hint=hint, code="bad-url") from exc
    if not is_url:
        raise Refused(f"{url!r} is not the URL of a server.", hint=hint, code="bad-url")
    if token and not (token.isascii() and token.isprintable()):
        raise Refused(
            "The token holds characters that a key never has.", hint="Check BEDPLATE_TOKEN.", code="bad-token"
        )
    return Target(str(base), token)
