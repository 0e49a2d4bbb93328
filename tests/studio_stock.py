"""Models for a house of Studio, published straight into its registry: no job, and nothing that could be loaded."""

from __future__ import annotations

from itertools import count

from bedplate_registry.models import FileEntry, ModelDraft, ModelFacts, Source
from bedplate_registry.names import Name
from bedplate_registry.registry import Registry
from studio_browser import House

__all__ = ["HOSTILE", "LONG", "publish"]

HOSTILE = "<img src=x onerror=\"document.title='owned'\">{{ 1 + 1 }}"
LONG = "a-label-that-never-ends-" * 9
CARD = """---
license: mit
---
# Of strangers <img src="https://evil.example/a.png" onerror="document.title='owned'">

**Good** for [all](https://example.com/docs), [some](javascript:document.title='owned').

<script>document.title = "owned"; fetch("https://evil.example/b")</script>
![pixel](https://evil.example/c.png) <style>@import url(https://evil.example/d.css)</style>
<svg onload="document.title='owned'"><foreignObject><iframe src="https://evil.example/e"></iframe></foreignObject></svg>
"""
numbers = count(1)


def publish(
    house: House, name: str, card: str = CARD, source: str = "", task: str = "text-classification", job: str = ""
) -> str:
    """A version whose files nothing could load, with labels that a stranger chose; from the Hub, a job or a folder."""
    registry, entries = Registry(house.home / "registry"), []
    for path, data in (("config.json", f'{{"of": "{name} {next(numbers)}"}}'.encode()), ("README.md", card.encode())):
        written = house.home / f"written-{next(numbers)}"
        written.write_bytes(data)
        blob = registry.blobs.put_file(written)
        entries.append(FileEntry(path, blob.size_bytes, blob.sha256))
    facts = ModelFacts(
        task or None,
        "BertModel",
        "bert",
        1000,
        "float32",
        4000,
        labels=(HOSTILE, LONG),
        license="mit",
        finetunable_tasks=("text-classification",),
    )
    where = Source("hub", source, "a" * 40) if source else Source("folder", f"{next(numbers):064}")
    where = Source("job", job) if job else where
    return registry.models.publish(ModelDraft(Name.parse(name), tuple(entries), facts, where)).ref
