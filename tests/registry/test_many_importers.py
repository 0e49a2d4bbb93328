"""Many importers of one model at once: one transfer, one version, and a collector beside them takes nothing away."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bedplate_registry.models import ModelDraft
from bedplate_registry.registry import Registry

PROCESSES, THREADS = 2, 32
IMPORTERS = """
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from bedplate_registry.gc import collect
from bedplate_registry.errors import Conflict
from bedplate_registry.hub import Hub
from bedplate_registry.importing import prepare_hub_import
from bedplate_registry.progress import SILENT
from bedplate_registry.registry import Registry

registry, hub, count = Registry(Path(sys.argv[1])), Hub(sys.argv[2]), int(sys.argv[3])
done = threading.Event()

def bring(number):
    found = prepare_hub_import(registry, hub, "acme/intents", check=lambda folder, facts: {}, reporter=SILENT)
    return found.to_json()

def gather():
    while not done.wait(0.05):
        try:
            collect(registry, grace_seconds=2)
        except Conflict as exc:
            assert exc.code == "gc-running", exc

collector = threading.Thread(target=gather)
collector.start()
try:
    with ThreadPoolExecutor(count) as pool:
        drafts = list(pool.map(bring, range(count)))
finally:
    done.set()
    collector.join()
print(json.dumps(drafts))
"""


def test_sixty_four_importers_of_one_model_make_one_transfer(
    registry: Registry, serve: Callable[..., Any], model_folder: Path
) -> None:
    (model_folder / "tokenizer.json").write_text(json.dumps({"vocab": list(range(100_000))}))
    loopback = serve(model_folder)
    command = [sys.executable, "-c", IMPORTERS, str(registry.root), loopback.url, str(THREADS)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    printed = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES
    drafts = [ModelDraft.from_json(each) for text in printed for each in json.loads(text)]

    assert len(drafts) == PROCESSES * THREADS and all(draft == drafts[0] for draft in drafts)
    asked = Counter(path.rpartition("/")[2] for path, _ in loopback.faults.byte_requests)
    assert asked == {path.name: 1 for path in model_folder.iterdir()}
    assert sum(loopback.faults.sent.values()) == sum(path.stat().st_size for path in model_folder.iterdir())
    assert len({registry.models.publish(draft).ref for draft in drafts}) == 1
    assert registry.models.verify("acme/intents:1") == []
