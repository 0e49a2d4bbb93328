"""TLS at the gateway: certificates of an authority of the test's own, replaced while connections are open."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from bedplate_registry.errors import Refused
from bedplate_serving.tls import Certificate, load_pair

AUTHORITY = trustme.CA()


def write_pair(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """As a renewal does it: one file after the other, each moved into its place."""
    made = AUTHORITY.issue_cert(name, "localhost", "127.0.0.1")
    paths = folder / "cert.pem", folder / "key.pem"
    for path, blob in zip(paths, (made.cert_chain_pems[0], made.private_key_pem), strict=True):
        temporary = path.with_suffix(".tmp")
        temporary.touch(mode=0o600)
        blob.write_to_path(str(temporary))
        temporary.replace(path)
    return paths


def trust(**versions: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    for name, version in versions.items():
        setattr(context, name, version)
    return context


def names(port: int) -> set[str]:
    """The names of the certificate that a new connection is shown."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    with trust().wrap_socket(raw, server_hostname="localhost") as connection:
        found: Any = connection.getpeercert()
        return {value for kind, value in found["subjectAltName"] if kind == "DNS"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    write_pair(folder, "first.example")
    return folder


@pytest.fixture(scope="module")
def house(floor: Any, folder: Path) -> Any:
    (floor.folder / "t").mkdir()
    cert, key = folder / "cert.pem", folder / "key.pem"
    gateway = floor.start_gateway(floor.folder / "t", "--tls-cert", str(cert), "--tls-key", str(key))
    gateway.route({"blue": (100, [])}, hosts=["localhost"], any_address=True)
    return gateway


def test_it_speaks_tls_from_1_2_on_and_nothing_else(house: Any) -> None:
    assert house.url.startswith("https://127.0.0.1:")
    assert httpx.get(f"{house.url}/gateway/livez", verify=trust()).status_code == 200
    exact = trust(maximum_version=ssl.TLSVersion.TLSv1_2)
    assert httpx.get(f"{house.url}/gateway/livez", verify=exact).status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(house.url.replace("https", "http") + "/gateway/livez")


def test_pages_of_its_own_come_by_https(house: Any) -> None:
    host = house.url.removeprefix("https://")
    with httpx.Client(verify=trust(), base_url=house.url) as client:
        for origin, status in ((f"https://{host}", 401), (f"http://{host}", 403)):
            assert client.post("/endpoints/support", headers={"Origin": origin}).status_code == status


def test_a_new_pair_is_taken_up_and_no_connection_is_dropped(house: Any, folder: Path, floor: Any) -> None:
    port = int(house.url.rpartition(":")[2])
    assert "first.example" in names(port)
    with httpx.Client(verify=trust(), base_url=house.url) as client:
        assert client.get("/gateway/livez").status_code == 200
        write_pair(folder, "second.example")
        floor.until(lambda: "second.example" in names(port), 10)
        answer = client.get("/gateway/livez")  # over the connection that was there before
        assert answer.status_code == 200
        kept = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert()
        assert ("DNS", "first.example") in kept["subjectAltName"]
    without_name = trust()
    without_name.check_hostname = False
    with without_name.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
        assert ("DNS", "second.example") in connection.getpeercert()["subjectAltName"]  # type: ignore[index]


def test_a_pair_that_cannot_be_used_leaves_the_old_one_in_force_and_is_told(
    house: Any, folder: Path, floor: Any
) -> None:
    port = int(house.url.rpartition(":")[2])
    before = names(port)
    good = (folder / "key.pem").read_bytes()
    (folder / "key.pem").write_text("no key")
    floor.until(lambda: "keeping the old" in house.process.text, 10)
    assert names(port) == before
    (folder / "key.pem").write_bytes(good)
    lines = floor.until(lambda: [one for one in house.process.text.splitlines() if "keeping the old" in one], 5)
    assert "no key" not in json.loads(lines[0])["event"]


def test_a_key_that_everybody_could_read_is_taken_once_it_is_made_private(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says `chmod 600`, which changes neither what is in the file nor when that was written."""
    certificate = Certificate(*write_pair(tmp_path))
    _, key = write_pair(tmp_path)
    key.chmod(0o644)
    certificate.refresh()
    assert "chmod 600" in caplog.text
    caplog.clear()
    key.chmod(0o600)
    with caplog.at_level("INFO"):
        certificate.refresh()
    assert "is in force" in caplog.text


def test_a_pair_that_could_not_be_read_is_tried_again_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = write_pair(tmp_path)
    certificate = Certificate(cert, key)
    key.rename(tmp_path / "away")
    for _ in range(3):
        certificate.refresh()
    assert len(caplog.records) == 1
    (tmp_path / "away").rename(key)
    with caplog.at_level("INFO"):
        certificate.refresh()
    assert "is in force" in caplog.text


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda cert, key: key.chmod(0o644), "tls-key-exposed"),
        (lambda cert, key: key.unlink(), "tls-unreadable"),
        (lambda cert, key: cert.write_text("hello"), "tls-unusable"),
        (lambda cert, key: key.write_bytes(AUTHORITY.issue_cert("x").private_key_pem.bytes()), "tls-unusable"),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused_by_name(tmp_path: Path, spoil: Any, code: str) -> None:
    cert, key = write_pair(tmp_path)
    load_pair(cert, key)
    spoil(cert, key)
    with pytest.raises(Refused) as caught:
        load_pair(cert, key)
    assert caught.value.code == code
    assert str(key) in caught.value.message + caught.value.hint
    assert caught.value.hint
