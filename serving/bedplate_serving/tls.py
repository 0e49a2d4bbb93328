"""TLS at the gateway's door: a certificate and its key, read again when their files are replaced.

A connection keeps the pair that it began with. A new pair that cannot be used leaves the old one in force and is told
in the log, so that a renewal that went wrong is seen before the old certificate ends.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

from bedplate_registry.errors import Refused

__all__ = ["Certificate", "load_pair"]

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
OTHERS = 0o007  # a group may read it: Debian keeps keys as root:ssl-cert, 0640


class Certificate:
    """The pair in force. `context` is for the listener, and stays the same one."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Raises Refused as `load_pair` does."""
        self._cert, self._key = cert, key
        self._seen: object = self._stamp()
        self._told = ""
        self._current = self.context = load_pair(cert, key)
        # OpenSSL asks at each handshake, whether or not the caller names a server.
        self.context.sni_callback = self._choose

    def _choose(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._current

    async def follow(self) -> None:
        """Rereads the pair whenever a file of it was replaced; until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._current = load_pair(self._cert, self._key)
        except Refused as error:
            if error.code == "tls-unreadable":
                self._seen = None  # it may be this process that has no file descriptor left: tried again
            if error.message != self._told:
                log.warning("the new certificate cannot be used, keeping the old: %s %s", error.message, error.hint)
            self._told = error.message
        else:
            self._told = ""
            log.info("the new certificate is in force")

    def _stamp(self) -> list[tuple[int, ...] | None]:
        return [_stamp(self._cert), _stamp(self._key)]


def load_pair(cert: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and later. Raises Refused where the pair cannot be used, or the key is anybody's to read."""
    try:
        cert.open("rb").close()  # OpenSSL names no file
        key.open("rb").close()
        mode = key.stat().st_mode
    except OSError as error:
        raise Refused(
            f"{error.filename} cannot be read: {error.strerror}.",
            hint="Name a readable certificate with --tls-cert and its key with --tls-key, both PEM.",
            code="tls-unreadable",
        ) from error
    if mode & OTHERS:
        raise Refused(
            f"Everybody on this machine may read the private key {key} (mode {mode & 0o777:o}).",
            hint=f"Run: chmod 600 {key}",
            code="tls-key-exposed",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise Refused(
            f"{cert} and {key} are no certificate with its key: {getattr(error, 'reason', None) or error}.",
            hint="Both are PEM files; the key belongs to the first certificate and has no password.",
            code="tls-unusable",
        ) from error
    return context


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Changes with what is in the file and with who may read it: a key that was refused for its mode is tried again."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_size, stat.st_mode
