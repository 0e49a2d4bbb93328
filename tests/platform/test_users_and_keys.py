"""Users, what their roles allow, and keys: never more than their owner's role, and nothing once he is shut out."""

from __future__ import annotations

import itertools
import time

import pytest

from bedplate.database import Database
from bedplate.keys import KeyStore, digest
from bedplate.sessions import Links, SessionStore
from bedplate.users import ROLES, UserStore, permissions_of
from bedplate_registry.errors import Conflict, NotFound, Refused


@pytest.fixture
def users(database: Database) -> UserStore:
    return UserStore(database)


@pytest.fixture
def keys(database: Database) -> KeyStore:
    return KeyStore(database)


def test_each_role_allows_all_that_the_one_below_it_does() -> None:
    order = [ROLES[name] for name in ("viewer", "user", "operator", "admin")]
    assert all(lower < higher for lower, higher in itertools.pairwise(order))


@pytest.mark.parametrize(
    ("role", "scopes", "permissions"),
    [
        ("user", ["infer"], {"read", "infer"}),
        ("user", ["train", "batch"], {"read", "train", "batch"}),
        ("user", ["admin"], ROLES["user"]),
        ("operator", ["admin"], ROLES["operator"]),
        ("viewer", ["infer", "train"], {"read"}),
        ("admin", ["infer"], {"read", "infer"}),
    ],
)
def test_a_key_allows_what_its_scopes_and_the_role_of_its_owner_both_do(
    role: str, scopes: list[str], permissions: set[str]
) -> None:
    assert permissions_of(role, scopes) == permissions


def test_users_are_made_changed_and_listed_with_the_built_in_one_first(users: UserStore) -> None:
    users.create("ana", "user")
    users.create("zoe@bank.example", "viewer")
    assert [user.name for user in users.all()] == ["local", "ana", "zoe@bank.example"]
    assert users.change("ana", role="operator").role == "operator"
    assert users.change("ana", disabled=True).disabled
    assert users.get("ana").role == "operator"


@pytest.mark.parametrize("name", ["", "Ana", "../x", "a b", "-a", "a" * 64, "é", "a\n", "a'--", "a\0"])
def test_a_name_that_is_none_is_refused(users: UserStore, name: str) -> None:
    with pytest.raises(Refused) as caught:
        users.create(name, "user")
    assert caught.value.code == "bad-name"


def test_a_taken_name_an_unknown_role_and_the_built_in_user_are_refused(users: UserStore) -> None:
    users.create("ana", "user")
    for name in ("ana", "local", "me", "server"):
        with pytest.raises(Conflict, match="already"):
            users.create(name, "user")
    with pytest.raises(Refused, match="owner") as caught:
        users.create("bo", "owner")
    assert caught.value.code == "unknown-role"
    with pytest.raises(Conflict, match="built in"):
        users.change("local", role="viewer")
    with pytest.raises(NotFound):
        users.change("nobody", role="viewer")


def test_of_two_servers_in_a_row_the_second_one_knows_the_users_of_the_first(
    database: Database, users: UserStore
) -> None:
    users.create("ana", "user")
    assert UserStore(database).get("ana").role == "user"


def test_a_key_is_found_by_its_text_until_it_is_revoked_or_expires(
    keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, text = keys.create("ci", ["infer"], owner="ana", days=1)
    assert keys.find(text) == key
    assert text not in str(key) + str(key.to_json())
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * 86400)
    assert keys.find(text) is None
    monkeypatch.undo()
    keys.revoke(key.id)
    assert keys.find(text) is None


@pytest.mark.parametrize("text", ["", "'", '" OR 1=1 --', "a\0b", "é", "\ud800", "x" * 10_000, "bp_" + "a" * 43])
def test_a_text_that_is_no_key_finds_none(keys: KeyStore, text: str) -> None:
    keys.create("ci", ["infer"])
    assert keys.find(text) is None


@pytest.mark.parametrize(
    "bad",
    [
        {"scopes": []},
        {"scopes": ["root"]},
        {"name": " "},
        {"name": "a\nb"},
        {"name": "x" * 201},
        {"days": 0},
        {"days": float("nan")},
        {"days": 1e305},
        {"rate": -1},
        {"rate": 1e-300},
        {"rate": float("inf")},
        {"concurrency": 0},
        {"endpoints": []},
        {"endpoints": ["support"], "scopes": ["infer", "admin"]},
    ],
)
def test_a_value_that_no_key_may_have_is_refused(keys: KeyStore, bad: dict[str, object]) -> None:
    with pytest.raises(Refused):
        keys.create(**{"name": "k", "scopes": ["infer"], **bad})  # type: ignore[arg-type]
    assert keys.all() == []


def test_a_user_lists_and_revokes_keys_of_his_own_only(keys: KeyStore) -> None:
    mine, _ = keys.create("mine", ["infer"], owner="ana")
    other, _ = keys.create("other", ["infer"], owner="bo")
    slot, _ = keys.rotate("support", "primary")
    assert keys.all("ana") == [mine]
    for key in (other, slot):
        with pytest.raises(NotFound) as caught:
            keys.revoke(key.id, owner="ana")
        assert str(caught.value).replace(key.id, "x") == "There is no key 'x'."
    assert keys.revoke(mine.id, owner="ana").revoked is not None


def test_a_slot_holds_one_key_and_the_other_slot_stays_while_it_is_changed(keys: KeyStore) -> None:
    _, first = keys.rotate("support", "primary")
    _, other = keys.rotate("support", "secondary")
    _, second = keys.rotate("support", "primary")
    assert keys.find(first) is None
    assert keys.find(second) and keys.find(other)
    assert [key.slot for key in keys.of_endpoint("support")] == ["primary", "secondary"]
    with pytest.raises(Refused, match="third"):
        keys.rotate("support", "third")


def test_the_keys_of_an_endpoint_end_with_it_and_those_of_users_stay(keys: KeyStore) -> None:
    _, slot = keys.rotate("support", "primary")
    _, limited = keys.create("k", ["infer"], owner="ana", endpoints=["support", "other"])
    _, elsewhere = keys.rotate("other", "primary")
    keys.drop_endpoint("support")
    assert keys.find(slot) is None
    assert keys.find(limited) and keys.find(elsewhere)


def test_the_gateway_is_told_what_the_owner_s_role_allows_today(keys: KeyStore, users: UserStore) -> None:
    users.create("ana", "user")
    _, text = keys.create("k", ["infer"], owner="ana", rate=5, concurrency=2)
    _, trains = keys.create("k", ["train"], owner="ana")
    _, gone = keys.create("k", ["admin"], owner="nobody")
    _, slot = keys.rotate("support", "primary")

    def told(key: str) -> dict[str, object] | None:
        return keys.for_gateway(users.find).get(digest(key))

    mine = told(text)
    assert mine is not None
    assert (mine["scopes"], mine["rate"], mine["concurrency"], mine["endpoints"]) == (["infer"], 5, 2, None)
    assert (told(trains) or {})["scopes"] == []
    assert told(gone) is None
    users.change("ana", role="viewer")
    assert (told(text) or {})["scopes"] == []
    users.change("ana", role="user", disabled=True)
    assert told(text) is None
    assert (told(slot) or {})["endpoints"] == ["support"]


def test_a_session_lasts_its_hours_and_is_kept_as_a_digest(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = SessionStore(database, hours=1)
    text = sessions.create("ana")
    session = sessions.find(text)
    assert session is not None and session.owner == "ana"
    assert text not in str(session) and session.csrf_token not in repr(session)
    assert sessions.find(text + "x") is None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    assert sessions.find(text) is None
    monkeypatch.undo()
    sessions.end_all("bo")
    assert sessions.find(text) is not None
    sessions.end_all("ana")
    assert sessions.find(text) is None


def test_a_link_begins_one_session_within_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    links = Links()
    code, late = links.create("ana"), links.create("bo")
    assert links.take("x" + code) is None
    assert links.take(code) == ("ana", None)
    assert links.take(code) is None
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 601)
    assert links.take(late) is None


def test_links_that_nobody_uses_do_not_fill_the_memory() -> None:
    links = Links()
    other = links.create("bo", "key-1")
    codes = [links.create("ana") for _ in range(15)]
    assert links.take(codes[4]) is None
    assert links.take(codes[5]) and links.take(codes[-1])
    assert links.take(other) == ("bo", "key-1")


def test_the_links_of_a_user_who_is_shut_out_end() -> None:
    links = Links()
    mine, other = links.create("ana"), links.create("bo")
    links.end_all("ana")
    assert (links.take(mine), links.take(other)) == (None, ("bo", None))
