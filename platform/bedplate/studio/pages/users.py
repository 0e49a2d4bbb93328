"""Users: who may sign in, and what their role lets them do. Each one has a page."""

from __future__ import annotations

from nicegui import html, ui

from bedplate.studio.frame import page
from bedplate.studio.parts.dialogs import show_once
from bedplate.studio.parts.facts import facts
from bedplate.studio.parts.headings import action, section, title
from bedplate.studio.parts.notices import hint, toast
from bedplate.studio.parts.settings_tabs import settings_tabs
from bedplate.studio.parts.tables import Column, table, when
from bedplate.studio.paths import go, place
from bedplate.studio.visit import Visit
from bedplate.users import LOCAL, ROLES

COLUMNS = (
    Column("name", "Name", link="url"),
    Column("role", "Role"),
    Column("state", "State", "state"),
    Column("created", "Created", "time"),
)
ROLE_WORDS = {
    "viewer": "viewer: looks at what is the team's",
    "user": "user: also imports, trains, evaluates, scores; sees jobs of its own",
    "operator": "operator: also deploys, sets aliases, sees everybody's jobs",
    "admin": "admin: also users, keys and the audit log",
}
assert ROLE_WORDS.keys() == ROLES.keys()


@page("/settings/users", "Users", section="Settings")
async def users(visit: Visit) -> None:
    """All of them, and a form for another one."""

    async def create() -> None:
        made = await visit.ws.users.create(str(name.value).strip(), role=str(role.value))
        go("settings", "users", made.name)

    with title("Settings"):
        pass
    settings_tabs(visit, "Users")
    found = await visit.ws.users.list()
    rows = [
        {**user.data, "state": _state(user.disabled), "url": place("settings", "users", user.name)} for user in found
    ]
    for row in rows:
        row["created"] = row["created"] or None  # the built-in one was never made
    table(COLUMNS, rows, name="Users")
    with (
        section("A new user", "There are no passwords: give a link that signs a browser in, or a key."),
        html.form().classes("bp-form bp-panel").on("submit.prevent", create),
    ):
        name = ui.input("Name").props('outlined dense hint="Lower-case letters, digits and . _ @ -"')
        role = ui.select(ROLE_WORDS, value="user", label="Role").props("outlined dense")
        with html.div().classes("bp-actions"):
            html.button("Create", type="submit").classes("bp-button bp-primary")


@page("/settings/users/{name}", "User {name}", section="Settings")
async def user(visit: Visit, name: str) -> None:
    """One of them: another role, shut out or let in again, a link that signs a browser in."""
    found = await visit.ws.users.get(name)
    built_in = "it is built in: whoever owns this home" if name == LOCAL.name else ""

    async def give_role(role: str) -> None:
        await found.change(role=role)
        toast(f"{name} is {role} now, at once and for keys and sessions too.")
        go("settings", "users", name)

    async def turn() -> None:
        await found.change(disabled=not found.disabled)
        go("settings", "users", name)

    async def link() -> None:
        made = await visit.ws.users.link(name)
        about = "It signs one browser in, once and within ten minutes. Give it to nobody but its user."
        await show_once(f"A link for {name}", str(made["url"]), about)

    with title(name, "What is changed here acts at once, for keys and sessions too."):
        action("Sign-in link", link, why_not="the user is disabled" if found.disabled else "")
        word = "Let in again" if found.disabled else "Disable"
        action(word, turn, danger=not found.disabled, why_not=built_in)
    settings_tabs(visit, "Users")
    with html.div().classes("bp-panel"):
        facts(
            (
                ("Role", found.role),
                ("State", _state(found.disabled)),
                ("Created", when(found.created or None)),
                ("May", ", ".join(sorted(found.permissions))),
            )
        )
    with section("Role"):
        if built_in:
            hint(f"It stays as it is: {built_in}.")
            return
        choice = ui.select(ROLE_WORDS, value=found.role, label="Role").props("outlined dense").classes("bp-form")
        choice.on_value_change(lambda: give_role(str(choice.value)))


def _state(disabled: bool) -> str:
    return "disabled" if disabled else "active"
