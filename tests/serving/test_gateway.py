"""The gateway as a real process, before real replicas and a stand-in control plane."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError


@pytest.fixture(scope="module")
def running(floor: Any, tiny: Path) -> Any:
    """A gateway, a control plane and two deployments of one model: blue with all traffic, green with none."""
    blue, green = floor.pair(tiny)
    floor.control()
    floor.gateway.deployments = {"blue": (100, [blue]), "green": (0, [green])}
    return floor.gateway


@pytest.fixture
def house(running: Any) -> Any:
    """The same for each test, whatever routes the one before it left."""
    running.route(running.deployments)
    return running


def rewrite(house: Any, **changes: Any) -> None:
    """Changes the snapshot in force, without waiting for the gateway to take it."""
    path = house.folder / "routes.json"
    house.generation += 1
    document = json.loads(path.read_text()) | changes | {"generation": house.generation}
    path.with_suffix(".tmp").write_text(json.dumps(document))
    path.with_suffix(".tmp").replace(path)


def post(house: Any, headers: dict[str, str], path: str = "", **body: Any) -> httpx.Response:
    return httpx.post(
        f"{house.url}/endpoints/support{path}", headers=headers, json=body or {"inputs": "hi"}, timeout=30
    )


# --- the released client


def test_the_hubs_own_client_gets_typed_answers(house: Any, floor: Any) -> None:
    client = InferenceClient(model=f"{house.url}/endpoints/support", token=floor.key)
    answer = client.text_classification("my card is lost")
    assert [one.label for one in answer] and {one.label for one in answer} == {"negative", "neutral", "positive"}
    assert sum(one.score for one in answer) == pytest.approx(1.0)
    assert len(client.text_classification("my card is lost", top_k=2)) == 2
    raw = client.text_classification("my card is lost", function_to_apply="none")
    assert sum(one.score for one in raw) != pytest.approx(1.0)


def test_the_hubs_own_client_sees_the_reason_of_an_error(house: Any, floor: Any) -> None:
    client = InferenceClient(model=f"{house.url}/endpoints/support", token=floor.key)
    with pytest.raises(HfHubHTTPError) as caught:
        client.text_classification("")
    assert caught.value.response.status_code == 422
    assert caught.value.response.json()["errors"] == [{"index": 0, "message": "text is empty"}]
    with pytest.raises(HfHubHTTPError) as caught:
        InferenceClient(model=f"{house.url}/endpoints/support", token="wrong").text_classification("hi")
    assert caught.value.response.status_code == 401


def test_a_flat_answer_would_be_noticed_by_these_tests(house: Any) -> None:
    """The client takes a wrongly shaped answer without an error; only the number of labels tells."""
    from huggingface_hub import TextClassificationOutputElement

    flat = [{"label": "negative", "score": 0.6}, {"label": "positive", "score": 0.4}]
    parsed = TextClassificationOutputElement.parse_obj_as_list(flat)[0]
    assert not isinstance(parsed, list)


def test_azures_callers_are_served_on_score_with_their_deployment_header(house: Any, floor: Any) -> None:
    headers = floor.authorization | {"azureml-model-deployment": "green"}
    response = post(house, headers, "/score", input_data=["a", "b"], params={})
    assert [set(one) for one in response.json()] == [{"label", "score"}] * 2
    assert response.headers["x-bedplate-deployment"] == "green"


def test_health_and_info_of_an_endpoint_are_the_replicas(house: Any, floor: Any) -> None:
    url = f"{house.url}/endpoints/support"
    assert httpx.get(f"{url}/health", headers=floor.authorization).json() == {"status": "ready"}
    assert httpx.get(f"{url}/info", headers=floor.authorization).json()["endpoint"] == "support"
    assert httpx.get(f"{url}/health").status_code == 401


# --- keys, deployments, limits


def test_keys_open_what_they_are_for_and_nothing_else(house: Any, floor: Any) -> None:
    keys = {
        floor.digest("infer"): floor.key_entry(id="infer"),
        floor.digest("admin"): floor.key_entry(id="admin", scopes=["admin"]),
        floor.digest("train"): floor.key_entry(id="train", scopes=["train", "batch"]),
        floor.digest("other"): floor.key_entry(id="other", endpoints=["another"]),
        floor.digest("this"): floor.key_entry(id="this", endpoints=["support"]),
        floor.digest("old"): floor.key_entry(id="old", expires=time.time() - 1),
        floor.digest("new"): floor.key_entry(id="new", expires=time.time() + 60),
    }
    house.route(house.deployments, keys=keys)
    got = {
        key: post(house, {"Authorization": f"Bearer {key}"}).status_code
        for key in ("infer", "admin", "train", "other", "this", "old", "new", "unknown")
    }
    assert got == {
        "infer": 200,
        "admin": 200,
        "this": 200,
        "new": 200,
        "train": 403,
        "other": 403,
        "old": 401,
        "unknown": 401,
    }
    assert post(house, {}).status_code == 401
    assert post(house, {"Authorization": "Basic infer"}).status_code == 401
    assert post(house, {"Authorization": "bearer infer"}).status_code == 200
    refused = post(house, {})
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["code"] == "unauthorized"


def test_a_key_is_revoked_within_a_fifth_of_a_second(house: Any, floor: Any) -> None:
    assert post(house, floor.authorization).status_code == 200
    rewrite(house, keys={})
    time.sleep(0.25)
    assert post(house, floor.authorization).status_code == 401


def test_a_broken_snapshot_leaves_the_old_one_in_force(house: Any, floor: Any) -> None:
    path = house.folder / "routes.json"
    for text in ('{"generation": 99, "endpo', "[]", '{"generation": 99, "keys": {"x": 1}}'):
        path.with_suffix(".tmp").write_text(text)
        path.with_suffix(".tmp").replace(path)
        time.sleep(0.25)
        assert post(house, floor.authorization).status_code == 200
    house.route(house.deployments)
    assert "keeping the old" in house.process.text


def test_a_deployment_is_chosen_by_header_or_by_traffic(house: Any, floor: Any) -> None:
    assert {post(house, floor.authorization).headers["x-bedplate-deployment"] for _ in range(20)} == {"blue"}
    chosen = post(house, floor.authorization | {"X-Bedplate-Deployment": "green"})
    assert chosen.headers["x-bedplate-deployment"] == "green"
    unknown = post(house, floor.authorization | {"X-Bedplate-Deployment": "red"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "no-deployment")
    (_, blue), (_, green) = house.deployments["blue"], house.deployments["green"]
    house.route({"blue": (50, blue), "green": (50, green)})
    assert {post(house, floor.authorization).headers["x-bedplate-deployment"] for _ in range(40)} == {"blue", "green"}
    house.route({"blue": (100, []), "green": (1, green)})
    assert post(house, floor.authorization).headers["x-bedplate-deployment"] == "green"
    house.route({"blue": (0, blue)})
    idle = post(house, floor.authorization)
    assert (idle.status_code, idle.json()["code"]) == (503, "no-replica")
    assert idle.headers["retry-after"]


def test_an_unknown_endpoint_is_a_404_and_only_for_those_who_may_know(house: Any, floor: Any) -> None:
    url = f"{house.url}/endpoints/nothing"
    assert httpx.post(url, json={"inputs": "a"}).status_code == 401
    response = httpx.post(url, json={"inputs": "a"}, headers=floor.authorization)
    assert (response.status_code, response.json()["code"]) == (404, "no-endpoint")


@pytest.mark.parametrize("is_the_callers", [True, False])
def test_a_replica_that_says_nothing_is_waited_for_as_long_as_the_request_may_take(
    house: Any, floor: Any, is_the_callers: bool
) -> None:
    """By its caller, or else by its deployment."""
    path = floor.folder / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        house.route({"blue": (100, [SimpleNamespace(socket=path)])})
        if not is_the_callers:
            deployment = {"model": "a:1", "traffic": 100, "replicas": [{"id": "r", "socket": str(path)}]}
            deployment["request_timeout_seconds"] = 0.1
            rewrite(house, endpoints={"support": {"deployments": {"blue": deployment}}})
            floor.until(lambda: house.own_user("/gateway/livez").json()["generation"] == house.generation, 5)
        late = post(house, floor.authorization | ({"X-Bedplate-Timeout": "0.1"} if is_the_callers else {}))
    path.unlink()
    assert (late.status_code, late.json()["code"]) == (504, "replica-timeout")


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf", ""])
def test_a_time_that_is_none_is_refused(house: Any, floor: Any, given: str) -> None:
    answer = post(house, floor.authorization | {"X-Bedplate-Timeout": given})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-timeout")
    assert repr(given) in answer.json()["detail"]


def test_a_body_beyond_the_snapshots_limit_is_a_413(house: Any, floor: Any) -> None:
    url = f"{house.url}/endpoints/support"
    big = httpx.post(url, content=b"x" * 1_000_001, headers=floor.authorization)
    assert (big.status_code, big.json()["code"]) == (413, "body-too-large")
    streamed = httpx.post(url, content=iter([b"x" * 100_000] * 11), headers=floor.authorization)
    assert streamed.status_code == 413


def test_the_replicas_errors_pass_through_unchanged(house: Any, floor: Any) -> None:
    response = post(house, floor.authorization, inputs=["fine", ""])
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["errors"] == [{"index": 1, "message": "text is empty"}]
    assert post(house, floor.authorization, inputs="long " * 100).headers["x-bedplate-truncated"] == "0"


def test_a_request_keeps_its_id_and_gets_one_where_it_has_none(house: Any, floor: Any) -> None:
    given = post(house, floor.authorization | {"X-Request-Id": "abc-1"})
    assert given.headers.get_list("x-request-id") == ["abc-1"]
    assert len(post(house, floor.authorization).headers["x-request-id"]) == 32
    assert len(post(house, {}).headers["x-request-id"]) == 32
    too_long = post(house, floor.authorization | {"X-Request-Id": "x" * 500})
    assert len(too_long.headers["x-request-id"]) == 32


def test_errors_name_their_request_and_have_the_words_of_inference_clients_where_those_call(
    house: Any, floor: Any
) -> None:
    def document(method: str, path: str, **headers: str) -> dict[str, Any]:
        answer = httpx.request(method, house.url + path, headers={"X-Request-Id": "r-1", **headers}, json={})
        assert answer.status_code >= 400
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.json()

    plain = {"type", "title", "status", "code", "detail", "hint", "request_id"}
    for scoring in (
        document("POST", "/endpoints/support"),  # no key
        document("POST", "/endpoints/support", Host="evil.example"),
        document("POST", "/endpoints/support", **floor.authorization),  # the replica's answer
        document("POST", "/endpoints/nothing/score", **floor.authorization),
        document("POST", "/endpoints/support/x", **{"Content-Encoding": "gzip"}),
        house.own_user("/endpoints/nothing", "POST", json={}, headers={"X-Request-Id": "r-1"}).json(),
    ):
        assert set(scoring) >= plain | {"error", "error_type"}
        assert (scoring["type"], scoring["request_id"]) == ("about:blank", "r-1")
    for other in (
        document("GET", "/api/v1/jobs", Host="evil.example"),
        document("POST", "/api/v1/jobs", Origin="http://evil.example"),
        house.own_user("/api/v1/jobs", headers={"X-Request-Id": "r-1"}).json(),
    ):
        assert set(other) == plain
        assert (other["type"], other["request_id"]) == ("about:blank", "r-1")


def test_headers_beyond_the_limit_are_refused_while_they_arrive(house: Any) -> None:
    host, port = house.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-big: ")
        answer = b""
        try:
            for _ in range(200):
                connection.sendall(b"a" * 10_000)
                time.sleep(0.001)
            answer = connection.recv(1000)
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert answer == b"" or b" 431 " in answer
    assert httpx.get(f"{house.url}/gateway/livez").status_code == 200


# --- the way to the control plane


def test_everything_else_reaches_the_control_plane_byte_by_byte(house: Any) -> None:
    response = httpx.request(
        "PATCH",
        f"{house.url}/api/v1/models/a%2Fb%20c?q=%20x&q=y",
        content=b"body",
        headers={"Connection": "close, x-private", "X-Private": "1", "X-Mine": "2", "TE": "trailers"},
    )
    seen = response.json()
    assert seen["method"] == "PATCH"
    assert seen["raw_path"] == "/api/v1/models/a%2Fb%20c"
    assert seen["query"] == "q=%20x&q=y"
    assert seen["body"] == "body"
    headers = dict(map(tuple, seen["headers"]))
    assert headers["x-mine"] == "2"
    assert headers["host"] == house.url.removeprefix("http://")
    assert not {"x-private", "te"} & set(headers)
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_the_gateways_mark_cannot_be_sent_by_a_client(house: Any) -> None:
    response = httpx.get(f"{house.url}/x", headers=[("X-Bedplate-Forwarded", "me"), ("x-bedplate-forwarded", "you")])
    marks = [value for key, value in response.json()["headers"] if key == "x-bedplate-forwarded"]
    assert marks == ["gateway"]
    assert "x-bedplate-forwarded" not in response.headers


def told(response: httpx.Response) -> dict[str, list[str]]:
    """What the control plane was told under our own names."""
    pairs = [(key, value) for key, value in response.json()["headers"] if key.startswith("x-bedplate-")]
    return {key: [value for other, value in pairs if other == key] for key, _ in pairs}


def test_the_control_plane_is_told_who_calls_and_how_whatever_the_client_says(house: Any) -> None:
    lies = {
        "X-Bedplate-Client": "9.9.9.9",
        "X-Bedplate-Scheme": "https",
        "X-Forwarded-For": "8.8.8.8",
        "X-Forwarded-Proto": "https",
    }
    seen = told(httpx.get(f"{house.url}/x", headers=lies))
    assert seen["x-bedplate-client"] == ["127.0.0.1"]
    assert seen["x-bedplate-scheme"] == ["http"]


def test_behind_a_proxy_the_last_of_the_forwarded_addresses_counts(house: Any, floor: Any) -> None:
    folder = floor.folder / "p"
    folder.mkdir()
    (folder / "control.sock").symlink_to(floor.folder / "control.sock")
    proxied = floor.start_gateway(folder, "--behind-proxy")
    proxied.route({"blue": (100, [])}, hosts=["studio.lan"])
    headers = {"Host": "studio.lan", "X-Forwarded-For": "9.9.9.9, 10.0.0.7", "X-Forwarded-Proto": "https"}
    seen = told(httpx.get(f"{proxied.url}/x", headers=headers))
    assert (seen["x-bedplate-client"], seen["x-bedplate-scheme"]) == (["10.0.0.7"], ["https"])
    twice = [*headers.items(), ("X-Forwarded-For", "10.0.0.8")]
    assert told(httpx.get(f"{proxied.url}/x", headers=twice))["x-bedplate-client"] == ["10.0.0.8"]
    assert told(httpx.get(f"{proxied.url}/x", headers={"Host": "studio.lan"}))["x-bedplate-client"] == ["127.0.0.1"]
    page = {"Host": "studio.lan", "Origin": "https://studio.lan"}
    assert httpx.post(f"{proxied.url}/x", headers=page).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/endpoints"),
        ("GET", "/endpoints/"),
        ("GET", "/gateway/other"),
        ("GET", "/v10/models"),
    ],
)
def test_what_is_no_scoring_route_is_the_control_planes(house: Any, method: str, path: str) -> None:
    assert httpx.request(method, house.url + path).json()["raw_path"] == path


@pytest.mark.parametrize("base", ["/endpoints/support", ""])
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/", "POST"),
        ("DELETE", "/score", "POST"),
        ("POST", "/health", "GET"),
        ("POST", "/openapi.json", "GET"),
        ("POST", "/x", None),
        ("POST", "/v1/embeddings", None),
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/models/support", "GET"),
        ("GET", "/v2/models/support/infer", "POST"),
        ("POST", "/v2/models/support/versions/1", "GET"),
        ("POST", "/v2/models/support/stats", None),
        ("POST", "/v2/x", None),
    ],
)
def test_a_wrong_path_or_method_is_refused_in_the_shape_of_its_dialect(
    house: Any, floor: Any, base: str, method: str, path: str, allowed: str | None
) -> None:
    if not base and not path.startswith(("/v1", "/v2")):
        return  # there the control plane answers
    assert httpx.request(method, house.url + base + path).status_code == 401
    headers = floor.authorization | {"X-Request-Id": "r-1"}
    for answer in (
        httpx.request(method, house.url + base + path, headers=headers),
        house.own_user(base + path, method, headers=headers),
    ):
        code = "no-route" if allowed is None else "wrong-method"
        assert answer.status_code == (404 if allowed is None else 405)
        assert answer.headers.get("allow") == allowed
        assert answer.headers["x-request-id"] == "r-1"
        if path.startswith("/v1"):
            assert set(answer.json()) == {"error"}
            assert answer.json()["error"]["code"] == code
        else:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == code
            assert f"{method} {base}{path}." in answer.json()["error"]


def test_a_wrong_path_below_an_endpoint_is_told_to_those_alone_who_may_score_there(house: Any, floor: Any) -> None:
    keys = {floor.digest("other"): floor.key_entry(id="other", endpoints=["another"])}
    house.route(house.deployments, keys=keys)
    other = {"Authorization": "Bearer other"}
    assert httpx.get(f"{house.url}/endpoints/support/x", headers=other).status_code == 403
    missing = httpx.get(f"{house.url}/endpoints/another/x", headers=other)
    assert (missing.status_code, missing.json()["code"]) == (404, "no-endpoint")


def test_a_head_request_has_no_body(house: Any) -> None:
    assert httpx.head(f"{house.url}/x").status_code == 200


def test_a_large_upload_streams_through(house: Any) -> None:
    size = 30_000_000
    response = httpx.post(f"{house.url}/sink", content=(b"x" * 100_000 for _ in range(300)), timeout=30)
    assert response.text == str(size)


def test_events_arrive_as_they_are_sent_and_stop_when_the_caller_leaves(house: Any, floor: Any) -> None:
    with httpx.stream("GET", f"{house.url}/events", timeout=10) as response:
        lines = response.iter_lines()
        assert next(lines) == "data: 1"
    floor.until(lambda: "caller left the events" in floor.control().text, 5)


def test_websockets_pass_both_ways_with_text_bytes_subprotocol_and_close(house: Any) -> None:
    async def talk() -> None:
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{house.url}/ws", protocols=("chat", "other")) as ws:
                assert ws.protocol == "chat"
                await ws.send_str("hello")
                assert await ws.receive_str() == "hello"
                await ws.send_bytes(b"\x00\xff" * 500_000)
                assert await ws.receive_bytes() == b"\x00\xff" * 500_000
                await ws.send_str("close")
                assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
                assert ws.close_code == 4001
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(f"{house.url}/forbidden")
            assert caught.value.status == 403

    asyncio.run(asyncio.wait_for(talk(), 20))


def test_a_websocket_closed_by_the_client_is_closed_at_the_control_plane(house: Any, floor: Any) -> None:
    async def talk() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{house.url}/ws") as ws:
            await ws.close(code=4321)

    asyncio.run(asyncio.wait_for(talk(), 20))
    floor.until(lambda: "websocket closed 4321" in floor.control().text, 5)
    assert house.own_user("/gateway/livez").status_code == 200  # later than what the first request may have logged
    assert "a request failed" not in house.process.text


def test_the_gateway_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, bedplate_serving.gateway; "
        "print([m for m in ('torch', 'transformers', 'numpy', 'pandas', 'bedplate', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
