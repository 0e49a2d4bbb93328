"""Keys: for programs that work with this server. Everybody's own; for admins all, those of endpoints too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import events, html, ui

from bedplate.studio.frame import page
from bedplate.studio.parts.dialogs import confirm, show_once
from bedplate.studio.parts.headings import section, title
from bedplate.studio.parts.notices import empty, toast
from bedplate.studio.parts.settings_tabs import settings_tabs
from bedplate.studio.parts.tables import ON_NARROW, Column, table, when
from bedplate.studio.parts.turner import Page, PageTurner
from bedplate.studio.visit import Visit
from bedplate.users import SCOPES
from bedplate.wire import url_path

PAGE_KEYS = 50
COLUMNS = (
    Column("id", "Key", sortable=False),
    Column("name", "For", sortable=False),
    Column("owner", "Owner", sortable=False),
    Column("scopes", "Scopes", sortable=False),
    Column("at", "Only at", sortable=False),
    Column("limits", "Limits", sortable=False),
    Column("created", "Created", "time", sortable=False),
    Column("expiry", "Expires", sortable=False),
    Column("state", "State", sortable=False),
)
# In the last column, where it says nothing; c1 is what the key is for.
REVOKE = """<button v-if="!props.row.c8_shown" type="button" class="bp-button bp-danger"
  :aria-label="'Revoke ' + props.row.c1_shown" @click="$parent.$emit('revoke', props.row.key)">Revoke</button>"""
LAST_CELL = f"""<q-td :props="props"><span class="bp-hint">{{{{ props.row.c8_shown }}}}</span>{REVOKE}</q-td>"""
SCOPE_WORDS = {
    "infer": "infer: score at endpoints",
    "batch": "batch: score files",
    "train": "train: fine-tune and evaluate",
    "import": "import: bring models in",
    "admin": "admin: all that the owner's role allows",
}
assert SCOPE_WORDS.keys() == set(SCOPES)
Revoke = Callable[[dict[str, Any]], Awaitable[None]]


@page("/settings/keys", "Keys", section="Settings")
async def keys(visit: Visit) -> None:
    """A form for another one, and those that there are."""

    async def fetch(after: str | None) -> Page:
        return await visit.ws.connection.get(url_path("keys"), limit=PAGE_KEYS, after=after)

    async def revoke(key: dict[str, Any]) -> None:
        if await confirm(f"Revoke {key['name']}? It is refused everywhere within a second.", button="Revoke it"):
            await visit.ws.keys.revoke(key["id"])
            toast(f"{key['name']} is revoked.")
            await shown.look()

    with title("Settings"):
        pass
    settings_tabs(visit, "Keys")
    who = "Everybody's, and those of endpoints." if visit.may("admin") else "Yours."
    with section("Keys", who):
        shown = PageTurner(fetch, lambda items: _show(items, revoke))
    await shown.begin()
    await _form(visit, shown.look)


def _show(keys: list[dict[str, Any]], revoke: Revoke) -> None:
    if not keys:
        empty("None yet. Make one below for a program that is to work with this server.")
        return
    by_id = {str(key["id"]): key for key in keys}

    async def chosen(event: events.GenericEventArguments) -> None:
        if key := by_id.get(str(event.args)):
            await revoke(key)

    made = table(COLUMNS, [_row(key) for key in keys], name="Keys", page_rows=0)
    made.add_slot("body-cell-c8", LAST_CELL)
    made.add_slot("item", ON_NARROW.removesuffix("</dl>") + f"<dt></dt><dd>{REVOKE}</dd></dl>")
    made.on("revoke", chosen)


def _row(key: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: key[name] for name in ("id", "name", "owner", "scopes", "created")},
        "at": "anywhere" if key["endpoints"] is None else key["endpoints"],
        "limits": _limits(key),
        "expiry": when(key["expires"]) or "never",
        "state": "" if key["revoked"] is None else f"revoked {when(key['revoked'])}",
    }


def _limits(key: dict[str, Any]) -> str:
    rate = "" if key["rate"] is None else f"{key['rate']:g} a second"
    return ", ".join(filter(None, [rate, "" if key["concurrency"] is None else f"{key['concurrency']} at once"]))


async def _form(visit: Visit, on_made: Callable[[], Awaitable[None]]) -> None:
    is_admin = visit.may("admin")

    async def create() -> None:
        limits = {"days": days.value, "rate": rate.value, "concurrency": concurrency.value}
        given = {name: value for name, value in limits.items() if value is not None}
        if "concurrency" in given:
            given["concurrency"] = int(given["concurrency"])
        of = str(owner.value) if is_admin else None
        chosen = [*scopes.value], [*endpoints.value] or None
        made = await visit.ws.keys.create(str(name.value).strip(), chosen[0], user=of, endpoints=chosen[1], **given)
        await show_once(
            f"The key {made.name}", str(made.text), "It is shown this once. Send it as: Authorization: Bearer KEY"
        )
        name.value = ""
        await on_made()

    served = sorted(str(endpoint.name) for endpoint in await visit.ws.endpoints.list())
    owners = [user.name for user in await visit.ws.users.list()] if is_admin else [visit.user]
    with (
        section("A new key", "It never allows more than the role of its owner, and is shown once."),
        html.form().classes("bp-form bp-panel").on("submit.prevent", create),
    ):
        name = ui.input("What it is for").props("outlined dense")
        scopes = ui.select(SCOPE_WORDS, value=["infer"], label="Scopes", multiple=True).props("outlined dense")
        endpoints = ui.select(served, value=[], label="Only at these endpoints (none: all)", multiple=True)
        endpoints.props("outlined dense")
        owner = ui.select(owners, value=visit.user, label="Owner").props("outlined dense")
        owner.visible = is_admin
        days = ui.number("Days until it expires (empty: never)", min=0).props("outlined dense")
        rate = ui.number("Requests a second, at most (empty: no limit)", min=0).props("outlined dense")
        concurrency = ui.number("Requests open at once, at most (empty: no limit)", min=1, precision=0)
        concurrency.props("outlined dense")
        with html.div().classes("bp-actions"):
            html.button("Create the key", type="submit").classes("bp-button bp-primary")
