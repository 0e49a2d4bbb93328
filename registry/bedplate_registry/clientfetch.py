"""A file that a Hub does not give by plain HTTP, through the Hub's own client: above 50 GB there is only Xet.

The client's transfers by Xet are not resumed from where they were, so our own ranged fetch (`fetch`) goes first. What
the client brings is hashed like everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import Unavailable
from .hub import Hub, HubFile, HubModel
from .hubguard import Guard

__all__ = ["download"]


def download(hub: Hub, model: HubModel, file: HubFile, folder: Path) -> Path:
    """The file as the released client brings it, somewhere below `folder`, which the caller removes.

    Raises Unavailable where the client gets it no more than we do.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        with _guarded(hub):
            path = hf_hub_download(
                model.model_id,
                file.path,
                revision=model.commit,
                endpoint=hub.url,
                token=hub.token or False,  # None would send whatever token lies in the user's cache
                local_dir=folder,
                library_name="bedplate",
            )
    except Unavailable:
        raise
    except (HfHubHTTPError, OSError, RuntimeError, ValueError) as exc:
        # Its type alone: a text may hold the signed address.
        raise _not_given(hub, model, file, type(exc).__name__) from None
    return Path(path)


@contextmanager
def _guarded(hub: Hub) -> Iterator[None]:
    """The client's requests within our bounds: of time, and of where a redirect may lead."""
    import httpx2
    from huggingface_hub.utils import _http

    guard: Any = Guard(hub).check  # of the same form as httpx has it
    before = _http._GLOBAL_CLIENT_FACTORY

    def make() -> httpx2.Client:
        hooks = {"request": [_http.hf_request_event_hook, guard]}
        return httpx2.Client(event_hooks=hooks, follow_redirects=True, timeout=hub.timeout_seconds, max_redirects=5)

    _http.set_client_factory(make)
    try:
        yield
    finally:
        _http.set_client_factory(before)


def _not_given(hub: Hub, model: HubModel, file: HubFile, why: str) -> Unavailable:
    return Unavailable(
        f"{file.path} has {file.size_bytes / 1e9:.0f} GB, and {hub.url} gives it neither by HTTP nor by Xet ({why}).",
        hint=f"Try the Hub's own client by hand: hf download {model.model_id} --local-dir DIR. "
        "Then: bedplate import --from DIR --name NAME",
        code="hub-inconsistent",
    )
