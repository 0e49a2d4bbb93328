"""One check for every name that reaches the disk."""

from __future__ import annotations

import pytest

from bedplate_registry.errors import Refused
from bedplate_registry.names import Name, Ref, check_alias, check_file_path

GOOD = ["name", "org/name", "sentence-transformers/all-MiniLM-L6-v2", "a/b.c_d-e", "_x/y", "x" * 96]
BAD = [
    *("https://huggingface.co/org/name", "file:///etc/passwd", "//host", "/etc/passwd", "./x", "../x", "~/x", "a\\b"),
    *("", "/", "a/", "/a", "a//b", "a/b/c", ".", "..", "_", "_/x", ".hidden", "-dash", "a/.b", "a/-b", "a.", "a-"),
    *("a..b", "a--b", "a b", "a\n", "\na", "a\0b", "a\tb", "ä", "nаme", "a:b", "a@b", "a?b", "a#b", "a%2fb", "x" * 97),
    *("org/" + "x" * 1000, "a.git", "x.lock", "org/../x", "name ", "C:\\x"),
]


@pytest.mark.parametrize("text", GOOD)
def test_a_good_name_reads_back_as_itself(text: str) -> None:
    assert str(Name.parse(text)) == text


@pytest.mark.parametrize("text", BAD)
def test_a_bad_name_is_refused_and_not_cleaned(text: str) -> None:
    with pytest.raises(Refused) as caught:
        Name.parse(text)
    assert caught.value.code == "bad-name"
    assert caught.value.hint
    assert caught.value.message.isprintable() and len(caught.value.message) < 300


def test_the_refusal_of_a_url_and_of_a_path_says_what_to_type_instead() -> None:
    with pytest.raises(Refused, match="is a URL"):
        Name.parse("https://huggingface.co/org/name")
    with pytest.raises(Refused, match="is a path") as caught:
        Name.parse("./models/mine")
    assert "--from" in caught.value.hint


def test_one_part_names_have_a_folder_that_no_organization_can_have() -> None:
    assert Name.parse("gpt2").folder == "_/gpt2"
    assert Name.parse("org/gpt2").folder == "org/gpt2"


@pytest.mark.parametrize("text", ["org/name", "org/name:3", "org/name@production", "name:12", "name@best-yet"])
def test_a_reference_reads_back_as_itself(text: str) -> None:
    assert str(Ref.parse(text)) == text


@pytest.mark.parametrize("text", ["org/name:0", "org/name:x", "org/name:-1", "org/name:", "org/name:1.0", "x:1:2"])
def test_a_wrong_version_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        Ref.parse(text)


@pytest.mark.parametrize("alias", ["main", "latest", "v3", "a" * 40, "Prod", "", "1st", "a/b", "a b", "x" * 64])
def test_an_alias_that_could_mean_something_else_is_refused(alias: str) -> None:
    with pytest.raises(Refused) as caught:
        check_alias(alias)
    assert caught.value.code == "bad-alias"


@pytest.mark.parametrize("path", ["config.json", "1_Pooling/config.json", "a/b/c.txt", ".gitattributes", "ünicode.txt"])
def test_a_plain_file_path_is_kept(path: str) -> None:
    assert check_file_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("../x", "/abs", "C:\\x", "\\\\h\\s", "a/../../x", "a\\..\\x", "x\0y", ".", "", "a//b", "a/", "a/./b", "x\ny"),
        *("x" * 4096, "a/" * 40 + "x", " lead", "trail ", "dot.", "a:b", "a*b"),
    ],
)
def test_a_file_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(Refused) as caught:
        check_file_path(path)
    assert caught.value.code == "bad-path"
