"""How counts and sizes read."""

from __future__ import annotations

import pytest

from bedplate_registry.sizes import count_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999_999, "999,999"),
        (1_000_000, "1 million"),
        (22_713_216, "22.7 million"),
        (33_360_000, "33.4 million"),
        (33_000_001, "33 million"),
        (999_940_000, "999.9 million"),
        (999_960_000, "1 billion"),
        (1_720_574_976, "1.7 billion"),
        (1_500_000_000_000, "1,500 billion"),
    ],
)
def test_a_count_reads_as_people_say_it(count: int, text: str) -> None:
    assert count_text(count) == text
