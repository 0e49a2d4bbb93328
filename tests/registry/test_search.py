"""Search over what is here: by words and filters, in a stable order, from an index that may break at any time."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bedplate_registry import changes, searchindex
from bedplate_registry.blobs import locked
from bedplate_registry.errors import Refused
from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, Source
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry
from bedplate_registry.search import SORTS, Query
from bedplate_registry.store import VersionStore

BERT, DISTIL, INTENT, SUMMARIES = (
    "google-bert/bert-base-uncased:1",
    "distilbert/distilbert-base-uncased:1",
    "acme/support-intent:1",
    "summaries:1",
)


def publish(registry: Registry, name: str, *, card: str = "", source: Source | None = None, **facts: Any) -> None:
    entries = []
    for path, data in (("config.json", b"{}"), ("README.md", card.encode())):
        blob = registry.blobs.put_bytes(data)
        entries.append(FileEntry(path, blob.size_bytes, blob.sha256))
    given = {"task": "fill-mask", "model_type": "own", "parameters": 1000, "size_bytes": 4000, **facts}
    known = ModelFacts(architecture="OwnForMaskedLM", dtype="float32", **given)
    source = source or Source("job", f"job-{os.urandom(4).hex()}")
    registry.models.publish(ModelDraft(Name.parse(name), tuple(entries), known, source))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four models: two of a Hub, one of a job in two languages, and a base from a folder whose card is Japanese."""
    registry = Registry(tmp_path_factory.mktemp("search") / "registry")
    publish(
        registry,
        "google-bert/bert-base-uncased",
        card="# BERT\nMasked language modelling over Wikipedia and books.",
        source=Source("hub", "google-bert/bert-base-uncased", "a" * 40),
        license="apache-2.0",
        parameters=110,
        size_bytes=440,
        languages=("en",),
    )
    publish(
        registry,
        "distilbert/distilbert-base-uncased",
        card="# DistilBERT\nA smaller BERT for Zürich's trams.",
        source=Source("hub", "distilbert-base-uncased", "b" * 40),
        license="Apache-2.0",
        parameters=67,
        size_bytes=268,
        languages=("en",),
    )
    publish(
        registry,
        "acme/support-intent",
        card="# Intents\nOf support messages: card, refund, login.",
        task="text-classification",
        license="mit",
        parameters=67,
        size_bytes=268,
        languages=("DE", "en"),
        model_type="electra",
    )
    publish(
        registry,
        "summaries",
        card='# 要約\nSummaries of news; it\'s "quoted" AND (odd).',
        source=Source("folder", "f" * 64),
        task=None,
        parameters=406,
        size_bytes=1600,
    )
    return registry.root


@pytest.fixture
def filled(made: Path, tmp_path: Path) -> Registry:
    return Registry(shutil.copytree(made, tmp_path / "registry", symlinks=True))


def refs(registry: Registry, **query: Any) -> list[str]:
    return [item["ref"] for item in registry.search.find(Query(**query)).items]


# --- words ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [INTENT, DISTIL, BERT, SUMMARIES]),
        ("   ", [INTENT, DISTIL, BERT, SUMMARIES]),
        ("wikipedia", [BERT]),
        ("WIKI", [BERT]),
        ("zurich", [DISTIL]),
        ("support refund", [INTENT]),
        ("support wikipedia", []),
        ("support-intent", [INTENT]),
        ("acme/support", [INTENT]),
        ("tent", [INTENT]),
        ("要約", [SUMMARIES]),
        ("OwnForMaskedLM summaries", [SUMMARIES]),
        ("!!!", []),
        ("🙂", []),
    ],
)
def test_models_are_found_by_words_of_name_card_and_facts(filled: Registry, text: str, expected: list[str]) -> None:
    assert refs(filled, text=text) == expected


def test_a_part_of_a_name_is_found_and_a_word_of_the_name_comes_first(filled: Registry) -> None:
    assert refs(filled, text="bert")[:2] == [BERT, DISTIL]
    publish(filled, "acme/other", card="About BERT, BERT and again BERT.")
    assert refs(filled, text="bert")[-1] == "acme/other:1"


SIGNS = ['"', "'", "*", "AND", "OR", "NOT", "NEAR(a b)", "a:b", "name:x", "-x", "(", ")", "^", "{a}", "\\", "%", ";"]
ODD = ['" OR 1=1 --', "\x00", "\ud800", "a" * 5000, "a " * 5000, "_", "a_b", "𞤀𞤁", "ﬁ"]


@pytest.mark.parametrize("text", [*SIGNS, *ODD])
@pytest.mark.parametrize("sort", [None, "name"])
def test_whatever_is_typed_is_words_and_no_language(filled: Registry, text: str, sort: str | None) -> None:
    filled.search.find(Query(text=text, sort=sort))
    filled.search.find(Query(text=f'bert "{text}" x', sort=sort, license=text, language=text, alias=text))


PLACE = r'\["?.{0,5}"?, ?"a", ?\d{1,25}\]'


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40), after=st.none() | st.text(max_size=30) | st.from_regex(PLACE))
@example(text="x", after='[1e999,"a",1]')
def test_no_text_and_no_place_makes_an_error_of_sqlite(filled: Registry, text: str, after: str | None) -> None:
    try:
        filled.search.find(Query(text=text), after=after)
    except Refused as refused:
        assert refused.code == "bad-cursor"


# --- filters ---


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"task": "fill-mask"}, [DISTIL, BERT]),
        ({"finetunable_for": "text-classification"}, [INTENT]),
        ({"license": "APACHE-2.0"}, [DISTIL, BERT]),
        ({"license": "unknown"}, [SUMMARIES]),
        ({"language": "de"}, [INTENT]),
        ({"language": "EN"}, [INTENT, DISTIL, BERT]),
        ({"source": "hub"}, [DISTIL, BERT]),
        ({"source": "folder"}, [SUMMARIES]),
        ({"min_bytes": 300}, [BERT, SUMMARIES]),
        ({"max_bytes": 268}, [INTENT, DISTIL]),
        ({"min_parameters": 100, "max_parameters": 200}, [BERT]),
        ({"min_bytes": 2**70}, []),
        ({"text": "bert", "license": "mit"}, []),
        ({"text": "support", "task": "text-classification"}, [INTENT]),
    ],
)
def test_models_are_filtered_by_their_facts(filled: Registry, query: dict[str, Any], expected: list[str]) -> None:
    assert refs(filled, **query) == expected


def test_the_newest_version_is_listed_and_an_alias_finds_the_one_it_means(filled: Registry) -> None:
    publish(filled, "acme/support-intent", card="Second.")
    filled.models.set_alias(INTENT, "production", by="root")
    assert "acme/support-intent:2" in refs(filled)
    assert refs(filled, alias="production") == [INTENT]
    assert refs(filled, text="refund") == []
    filled.models.set_alias("acme/support-intent:2", "production", by="root")
    assert refs(filled, alias="production") == ["acme/support-intent:2"]


def test_an_archived_version_is_found_only_as_such_and_a_deleted_one_no_more(filled: Registry) -> None:
    publish(filled, "acme/support-intent", card="Second.")
    filled.models.archive("acme/support-intent:2", by="root")
    assert refs(filled, text="intent") == [INTENT]
    assert refs(filled, state="archived") == ["acme/support-intent:2"]
    filled.models.restore("acme/support-intent:2", by="root")
    assert refs(filled, text="intent") == ["acme/support-intent:2"]
    filled.models.delete("acme/support-intent:2", by="root")
    assert refs(filled, text="intent") == [INTENT]
    assert refs(filled, state="archived") == []


def test_an_unknown_task_sort_state_or_source_is_refused_with_the_nearest() -> None:
    for wrong in ({"task": "fill-masks"}, {"sort": "parameter"}, {"state": "archive"}, {"source": "hubs"}):
        with pytest.raises(Refused, match=next(iter(wrong.values()))) as refused:
            Query(**wrong)  # type: ignore[arg-type]
        assert refused.value.hint.startswith("Did you mean")


def test_what_of_a_hub_is_here_is_told_by_its_id_there(filled: Registry) -> None:
    ids = ["distilbert-base-uncased", "acme/support-intent", "nobody/has-it", "\ud800", 'a"b']
    assert filled.search.imported(ids) == {"distilbert-base-uncased": DISTIL}


# --- order and pages ---


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("text", ["", "e"])
def test_pages_together_are_the_whole_list_in_the_same_order(
    filled: Registry, sort: str, descending: bool, text: str
) -> None:
    for number in range(9):
        publish(filled, f"acme/m-e-{number}", card="e " * (number % 3), parameters=number % 2, size_bytes=number % 3)
    query = Query(text=text, sort=sort, descending=descending)
    whole = [item["ref"] for item in filled.search.find(query).items]
    assert len(whole) == len(set(whole)) >= 9
    found, after = [], None
    while True:
        page = filled.search.find(query, limit=2, after=after)
        found += [item["ref"] for item in page.items]
        if page.next is None:
            break
        after = page.next
    assert found == whole


def test_lists_are_sorted_by_what_is_asked_and_then_by_name(filled: Registry) -> None:
    assert refs(filled, sort="parameters") == [INTENT, DISTIL, BERT, SUMMARIES]
    assert refs(filled, sort="size", descending=True) == [SUMMARIES, BERT, DISTIL, INTENT]
    assert refs(filled, text="bert", sort="name") == [DISTIL, BERT]


def test_a_model_that_comes_between_two_pages_moves_none_of_the_others(filled: Registry) -> None:
    first = filled.search.find(Query(), limit=2)
    publish(filled, "acme/another")
    rest = filled.search.find(Query(), limit=10, after=first.next)
    assert [item["ref"] for item in (*first.items, *rest.items)] == [INTENT, DISTIL, BERT, SUMMARIES]


def test_models_that_come_between_two_pages_of_hits_move_none_of_the_others(filled: Registry) -> None:
    """What else is in the index changes the rank of every hit."""
    for number in range(12):
        publish(filled, f"acme/m{number:02}", card="quux " * (number + 1))
    query = Query(text="quux")
    whole = [item["ref"] for item in filled.search.find(query).items]
    first = filled.search.find(query, limit=6)
    for number in range(20):
        publish(filled, f"zz/n{number:02}", card="z")
    rest = filled.search.find(query, after=first.next)
    assert [item["ref"] for item in (*first.items, *rest.items)] == whole


def test_a_page_goes_on_where_the_last_hit_was_when_that_is_gone(filled: Registry) -> None:
    for number in range(4):
        publish(filled, f"acme/m{number}", card="quux")
    first = filled.search.find(Query(text="quux"), limit=2)
    filled.models.delete("acme/m1:1", by="root")
    rest = filled.search.find(Query(text="quux"), after=first.next)
    assert [item["name"] for item in rest.items] == ["acme/m2", "acme/m3"]


@pytest.mark.parametrize("after", ["", "x", "[]", "[1,2,3]", '["a","b"]', "{}", "[" * 50_000])
def test_a_place_that_no_page_gave_is_refused(filled: Registry, after: str) -> None:
    with pytest.raises(Refused, match="no place in a list"):
        filled.search.find(Query(), after=after)


def test_a_hit_is_the_version_as_it_is_read_from_its_files(filled: Registry) -> None:
    filled.models.set_alias(INTENT, "production", by="root")
    [item] = filled.search.find(Query(text="refund")).items
    expected = {**filled.models.get(INTENT).to_json(), "aliases": {"production": 1}}
    assert item == json.loads(json.dumps(expected))


# --- the index ---


def index_of(registry: Registry) -> Path:
    return registry.root / "search.db"


def _damages() -> Iterator[tuple[str, Callable[[Path], Any]]]:
    yield "removed", lambda file: file.unlink()
    yield "empty", lambda file: file.write_bytes(b"")
    yield "of something else", lambda file: file.write_bytes(b"hello, I am no database " * 500)
    yield "cut short", lambda file: os.truncate(file, file.stat().st_size // 2)
    yield "overwritten", lambda file: file.write_bytes(file.read_bytes()[:4096] + b"\xff" * 40_000)
    yield "without a table", lambda file: execute(file, "DROP TABLE words")
    yield "of another schema", lambda file: execute(file, "PRAGMA user_version = 99")
    yield "with a log of writing that is not its own", lambda file: _with_foreign_journal(file)


def execute(file: Path, statement: str) -> None:
    db = sqlite3.connect(file)
    db.execute(statement)
    db.commit()
    db.close()


def _with_foreign_journal(file: Path) -> None:
    file.with_name("search.db-journal").write_bytes(os.urandom(4096))
    os.truncate(file, 10_000)


DAMAGES = [*_damages()]


@pytest.mark.parametrize(("how", "damage"), DAMAGES, ids=[how for how, _ in DAMAGES])
def test_an_index_that_is_missing_or_damaged_is_made_anew(
    filled: Registry, how: str, damage: Callable[[Path], Any]
) -> None:
    whole = refs(filled)
    damage(index_of(filled))
    assert refs(filled, text="refund") == [INTENT]
    assert refs(filled) == whole
    assert refs(Registry(filled.root)) == whole


def test_a_copy_of_a_registry_is_searched_with_its_index_and_without(filled: Registry, tmp_path: Path) -> None:
    refs(filled)
    shutil.copytree(filled.root, tmp_path / "copy", symlinks=True)
    publish(filled, "acme/later")
    assert len(refs(Registry(tmp_path / "copy"))) == 4
    (tmp_path / "copy" / "search.db").unlink()
    assert len(refs(Registry(tmp_path / "copy"))) == 4


def test_a_registry_without_a_model_finds_nothing(registry: Registry) -> None:
    assert refs(registry) == refs(registry, text="bert") == []
    publish(registry, "acme/first")
    assert refs(registry) == ["acme/first:1"]


def test_what_another_process_published_is_found_at_the_next_search(filled: Registry) -> None:
    assert len(refs(filled)) == 4
    publish(Registry(filled.root), "acme/from-elsewhere")
    assert "acme/from-elsewhere:1" in refs(filled)


def test_what_came_past_us_is_found_by_the_next_process(filled: Registry) -> None:
    assert len(refs(filled)) == 4
    shutil.rmtree(filled.root / "models" / "acme")
    assert len(refs(Registry(filled.root))) == 3


def test_what_came_past_us_is_found_when_all_is_looked_at_again(
    filled: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(refs(filled)) == 4
    shutil.rmtree(filled.root / "models" / "acme")
    monkeypatch.setattr(searchindex, "RESCAN_SECONDS", -1.0)
    assert len(refs(filled)) == 3


def test_a_folder_of_somebody_elses_is_passed_over(filled: Registry) -> None:
    (filled.root / "models" / "not a name" / "x").mkdir(parents=True)
    (filled.root / "models" / "acme" / "..odd").mkdir()
    (filled.root / "models" / "acme" / "loose").write_text("a file")
    assert len(refs(filled)) == 4


def test_a_damaged_manifest_leaves_its_name_out_and_no_other(filled: Registry) -> None:
    publish(filled, "acme/support-intent")
    manifest = filled.root / "models" / "acme" / "support-intent" / "2" / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    found = Registry(filled.root)
    assert [*refs(found)] == [
        str(version.ref) for version in sorted(found.models.list(), key=lambda one: str(one.name))
    ]
    assert len(refs(found)) == 3


@pytest.mark.parametrize("line", [b"no name\n", b"\xff\n", b"acme/torn"])
def test_a_log_of_changes_that_is_not_understood_means_that_anything_changed(filled: Registry, line: bytes) -> None:
    refs(filled)
    publish(Registry(filled.root), "acme/new")
    with (filled.root / "models" / changes.FILE).open("ab") as file:
        file.write(line)
    assert "acme/new:1" in refs(filled)
    (filled.root / "models" / changes.FILE).unlink()
    publish(filled, "acme/newer")
    assert "acme/newer:1" in refs(filled)


def test_where_no_index_can_be_kept_the_files_are_searched(filled: Registry, caplog: pytest.LogCaptureFixture) -> None:
    index_of(filled).mkdir()
    assert refs(filled, text="refund") == [INTENT]
    publish(filled, "acme/new")
    assert "acme/new:1" in refs(filled)
    assert "cannot be used" in caplog.text


def test_many_threads_search_while_models_come_and_the_index_is_broken(filled: Registry) -> None:
    problems: list[BaseException] = []
    done = threading.Event()

    def search() -> None:
        try:
            while not done.is_set():
                assert len(refs(filled, text="bert")) >= 2
        except BaseException as exc:
            problems.append(exc)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(12):
        publish(filled, f"acme/bert-{number}")
        if number % 4 == 3:
            index_of(filled).unlink(missing_ok=True)
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(refs(filled, text="acme/bert")) == 12


def test_readers_that_waited_for_one_that_takes_a_change_in_read_nothing_again(
    filled: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searchindex, "RACY_NS", 0)
    refs(filled)
    read: list[Name] = []
    read_again = searchindex.SearchIndex._read_again

    def counted(self: searchindex.SearchIndex, db: sqlite3.Connection, name: Name, look: str | None) -> None:
        read.append(name)
        read_again(self, db, name, look)

    monkeypatch.setattr(searchindex.SearchIndex, "_read_again", counted)
    filled.models.set_alias(INTENT, "production", by="root")
    with locked(filled.root / "search.lock"):  # all see the change, and wait
        threads = [threading.Thread(target=refs, args=(filled,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        threads[0].join(0.5)
    for thread in threads:
        thread.join()
    assert read == [Name.parse("acme/support-intent")]
    assert refs(filled, alias="production") == [INTENT]


def test_a_name_is_read_with_one_look_at_its_states_and_aliases(
    filled: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        publish(filled, "acme/support-intent")
    filled.models.set_alias(INTENT, "production", by="root")
    looks: list[str] = []
    lines = VersionStore.lines

    def counted(self: VersionStore, name: Name, file: str) -> list[dict[str, Any]]:
        looks.append(f"{name} {file}")
        return lines(self, name, file)

    monkeypatch.setattr(VersionStore, "lines", counted)
    assert refs(filled, alias="production") == [INTENT]
    assert max(Counter(looks).values()) <= 4, "of six versions"


def test_an_archived_version_that_is_damaged_hides_no_other(filled: Registry) -> None:
    publish(filled, "acme/support-intent")
    filled.models.archive("acme/support-intent:2", by="root")
    manifest = filled.root / "models" / "acme" / "support-intent" / "2" / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    filled.search.rebuild()
    assert refs(filled, text="refund") == [INTENT]


def _search_and_publish(root: Path, who: int) -> None:
    registry = Registry(root)
    for number in range(5):
        publish(registry, f"p{who}/bert-{number}")
        assert f"p{who}/bert-{number}:1" in refs(registry, text=f"p{who}")


def test_several_processes_search_and_take_in_at_once(filled: Registry) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_search_and_publish, args=(filled.root, who)) for who in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(refs(filled)) == 24


def test_a_writer_that_is_killed_leaves_an_index_that_is_still_right(filled: Registry) -> None:
    refs(filled)
    for number in range(5):
        publish(filled, f"acme/late-{number}")
        child = os.fork()
        if child == 0:
            _die_while_taking_in(filled.root)
        os.waitpid(child, 0)
        assert f"acme/late-{number}:1" in refs(filled)


def _die_while_taking_in(root: Path) -> None:
    searchindex.SearchIndex._card = lambda self, version: os._exit(9)  # type: ignore[assignment,method-assign]
    try:
        refs(Registry(root))
    finally:
        os._exit(1)
