"""Aliases: which version a word means, what it meant before, and the way back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bedplate_registry.errors import Changed, Conflict, NotFound, Refused
from bedplate_registry.models import ModelDraft
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry

NAME = Name.parse("acme/intents")
ALIAS = "production"


@pytest.fixture
def three(registry: Registry, make_draft: Callable[..., ModelDraft]) -> Registry:
    """A registry with three versions of one name."""
    for number in (1, 2, 3):
        registry.models.publish(make_draft(source=f"job-{number}"))
    return registry


def move(registry: Registry, *versions: int) -> None:
    for version in versions:
        registry.models.set_alias(f"{NAME}:{version}", ALIAS, by="ana", why=f"try {version}")


def meant(registry: Registry) -> int | None:
    return registry.models.aliases(NAME).get(ALIAS)


def roll_back(registry: Registry) -> int | None:
    return registry.models.roll_back(NAME, ALIAS, by="ben", why="worse").version


def test_history_tells_what_was_meant_when_and_who_moved_it_why(three: Registry) -> None:
    move(three, 1, 2)
    assert roll_back(three) == 1
    first, second, third = three.models.alias_history(NAME, ALIAS)
    assert (first.version, first.by, first.why, first.rollback) == (1, "ana", "try 1", False)
    assert second.version == 2
    assert (third.version, third.by, third.why, third.rollback) == (1, "ben", "worse", True)
    assert first.when <= second.when <= third.when
    with pytest.raises(NotFound, match="no alias 'staging'"):
        three.models.alias_history(NAME, "staging")


def test_rollback_goes_back_one_move_each_time_and_says_when_there_is_none_left(three: Registry) -> None:
    move(three, 1, 2, 3, 3)
    assert [roll_back(three), roll_back(three), meant(three)] == [2, 1, 1]
    with pytest.raises(Conflict, match="meant nothing before") as caught:
        roll_back(three)
    assert caught.value.code == "no-history"
    assert meant(three) == 1


def test_a_move_after_a_rollback_is_what_the_next_rollback_takes_back(three: Registry) -> None:
    move(three, 1, 2)
    roll_back(three)
    move(three, 3)
    assert [roll_back(three), meant(three)] == [1, 1]


def test_an_alias_that_is_taken_away_means_nothing_until_it_is_rolled_back(three: Registry) -> None:
    move(three, 1, 2)
    three.models.remove_alias(NAME, ALIAS, by="ana", why="withdrawn")
    assert meant(three) is None
    with pytest.raises(NotFound):
        three.models.get(f"{NAME}@{ALIAS}")
    with pytest.raises(NotFound):
        three.models.remove_alias(NAME, ALIAS, by="ana")
    assert three.models.alias_history(NAME, ALIAS)[-1].version is None
    assert [roll_back(three), roll_back(three)] == [2, 1]


@pytest.mark.parametrize("act", ["archive", "delete"])
def test_a_rollback_passes_over_a_version_that_is_gone_or_archived(three: Registry, act: str) -> None:
    move(three, 1, 2, 3)
    getattr(three.models, act)(f"{NAME}:2", by="ana")
    with pytest.raises((Conflict, NotFound)):
        move(three, 2)
    assert [roll_back(three), meant(three)] == [1, 1]


@pytest.mark.parametrize("act", ["archive", "delete"])
def test_a_rollback_says_so_where_nothing_is_left_to_go_back_to(three: Registry, act: str) -> None:
    move(three, 1, 2)
    getattr(three.models, act)(f"{NAME}:1", by="ana")
    with pytest.raises(Conflict, match="meant nothing before") as caught:
        roll_back(three)
    assert caught.value.code == "no-history"
    assert meant(three) == 2


def test_a_rollback_goes_to_another_version_than_the_alias_means(three: Registry) -> None:
    move(three, 1, 2)
    three.models.remove_alias(NAME, ALIAS, by="ana")
    move(three, 2)
    assert [roll_back(three), meant(three)] == [1, 1]


def test_a_look_that_raises_leaves_the_alias_where_it_is(three: Registry) -> None:
    seen: list[int | None] = []

    def look(means: int | None) -> None:
        seen.append(means)
        if means is not None:
            raise Changed

    three.models.set_alias(f"{NAME}:1", ALIAS, by="ana", look=look)
    for change in (
        lambda: three.models.set_alias(f"{NAME}:2", ALIAS, by="ana", look=look),
        lambda: three.models.remove_alias(NAME, ALIAS, by="ana", look=look),
        lambda: three.models.roll_back(NAME, ALIAS, by="ana", look=look),
    ):
        with pytest.raises(Changed):
            change()
    assert seen == [None, 1, 1, 1]
    assert meant(three) == 1


def test_a_word_that_means_a_revision_is_no_alias(three: Registry) -> None:
    with pytest.raises(Refused):
        three.models.set_alias(f"{NAME}:1", "v7", by="ana")
