"""The state of a job, a version or an endpoint, as a word in its color."""

from __future__ import annotations

from nicegui import html

__all__ = ["TONES", "state"]

# good, busy, bad, or calm where nothing is said here
TONES = {
    **dict.fromkeys(("ready", "done", "active", "succeeded", "intact"), "good"),
    **dict.fromkeys(("queued", "running", "starting", "cancelling", "paused"), "busy"),
    **dict.fromkeys(("failed", "damaged", "error"), "bad"),
}


def state(text: str) -> html.span:
    """The word; its color says no more than it does."""
    return html.span(text).classes(f"bp-state bp-{TONES.get(text, 'calm')}")
