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
    [
        ("BEDPLATE_PORT", "http"),
        ("BEDPLATE_PORT", "70000"),
        ("BEDPLATE_OFFLINE", "maybe"),
        ("BEDPLATE_MAX_JOBS", "0"),
        ("BEDPLATE_ALLOWED_HOSTS", "gpu01:8686"),
        ("BEDPLATE_ALLOWED_HOSTS", "http://gpu01"),
        ("BEDPLATE_ALLOWED_HOSTS", "*"),
        ("BEDPLATE_ALLOWED_ORIGINS", "null"),
        ("BEDPLATE_ALLOWED_ORIGINS", "studio.lan"),
        ("BEDPLATE_ALLOWED_ORIGINS", "https://studio.lan/"),
        ("BEDPLATE_KEY_RATE", "-1"),
        ("BEDPLATE_KEY_RATE", "nan"),
        ("BEDPLATE_KEY_RATE", "fast"),
        ("BEDPLATE_KEY_CONCURRENCY", "1.5"),
        ("BEDPLATE_MAX_UPLOAD_GB", "0"),
        ("BEDPLATE_SESSION_HOURS", "0"),
        ("BEDPLATE_ACCESS_LOG", "some"),
        ("BEDPLATE_LICENSE_ALLOW", "apache 2.0"),
        ("BEDPLATE_LICENSE_ASK", "*-nc"),
        ("BEDPLATE_LICENSE_DENY", "https://gnu.org"),
    ],
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


def test_hosts_and_origins_are_lists_of_lower_case() -> None:
    settings = Settings.from_environment(
        {
            "BEDPLATE_ALLOWED_HOSTS": "GPU01, gpu01.lan,,[::1]",
            "BEDPLATE_ALLOWED_ORIGINS": "https://Studio.lan:8443 , http://[::1]:80",
        }
    )
    assert settings.allowed_hosts == ("gpu01", "gpu01.lan", "[::1]")
    assert settings.allowed_origins == ("https://studio.lan:8443", "http://[::1]:80")


def test_limits_of_keys_are_off_unless_they_are_set() -> None:
    assert (Settings.from_environment({}).key_rate, Settings.from_environment({}).key_concurrency) == (0, 0)
    settings = Settings.from_environment({"BEDPLATE_KEY_RATE": "2.5", "BEDPLATE_KEY_CONCURRENCY": "8"})
    assert (settings.key_rate, settings.key_concurrency) == (2.5, 8)
