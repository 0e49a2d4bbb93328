"""Models: versions that count up and never change."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bedplate_registry.errors import BedplateError, Conflict, NotFound, Refused
from bedplate_registry.models import FileEntry, ModelDraft, Source
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry

MakeDraft = Callable[..., ModelDraft]


def test_versions_count_up_and_the_newest_is_meant_by_default(registry: Registry, make_draft: MakeDraft) -> None:
    first = registry.models.publish(make_draft(source="job-1"))
    second = registry.models.publish(make_draft(source="job-2"))
    assert (first.ref, second.ref) == ("acme/intents:1", "acme/intents:2")
    assert registry.models.get("acme/intents") == second
    assert registry.models.get("acme/intents:1") == first
    assert registry.models.list() == [second]
    assert registry.models.versions(first.name) == [first, second]


def test_publishing_the_same_source_again_gives_the_same_version(registry: Registry, make_draft: MakeDraft) -> None:
    first = registry.models.publish(make_draft())
    assert registry.models.publish(make_draft()) == first
    assert len(registry.models.versions(first.name)) == 1


def test_the_same_source_for_another_task_is_another_version(registry: Registry, make_draft: MakeDraft) -> None:
    draft = make_draft()
    registry.models.publish(draft)
    as_base = replace(draft, facts=replace(draft.facts, task=None))
    assert registry.models.publish(as_base).version == 2


def test_a_draft_survives_the_way_through_json(make_draft: MakeDraft) -> None:
    draft = make_draft()
    assert ModelDraft.from_json(json.loads(json.dumps(draft.to_json()))) == draft


def test_what_a_model_can_be_fine_tuned_for_is_what_this_release_can(make_draft: MakeDraft) -> None:
    draft = make_draft()
    written_before = replace(draft, facts=replace(draft.facts, model_type="gpt2", finetunable_tasks=()))
    read = ModelDraft.from_json(json.loads(json.dumps(written_before.to_json())))
    assert read.facts.finetunable_tasks == ("text-classification", "token-classification", "question-answering")


@pytest.mark.parametrize(
    ("key", "value"),
    [("path", "../x"), ("path", "/etc/passwd"), ("sha256", "../../x"), ("size_bytes", -1)],
)
def test_a_draft_from_elsewhere_is_checked_again(make_draft: MakeDraft, key: str, value: object) -> None:
    given = make_draft().to_json()
    given["files"][0][key] = value
    with pytest.raises(Refused):
        ModelDraft.from_json(given)


def test_a_version_whose_file_is_missing_is_not_published(registry: Registry, make_draft: MakeDraft) -> None:
    draft = make_draft()
    lost = FileEntry("model.safetensors", 3, "a" * 64)
    with pytest.raises(NotFound) as caught:
        registry.models.publish(replace(draft, files=(*draft.files, lost)))
    assert caught.value.code == "missing-blob" and "a" * 64 in caught.value.message
    assert registry.models.list() == []


@pytest.mark.parametrize("twin", ["acme/Intents", "ACME/intents", "Acme/other"])
def test_a_name_that_differs_only_in_case_is_refused(registry: Registry, make_draft: MakeDraft, twin: str) -> None:
    registry.models.publish(make_draft())
    with pytest.raises(Conflict, match="acme/intents") as caught:
        registry.models.publish(make_draft(name=twin))
    assert caught.value.code == "case-twin"
    with pytest.raises(Conflict) as told:
        registry.models.check_name(Name.parse(twin))
    assert (told.value.code, told.value.message) == ("case-twin", caught.value.message)


def test_a_name_that_is_free_or_taken_as_it_is_spelled_passes_the_check(
    registry: Registry, make_draft: MakeDraft
) -> None:
    registry.models.check_name(Name.parse("acme/intents"))
    assert not (registry.root / "models").exists(), "the check leaves nothing behind"
    registry.models.publish(make_draft())
    for name in ("acme/intents", "acme/others", "intents"):
        registry.models.check_name(Name.parse(name))


def test_a_one_part_name_and_an_organization_do_not_meet(registry: Registry, make_draft: MakeDraft) -> None:
    registry.models.publish(make_draft(name="intents"))
    registry.models.publish(make_draft(name="intents/intents"))
    assert [str(version.name) for version in registry.models.list()] == ["intents", "intents/intents"]


def test_what_is_not_there_says_what_to_type(registry: Registry, make_draft: MakeDraft) -> None:
    registry.models.publish(make_draft())
    with pytest.raises(NotFound) as caught:
        registry.models.get("acme/intent")
    assert "bedplate import acme/intent" in caught.value.hint and "acme/intents" in caught.value.hint
    with pytest.raises(NotFound, match="no version 7"):
        registry.models.get("acme/intents:7")
    with pytest.raises(NotFound, match="no alias 'production'"):
        registry.models.get("acme/intents@production")
    with pytest.raises(NotFound):
        registry.models.versions(Name.parse("nobody"))


def test_the_view_is_relative_links_and_is_rebuilt(registry: Registry, make_draft: MakeDraft) -> None:
    version = registry.models.publish(make_draft())
    folder = registry.models.files_dir(version)
    link = folder / "1_Pooling" / "config.json"
    assert link.is_symlink() and not link.readlink().is_absolute() and link.read_bytes() == b"[]"
    link.unlink()
    link.symlink_to("/etc/passwd")
    assert registry.models.files_dir(version) == folder and link.read_bytes() == b"[]"
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_copied_registry_reads_the_same(registry: Registry, make_draft: MakeDraft, tmp_path: Path) -> None:
    version = registry.models.publish(make_draft())
    registry.root.rename(tmp_path / "elsewhere")
    moved = Registry(tmp_path / "elsewhere")
    assert moved.models.get(version.ref) == version
    assert (moved.models.files_dir(version) / "README.md").read_text() == "# Card"


def test_stage_makes_the_same_view_anywhere(registry: Registry, make_draft: MakeDraft, tmp_path: Path) -> None:
    folder = registry.models.stage(make_draft().files, tmp_path / "deep" / "view")
    assert (folder / "README.md").read_text() == "# Card"


def test_the_card_is_the_readme_or_nothing(registry: Registry, make_draft: MakeDraft) -> None:
    assert registry.models.card(registry.models.publish(make_draft())) == "# Card"
    bare = registry.models.publish(make_draft(name="bare", files={"config.json": b"{}"}))
    assert registry.models.card(bare) == ""


def test_an_alias_means_what_was_said_last(registry: Registry, make_draft: MakeDraft) -> None:
    for source in ("job-1", "job-2"):
        registry.models.publish(make_draft(source=source))
    registry.models.set_alias("acme/intents:2", "production", by="ana", why="better")
    registry.models.set_alias("acme/intents:1", "production", by="ben", why="rolled back")
    assert registry.models.get("acme/intents@production").version == 1
    assert registry.models.get("acme/intents:1").aliases == ("production",)
    assert registry.models.get("acme/intents:2").aliases == ()
    with pytest.raises(Refused):
        registry.models.set_alias("acme/intents:1", "v7", by="ana")


def test_verify_names_each_file_that_is_missing_or_damaged(registry: Registry, make_draft: MakeDraft) -> None:
    version = registry.models.publish(make_draft())
    assert registry.models.verify(version.ref) == []
    config, card = registry.blobs.path(version.files[0].sha256), registry.blobs.path(version.files[1].sha256)
    config.unlink()
    card.chmod(0o644)
    card.write_bytes(b"# Cart")
    problems = registry.models.verify(version.ref)
    assert len(problems) == 2 and "config.json is missing" in problems[0] and "README.md is damaged" in problems[1]


def test_a_damaged_manifest_is_named_and_hides_no_other_model(registry: Registry, make_draft: MakeDraft) -> None:
    version = registry.models.publish(make_draft())
    other = registry.models.publish(make_draft(name="acme/other"))
    path = registry.root / "models" / "acme" / "intents" / "1" / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(Refused, match="acme/intents:1") as caught:
        registry.models.get(version.ref)
    assert caught.value.code == "bad-manifest"
    assert registry.models.list() == [other]


@pytest.mark.parametrize("broken", ["files", "facts", "name", "created", "manifest.json"])
def test_a_manifest_that_lacks_something_is_named_and_hides_no_other_model(
    registry: Registry, make_draft: MakeDraft, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    version = registry.models.publish(make_draft())
    other = registry.models.publish(make_draft(name="acme/other"))
    path = registry.root / "models" / "acme" / "intents" / "1" / "manifest.json"
    path.chmod(0o644)
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps({key: item for key, item in value.items() if key != broken}))
    if broken == path.name:
        path.unlink()
    assert registry.models.list() == [other]
    assert "acme/intents:1" in caplog.text
    with pytest.raises(Refused, match="'acme/intents:1' is damaged") as caught:
        registry.models.get(version.ref)
    assert caught.value.code == "bad-manifest"


def test_a_manifest_with_an_unsafe_path_is_damaged(registry: Registry, make_draft: MakeDraft) -> None:
    version = registry.models.publish(make_draft())
    path = registry.root / "models" / "acme" / "intents" / "1" / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"README.md"', b'"../x"'))
    assert registry.models.list() == []
    with pytest.raises(Refused, match="'acme/intents:1' is damaged"):
        registry.models.get(version.ref)


def test_a_manifest_of_a_newer_bedplate_is_refused(registry: Registry, make_draft: MakeDraft) -> None:
    version = registry.models.publish(make_draft())
    path = registry.root / "models" / "acme" / "intents" / "1" / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 2'))
    with pytest.raises(Refused, match="newer Bedplate"):
        registry.models.get(version.ref)


def test_find_source_goes_by_kind_id_commit_and_task(registry: Registry, make_draft: MakeDraft) -> None:
    version = registry.models.publish(make_draft())
    find = registry.models.find_source
    assert find(version.name, Source("job", "job-1"), task="text-classification") == version
    assert find(version.name, Source("job", "job-1"), task=None) is None
    assert find(version.name, Source("hub", "job-1"), task="text-classification") is None
    assert find(Name.parse("nobody"), Source("job", "job-1")) is None


def test_many_publishers_of_one_source_make_one_version(registry: Registry, make_draft: MakeDraft) -> None:
    drafts = [make_draft() for _ in range(8)] + [make_draft(source="job-2") for _ in range(8)]
    found: list[str] = []
    failed: list[BedplateError] = []

    def publish(draft: ModelDraft) -> None:
        try:
            found.append(registry.models.publish(draft).ref)
        except BedplateError as exc:
            failed.append(exc)

    threads = [threading.Thread(target=publish, args=(draft,)) for draft in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and len(found) == 16 and set(found) == {"acme/intents:1", "acme/intents:2"}


def test_the_flat_form_for_rest_has_everything(registry: Registry, make_draft: MakeDraft) -> None:
    value = registry.models.publish(make_draft()).to_json()
    assert json.loads(json.dumps(value)) == value
    assert value["name"] == "acme/intents" and value["ref"] == "acme/intents:1" and value["version"] == 1
    keys = "task architecture parameters license labels source lineage sample created digest files aliases"
    assert set(keys.split()) <= set(value)
