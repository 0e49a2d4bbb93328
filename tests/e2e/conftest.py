"""What is peculiar to the end-to-end tests."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("fine_tunes")
