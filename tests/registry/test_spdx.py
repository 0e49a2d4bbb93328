"""Licenses by the names that other tools read."""

from __future__ import annotations

import pytest

from bedplate_registry.spdx import spdx_of


@pytest.mark.parametrize(
    ("license", "spdx"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("MIT", "MIT"),
        ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
        ("bsd-3-clause-clear", "BSD-3-Clause-Clear"),
        ("gpl-3.0", "GPL-3.0-only"),
        ("odbl", "ODbL-1.0"),
        ("llama3.1", "LicenseRef-llama3.1"),
        ("openrail++", "LicenseRef-openrail-plus-plus"),
        ("mit, gemma", "MIT AND LicenseRef-gemma"),
        ("other, my license (v2)", "LicenseRef-my-license-v2"),
        ("other", "LicenseRef-other"),
        ("mit or evil with (", "LicenseRef-mit-or-evil-with"),
        ("unknown", None),
        ("", None),
        (None, None),
    ],
)
def test_a_license_of_the_hub_has_its_name_in_spdx_and_what_spdx_does_not_list_a_reference(
    license: str | None, spdx: str | None
) -> None:
    assert spdx_of(license) == spdx
