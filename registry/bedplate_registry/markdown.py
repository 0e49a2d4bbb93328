"""Markdown of strangers made harmless: parsed, and written anew by us from what was understood.

What comes out holds no HTML and no image, and its links lead to http, https and mailto alone, whatever renders it.
Every character that could mean something is escaped, but inside of code, where nothing does.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from markdown_it.token import Token

__all__ = ["clean_markdown", "code_block", "code_span", "plain", "table"]

MAX_CHARACTERS = 1 << 16  # of a text that is read; the longest cards that people write stay below
MAX_WRITTEN = 1 << 17  # escapes and the marks of nested quotes make it longer
MAX_LINE = 2000
MAX_ROWS, MAX_COLUMNS = 100, 20
SCHEMES = ("http://", "https://", "mailto:")
CUT = "*(The card goes on.)*"
_NOT_SHOWN = frozenset(
    ("script", "style", "iframe", "noscript", "noembed", "noframes", "object", "svg", "math", "template")
)
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn"))
_MARKS = {"em": "*", "strong": "**"}
_HARD = "\0"  # at the end of a line that is to be broken there; no text holds one
_SAFE_IN_URL = "-._~:/?#@!$&+,=%"


def clean_markdown(text: str, *, heading_shift: int = 0) -> str:
    """`text` as Markdown without anything active. Headings are put so many levels deeper."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    is_cut = len(text) > MAX_CHARACTERS
    tokens = parser.parse(text[:MAX_CHARACTERS])
    writer, written, size = _Writer(heading_shift), [], 0
    for block in writer.blocks(tokens):
        size += len(block) + 2
        if size > MAX_WRITTEN:
            is_cut = True
            break
        written.append(block)
    return "\n\n".join([*written, CUT] if is_cut else written)


def plain(text: object, *, most: int = MAX_LINE) -> str:
    """Any text as one line of Markdown that shows just that."""
    line = " ".join(_visible(str(text)).split())
    return _line_start(_escaped(line if len(line) <= most else f"{line[:most]}…"))


def code_span(text: object, *, in_table: bool = False) -> str:
    """Text as inline code."""
    line = " ".join(_visible(str(text)[:MAX_LINE]).split()) or " "
    runs = {len(run) for run in re.findall(r"`+", line)}
    fence = "`" * next(size for size in range(1, len(runs) + 2) if size not in runs)
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    line = line.replace("|", "\\|") if in_table else line
    return f"{fence}{pad}{line}{pad}{fence}"


def code_block(text: str, language: str = "") -> str:
    """Text as a block of code; `language` only where it is a plain word."""
    lines = [_visible(line)[:MAX_LINE] for line in text.expandtabs(4).split("\n")]
    longest = max((len(run) for line in lines for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    language = language if re.fullmatch(r"[A-Za-z0-9+#.\-]{1,30}", language) else ""
    return "\n".join([fence + language, *lines, fence])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already, each of one line and with its bars escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class _Writer:
    """Writes tokens as Markdown."""

    def __init__(self, heading_shift: int) -> None:
        self._shift = heading_shift

    def blocks(self, tokens: Sequence[Token]) -> Iterable[str]:
        """Each block of one level; the parser goes 20 levels deep at most."""
        at, never_closed = 0, {""}
        while at < len(tokens):
            end = _end(tokens, at)
            if tokens[at].type == "html_block" and (name := _left_open(tokens[at].content)) not in never_closed:
                end = _closed(tokens, at, name)
                if end == at:
                    never_closed.add(name)
            if block := self._block(tokens[at], tokens[at + 1 : end]):
                yield block
            at = end + 1

    def _block(self, token: Token, inner: Sequence[Token]) -> str:
        match token.type.removesuffix("_open"):
            case "paragraph":
                return _inline(inner)
            case "heading":
                level = min(6, int(token.tag[1:]) + self._shift)
                text = _inline(inner).replace("\\\n", " ").replace("\n", " ")
                return f"{'#' * level} {text}" if text else ""
            case "fence" | "code_block":
                return code_block(token.content.rstrip("\n"), token.info.strip().partition(" ")[0])
            case "html_block":
                return plain(_text_of(token.content))
            case "hr":
                return "* * *"
            case "blockquote":
                return _prefixed("\n\n".join(self.blocks(inner)), "> ", "> ")
            case "bullet_list" | "ordered_list":
                return self._list(token, inner)
            case "table":
                return _table(inner)
        return ""

    def _list(self, token: Token, inner: Sequence[Token]) -> str:
        number = int(token.attrs.get("start", 1)) if token.type.startswith("ordered") else None
        is_tight = any(
            each.type == "paragraph_open" and each.hidden and each.level == token.level + 2 for each in inner
        )
        items: list[str] = []
        at = 0
        while at < len(inner):
            end = _end(inner, at)
            mark = "- " if number is None else f"{min(number + len(items), 999_999_999)}. "
            content = "\n\n".join(self.blocks(inner[at + 1 : end]))
            items.append(_prefixed(content, mark, " " * len(mark)))
            at = end + 1
        return ("\n" if is_tight else "\n\n").join(items)


def _end(tokens: Sequence[Token], at: int) -> int:
    """Where the block that begins at `at` ends."""
    if tokens[at].nesting != 1:
        return at
    level = tokens[at].level
    return next(end for end in range(at + 1, len(tokens)) if tokens[end].level == level and tokens[end].nesting == -1)


def _closed(tokens: Sequence[Token], at: int, name: str) -> int:
    """Where a script that a block of HTML leaves open ends, among the blocks beside it; at once where it never does."""
    level, place = tokens[at].level, at
    while place < len(tokens) and tokens[place].level >= level:
        end = _end(tokens, place)
        if place > at and any(f"</{name}" in token.content.lower() for token in tokens[place : end + 1]):
            return end
        place = end + 1
    return at


def _table(inner: Sequence[Token]) -> str:
    rows: list[list[str]] = []
    for at, token in enumerate(inner):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open") and len(rows[-1]) < MAX_COLUMNS:
            rows[-1].append(_inline(inner[at + 1 : at + 2], in_table=True))
    shown = table(rows[0], rows[1 : MAX_ROWS + 1])
    return f"{shown}\n\n*({len(rows) - 1 - MAX_ROWS} more rows.)*" if len(rows) > MAX_ROWS + 1 else shown


def _inline(tokens: Sequence[Token], *, in_table: bool = False) -> str:
    """The text of a paragraph, a heading or a cell; line by line, so that none begins like a block."""
    written: list[str] = []
    link: list[str] = []  # where the links that are open lead; empty: nowhere
    hidden = ""  # the element whose content is not shown
    for token in _children(tokens):
        kind = token.type.removesuffix("_open").removesuffix("_close")
        if token.type == "html_inline":
            hidden = _hidden(token.content, hidden)
            written.append(_break(token.content, in_table) if not hidden else "")
        elif hidden:
            continue
        elif kind in _MARKS:
            written.append(_MARKS[kind])
        elif kind == "link":
            if token.nesting == 1:
                link.append(_url(token.attrs.get("href")))
                written.append("[" if link[-1] else "")
            elif target := link.pop():
                written.append((_escaped(target) if written[-1] == "[" else "") + f"]({target})")
        elif kind == "image":
            written.append(_image(token, bool(link and link[-1])))
        elif kind == "code_inline":
            written.append(code_span(token.content, in_table=in_table))
        elif kind in ("softbreak", "hardbreak"):
            written.append(" " if in_table else "\n" if kind == "softbreak" else f"{_HARD}\n")
        else:
            written.append(_escaped(_visible(token.content)))
    lines = [" ".join(line.split()) for line in "".join(written).split("\n")]
    lines = [_line_start(_bounded(line)) for line in lines if line.strip(_HARD)]
    return "\n".join(lines).removesuffix(_HARD).replace(_HARD, "\\")


def _children(tokens: Sequence[Token]) -> Iterable[Token]:
    return (child for token in tokens if token.type == "inline" for child in token.children or ())


def _bounded(line: str) -> str:
    """Marks may be cut in two here, so that what is too long loses them all."""
    return line if len(line) <= 2 * MAX_LINE else f"{_escaped(line[:MAX_LINE])}…"


def _image(token: Token, is_in_link: bool) -> str:
    """Its alternative text, as a link to it: nothing is fetched by looking at a card."""
    text, url = _escaped(_visible(_alt(token))) or "image", _url(token.attrs.get("src"))
    return f"[{text}]({url})" if url and not is_in_link else text


def _alt(token: Token) -> str:
    shown = (child.content for child in token.children or () if child.type != "html_inline")
    return " ".join("".join(shown).split())[:MAX_LINE]


def _url(value: Any) -> str:
    """An address as it may stand in brackets; empty where it leads where we do not send anybody."""
    url = _visible(str(value or "")).strip()
    is_safe = url.lower().startswith(SCHEMES) and len(url) <= MAX_LINE
    return quote(url, safe=_SAFE_IN_URL) if is_safe else ""


def _hidden(tag: str, hidden: str) -> str:
    """The element whose content is not shown, after a tag."""
    found = re.match(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)", tag)
    name = found[2].lower() if found else ""
    if hidden:
        return "" if found and found[1] and name == hidden else hidden
    return name if found and not found[1] and name in _NOT_SHOWN and not tag.endswith("/>") else ""


def _break(tag: str, in_table: bool) -> str:
    return (" " if in_table else f"{_HARD}\n") if re.match(r"<br\b", tag, re.IGNORECASE) else _escaped(_text_of(tag))


class _Text(HTMLParser):
    """The text of HTML, with the words for its images."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.open: list[str] = []  # of the elements that are not shown

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _NOT_SHOWN:
            self.open.append(tag)
        elif not self.open:
            self.parts.append((dict(attrs).get("alt") or "") if tag == "img" else " ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _NOT_SHOWN:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            del self.open[self.open.index(tag) :]

    def handle_data(self, data: str) -> None:
        if not self.open:
            self.parts.append(data)


def _parsed(html: str) -> _Text:
    parser = _Text()
    parser.feed(html)
    return parser


def _text_of(html: str) -> str:
    return " ".join(_visible("".join(_parsed(html).parts)).split())


def _left_open(html: str) -> str:
    return next(iter(_parsed(html).open), "")


def _visible(text: str) -> str:
    """Without what is not seen, or turns around what is: controls, zero-width and bidirectional marks, tags."""
    if text.isascii() and text.isprintable():
        return text
    spaced = text.translate({ord(c): " " for c in "\t\n\u2028\u2029"})
    return "".join(c for c in spaced if unicodedata.category(c) not in _UNSEEN)


def _escaped(text: str) -> str:
    """Nothing in it means anything to Markdown in the middle of a line."""
    text = re.sub(r"([\\`*\[\]|~])", r"\\\1", text)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # inside a word, as in bert_base, it means nothing
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return text.replace("<", "&lt;")


def _line_start(line: str) -> str:
    """Nor at its start."""
    return re.sub(r"^(\d{1,9})(?=[.)](\s|$))", r"\1\\", re.sub(r"^([#>\-+=:])", r"\\\1", line))


def _prefixed(text: str, first: str, others: str) -> str:
    return "\n".join(((others if at else first) + line).rstrip() for at, line in enumerate(text.split("\n")))
