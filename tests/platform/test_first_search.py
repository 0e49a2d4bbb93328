"""The index of models is there before anybody searches."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, Source
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry
from harness import wait_for
from light_server import light_server


def test_a_server_makes_the_search_index_when_it_starts(tmp_path: Path) -> None:
    home = tmp_path / "home"
    registry = Registry(home / "registry")
    blob = registry.blobs.put_bytes(b"{}")
    facts = ModelFacts("text-classification", "BertModel", "bert", 10, "float32", 8)
    files = (FileEntry("config.json", blob.size_bytes, blob.sha256),)
    registry.models.publish(ModelDraft(Name.parse("acme/tiny"), files, facts, Source("job", "job-1")))
    index = home / "registry" / "search.db"
    assert not index.exists()
    with light_server(home=home):
        wait_for(index.exists, seconds=60)
        with closing(sqlite3.connect(index)) as db:
            assert db.execute("SELECT name FROM models").fetchall() == [("acme/tiny",)]
