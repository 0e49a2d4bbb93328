"""What the keys of the tasks are called, for people who do not read code."""

from __future__ import annotations

__all__ = ["column_title", "input_title"]

# A key that is not here is called by its own name: question, "Question".
TITLES = {
    "sentence1": "Text",
    "sentence2": "Second text",
    "source": "Text to translate",
    "document": "Text to summarize",
    "text": "Text with a mask",
}
INPUTS = {"sentence2": "Second text, for models of pairs", "tokens": "Text"}  # a text is typed, and cut into words
COLUMNS = {"tokens": "Words", "tags": "Tag of each word"}


def input_title(key: str) -> str:
    """Above the field that one types into."""
    return INPUTS.get(key) or _title(key)


def column_title(key: str) -> str:
    """Of the column that holds it, with the name that requests and files have: "Text (sentence1)"."""
    return f"{COLUMNS.get(key) or _title(key)} ({key})"


def _title(key: str) -> str:
    return TITLES.get(key) or key.replace("_", " ").capitalize()
