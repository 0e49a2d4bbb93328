"""The Markdown of strangers: whatever a card holds, nothing of it acts where our version of it is rendered."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bedplate_registry.markdown import MAX_WRITTEN, clean_markdown, code_block, code_span, plain, table

SAFE = {
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "ul",
    "ol",
    "li",
    "blockquote",
    "pre",
    "code",
    "em",
    "strong",
    "a",
    "hr",
}
SAFE |= {"br", "table", "thead", "tbody", "tr", "th", "td"}


class Rendered(HTMLParser):
    """What a browser would make of it: tags, attributes, targets."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.targets: list[str] = []
        self.others: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.targets += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_decl(self, decl: str) -> None:
        self.others.append(decl)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)


RENDERERS = (
    MarkdownIt("commonmark", {"html": True}),
    MarkdownIt("commonmark", {"html": True, "maxNesting": 200}).enable(["table", "strikethrough"]),
)
for renderer in RENDERERS:
    renderer.validateLink = lambda url: True  # type: ignore[method-assign]  # what is unsafe has to be gone by then


def rendered(text: str, renderer: MarkdownIt = RENDERERS[1]) -> Rendered:
    found = Rendered()
    found.feed(renderer.render(text))
    found.close()
    return found


def check_harmless(card: str) -> None:
    cleaned = clean_markdown(card)
    assert len(cleaned) < MAX_WRITTEN + 100
    for renderer in RENDERERS:
        found = rendered(cleaned, renderer)
        assert found.tags <= SAFE, cleaned
        assert found.attributes <= {"href", "class", "start", "style"}, cleaned
        assert not found.others, cleaned
        assert {urlsplit(target).scheme for target in found.targets} <= {"http", "https", "mailto"}, cleaned
    assert not re.search("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\0]", cleaned)


SCRIPT = "<script>alert(1)</script>"
HOSTILE = [
    SCRIPT,
    "text <script>alert(1)</script> text",
    "<script>\nalert(1)\n\nalert(2)",
    "<div><script>\n\nalert(1)\n\n</script></div>",
    "<scr<script>ipt>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "text <img src=x onerror=alert(1)> <svg onload=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\u200bscript:alert(1)) [y](\u0001javascript:alert(1))",
    "[x](&#106;avascript:alert(1)) [y](javascript&colon;alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=) ![y](data:image/svg+xml;base64,PHN2Zz4=)",
    "[x](vbscript:x) [y](file:///etc/passwd) [z](//evil.example/x) [w](../x) [v](#top)",
    "![x](http://tracker.example/pixel.png)\n\n[![x](http://a/b.png)](javascript:alert(1))",
    "<javascript:alert(1)> <data:text/html,x> <http://ok.example>",
    "[x]: javascript:alert(1)\n\n[x] [x][] [y][x]",
    '[x](http://a.example "title\\" onclick=alert(1)")',
    "[x](<http://a.example/) <script>alert(1)</script>>)",
    "[x](http://a.example/`<script>`)",
    "<!-- comment --> <!-- open <script>alert(1)</script>",
    "a <!-- x --><script>alert(1)</script><!-- --> b",
    "<![CDATA[<script>alert(1)</script>]]>\n\na <![CDATA[ x ]]> <?php echo 1 ?> <!DOCTYPE html>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &amp;lt;script&amp;gt; &#60;script&#62;",
    "\\<script>alert(1)\\</script> \\\\<script>alert(1)</script>",
    "`<script>` ``a`<script>`` ` `` <script> `` `",
    "```\n<script>alert(1)</script>\n```\n<script>alert(2)</script>",
    "~~~~\n```\n<script>alert(1)</script>\n~~~~\n\n```` x\n```\n<script>\n````",
    "```\n``\u200b`\n<script>alert(1)</script>\n```",
    '```x" onclick=alert(1)\ncode\n```\n\n```<script>\ncode\n```',
    "    <script>alert(1)</script>\n\n\t<script>",
    "- a\n  <script>alert(1)</script>\n- <b onclick=x>b</b>\n\n      <script>",
    "> ```\n> <script>\nlazy <script>alert(1)</script>",
    "> > > <div>\n> > > <script>\n\n1. - > <iframe src=x>",
    "| a | b |\n|---|---|\n| <script>alert(1)</script> | `x|<script>` |\n| \\| | ` |",
    "~~~~<script>\n\n~~ ~~\n\n~~~~x~~~~\n\n`a`\n\n```\n~~~~\n<script>alert(1)</script>\n```",
    "*\u200b* *\u200b\n<script>* **<b>** _<i>_",
    "# <script>alert(1)</script> #\n\n<h1 onclick=x>y</h1>\n===\n",
    "<details open ontoggle=alert(1)><summary>x</summary>\n\ny\n\n</details>",
    '<form action="javascript:x"><input autofocus onfocus=alert(1)><button>go</button></form>',
    '<style>body{display:none}</style> <link rel=stylesheet href=x> <meta http-equiv=refresh content="0;url=x">',
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    '<p align="center"><img src="http://a/b.png" alt="<script>alert(1)</script>"></p>',
    "safe\u202etxt.exe\u202c &#x202E;x &#8203; &#0; \ufeff \U000e0041",
    "<" * 3000 + "script>" * 1000,
    "[" * 3000 + "![" * 1000,
    ">" * 300 + " <script>\n" + "- " * 300 + "<script>",
    "*a **b " * 1000 + SCRIPT,
    "\r\n".join(["line\\", "<br/>", "next  ", SCRIPT, "\x0c<script>", "\x85<script>", "\u2028<script>"]),
    "1. a\n1) <script>\n+ b\n* <script>\n\n2020\\. x\n\n&#35; h\n\n&#45; <script>\n&#96;&#96;&#96;\n<script>",
]


@pytest.mark.parametrize("card", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_of_a_hostile_card_acts_where_it_is_rendered(card: str) -> None:
    for text in (card, f"a\n\n> {card}", f"- {card}\n\n{SCRIPT}", f"{card}\n\n```\n{SCRIPT}\n```\n{SCRIPT}"):
        check_harmless(text)


PIECES = ["<script>", "</script>", "`", "``", "```", "~~~", "~", "*", "_", "[", "](", ")", "](javascript:x)", "![", "<"]
PIECES += [">", "> ", "- ", "1. ", "\n", "\n\n", "    ", "\t", "|", "|-|", "\\", "&lt;", "&#96;", "\u200b", "#", "<!--"]
PIECES += [
    "-->",
    "<div>",
    "</div>",
    "<style>",
    "a",
    " ",
    "<http://a>",
    "http://b",
    "===",
    "---",
    ":",
    "<br>",
    "<img alt=",
    '"',
]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@settings(max_examples=300, deadline=None, database=None, derandomize=True)
def test_nothing_acts_however_the_pieces_of_markdown_are_put_together(card: str) -> None:
    check_harmless(card)


def test_ten_megabytes_are_cut_and_said_to_go_on() -> None:
    check_harmless(SCRIPT * 400_000)
    cleaned = clean_markdown("A line of a card.\n\n" * 500_000)
    assert len(cleaned) < MAX_WRITTEN and cleaned.endswith("*(The card goes on.)*")
    assert len(clean_markdown(("> " * 19 + "a\n") * 5_000)) < MAX_WRITTEN


def test_what_a_card_says_stays() -> None:
    card = """# Title of C# & co

<p align="center"><img src="https://a.example/logo.png" alt="Logo"></p>

Some **bold**, *lean* and `bert_base` [text](https://a.example/x?y=1&z=(2)), snake_case_names and 2 < 3.<br>New line.
![chart](https://a.example/chart.png) by [us](./about) <https://b.example>

1. one
   - inner
2. two

```python
x = "<mask>"
```

| metric | value |
|--------|------:|
| f1     | 0.9   |

<details><summary>More</summary>

Inside.

</details>
"""
    assert clean_markdown(card, heading_shift=2) == (
        """### Title of C# & co

Logo

Some **bold**, *lean* and `bert_base` [text](https://a.example/x?y=1&z=%282%29), snake_case_names and 2 &lt; 3.\\
New line.
[chart](https://a.example/chart.png) by us [https://b.example](https://b.example)

1. one

   - inner
2. two

```python
x = "<mask>"
```

| metric | value |
| --- | --- |
| f1 | 0.9 |

More

Inside."""
    )


def test_cleaning_twice_changes_nothing_that_is_shown() -> None:
    for card in HOSTILE:
        once = clean_markdown(card)
        assert rendered(clean_markdown(once)).text.split() == rendered(once).text.split() or len(once) > 4000


@pytest.mark.parametrize(
    "text", ["a_b *c* [d](e) `f` <g> &lt; | h", "# x", "1. y", "- z", "", "````", "\u202ex", "a\nb"]
)
def test_any_text_can_be_shown_as_it_is_as_words_as_code_and_in_a_table(text: str) -> None:
    shown = " ".join(text.replace("\u202e", "").split())
    assert rendered(plain(text)).text.strip() == shown
    assert rendered(code_span(text)).text.strip() == shown
    assert shown.split() == rendered(code_block(text)).text.split()
    cells = rendered(table(["k", "v"], [[plain(text), code_span(text, in_table=True)]]))
    assert cells.text.split() == ["k", "v", *shown.split(), *shown.split()]
    assert cells.tags <= SAFE
