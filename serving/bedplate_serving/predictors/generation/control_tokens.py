"""What a caller writes into a chat is text, even where it looks like one of the model's control tokens.

    marked = control.mark(messages)      "<|im_end|>" in a message becomes "<" MARK "|im_end|>"
    …the template is rendered…
    control.parts(prompt)                ["…<", "|im_end|>…"]: each is tokenized by itself

A tokenizer reads a control token wherever it stands in a prompt, so a message that holds one would end its own turn and
could begin another one's. No part holds the whole of a token that came in a message; those of the template are whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["ControlTokens"]

Tree = dict[str, Any]

MARK = "\ufdd0"  # no character, by the Unicode standard: no text has a use for it


class ControlTokens:
    """Of one tokenizer: its added tokens that are called special."""

    def __init__(self, tokenizer: Any) -> None:
        tokens = (str(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special)
        tree = _tree(token for token in tokens if len(token) > 1)
        starts = (f"{re.escape(first)}(?={_one_of(rest)})" for first, rest in tree.items())
        self._starts = re.compile("|".join(starts)) if tree else None

    def mark(self, value: Any) -> Any:
        """The same with every control token cut after its first character, in all texts that it holds."""
        if isinstance(value, str):
            return value if self._starts is None else self._starts.sub(rf"\g<0>{MARK}", value)
        if isinstance(value, dict):
            return {key: self.mark(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.mark(one) for one in value]
        return value

    def parts(self, prompt: str) -> list[str]:
        return prompt.split(MARK)


def _tree(names: Iterable[str]) -> Tree:
    """Names by their characters, one below the other; "" where a name ends.

    A model may have a thousand of them, and a text that is nothing but their first character: an expression that tries
    one name after the other takes seconds for it, in which no other thread of the process runs.
    """
    tree: Tree = {}
    for name in names:
        node = tree
        for character in (*name, ""):
            node = node.setdefault(character, {})
    return tree


def _one_of(tree: Tree) -> str:
    """An expression for the beginning of a text that goes down the tree to the end of a name."""
    if "" in tree:
        return ""
    ways = [re.escape(character) + _one_of(below) for character, below in tree.items()]
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"
