"""The rule of a good request id, which is one for the gateway and the control plane."""

from __future__ import annotations

import pytest

from bedplate_serving.request_id import request_id_of


def named(*values: bytes) -> str:
    return request_id_of({"headers": [(b"x-other", b"x"), *((b"x-request-id", value) for value in values)]})


@pytest.mark.parametrize("good", [b"a", b"call-7", b"x" * 128, b"a/b:c_d.e"])
def test_a_word_of_the_callers_is_kept(good: bytes) -> None:
    assert named(good) == good.decode()
    assert named(good, b"another") == good.decode()


@pytest.mark.parametrize("bad", [b"", b"a b", b"x" * 129, b"a\tb", b"a\nb", b"\xe9", b"a\x00"])
def test_anything_else_is_replaced_by_a_new_one(bad: bytes) -> None:
    assert len(named(bad)) == len(named()) == 32
    assert named(bad) != named(bad)
