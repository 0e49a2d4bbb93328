"""Who sent a request and how it came, as the control plane is told: by the connection, or by the proxy before us."""

from __future__ import annotations

from bedplate_serving.asgi import Scope

__all__ = ["client_of", "own_schemes", "scheme_of"]

SECURE = frozenset({"https", "wss"})


def client_of(scope: Scope, *, behind_proxy: bool) -> str:
    """The caller's address. A proxy adds the one it saw as the last entry of X-Forwarded-For; what stands before it
    in there is what the caller says of himself."""
    last = _last(scope, b"x-forwarded-for") if behind_proxy else ""
    if last and len(last) <= 64 and last.isascii() and last.isprintable():
        return last
    client = scope.get("client")
    return client[0] if client else ""


def scheme_of(scope: Scope, *, behind_proxy: bool) -> str:
    """http or https, as the caller sees it."""
    if scope.get("scheme") in SECURE or (behind_proxy and _last(scope, b"x-forwarded-proto").lower() == "https"):
        return "https"
    return "http"


def own_schemes(scope: Scope, *, behind_proxy: bool) -> tuple[str, ...]:
    """Those that a page of ours may have. Not every proxy says which it is: the same name and port has to do there."""
    return ("http", "https") if behind_proxy else (scheme_of(scope, behind_proxy=False),)


def _last(scope: Scope, name: bytes) -> str:
    values = [value for key, value in scope["headers"] if key == name]
    return values[-1].rpartition(b",")[2].strip().decode("latin-1") if values else ""
