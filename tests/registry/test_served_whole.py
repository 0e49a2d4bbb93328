from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bedplate_registry.errors import Unavailable
from bedplate_registry.models import ModelDraft
from bedplate_registry.registry import Registry


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"?" * path.stat().st_size), Path.unlink])
def test_a_version_with_a_damaged_or_missing_file_is_not_handed_out(
    registry: Registry, make_draft: Callable[..., ModelDraft], damage: Callable[[Path], object]
) -> None:
    version = registry.models.publish(make_draft())
    path = registry.blobs.path(version.files[0].sha256)
    path.chmod(0o644)
    damage(path)
    with pytest.raises(Unavailable, match=version.files[0].path) as caught:
        registry.models.files_dir(version)
    assert caught.value.code == "damaged-model" and "again" in caught.value.hint
    assert len(registry.models.verify(version.ref)) == 1
    make_draft()  # what an import of the same model stores
    assert registry.models.verify(version.ref) == []
    assert (registry.models.files_dir(version) / version.files[0].path).is_file()
