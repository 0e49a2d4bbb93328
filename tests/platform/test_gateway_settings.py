"""What the gateway is told, and which addresses a server is opened at."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from bedplate.gateway_process import Address
from bedplate.gateway_settings import gateway_settings
from bedplate.serve import check_address
from bedplate.settings import Settings
from bedplate_registry.errors import Refused
from bedplate_serving.unix_sockets import short_path
from harness import bedplate_home, free_port, start_serve, wait_for
from light_server import light_server

LOOPBACK = Address("127.0.0.1", 8686)


def settings(**variables: str) -> Settings:
    return Settings.from_environment({"BEDPLATE_OFFLINE": "1", **variables})


def test_on_loopback_only_its_names_are_ours_and_those_that_are_set() -> None:
    told = gateway_settings(settings(), LOOPBACK)
    assert told["hosts"] == ["127.0.0.1", "[::1]", "localhost"]
    assert told["any_address"] is False
    assert "studio.lan" in gateway_settings(settings(BEDPLATE_ALLOWED_HOSTS="Studio.lan"), LOOPBACK)["hosts"]


def test_elsewhere_this_machines_name_is_ours_and_every_literal_address() -> None:
    told = gateway_settings(settings(BEDPLATE_ALLOWED_HOSTS="gpu01.lan"), Address("0.0.0.0", 8686))
    assert {socket.gethostname().lower(), "gpu01.lan", "localhost"} <= set(told["hosts"])
    assert "127.0.0.1" not in told["hosts"]
    assert told["any_address"] is True


def test_limits_and_origins_are_handed_down_as_they_are_set() -> None:
    told = gateway_settings(
        settings(
            BEDPLATE_KEY_RATE="2.5",
            BEDPLATE_KEY_CONCURRENCY="8",
            BEDPLATE_ALLOWED_ORIGINS="https://studio.lan",
            BEDPLATE_ACCESS_LOG="1",
        ),
        LOOPBACK,
    )
    assert (told["key_rate"], told["key_concurrency"], told["access_log"]) == (2.5, 8, True)
    assert told["origins"] == ["https://studio.lan"]


@pytest.mark.parametrize(
    ("address", "code"),
    [
        (Address("0.0.0.0", 1), "needs-tls"),
        (Address("192.0.2.1", 1), "needs-tls"),
        (Address("::", 1), "needs-tls"),
        (Address("0.0.0.0", 1, tls_cert="c"), "refused"),
        (Address("127.0.0.1", 1, tls_key="k"), "refused"),
        (Address("127.0.0.1", 1, "/no/cert", "/no/key"), "tls-unreadable"),
    ],
)
def test_a_port_is_not_opened_without_protection(address: Address, code: str) -> None:
    with pytest.raises(Refused) as caught:
        check_address(address)
    assert caught.value.code == code
    assert "--tls-cert" in caught.value.message + caught.value.hint
    assert code != "needs-tls" or "--behind-proxy" in caught.value.hint


@pytest.fixture
def pair(tmp_path: Path) -> tuple[trustme.CA, str, str]:
    """An authority, and a certificate of it with its key."""
    authority = trustme.CA()
    made = authority.issue_cert("gpu01.lan", "127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    key.touch(mode=0o600)
    made.cert_chain_pems[0].write_to_path(str(cert))
    made.private_key_pem.write_to_path(str(key))
    return authority, str(cert), str(key)


def test_a_port_is_opened_with_a_certificate_behind_a_proxy_and_on_loopback(pair: tuple[trustme.CA, str, str]) -> None:
    _, cert, key = pair
    check_address(LOOPBACK)
    check_address(Address("0.0.0.0", 1, behind_proxy=True))
    check_address(Address("0.0.0.0", 1, cert, key))
    assert Address("0.0.0.0", 1, cert, key).url == "https://127.0.0.1:1"


def test_serve_speaks_tls_with_the_pair_that_it_is_given(pair: tuple[trustme.CA, str, str]) -> None:
    authority, cert, key = pair
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with bedplate_home() as home:
        port = free_port()
        process = start_serve(home, port, BEDPLATE_TLS_CERT=cert, BEDPLATE_TLS_KEY=key)
        try:
            token = (home / "run" / "token").read_text().strip()
            headers = {"Authorization": f"Bearer {token}"}
            answer = httpx.get(f"https://127.0.0.1:{port}/api/v1/server", headers=headers, verify=trust)
            assert answer.json()["url"] == f"https://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def test_a_gateway_of_an_older_release_is_replaced() -> None:
    port = free_port()
    with light_server(port=port) as workspace:
        wait_for(lambda: workspace.gateway.address is not None, seconds=60)
        state = workspace.home.run / "gateway" / "gateway.json"
        wrote = json.loads(state.read_text())
        del wrote["protocol"]
        state.write_text(json.dumps(wrote))
        wait_for(lambda: json.loads(state.read_text())["epoch"] == wrote["epoch"] + 1, seconds=60)
        wait_for(lambda: _answers(workspace.home.scoring_socket), seconds=60)
        assert httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
        refused = httpx.get(f"http://127.0.0.1:{port}/livez", headers={"Host": "evil.example"})
        assert refused.json()["code"] == "bad-host"


def _answers(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=short_path(path))) as client:
            return client.get("http://gateway/gateway/livez").status_code == 200
    except httpx.TransportError:
        return False
