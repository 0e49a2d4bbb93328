"""What a caller writes into a chat is text, even where it looks like one of the model's control tokens.

    marked = control.mark(messages)      "<|im_end|>" in a message becomes "<" MARK "|im_end|>"
    …the template is rendered…
    control.parts(prompt)                ["…<", "|im_end|>…"]: each is tokenized by itself

A tokenizer reads a control token wherever it stands in a prompt, so a message that holds one would end its own turn and
could begin another one's. No part holds the whole of a token that came in a message; those of the template are whole.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["ControlTokens"]

MARK = "\ufdd0"  # no character, by the Unicode standard: no text has a use for it


class ControlTokens:
    """Of one tokenizer: its added tokens that are called special."""

    def __init__(self, tokenizer: Any) -> None:
        tokens = (str(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special)
        names = "|".join(re.escape(token) for token in tokens if len(token) > 1)
        self._starts = re.compile(f"(?={names})(.)", re.DOTALL) if names else None

    def mark(self, value: Any) -> Any:
        """The same with every control token cut after its first character, in all texts that it holds."""
        if isinstance(value, str):
            return value if self._starts is None else self._starts.sub(rf"\1{MARK}", value)
        if isinstance(value, dict):
            return {key: self.mark(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.mark(one) for one in value]
        return value

    def parts(self, prompt: str) -> list[str]:
        return prompt.split(MARK)
