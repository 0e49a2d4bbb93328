"""Settings: one reader of the environment; a bad value is refused by variable, value and accepted form."""

from __future__ import annotations

from pathlib import Path

import pytest

from bedplate.settings import DEFAULT_PORT, Settings
from bedplate_registry.errors import Refused


def test_defaults_are_used_where_nothing_is_set() -> None:
    settings = Settings.from_environment({})
    assert settings.port == DEFAULT_PORT
    assert settings.home == Path("~/.bedplate").expanduser()
    assert settings.offline is False


@pytest.mark.parametrize(
    ("name", "value"),
    [("BEDPLATE_PORT", "http"), ("BEDPLATE_PORT", "70000"), ("BEDPLATE_OFFLINE", "maybe"), ("BEDPLATE_MAX_JOBS", "0")],
)
def test_a_bad_value_is_refused_by_variable_and_value(name: str, value: str) -> None:
    with pytest.raises(Refused) as caught:
        Settings.from_environment({name: value})
    assert name in caught.value.message
    assert value in caught.value.message
    assert caught.value.hint


def test_our_own_hub_url_comes_before_hugging_faces() -> None:
    both = {"BEDPLATE_HUB_URL": "http://mirror/", "HF_ENDPOINT": "http://other"}
    assert Settings.from_environment(both).hub_url == "http://mirror"
    assert Settings.from_environment({"HF_ENDPOINT": "http://other"}).hub_url == "http://other"


def test_secrets_are_not_in_the_repr() -> None:
    settings = Settings.from_environment(
        {"BEDPLATE_TOKEN": "canary", "HF_TOKEN": "canary", "BEDPLATE_DATABASE_URL": "canary"}
    )
    assert "canary" not in repr(settings)
