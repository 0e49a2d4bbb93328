"""What the server tells of itself: its licenses lists, what works on its machine, and the audit log by action."""

from __future__ import annotations

from rest_server import rest_server


def test_the_license_lists_come_with_the_variables_that_set_them() -> None:
    with rest_server(BEDPLATE_LICENSE_DENY="cc-by-nc-*,unknown", BEDPLATE_LICENSE_ASK="llama3") as rest:
        found = rest.call("GET", "/api/v1/server/licenses", user="ana").json()
    assert (found["allow"], found["ask"], found["deny"]) == ([], ["llama3"], ["cc-by-nc-*", "unknown"])
    assert found["set_by"]["deny"] == "BEDPLATE_LICENSE_DENY"


def test_an_operator_has_the_machine_examined_and_a_user_has_not() -> None:
    with rest_server(BEDPLATE_OFFLINE="1") as rest:
        assert rest.call("GET", "/api/v1/server/doctor", user="ana").status_code == 403
        found = {row["check"]: row for row in rest.call("GET", "/api/v1/server/doctor", user="olga").json()["items"]}
    assert found["hub"]["detail"] == "not asked: offline"
    assert {"python", "home", "torch", "database", "audit"} <= set(found)
    assert all(row["remedy"] for row in found.values() if row["status"] != "ok")


def test_audit_entries_are_found_by_what_their_action_holds() -> None:
    with rest_server() as rest:
        for name in ("bo", "cy"):
            assert rest.call("POST", "/api/v1/users", json={"name": name}).status_code == 201
        rest.call("PATCH", "/api/v1/users/bo", json={"role": "viewer"})
        asked = rest.call("GET", "/api/v1/audit", params={"action": "post /api/v1/USERS", "limit": 1}).json()
        rest_of = rest.call(
            "GET", "/api/v1/audit", params={"action": "post /api/v1/USERS", "after": asked["next"]}
        ).json()
        assert rest.call("GET", "/api/v1/audit", params={"action": "100%"}).json()["items"] == []
    assert [entry["detail"]["user"] for entry in (*asked["items"], *rest_of["items"])] == ["cy", "bo"]
