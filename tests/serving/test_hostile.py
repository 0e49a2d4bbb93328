"""What nobody means well by: each gets a 4xx with a stable code, and learns nothing of where or how the server runs."""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import string
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

SOCKET_HEADERS = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
)


@pytest.fixture(scope="module")
def house(floor: Any) -> Any:
    """A gateway with one endpoint whose replica is gone, and a control plane that says what reached it."""
    floor.control()
    floor.gateway.deployments = {"blue": (100, [SimpleNamespace(socket=floor.folder / "gone.sock")])}
    floor.gateway.route(floor.gateway.deployments)
    return floor.gateway


class Answer:
    """One answer as it came over the socket; of a body, what its head promises."""

    def __init__(self, stream: Any) -> None:
        lines = [line.decode("latin-1").strip().lower() for line in iter(stream.readline, b"\r\n")]
        headers = dict(line.split(": ", 1) for line in lines[1:])
        self.status = int(lines[0].split(" ")[1])
        self.body = stream.read(int(headers.get("content-length", 0)))
        self.is_problem = headers.get("content-type") == "application/problem+json"

    @property
    def code(self) -> str | None:
        return json.loads(self.body)["code"] if self.is_problem else None


def send(url: str, request: bytes) -> Answer:
    """Exactly these bytes, which no client library would send."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection, connection.makefile("rb") as stream:
        connection.sendall(request)
        return Answer(stream)


def request(target: bytes = b"/x", *headers: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", *headers, b"", b""])


def tells_nothing(text: str) -> None:
    assert not re.search(r"Traceback|File \"|/home|/tmp|\.py|site-packages|control\.sock", text), text


# --- Host


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b"Host:"],
        [b"Host: 127.0.0.1", b"Host: 127.0.0.1"],
        [b"Host: 127.0.0.1", b"Host: evil.example"],
        [b"Host: evil.example"],
        [b"Host: localhost.evil.example"],
        [b"Host: evil.example:8686"],
        [b"Host: 127.0.0.1/x"],
        [b"Host: 127.0.0.1?x"],
        [b"Host: 127.0.0.1#x"],
        [b"Host: evil.example@127.0.0.1"],
        [b"Host: 127.0.0.1@evil.example"],
        [b"Host: 127.0.0.1\\.evil.example"],
        [b"Host: 127.0.0.1 evil.example"],
        [b"Host: 127.0.0.1,evil.example"],
        [b"Host: 127.0.0.1:86:86"],
        [b"Host: 127.0.0.1:port"],
        [b"Host: [127.0.0.1]x"],
        [b"Host: [::1"],
        [b"Host: [::g]"],
        [b"Host: 127.1.evil"],
        [b"Host: l\xf6calhost"],
        [b"Host: " + b"a" * 300],
        [b"X-Forwarded-Host: 127.0.0.1", b"Host: evil.example"],
    ],
)
@pytest.mark.parametrize("target", [b"/x", b"/gateway/livez", b"/endpoints/support/info"])
def test_a_host_that_is_not_ours_is_refused_before_anything_else(
    house: Any, target: bytes, headers: list[bytes]
) -> None:
    answer = send(house.url, request(target, *headers))
    assert (answer.status, answer.code) == (400, "bad-host")
    tells_nothing(answer.body.decode())


def test_a_target_that_names_a_host_is_refused_whatever_the_header_says(house: Any) -> None:
    own = house.url.encode()
    for target in (b"http://evil.example/x", own + b"/x", b"HTTP://127.0.0.1/x", b"http:///x", b"https://x@y/x"):
        answer = send(house.url, request(target, b"Host: 127.0.0.1"))
        assert answer.status == 400, target
        assert answer.code in ("bad-host", "bad-request"), target
    for upgrade in (b"http://evil.example/ws", own + b"/ws"):
        answer = send(house.url, request(upgrade, b"Host: 127.0.0.1", SOCKET_HEADERS))
        assert (answer.status, answer.code) == (400, "bad-host")


def test_our_own_names_are_let_in_and_what_else_the_snapshot_says(house: Any) -> None:
    def status(host: bytes) -> int:
        return send(house.url, request(b"/x", b"Host: " + host)).status

    assert {status(host) for host in (b"127.0.0.1", b"localhost:1", b"LocalHost", b"[::1]:8686", b"10.1.2.3")} == {200}
    house.route(house.deployments, hosts=["gpu01.lan"], any_address=False)
    assert {status(host) for host in (b"gpu01.lan", b"GPU01.lan:8686")} == {200}
    assert {status(host) for host in (b"127.0.0.1", b"localhost", b"10.1.2.3", b"gpu01.lan.")} == {400}
    house.route(house.deployments, hosts=["gpu01.lan"], any_address=True)
    assert {status(host) for host in (b"gpu01.lan", b"10.1.2.3", b"[fe80::1]:1")} == {200}
    assert status(b"gpu02.lan") == 400
    house.route(house.deployments)


# --- Origin


FOREIGN = [b"http://evil.example", b"null", b"http://127.0.0.1", b"http://127.0.0.1:1", b"https://%s", b"file://", b""]


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE"])
@pytest.mark.parametrize("target", [b"/api/v1/jobs", b"/endpoints/support"])
@pytest.mark.parametrize("origin", FOREIGN)
def test_a_page_of_another_site_changes_nothing(house: Any, method: bytes, target: bytes, origin: bytes) -> None:
    host = house.url.removeprefix("http://").encode()
    origin = origin.replace(b"%s", host)
    answer = send(house.url, request(target, b"Host: " + host, b"Origin: " + origin, method=method))
    assert (answer.status, answer.code) == (403, "bad-origin")
    tells_nothing(answer.body.decode())


@pytest.mark.parametrize("origin", [*FOREIGN, b"ws://%s"])
def test_a_page_of_another_site_opens_no_websocket(house: Any, origin: bytes) -> None:
    host = house.url.removeprefix("http://").encode()
    headers = [b"Host: " + host, b"Origin: " + origin.replace(b"%s", host), SOCKET_HEADERS]
    answer = send(house.url, request(b"/ws", *headers))
    assert (answer.status, answer.code) == (403, "bad-origin")


def test_our_own_pages_and_those_that_are_allowed_may(house: Any) -> None:
    host = house.url.removeprefix("http://").encode()

    def status(*headers: bytes) -> int:
        return send(house.url, request(b"/x", b"Host: " + host, *headers, method=b"POST")).status

    assert status(b"Origin: http://" + host) == 200
    assert status() == 200  # a program
    assert send(house.url, request(b"/x", b"Host: " + host, b"Origin: null")).status == 200  # a GET changes nothing
    assert status(b"Origin: http://" + host, b"Origin: http://" + host) == 403
    house.route(house.deployments, hosts=["127.0.0.1"], origins=["https://studio.lan:8443"])
    assert status(b"Origin: https://Studio.lan:8443") == 200
    assert status(b"Origin: https://studio.lan") == 403
    house.route(house.deployments)


# --- headers that are there twice


@pytest.mark.parametrize("name", [b"Authorization", b"X-CSRF-Token", b"Content-Type"])
@pytest.mark.parametrize("target", [b"/x", b"/endpoints/support"])
def test_of_two_headers_that_decide_none_is_chosen(house: Any, target: bytes, name: bytes) -> None:
    twice = [name + b": Bearer a", name.lower() + b": Bearer b"]
    answer = send(house.url, request(target, b"Host: 127.0.0.1", *twice, b"Content-Length: 0", method=b"POST"))
    assert (answer.status, answer.code) == (400, "bad-request")
    assert name.decode().lower() in answer.body.decode()
    if target == b"/x":
        once = request(target, b"Host: 127.0.0.1", twice[0], b"Cookie: a=1", b"Cookie: b=2", b"Content-Length: 0")
        assert send(house.url, once).status == 200


# --- bodies


def test_a_body_that_is_packed_is_refused_however_it_says_so(house: Any, floor: Any) -> None:
    for path in ("/endpoints/support", "/api/v1/jobs"):
        for encoding in ("gzip", "br", "x-anything", "identity, gzip"):
            headers = floor.authorization | {"Content-Encoding": encoding}
            answer = httpx.post(house.url + path, headers=headers, content=b"x")
            assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-encoding")
    assert httpx.post(f"{house.url}/x", headers={"Content-Encoding": "identity"}, content=b"x").status_code == 200
    head = (b"Host: 127.0.0.1", b"Transfer-Encoding: gzip, chunked")
    answer = send(house.url, request(b"/x", *head, method=b"POST") + b"0\r\n\r\n")
    assert (answer.status, answer.code) == (415, "unsupported-encoding")
    assert house.own_user("/endpoints/support", "POST", headers={"Content-Encoding": "gzip"}).status_code == 415


def test_a_body_that_is_too_large_is_refused_by_what_it_says_and_by_what_it_is(house: Any, floor: Any) -> None:
    head = [b"Host: 127.0.0.1", b"Authorization: Bearer " + floor.key.encode()]
    for stated in (b"1000001", b"99999999999999"):
        answer = send(house.url, request(b"/endpoints/support", *head, b"Content-Length: " + stated, method=b"POST"))
        assert (answer.status, answer.code) == (413, "body-too-large")
    chunk = b"186a0\r\n" + b"x" * 100_000 + b"\r\n"
    chunked = request(b"/endpoints/support", *head, b"Transfer-Encoding: chunked", method=b"POST") + chunk * 11
    answer = send(house.url, chunked)  # and no end: it is not waited for
    assert (answer.status, answer.code) == (413, "body-too-large")


@pytest.mark.parametrize(
    "framing",
    [
        [b"Content-Length: -1"],
        [b"Content-Length: 1e3"],
        [b"Content-Length: 99999999999999999999999999"],
        [b"Content-Length: 3", b"Content-Length: 4"],
        [b"Content-Length: 3", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked, gzip"],
        [b"Transfer-Encoding : chunked"],
        [b"Bad Header: x"],
        [b"X-Nul: a\0b"],
        [b" folded: x"],
    ],
)
def test_framing_that_two_servers_could_read_differently_is_refused(house: Any, framing: list[bytes]) -> None:
    answer = send(house.url, request(b"/x", b"Host: 127.0.0.1", *framing, method=b"POST") + b"abc")
    assert answer.status in (400, 415)
    assert answer.code in ("bad-request", "unsupported-encoding")
    tells_nothing(answer.body.decode())


# --- keys


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        (b"'; drop table keys; --", 401, "unauthorized"),
        (b'"', 401, "unauthorized"),
        (b"", 401, "unauthorized"),
        (b"bp_" + b"x" * 10_000, 401, "unauthorized"),
        ("bp_schlüssel".encode(), 401, "unauthorized"),
        (b"bp_\xff\xfe", 401, "unauthorized"),
        (b"bp_\0", 400, "bad-request"),
        (b"x" * 70_000, 431, "head-too-large"),
    ],
)
def test_keys_that_nobody_made_are_refused_alike(house: Any, key: bytes, status: int, code: str) -> None:
    head = (b"Host: 127.0.0.1", b"Authorization: Bearer " + key, b"Content-Length: 0")
    answer = send(house.url, request(b"/endpoints/support", *head, method=b"POST"))
    assert (answer.status, answer.code) == (status, code)
    tells_nothing(answer.body.decode())
    assert key not in answer.body or not key.strip(b'"')


def test_names_in_headers_come_back_cut_and_as_text(house: Any, floor: Any) -> None:
    headers = floor.authorization | {"X-Bedplate-Deployment": '<script>"' + "x" * 5000, "X-Request-Id": "a b"}
    answer = httpx.post(f"{house.url}/endpoints/support", headers=headers, json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "no-deployment")
    assert len(answer.text) < 2000
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.headers["x-request-id"]) == 32


# --- names without end


async def _ask(host: str, port: int, requests: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    for one in requests:
        writer.write(one)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
    writer.close()
    await writer.wait_closed()


def test_ten_thousand_random_paths_are_counted_under_one_name(house: Any, floor: Any) -> None:
    chance = random.Random(7)

    def path() -> str:
        return "".join(chance.choices(string.ascii_letters + string.digits + "._~-%25", k=chance.randint(1, 60)))

    def one(key: str) -> bytes:
        shape = chance.choice(("POST /endpoints/{}", "POST /endpoints/{}/score", "GET /endpoints/{}/info"))
        line = shape.format(path().replace("%", "%25"))
        return (
            f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nContent-Length: 0\r\n\r\n".encode()
        )

    async def all_of_them() -> None:
        host, port = house.url.removeprefix("http://").split(":")
        parts = [[one(floor.key if i % 2 else path().replace("%", "")) for i in range(2500)] for _ in range(4)]
        await asyncio.gather(*(_ask(host, int(port), part) for part in parts))

    def series() -> set[str]:
        lines = house.own_user("/gateway/metrics").text.splitlines()
        return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}

    asyncio.run(all_of_them())
    seen = series()
    assert {name for name in seen if "requests_total" in name} >= {
        'bedplate_scoring_requests_total{endpoint="",status="401"}',
        'bedplate_scoring_requests_total{endpoint="",status="404"}',
    }
    assert len(seen) < 100
    asyncio.run(all_of_them())
    assert series() == seen


# --- models by their names


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad-json"),
        (b"{", 400, "bad-json"),
        (b"[" * 100_000, 400, "bad-json"),
        (b'{"model": "\\ud800"}', 400, "bad-json"),
        (b"[]", 422, "missing-field"),
        (b"{}", 422, "missing-field"),
        (b'{"model": null}', 422, "missing-field"),
        (b'{"model": ["support"]}', 422, "missing-field"),
        (b'{"model": ""}', 422, "missing-field"),
        (b'{"model": "../support"}', 404, "model_not_found"),
        (b'{"model": "support?x=1#y"}', 404, "model_not_found"),
        (b'{"model": "' + b"x" * 50_000 + b'"}', 404, "model_not_found"),
        (b'{"model": "support"}', 503, "no-replica"),
    ],
)
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/completions"])
def test_a_model_that_no_body_can_mean_is_refused_as_openais_client_reads_it(
    house: Any, floor: Any, path: bytes, body: bytes, status: int, code: str
) -> None:
    head = (b"Host: 127.0.0.1", b"Authorization: Bearer " + floor.key.encode())
    answer = send(house.url, request(path, *head, b"Content-Length: %d" % len(body), method=b"POST") + body)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert len(answer.body) < 1000
    tells_nothing(answer.body.decode())


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/models/support%2F..%2Fx/infer",
        b"/v2/models//infer",
        b"/v2/models/support/versions/a%2Fb/infer",
        b"/v2/models/support/versions/" + b"1" * 65 + b"/infer",
        b"/v2/models/" + b"x" * 201 + b"/infer",
        b"/v2/repository/index",
        b"/v1/../endpoints/support",
        b"/v1/models/support",
    ],
)
def test_a_path_of_a_model_that_is_none_ends_at_the_gateway(house: Any, floor: Any, target: bytes) -> None:
    head = (b"Host: 127.0.0.1", b"Authorization: Bearer " + floor.key.encode(), b"Content-Length: 0")
    answer = send(house.url, request(target, *head, method=b"POST"))
    assert answer.status == (405 if target == b"/v1/models/support" else 404)
    tells_nothing(answer.body.decode())
    assert send(house.url, request(target, b"Host: 127.0.0.1", b"Content-Length: 0", method=b"POST")).status == 401


def test_what_the_gateway_says_of_itself_needs_a_key_as_well(house: Any, floor: Any) -> None:
    for path in ("/v1/models", "/v2", "/v2/health/live", "/v2/health/ready"):
        assert httpx.get(house.url + path).status_code == 401
        assert httpx.get(house.url + path, headers=floor.authorization).status_code == 200
        assert house.own_user(path).status_code == 200
    assert "error" in httpx.get(f"{house.url}/v1/models").json()
