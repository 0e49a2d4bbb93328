"""What a model is as it is kept: its files, facts, source and lineage; first a draft, then a version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .blobs import check_digest
from .errors import Conflict, Refused
from .names import Name, check_file_path
from .spdx import spdx_of
from .store import ACTIVE, ARCHIVED
from .tasks import finetunable_tasks

__all__ = ["FileEntry", "ModelDraft", "ModelFacts", "ModelVersion", "Source", "laid_over"]

_BYTES = {"float64": 8, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1}  # of one parameter; four of others


@dataclass(frozen=True)
class FileEntry:
    """One file of a model."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelFacts:
    """What a model is, read from its files by `inspection`, never typed by hand."""

    task: str | None  # one of the nine, or None: a base
    architecture: str | None
    model_type: str | None
    parameters: int
    dtype: str
    size_bytes: int
    license: str | None = None  # as the Hub spells it, lower case, several with commas; None where unknown
    labels: tuple[str, ...] = ()
    context_length: int | None = None
    languages: tuple[str, ...] = ()
    finetunable_tasks: tuple[str, ...] = ()
    author: str | None = None
    datasets: tuple[str, ...] = ()  # those that the card names, by their ids on the Hub
    base_model: tuple[str, ...] = ()  # likewise; what it was made from here is in the lineage
    library: str | None = None  # transformers | timm | diffusers | peft; None in manifests of before

    @property
    def license_spdx(self) -> str | None:
        """The license as an SPDX expression."""
        return spdx_of(self.license)


@dataclass(frozen=True)
class Source:
    """Where a model came from."""

    kind: str  # hub | folder | job
    id: str  # the MODEL_ID, the digest of the folder, or the job
    commit: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class ModelDraft:
    """A model whose files are in the store, ready to be published."""

    name: Name
    files: tuple[FileEntry, ...]
    facts: ModelFacts
    source: Source
    lineage: dict[str, Any] = field(default_factory=dict)
    sample: dict[str, Any] | None = None  # request and answer of the check that loaded it
    base_draft: ModelDraft | None = None  # of an adapter whose base came with it: published first

    @property
    def adapter_base(self) -> str | None:
        """The version that it cannot be loaded without: it is an adapter alone."""
        return _text(self.lineage.get("adapter_base"))

    @property
    def loaded_bytes(self) -> int:
        """What its weights take once they are loaded as they are kept: an adapter is loaded with its base."""
        if self.adapter_base is None:
            return self.facts.size_bytes
        return self.facts.parameters * _BYTES.get(self.facts.dtype, 4)

    def to_json(self) -> dict[str, Any]:
        """The draft as JSON: what a worker hands to the owner of the registry."""
        return {
            "name": str(self.name),
            "files": [asdict(entry) for entry in self.files],
            "facts": _plain(asdict(self.facts)),
            "source": asdict(self.source),
            "lineage": self.lineage,
            "sample": self.sample,
            **({"base_draft": self.base_draft.to_json()} if self.base_draft else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelDraft:
        """The draft that `to_json` gave; every name, path and digest in it is checked again."""
        return cls(
            name=Name.parse(value["name"]),
            files=tuple(_entry(item) for item in value["files"]),
            facts=_facts(value["facts"]),
            source=Source(**value["source"]),
            lineage=dict(value["lineage"]),
            sample=value["sample"],
            base_draft=ModelDraft.from_json(value["base_draft"]) if value.get("base_draft") else None,
        )


@dataclass(frozen=True)
class ModelVersion(ModelDraft):
    """A published model. It never changes."""

    version: int = 0
    created: str = ""
    digest: str = ""  # SHA-256 of the manifest, and with it of everything above
    aliases: tuple[str, ...] = ()  # those that mean this version now
    state: str = ACTIVE  # or ARCHIVED: there for who names it, and not taken for anything new

    @property
    def ref(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def task(self) -> str | None:
        return self.facts.task

    @property
    def base(self) -> str | None:
        """The version that it was made from, if it was made from one."""
        return _text(self.lineage.get("base")) or self.adapter_base

    def check_active(self) -> None:
        """Raises Conflict for an archived version, of which nothing new is made."""
        if self.state == ARCHIVED:
            raise Conflict(
                f"{self.ref} is archived: it is neither deployed nor fine-tuned any more.",
                hint=f"Bring it back first: bedplate models restore {self.ref}",
                code="archived",
            )

    def to_json(self) -> dict[str, Any]:
        """The version as one flat object, for REST."""
        draft = super().to_json()
        facts = draft.pop("facts")
        own = {key: getattr(self, key) for key in ("version", "ref", "created", "digest", "state")}
        spdx = {"license_spdx": self.facts.license_spdx}
        return {**draft, **facts, **spdx, **own, "aliases": list(self.aliases)}


def laid_over(base: Iterable[FileEntry], own: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    """The files of a base with an adapter's own beside them and in their place, by path."""
    found = {entry.path: entry for entry in (*base, *own)}
    return tuple(found[path] for path in sorted(found))


def _text(value: object) -> str | None:
    """A worker wrote the lineage."""
    return value if isinstance(value, str) else None


def _entry(value: Mapping[str, Any]) -> FileEntry:
    entry = FileEntry(**value)
    check_file_path(entry.path)
    check_digest(entry.sha256)
    if not isinstance(entry.size_bytes, int) or entry.size_bytes < 0:
        raise Refused(f"{entry.path} has the size {entry.size_bytes!r}.", code="bad-manifest")
    return entry


def _facts(value: Mapping[str, Any]) -> ModelFacts:
    """What it can be fine-tuned for is asked of this release: the one that wrote it may have known of less."""
    given: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    return ModelFacts(**given | {"finetunable_tasks": finetunable_tasks(given["model_type"])})


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
