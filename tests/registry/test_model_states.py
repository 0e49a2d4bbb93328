"""Versions that are archived, restored and deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bedplate_registry import durable
from bedplate_registry.errors import Conflict, NotFound, Refused
from bedplate_registry.gc import collect
from bedplate_registry.lineage import children, parents
from bedplate_registry.models import ModelDraft
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry

MakeDraft = Callable[..., ModelDraft]
NAME = Name.parse("acme/intents")


@pytest.fixture
def two(registry: Registry, make_draft: MakeDraft) -> Registry:
    """A registry with two versions of one name."""
    for number in (1, 2):
        registry.models.publish(make_draft(source=f"job-{number}"))
    return registry


def refs(registry: Registry) -> list[str]:
    return [version.ref for version in registry.models.list()]


def test_an_archived_version_is_read_by_its_number_and_meant_by_nothing_else(two: Registry) -> None:
    archived = two.models.archive("acme/intents:2", by="ana", why="old")
    assert (archived.ref, archived.state, archived.to_json()["state"]) == ("acme/intents:2", "archived", "archived")
    assert two.models.get("acme/intents:2") == archived
    assert two.models.get("acme/intents").ref == "acme/intents:1"
    assert refs(two) == ["acme/intents:1"]
    assert [version.state for version in two.models.versions(NAME)] == ["active", "archived"]
    assert two.models.archived() == [archived]
    with pytest.raises(Conflict, match="acme/intents:2 is archived") as caught:
        archived.check_active()
    assert (caught.value.code, "models restore" in caught.value.hint) == ("archived", True)


def test_a_name_whose_versions_are_all_archived_is_not_listed_and_is_still_found(two: Registry) -> None:
    for number in (1, 2):
        two.models.archive(f"acme/intents:{number}", by="ana")
    assert refs(two) == []
    assert two.models.get("acme/intents").ref == "acme/intents:2"


def test_a_restored_version_is_as_it_was(two: Registry) -> None:
    before = two.models.get("acme/intents:2")
    two.models.archive("acme/intents:2", by="ana")
    assert two.models.restore("acme/intents:2", by="ben", why="needed") == before
    assert refs(two) == ["acme/intents:2"]
    before.check_active()


def test_archiving_twice_is_one_line(two: Registry) -> None:
    for _ in range(2):
        two.models.archive("acme/intents:2", by="ana", why="old")
    [line] = durable.read_lines(two.root / "models" / "acme" / "intents" / "states.jsonl")
    assert {key: line[key] for key in ("version", "state", "by", "why")} == {
        "version": 2,
        "state": "archived",
        "by": "ana",
        "why": "old",
    }


@pytest.mark.parametrize("act", ["archive", "delete"])
def test_what_an_alias_means_stays(two: Registry, act: str) -> None:
    two.models.set_alias("acme/intents:2", "production", by="ana")
    with pytest.raises(Conflict, match="the alias 'production' means it") as caught:
        getattr(two.models, act)("acme/intents:2", by="ana")
    assert caught.value.code == "in-use"
    assert refs(two) == ["acme/intents:2"]


def test_a_deleted_version_is_gone_and_its_number_with_it(two: Registry, make_draft: MakeDraft) -> None:
    two.models.delete("acme/intents:2", by="ana", why="wrong data")
    with pytest.raises(NotFound, match="'acme/intents:2' was deleted by ana"):
        two.models.get("acme/intents:2")
    assert refs(two) == ["acme/intents:1"]
    assert two.models.publish(make_draft(source="job-2")).ref == "acme/intents:3"


def test_a_name_without_versions_is_not_listed_and_gives_no_number_twice(
    registry: Registry, make_draft: MakeDraft
) -> None:
    registry.models.publish(make_draft())
    registry.models.delete("acme/intents:1", by="ana")
    assert (refs(registry), registry.models.versions(NAME, missing_ok=True)) == ([], [])
    for ref in ("acme/intents", "acme/intents:1"):
        with pytest.raises(NotFound):
            registry.models.get(ref)
    assert registry.models.publish(make_draft()).ref == "acme/intents:2"
    with pytest.raises(Conflict, match="acme/intents"):
        registry.models.check_name(Name.parse("acme/Intents"))


def test_an_adapters_base_stays_and_a_fine_tunes_base_may_go(two: Registry, make_draft: MakeDraft) -> None:
    adapter = replace(make_draft(name="acme/adapter"), lineage={"adapter_base": "acme/intents:1"})
    tuned = replace(make_draft(name="acme/tuned"), lineage={"base": "acme/intents:2"})
    for draft in (adapter, tuned):
        two.models.publish(draft)
    with pytest.raises(Conflict, match="the adapter acme/adapter:1 needs it") as caught:
        two.models.delete("acme/intents:1", by="ana")
    assert caught.value.code == "in-use"
    two.models.delete("acme/intents:2", by="ana")
    two.models.delete("acme/adapter:1", by="ana")
    two.models.delete("acme/intents:1", by="ana")
    assert refs(two) == ["acme/tuned:1"]


@pytest.mark.parametrize(
    "damage",
    [lambda data: data.replace(b'"facts"', b'"gone"'), lambda data: data[:-3]],
    ids=["lacks facts", "cut short"],
)
def test_a_version_that_cannot_be_read_is_left_out_of_lineage_and_keeps_what_it_may_need(
    two: Registry, make_draft: MakeDraft, damage: Callable[[bytes], bytes]
) -> None:
    for name in ("acme/sound", "acme/torn"):
        two.models.publish(replace(make_draft(name=name), lineage={"base": "acme/intents:1"}))
    manifest = two.root / "models" / "acme" / "torn" / "1" / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_bytes(damage(manifest.read_bytes()))
    assert [each.ref for each in children(two.models, two.models.get("acme/intents:1"))] == ["acme/sound:1"]
    with pytest.raises(Conflict, match="acme/torn:1, which cannot be read, may need it") as caught:
        two.models.delete("acme/intents:1", by="ana")
    assert caught.value.code == "in-use"
    assert "acme/sound" not in caught.value.message
    two.models.delete("acme/intents:2", by="ana")


def _tear(registry: Registry, ref: str) -> None:
    name, _, number = ref.rpartition(":")
    manifest = registry.root / "models" / name / number / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 99')),
    ],
    ids=["cut", "missing", "of a newer release"],
)
def test_a_version_whose_manifest_cannot_be_read_is_deleted_by_its_number_and_a_collection_goes_on(
    two: Registry, damage: Callable[[Path], object]
) -> None:
    manifest = two.root / "models" / "acme" / "intents" / "2" / "manifest.json"
    manifest.chmod(0o644)
    damage(manifest)
    with pytest.raises(Conflict, match="acme/intents:2") as caught:
        collect(two, grace_seconds=0)
    assert "bedplate models delete" in caught.value.hint
    with pytest.raises(Refused, match="acme/intents:2"):
        two.models.get("acme/intents:2")
    two.models.delete("acme/intents:2", by="ana")
    with pytest.raises(NotFound, match="was deleted by ana"):
        two.models.get("acme/intents:2")
    with pytest.raises(NotFound, match="was deleted by ana"):
        two.models.delete("acme/intents:2", by="ana")
    collect(two, grace_seconds=0)
    assert two.models.verify("acme/intents:1") == [], "what another version names as well stays"


def test_a_damaged_version_stays_while_an_alias_means_it_or_an_adapter_needs_it(
    two: Registry, make_draft: MakeDraft
) -> None:
    two.models.set_alias("acme/intents:2", "production", by="ana")
    two.models.publish(replace(make_draft(name="acme/adapter"), lineage={"adapter_base": "acme/intents:1"}))
    for ref in ("acme/intents:1", "acme/intents:2"):
        _tear(two, ref)
    with pytest.raises(Conflict, match="the alias 'production' means it"):
        two.models.delete("acme/intents:2", by="ana")
    with pytest.raises(Conflict, match="the adapter acme/adapter:1 needs it"):
        two.models.delete("acme/intents:1", by="ana")
    two.models.delete("acme/adapter:1", by="ana")
    two.models.delete("acme/intents:1", by="ana")


@pytest.mark.parametrize("stopped_at", range(1, 11))
def test_a_deletion_that_is_cut_off_has_happened_or_has_not(
    two: Registry, make_draft: MakeDraft, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    steps: list[str] = []

    def hook(step: str, path: Path) -> None:
        steps.append(step)
        if len(steps) == stopped_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(durable, "fault_hook", hook)
    try:
        two.models.delete("acme/intents:2", by="ana")
    except KeyboardInterrupt:
        pass
    else:
        assert stopped_at > len(steps), "every step was cut off once"
    monkeypatch.setattr(durable, "fault_hook", None)
    assert refs(two) in (["acme/intents:2"], ["acme/intents:1"])
    is_gone = refs(two) == ["acme/intents:1"]
    assert is_gone == ("after append" in steps), "the line is the commit"
    assert two.models.publish(make_draft(source="job-3")).ref == "acme/intents:3"
    folder = two.root / "models" / "acme" / "intents"
    assert (folder / "2").is_dir() != is_gone, "what was left of it goes with the next change"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".tmp")] == []


def test_lineage_is_told_both_ways(registry: Registry, make_draft: MakeDraft) -> None:
    def publish(name: str, **lineage: str) -> None:
        registry.models.publish(replace(make_draft(name=name), lineage=lineage))

    publish("acme/base")
    publish("acme/tuned", base="acme/base:1")
    publish("acme/again", base="acme/tuned:1")
    publish("acme/adapter", adapter_base="acme/tuned:1")
    publish("acme/stranger", base="acme/base:11", job="acme/base:1")
    registry.models.archive("acme/again:1", by="ana")
    get = registry.models.get

    def kin(found: list) -> list[tuple[str, str, str]]:  # type: ignore[type-arg]
        return [(each.ref, each.relation, each.state) for each in found]

    assert kin(parents(registry.models, get("acme/again:1"))) == [
        ("acme/tuned:1", "fine-tune", "active"),
        ("acme/base:1", "fine-tune", "active"),
    ]
    assert kin(children(registry.models, get("acme/tuned:1"))) == [
        ("acme/adapter:1", "adapter", "active"),
        ("acme/again:1", "fine-tune", "archived"),
    ]
    assert kin(children(registry.models, get("acme/base:1"))) == [("acme/tuned:1", "fine-tune", "active")]
    registry.models.delete("acme/base:1", by="ana")
    assert kin(parents(registry.models, get("acme/tuned:1"))) == [("acme/base:1", "fine-tune", "missing")]
    assert json.dumps([each.to_json() for each in parents(registry.models, get("acme/tuned:1"))])
