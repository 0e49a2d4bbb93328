"""Tags of tokens: as many as there are tokens, spelled alike, and each I- within what a B- began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bedplate_registry.label_names import class_name, is_integer

from .labels import check_label_counts
from .marks import Mark, Values
from .report import Collector, SplitFacts
from .texts import lone_surrogate

__all__ = ["TagCheck"]

OUTSIDE = "O"
_OPEN = ("B", "I")  # what an I- may follow


class TagCheck:
    """Token classification."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = class_names

    def look(self, facts: SplitFacts, row: int, values: Values) -> Iterator[Mark]:
        tokens, tags = values["tokens"], values.get("tags")
        if not tokens:
            yield Mark("empty-value", "tokens", drops=True)
            return
        if any(not isinstance(token, str) for token in tokens):
            yield Mark("wrong-type", "tokens", "a token is no text")
            return
        yield from lone_surrogate("tokens", " ".join(tokens))
        if any(not token.strip() for token in tokens):
            yield Mark("empty-token", "tokens")
        if tags is None:
            return
        if len(tags) != len(tokens):
            yield Mark("length-mismatch", "tags", f"{len(tokens)} tokens, {len(tags)} tags", drops=True)
        elif any(isinstance(tag, bool) or not isinstance(tag, str | int) or tag == "" for tag in tags):
            yield Mark("wrong-type", "tags", "a tag is neither a text nor a whole number")
        else:
            yield from self._look_at_tags(facts, row, tags)

    def _look_at_tags(self, facts: SplitFacts, row: int, tags: list[Any]) -> Iterator[Mark]:
        names = [class_name(str(tag), self._class_names) for tag in tags]
        if None in names:
            yield Mark("unknown-label", "tags", f"{tags[names.index(None)]!r} is not one of the class names")
            return
        known = [name for name in names if name is not None]
        facts.count_labels(set(known), row)
        mended = begun(known)
        if mended != known:
            at = next(place for place, name in enumerate(known) if mended[place] != name)
            before = known[at - 1] if at else "nothing"
            yield Mark("bad-bio", "tags", f"{known[at]} follows {before}", values=self._repair(tags, known, mended))

    def _repair(self, tags: list[Any], names: list[str], mended: list[str]) -> Values | None:
        """The tags as they are spelled in the data; None where a number stands for none of those that are needed."""
        both = zip(tags, names, mended, strict=True)
        changed = [tag if name == new else self._like(tag, new) for tag, name, new in both]
        return None if None in changed else {"tags": changed}

    def _like(self, tag: str | int, name: str) -> str | int | None:
        if not is_integer(str(tag)):
            return name
        if name not in self._class_names:
            return None
        number = self._class_names.index(name)
        return number if isinstance(tag, int) else str(number)

    def end(self, splits: Mapping[str, SplitFacts], collector: Collector) -> None:
        check_label_counts(splits, collector, "tags")
        for split, facts in splits.items():
            plain = [name for name in facts.labels if name != OUTSIDE and "-" not in name and not is_integer(name)]
            if plain and any("-" in name for name in facts.labels):
                for name in plain:
                    detail = f"{name!r}, {facts.labels[name]} rows"
                    collector.add("unknown-tag", "tags", split, facts.first_rows[name], detail)


def begun(tags: Sequence[str]) -> list[str]:
    """The tags, with a B- for each I- that goes on with nothing. Data that has no B- at all is mended by that too."""
    mended, before = [], ("", "")
    for tag in tags:
        prefix, dash, kind = tag.partition("-")
        if dash and prefix == "I" and not (before[0] in _OPEN and before[1] == kind):
            tag, prefix = f"B-{kind}", "B"
        mended.append(tag)
        before = (prefix, kind)
    return mended
