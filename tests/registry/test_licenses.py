"""Licenses: what the lists say of one, and who accepted which."""

from __future__ import annotations

import pytest

from bedplate_registry.errors import Conflict
from bedplate_registry.licenses import LicensePolicy
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry


@pytest.mark.parametrize(
    ("policy", "license", "word"),
    [
        (LicensePolicy(), "apache-2.0", "allow"),
        (LicensePolicy(), None, "allow"),
        (LicensePolicy(deny=("gpl-3.0",)), "GPL-3.0", "deny"),
        (LicensePolicy(deny=("gpl-3.0",)), "mit", "allow"),
        (LicensePolicy(deny=("unknown",)), None, "deny"),
        (LicensePolicy(allow=("mit",)), "MIT", "allow"),
        (LicensePolicy(allow=("mit",)), "gemma", "deny"),
        (LicensePolicy(allow=("mit",)), None, "deny"),
        (LicensePolicy(allow=("mit",), ask=("*",)), "gemma", "ask"),
        (LicensePolicy(allow=("mit",), ask=("*",)), "mit", "allow"),
        (LicensePolicy(allow=("cc-by-4.0",), deny=("cc-by-*",)), "cc-by-nc-4.0", "deny"),
        (LicensePolicy(allow=("cc-by-4.0",), deny=("cc-by-*",)), "cc-by-4.0", "allow"),
        (LicensePolicy(allow=("mit",), ask=("mit",), deny=("*",)), "mit", "ask"),
        (LicensePolicy(ask=("gemma",)), "mit, gemma", "ask"),
        (LicensePolicy(ask=("gemma",), deny=("cc-by-nc-*",)), "gemma, mit, CC-BY-NC-4.0", "deny"),
        (LicensePolicy(allow=("mit",)), "mit, other", "deny"),
        (LicensePolicy(allow=("other", "llama-nc")), "other, llama-nc", "allow"),
    ],
)
def test_the_most_particular_entry_decides_and_of_several_licenses_the_strictest(
    policy: LicensePolicy, license: str | None, word: str
) -> None:
    assert policy.says(license) == word


def test_a_denied_license_is_refused_whatever_was_accepted() -> None:
    with pytest.raises(Conflict, match="'unknown', which the license policy of this server denies") as caught:
        LicensePolicy(allow=("mit",)).check("acme/intents", None, accepted=True)
    assert caught.value.code == "license-denied"


def test_a_license_that_is_asked_for_passes_once_it_was_accepted() -> None:
    policy = LicensePolicy(ask=("gemma",))
    with pytest.raises(Conflict, match="'gemma'") as caught:
        policy.check("acme/intents", "Gemma", accepted=False)
    assert (caught.value.code, "--accept-license" in caught.value.hint) == ("license-not-accepted", True)
    policy.check("acme/intents", "Gemma", accepted=True)


def test_an_acceptance_is_kept_once_with_who_and_when_and_found_under_a_base(registry: Registry) -> None:
    base, tuned = Name.parse("acme/base"), Name.parse("acme/tuned")
    licenses = registry.models.licenses
    for _ in range(2):
        licenses.accept(base, "google/gemma", "Gemma, MIT", by="ana", where="import-1a2b3c4d")
    [kept] = licenses.all(base)
    assert (kept.license, kept.by, kept.where) == ("gemma, mit", "ana", "import-1a2b3c4d")
    assert kept.when
    assert licenses.find([(tuned, "job-1"), (base, "google/gemma")], "gemma, mit") == kept
    assert licenses.find([(base, "google/gemma")], "gemma") == kept
    assert licenses.find([(base, "google/gemma")], "gemma, llama3") is None
    assert licenses.find([(tuned, "google/gemma")], "gemma") is None


def test_what_was_accepted_for_one_model_does_not_hold_for_another_one_under_its_name(registry: Registry) -> None:
    licenses, name = registry.models.licenses, Name.parse("judge")
    licenses.accept(name, "acme/first", "other", by="ana", where="import-1a2b3c4d")
    assert licenses.find([(name, "acme/second")], "other") is None
