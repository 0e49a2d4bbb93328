"""The folders that models are loaded from: links into the store, and of an adapter its base's files beside its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from .blobs import Blobs
from .errors import BedplateError, NotFound, Refused, Unavailable
from .model_versions import FileEntry, ModelDraft, ModelVersion, laid_over
from .names import check_file_path
from .store import VersionStore
from .views import link_files, relink

__all__ = ["ModelFiles"]


class ModelFiles:
    """The files of versions and drafts. `get` gives the version that a reference means."""

    def __init__(self, store: VersionStore, blobs: Blobs, get: Callable[[str], ModelVersion]) -> None:
        self._store, self._blobs, self._get = store, blobs, get

    def folder(self, version: ModelVersion) -> Path:
        """Rebuilt where a link is missing or wrong. Raises Unavailable where a file is missing or damaged."""
        self.check_sound(version)
        return relink(self._blobs, self.whole(version), self._path(version, version.version))

    def check_there(self, draft: ModelDraft) -> None:
        """Raises NotFound where a file of a draft is not in the store; what is there no collector takes for a while."""
        for entry in draft.files:
            check_file_path(entry.path)
            if not self._blobs.keep(entry.sha256, entry.size_bytes):
                raise NotFound(
                    f"{entry.path} (SHA-256 {entry.sha256}, {entry.size_bytes} bytes) is not in the registry.",
                    hint="Put every file of a model into the store before publishing it.",
                    code="missing-blob",
                )

    def make(self, draft: ModelDraft, folder: Path, version: int) -> None:
        """The view of a draft at `folder`, right once it is that version."""
        link_files(self._blobs, self.whole(draft), folder, self._path(draft, version))

    def stage(self, files: Iterable[FileEntry], folder: Path) -> Path:
        """The view of these files at any place."""
        link_files(self._blobs, tuple(files), folder, folder)
        return folder

    def whole(self, draft: ModelDraft) -> tuple[FileEntry, ...]:
        """All files that it is loaded from. Raises Unavailable where an adapter's base is not here."""
        return laid_over(self.base_of(draft).files, draft.files) if draft.adapter_base else draft.files

    def check_sound(self, version: ModelVersion) -> None:
        """Raises Unavailable where a file of the version, or of its base, is missing or damaged."""
        if version.adapter_base is not None:
            self.check_sound(self.base_of(version))
        if bad := [each.path for each in version.files if not self._blobs.is_sound(each.sha256, each.size_bytes)]:
            raise Unavailable(
                f"{version.ref} is not whole. Damaged or missing: {', '.join(bad[:3])}.",
                hint="Import it again, which fetches what is damaged, or take the registry's files from a backup.",
                code="damaged-model",
            )

    def base_of(self, draft: ModelDraft) -> ModelVersion:
        """The base of an adapter. Raises Unavailable where it is not here, Refused where it is an adapter itself."""
        try:
            base = self._get(str(draft.adapter_base))
        except BedplateError as exc:
            raise Unavailable(
                f"The adapter '{draft.name}' needs its base {draft.adapter_base}: {exc.message}",
                hint="Take the base's files from a backup, or import both again under other names.",
                code="damaged-model",
            ) from exc
        if base.adapter_base is not None:
            raise Refused(f"{base.ref} is an adapter itself, and no base.", hint="Merge the two.", code="bad-base")
        return base

    def _path(self, draft: ModelDraft, version: int) -> Path:
        return self._store.folder(draft.name) / str(version) / "files"
