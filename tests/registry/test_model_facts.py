"""Facts that a version keeps beside its task: author, data, base, license; where they come from, how they are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bedplate_registry.license_texts import LicenseText, license_texts
from bedplate_registry.models import ModelDraft
from bedplate_registry.registry import Registry
from bedplate_registry.search import Query

MakeDraft = Callable[..., ModelDraft]


def test_a_hub_says_what_the_card_says_and_names_the_author_where_the_card_does_not(
    serve: Callable[..., Any], model_folder: Path
) -> None:
    said = {"datasets": ["glue"], "base_model": ["acme/base"], "license": "mit"}
    card = serve(model_folder, pipeline_tag="text-classification", cardData=said).hub.resolve("acme/intents").card
    assert (card.author, card.datasets, card.base_model) == ("acme", ("glue",), ("acme/base",))
    assert (card.license, card.pipeline_tag) == ("mit", "text-classification")
    own = serve(model_folder, cardData={**said, "author": "Ada"}).hub.resolve("acme/intents").card
    assert own.author == "Ada"


def test_a_manifest_of_before_has_no_author_and_its_license_in_spdx_all_the_same(make_draft: MakeDraft) -> None:
    draft = make_draft()
    value = replace(draft, facts=replace(draft.facts, license="gpl-3.0")).to_json()
    for name in ("author", "datasets", "base_model", "library"):
        del value["facts"][name]
    facts = ModelDraft.from_json(value).facts
    assert (facts.author, facts.datasets, facts.base_model, facts.library) == (None, (), (), None)
    assert facts.license_spdx == "GPL-3.0-only"


def test_models_are_found_by_author_and_by_the_data_that_their_card_names(
    registry: Registry, make_draft: MakeDraft
) -> None:
    draft = make_draft()
    registry.models.publish(draft)
    facts = replace(draft.facts, author="Ada", datasets=("acme/Tickets", "glue"), base_model=("bert-base",))
    registry.models.publish(replace(make_draft(name="acme/known"), facts=facts))

    def refs(**query: Any) -> list[str]:
        return [item["ref"] for item in registry.search.find(Query(**query)).items]

    assert refs(author="ada") == refs(dataset="ACME/tickets") == refs(text="tickets") == ["acme/known:1"]
    assert refs(author="ada", dataset="glue", text="bert-base") == ["acme/known:1"]
    assert refs(author="grace") == refs(dataset="tickets") == []


def test_the_texts_of_a_license_are_those_that_came_with_the_files(registry: Registry, make_draft: MakeDraft) -> None:
    files = {"LICENSE.txt": "Take it. \xe9".encode(), "NOTICE": b"By Ada.", "config.json": b"{}", "my_LICENSE": b"-"}
    version = registry.models.publish(make_draft(files=files))
    expected = [LicenseText("LICENSE.txt", "Take it. \xe9"), LicenseText("NOTICE", "By Ada.")]
    assert license_texts(registry.models, version) == expected
    assert license_texts(registry.models, registry.models.publish(make_draft(name="acme/none"))) == []


def test_the_texts_of_an_adapter_are_those_of_its_base_too(registry: Registry, make_draft: MakeDraft) -> None:
    base = registry.models.publish(make_draft(name="acme/base", files={"LICENSE": b"Ask.", "config.json": b"{}"}))
    own = make_draft(name="ann/adapter", files={"LICENSE": b"Take it.", "adapter/adapter_config.json": b"{}"})
    version = registry.models.publish(replace(own, lineage={"adapter_base": base.ref}))
    expected = [LicenseText("LICENSE", "Take it."), LicenseText("acme/base:1/LICENSE", "Ask.")]
    assert license_texts(registry.models, version) == expected
