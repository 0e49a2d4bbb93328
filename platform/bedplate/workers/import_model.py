"""Import one model: resolve, plan, fetch, verify, inspect, load once. The owner publishes what this prepares."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bedplate.job_folder import JobFolder, JobReporter, run_worker
from bedplate.licensing import check_named_base
from bedplate.settings import Settings
from bedplate.workers.conversion import convert_weights
from bedplate.workers.load_check import load_check
from bedplate_registry.durable import make_folder
from bedplate_registry.errors import Unavailable
from bedplate_registry.hub import Hub, HubModel
from bedplate_registry.importing import prepare_folder_import, prepare_hub_import
from bedplate_registry.models import ModelVersion
from bedplate_registry.names import Name, check_file_path
from bedplate_registry.registry import Registry

__all__ = ["work"]


class LicensedHub(Hub):
    """A Hub that gives no model whose license the policy keeps out: it is looked at before anything is fetched."""

    def __init__(self, url: str, token: str | None, registry: Registry, spec: Mapping[str, Any]) -> None:
        super().__init__(url, token)
        self._registry, self._spec = registry, spec
        self._policy = Settings.from_environment().license_policy

    def resolve(self, model_id: str, revision: str | None = None) -> HubModel:
        """Raises Conflict where the policy denies the license, or asks for an acceptance and there is none."""
        model = super().resolve(model_id, revision)
        if model_id != self._spec["model_id"]:  # it is the base of the adapter that is imported
            line = [(Name.parse(model.model_id), model.model_id)]
            check_named_base(self._policy, self._registry.models, line, model.model_id, model.license)
            return model
        name = Name.parse(self._spec["name"] or model.model_id)
        before = self._registry.models.licenses.find([(name, model.model_id)], model.license)
        accepted = self._spec.get("accept_license", False) or before is not None
        self._policy.check(model.model_id, model.license, accepted=accepted)
        return model


def work(folder: JobFolder, reporter: JobReporter, secrets: dict[str, Any]) -> dict[str, Any]:
    spec = folder.spec
    registry = Registry(Path(os.environ["BEDPLATE_HOME"]) / "registry")
    check = partial(load_check, device=spec["device"], registry=registry.root)
    convert = partial(convert_weights, registry=registry.root) if spec.get("convert_weights") else None
    if "files" in spec:
        with tempfile.TemporaryDirectory(dir=make_folder(registry.root / "staging")) as staging:
            _lay_out(registry, spec["files"], Path(staging))
            prepared = prepare_folder_import(
                registry,
                Path(staging),
                name=Name.parse(spec["name"]),
                task=spec["task"],
                base=spec.get("base"),
                convert=convert,
                check=check,
                reporter=reporter,
            )
    else:
        hub = LicensedHub(spec["hub"], secrets.get("hf_token"), registry, spec)
        prepared = prepare_hub_import(
            registry,
            hub,
            spec["model_id"],
            revision=spec["revision"],
            task=spec["task"],
            name=Name.parse(spec["name"]) if spec["name"] else None,
            base=spec.get("base"),
            convert=convert,
            check=check,
            reporter=reporter,
        )
    if isinstance(prepared, ModelVersion):
        return {"model": prepared.ref}
    return {"draft": prepared.to_json()}


def _lay_out(registry: Registry, files: list[dict[str, Any]], folder: Path) -> None:
    """The uploaded files under their names again, as hard links to their blobs: no byte is copied.

    The folder is one of the registry, since no hard link leads from one mount to another (cage.py).
    """
    for file in files:
        target = folder / check_file_path(file["path"])
        if not registry.blobs.is_sound(file["sha256"]):
            raise Unavailable(
                f"The upload of {file['path']} is damaged or missing.", hint="Upload it again.", code="missing-blob"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(registry.blobs.path(file["sha256"]))


if __name__ == "__main__":
    run_worker(work)
