"""A card as a page of its own, for the frame that Studio shows it in: nothing in it runs, and nothing is fetched.

Its Markdown is rendered first and the HTML cleaned then, since only what a browser would read can be judged. The
page's own rules say the same once more: no script, no picture, no other address, an origin that is nobody's.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import lru_cache
from html import escape

__all__ = ["CARD_POLICY", "card_page"]

TAGS = {"h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote"}
TAGS |= {"ul", "ol", "li", "a", "table", "thead", "tbody", "tr", "th", "td"}
STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;padding:1rem 1.25rem;color:#1d2322;background:#fff;overflow-wrap:anywhere;"
    'font:15px/1.55 system-ui,-apple-system,"Segoe UI","Noto Sans",sans-serif}'
    "h1,h2,h3,h4,h5,h6{line-height:1.3;margin:1.4em 0 .4em;font-weight:600}h1{font-size:1.3rem}h2{font-size:1.15rem}"
    "h3,h4,h5,h6{font-size:1rem}body>:first-child{margin-top:0}a{color:#1f5f5b}"
    "code,pre{font:.88em/1.5 ui-monospace,Menlo,Consolas,monospace}pre,code{background:#f1efe9;border-radius:4px}"
    "code{padding:.1em .3em}pre{padding:.75rem 1rem;overflow-x:auto}pre code{padding:0}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}"
    "th,td{padding:.3rem .7rem;border:1px solid #dcdad3;text-align:left;vertical-align:top;overflow-wrap:normal}"
    "blockquote{margin:1em 0;padding-left:1em;border-left:3px solid #dcdad3;color:#566060}"
    "@media(prefers-color-scheme:dark){body{color:#e8ebe9;background:#1d2221}a{color:#6db8b0}"
    "pre,code{background:#171c1b}th,td,blockquote{border-color:#343b39}blockquote{color:#a3adaa}}"
)
_STYLE_DIGEST = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# A link of the card opens a window of its own when somebody clicks it; nothing else gets out.
CARD_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)


@lru_cache(maxsize=64)
def card_page(title: str, markdown: str) -> str:
    """The page of a card. Kept for a while, since a hostile card takes long."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{_cleaned(markdown)}</body></html>"
    )


def _cleaned(markdown: str) -> str:
    import nh3
    from markdown_it import MarkdownIt

    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return nh3.clean(
        rendered,
        tags=TAGS,
        attributes={"a": {"href"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
