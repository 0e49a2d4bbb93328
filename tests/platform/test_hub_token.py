"""The token for the Hub: of HF_TOKEN, or of a file for its owner alone. It goes to one Hub and is kept nowhere."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bedplate
from bedplate.doctor import _hub_token
from bedplate.hub_token import find_hub_token, hub_token_for
from bedplate.settings import Settings
from bedplate.workspace import Workspace
from bedplate_registry.errors import BedplateError
from bedplate_registry.hubserver import FolderSource, create_hub_app
from hub_server import Gate, serve_app
from light_server import light_server

TOKEN = "hf_tokenOfAFileTokenOfAFileTokenOfAF"
MODEL = "acme/gated"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "huggingface" / "token"
    path.parent.mkdir()
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


def settings(token_file: Path, **env: str) -> Settings:
    return Settings.from_environment({"HF_TOKEN_PATH": str(token_file), **env})


def test_it_is_looked_for_where_the_clients_of_the_hub_keep_it(token_file: Path) -> None:
    cache = token_file.parent.parent
    home = cache.parent / "home"
    default = home / ".cache" / "huggingface" / "token"
    default.parent.mkdir(parents=True)
    default.write_text("hf_default")
    default.chmod(0o600)
    for env in (
        {"HF_TOKEN_PATH": str(token_file), "HF_HOME": str(home)},
        {"HF_HOME": str(token_file.parent), "HOME": str(home)},
        {"XDG_CACHE_HOME": str(cache), "HOME": str(home)},
    ):
        assert find_hub_token(Settings.from_environment(env)).text == TOKEN
    assert find_hub_token(Settings.from_environment({"HOME": str(home)})).text == "hf_default"
    assert find_hub_token(Settings.from_environment({})).text is None
    assert find_hub_token(settings(token_file, HF_TOKEN="hf_env")).text == "hf_env"


def test_a_new_token_needs_no_restart_and_is_in_no_repr(token_file: Path) -> None:
    kept = settings(token_file)
    token_file.write_text("hf_newer")
    found = find_hub_token(kept)
    assert found.text == "hf_newer"
    assert "hf_newer" not in f"{found!r} {kept!r}"


def link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to(path.with_name("real"))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o600)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("change", "problem", "remedy"),
    [
        (lambda path: path.chmod(0o640), "not for its owner alone", "chmod 600 "),
        (lambda path: path.chmod(0o604), "not for its owner alone", "chmod 600 "),
        (link, "is a link", "HF_TOKEN"),
        (folder, "is no regular file", "HF_TOKEN"),
        (fifo, "is no regular file", "HF_TOKEN"),
        (lambda path: path.write_text(""), "holds no token", "hf auth login"),
        (lambda path: path.write_text("two words"), "holds no token", "hf auth login"),
        (lambda path: path.write_text("x" * 5000), "holds no token", "hf auth login"),
    ],
)
def test_a_file_that_is_not_for_its_owner_alone_or_holds_none_is_not_used_and_says_why(
    token_file: Path,
    change: Callable[[Path], None],
    problem: str,
    remedy: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    change(token_file)
    kept = settings(token_file)
    with caplog.at_level(logging.WARNING):
        assert hub_token_for(kept, kept.hub_url) is None
    [found] = _hub_token(kept)
    assert found["status"] == "warn"
    assert problem in found["detail"] and problem in caplog.text
    assert remedy in found["remedy"] and remedy in caplog.text
    assert TOKEN not in f"{found} {caplog.text}"


def test_doctor_says_where_it_is_from_and_not_what_it_is(token_file: Path, tmp_path: Path) -> None:
    [by_file] = _hub_token(settings(token_file))
    [by_environment] = _hub_token(settings(token_file, HF_TOKEN=TOKEN))
    [none] = _hub_token(settings(tmp_path / "nobody"))
    assert (by_file["status"], by_file["detail"]) == ("ok", f"the file {token_file}")
    assert (by_environment["status"], by_environment["detail"]) == ("ok", "HF_TOKEN")
    assert (none["status"], none["detail"]) == ("ok", "none: public models only")
    assert TOKEN not in f"{by_file} {by_environment}"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, Gate]]:
    """A gated model that is refused once its config.json was read: so nothing has to be loaded."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "bert", "auto_map": {"AutoModel": "own.Model"}}))
    (model / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    gate = Gate(create_hub_app(FolderSource({MODEL: (model, "a" * 40, {"gated": "manual"})})), TOKEN)
    with serve_app(gate) as url:
        yield url, gate


@pytest.fixture
def server(hub: tuple[str, Gate], token_file: Path) -> Iterator[Workspace]:
    with light_server(BEDPLATE_HUB_URL=hub[0], HF_TOKEN_PATH=str(token_file)) as workspace:
        yield workspace


def failure(workspace: Workspace, hub: str) -> BedplateError:
    with bedplate.connect(home=workspace.home.path) as ws, pytest.raises(BedplateError) as caught:
        ws.import_model(MODEL, hub=hub)
    return caught.value


def holding(folder: Path, secret: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if secret.encode() in path.read_bytes()]


def test_a_token_of_a_file_opens_a_gated_model_and_is_nowhere_in_the_home(
    server: Workspace, hub: tuple[str, Gate], token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url, gate = hub
    token_file.chmod(0o644)
    refused = failure(server, url)
    assert refused.code == "gated"
    assert f"{url}/{MODEL}" in refused.hint
    assert f"chmod 600 {token_file}" in caplog.text
    assert set(gate.seen) == {None}
    token_file.chmod(0o600)
    assert failure(server, url).code == "remote-code"  # read out of a file that only the token opens
    assert gate.seen[-1] == f"Bearer {TOKEN}"
    assert TOKEN not in f"{refused.to_json()} {caplog.text}"
    assert holding(server.home.path, TOKEN) == []


def test_the_token_is_not_handed_to_a_hub_that_a_caller_names(server: Workspace, hub: tuple[str, Gate]) -> None:
    url, gate = hub
    assert failure(server, url.replace("127.0.0.1", "localhost")).code == "gated"
    assert gate.seen and set(gate.seen) == {None}
