"""A Hub as those know it who ask it: its address, its token, what it lists, and what its errors mean.

It is asked by `hubpeek`, and bytes are fetched by `fetch`. The token stays in this object: it is in no message,
manifest or log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from .cards import CardFacts
from .errors import BedplateError, Forbidden, NotFound, Refused, Unavailable
from .names import check_file_path

__all__ = ["MAX_FILES", "HubAddress", "HubFile", "HubModel", "hub_url", "is_commit", "listed_file"]

TIMEOUT_SECONDS = 20.0
BACKOFF_SECONDS = 1.0
MAX_URL = 500  # characters
MAX_FILES = 20_000  # the largest repositories of models have a few thousand; a list may have no end
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# A name of at most 253 characters in labels of at most 63, or an address of IPv6.
_HOST = re.compile(rb"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?|[0-9a-f:.]*:[0-9a-f:.]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


@dataclass(frozen=True)
class HubFile:
    """A file of a model on the Hub, with the digest its bytes must have."""

    path: str
    size_bytes: int
    git_sha1: str
    sha256: str | None = None  # of files kept in LFS: weights


@dataclass(frozen=True)
class HubModel:
    """A model as it is at one commit."""

    model_id: str
    commit: str
    files: tuple[HubFile, ...]
    card: CardFacts = field(default_factory=CardFacts)  # with the tag and the author that the Hub itself gives
    gated: bool = False

    @property
    def pipeline_tag(self) -> str | None:
        return self.card.pipeline_tag

    @property
    def license(self) -> str | None:
        return self.card.license

    @property
    def languages(self) -> tuple[str, ...]:
        return self.card.languages


class HubAddress:
    """One Hub. Making one opens no connection."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        offline: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
    ) -> None:
        """It is given up on when it is silent for `timeout_seconds`; a failed request is sent again after `backoff`."""
        self.url = hub_url(url)
        self.offline = offline
        self.timeout_seconds, self.backoff_seconds = timeout_seconds, backoff_seconds
        self._token = token

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def headers(self) -> dict[str, str]:
        """What a request for bytes needs. Holds the token: for `fetch` alone."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    @property
    def token(self) -> str | None:
        """For the Hub's own client alone (`clientfetch`)."""
        return self._token

    def file_url(self, model: HubModel, file: HubFile) -> str:
        return f"{self.url}/{model.model_id}/resolve/{model.commit}/{quote(file.path)}"

    def refusal(self, name: str, status: int, code: str | None = None, revision: str | None = None) -> BedplateError:
        """What another answer than 200 to a question about a model means; `code` is its X-Error-Code."""
        if code == "GatedRepo":
            return self._gated(name)
        if code == "RevisionNotFound":
            return self._no_revision(name, revision)
        return self._missing(name, status) if status == 404 else self._failed(name, status)

    def check_revision(self, revision: str | None) -> None:
        """Refused where it is none."""
        if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
            raise Refused(
                f"{_shown(revision)!r} is not a revision.",
                hint="Give a branch, a tag or a commit.",
                code="bad-revision",
            )

    def check_online(self) -> None:
        """Unavailable where this machine was told to stay offline."""
        if self.offline:
            raise Unavailable(
                "Bedplate is set to work offline, so nothing is fetched from the Hub.",
                hint="Unset BEDPLATE_OFFLINE, or take a folder on this disk: bedplate import --from DIR --name NAME",
                code="offline",
            )

    def _gated(self, name: str) -> BedplateError:
        return Forbidden(
            f"The model '{name}' is gated: its owner grants access to each reader.",
            hint=f"Ask for access at {self.url}/{name}, then give a token of that account: HF_TOKEN, or a token file.",
            code="gated",
        )

    def _no_revision(self, name: str, revision: str | None) -> BedplateError:
        message = f"The model '{name}' has no revision {revision!r}."
        return NotFound(message, hint=f"See {self.url}/{name}/commits/main.")

    def _missing(self, name: str, status: int) -> BedplateError:
        # To a caller without a token the Hub says 401 for what is private and for what is not there alike.
        hint = "Check the spelling." if self._token else "Check the spelling. If it is private, set HF_TOKEN."
        return NotFound(f"{self.url} has no model '{name}' (status {status}).", hint=hint)

    def _failed(self, name: str, status: int) -> BedplateError:
        if status == 401 and not self._token:
            return self._missing(name, status)
        if status in (401, 403):
            return Forbidden(f"{self.url} refuses the token (status {status}).", hint="Check HF_TOKEN.", code="token")
        return Unavailable(f"{self.url} answered {status} when asked for '{name}'.", hint="Try again in a while.")


def hub_url(text: str) -> str:
    """The address of a Hub as it is used. Raises Refused for what is none, and where there is more in it."""
    import httpx

    try:
        url = httpx.URL(text)
        is_url = url.scheme in ("http", "https") and (url.port is None or 0 < url.port < 1 << 16)
        is_url = is_url and len(text) <= MAX_URL and _HOST.fullmatch(url.raw_host) is not None
    except httpx.InvalidURL:
        is_url = False
    if not is_url:
        raise Refused(
            f"{_shown(text)!r} is not the address of a Hub.", hint="Give it as https://huggingface.co.", code="bad-hub"
        )
    if "@" in urlsplit(text).netloc:
        raise Refused(
            "The address of the Hub holds a user name or a password.",
            hint="Give the token as HF_TOKEN instead.",
            code="bad-hub",
        )
    if "?" in text or "#" in text:
        raise Refused(
            f"The address {_shown(text)!r} of the Hub has a '?' or a '#'.", hint="Give it without.", code="bad-hub"
        )
    return text.rstrip("/")


def is_commit(value: object) -> bool:
    return _is_digest(_COMMIT, value)


def _file(entry: Any) -> HubFile:
    return listed_file(entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs is not None else None)


def listed_file(path: Any, size: Any, git_sha1: Any, sha256: Any) -> HubFile:
    """A file as a Hub lists it. Raises Refused for a name that may not be kept, and where size or digest is none."""
    path = check_file_path(path)
    is_size = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    if not is_size or not is_commit(git_sha1):
        raise Refused(f"The Hub lists {path} without a size or digest.", hint="Is this a Hub?", code="bad-digest")
    if sha256 is not None and not _is_digest(_SHA256, sha256):
        raise Refused(f"The Hub lists {path} with a wrong digest.", hint="Is this a Hub?", code="bad-digest")
    return HubFile(path, size, git_sha1, sha256)


def _is_digest(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _shown(text: str) -> str:
    """A URL without user and password, anything else cut short."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return "it"
    if "@" in parts.netloc:
        text = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return text[:100]
