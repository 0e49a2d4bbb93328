"""What is around every page: who may see it, the bar, the navigation, the title, and what is said when it fails."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from nicegui import context, html, ui

from bedplate.studio.parts import notices
from bedplate.studio.paths import place
from bedplate.studio.theme import theme_of
from bedplate.studio.visit import Visit, visit_of
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError, Forbidden, NotFound

__all__ = ["no_page", "open_house", "page"]

log = logging.getLogger(__name__)

Build = Callable[..., Awaitable[None]]
STATUS = ((NotFound, 404), (Forbidden, 403))  # of the answer, where an error is all that there is to see
# What the navigation shows: a name, its first page, and the permission without which it is left out.
SECTIONS = (
    ("Catalog", "catalog", "read", "travel_explore"),
    ("Models", "models", "read", "category"),
    ("Datasets", "datasets", "read", "table_rows"),
    ("Jobs", "jobs", "read", "pending_actions"),
    ("Evaluations", "evaluations", "read", "fact_check"),
    ("Endpoints", "endpoints", "read", "lan"),
    ("Batch", "batch", "read", "dynamic_feed"),
    ("Compute", "compute", "read", "memory"),
    ("Settings", "settings", "read", "tune"),
)


@dataclass
class _House:
    """The server that the pages belong to."""

    workspace: Workspace
    rest: FastAPI


_houses: list[_House] = []


def open_house(workspace: Workspace, rest: FastAPI) -> None:
    """The pages are of this server from now on."""
    _houses[:] = [_House(workspace, rest)]


def page(path: str, title: str, *, section: str) -> Callable[[Build], Build]:
    """Make `build(visit, …)` the page at `path` below /studio; what stands in {} there, it gets by name.

    `title` may name such a part: "Job {job_id}". An error of ours that `build` raises is shown in the page's place.
    """

    def register(build: Build) -> Build:
        ui.page(path, title="Bedplate", response_timeout=30.0)(_framed(build, title, section))
        return build

    return register


def no_page() -> Callable[..., Any]:
    """What is shown where an address leads nowhere."""

    async def build(visit: Visit) -> None:
        context.client.status_code = 404
        html.h1("There is no such page")
        notices.empty("The address leads nowhere.", action="To the first page", href=place())

    return _framed(build, "No page", "")


def _framed(build: Build, title: str, section: str) -> Callable[..., Awaitable[Response | None]]:
    """The function that NiceGUI calls: it asks who comes, and puts everything around what `build` makes."""

    async def shown(request: Request, **parts: Any) -> Response | None:
        house = _houses[0]
        try:
            visit = await visit_of(request, house.workspace, house.rest)
        except Forbidden:
            return RedirectResponse("/login", 303, {"Cache-Control": "no-store"})
        client = context.client
        client.on_delete(visit.ws.close)
        client.on_exception(_tell)
        with _frame(visit, request, title.format(**parts), section):
            try:
                await build(visit, **parts)
            except BedplateError as exc:
                _refuse(title.format(**parts), section, exc)
            except Exception:  # the page's outer edge: what is around it stays, and says what is wrong
                log.exception("a page of Studio failed")
                _refuse(title.format(**parts), section, _unexpected())
        return None

    own = list(inspect.signature(build, eval_str=True).parameters.values())[1:]
    first = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Request)
    shown.__signature__ = inspect.Signature([first, *own])  # type: ignore[attr-defined]
    shown.__name__ = build.__name__
    return shown


def _refuse(title: str, section: str, error: BedplateError) -> None:
    """Below the page's heading; where that was not made yet, the answer's status says too that there is no page."""
    client = context.client
    if not any(element.tag == "h1" for element in client.elements.values()):
        html.h1(title)
        client.status_code = next((status for kind, status in STATUS if isinstance(error, kind)), client.status_code)
    notices.problem(error)
    if isinstance(error, NotFound):
        first = next((place(first) for name, first, *_ in SECTIONS if name == section), place())
        html.a(f"Back to {section}" if section else "Back to the first page", href=first)


def _tell(exc: Exception) -> None:
    """What failed while somebody worked on a page: said there; what is not of ours is logged too."""
    if not isinstance(exc, BedplateError):
        log.error("a page of Studio failed", exc_info=exc)
    notices.toast_problem(exc if isinstance(exc, BedplateError) else _unexpected())


def _unexpected() -> BedplateError:
    return BedplateError("Something went wrong on this page.", hint="The server's log tells what.")


@contextmanager
def _frame(visit: Visit, request: Request, title: str, section: str) -> Iterator[None]:
    context.client.title = f"{title} · Bedplate"
    ui.dark_mode(theme_of(request))
    with ui.header(elevated=False, wrap=False).classes("bp-bar"):
        drawer_button = ui.button(icon="menu").props('flat dense round aria-label="Navigation"').classes("bp-menu")
        with html.a(href=place()).classes("bp-brand"):
            html.img(src="/static/icon.svg", width="26", height="26", alt="")
            ui.label("Bedplate")
        ui.space()
        _theme_button()
        html.a("REST", href="/docs").classes("bp-quiet bp-wide-only")
        html.a(visit.user, href="/account").classes("bp-quiet")
    # With no value given NiceGUI would ask the browser for one, and fail on a slow page.
    with ui.left_drawer(value=False, bordered=True).classes("bp-drawer") as drawer:
        drawer.props("width=208 breakpoint=1023 show-if-above")
        _navigation(visit, section)
    drawer_button.on_click(drawer.toggle)
    # The library's page around it is the <main>; with an id of ours the skip link would not find it.
    with html.div(tabindex="-1").classes("bp-main") as content:
        ui.skip_link("Skip to the content", target=content)
        yield


def _theme_button() -> None:
    """Dark, light or as the browser has it: kept in a cookie, so that the next page comes in the same."""
    ui.button(icon="contrast").props('flat dense round aria-label="Dark or light"').on(
        "click",
        js_handler="""() => {
            const dark = !document.body.classList.contains("body--dark");
            document.cookie = `bedplate_theme=${dark ? "dark" : "light"}; path=/studio; max-age=31536000; samesite=lax`;
            Quasar.Dark.set(dark);
        }""",
    )


def _navigation(visit: Visit, section: str) -> None:
    with html.nav(**{"aria-label": "Main"}):
        for name, first, permission, icon in SECTIONS:
            if not visit.may(permission):
                continue
            current = {"aria-current": "page"} if name == section else {}
            with html.a(href=place(first), **current).classes("bp-nav"):
                ui.icon(icon).props('aria-hidden="true"')
                ui.label(name)
