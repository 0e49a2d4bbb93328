"""The whole way with BEDPLATE_OFFLINE=1, run in a network namespace that has no route: `offline_way.py FOLDER`.

It brings up the loopback, which a Hub and a server use, and prints one line of JSON: what was made, what Python code
tried to reach beyond loopback, and what the kernel counted: packets without a route, datagrams to closed ports (a name
server on loopback that nobody runs), and names asked for. At the end it sends one packet itself, which has to show.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
# For every Python process: a line for each address or name that is not this machine's, workers in their cages included.
WATCHER = """
import os, sys

def _watch(event, arguments):
    if event == "socket.getaddrinfo":
        target = arguments[0]
    elif event in ("socket.connect", "socket.sendto"):
        target = arguments[1][0] if isinstance(arguments[1], tuple) else None
    else:
        return
    target = target.decode() if isinstance(target, bytes) else target
    if target not in (None, "", "localhost", "::1", "::", "0.0.0.0") and not target.startswith("127."):
        os.write(2, f"REACHED OUT {event} {target}\\n".encode())

sys.addaudithook(_watch)
"""


def main(folder: Path) -> None:
    _loopback_up()
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCHER)
    os.environ["PYTHONPATH"] = str(folder / "watch")
    os.environ["BEDPLATE_OFFLINE"] = "1"
    from harness import bedplate_home, free_port, run_cli, serving

    with bedplate_home() as home:
        run_cli("doctor", "--offline", home=home)
        with serving(home, free_port()):
            made = _whole_way(home, folder)
        logs = [*home.rglob("*.log")]
        reached = [line for log in logs for line in log.read_text().splitlines() if line.startswith("REACHED OUT")]
    counted = _counters()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(b"x", ("192.0.2.1", 53))
        except OSError as exc:
            made["outside"] = exc.strerror
    shown = _counters()["without_route"] - counted["without_route"]
    print(json.dumps({**made, **counted, "logs": len(logs), "reached": reached, "shown": shown}))


def _whole_way(home: Path, folder: Path) -> dict[str, Any]:
    import bedplate
    from harness import write_messages
    from hub_server import serve_folders

    columns = {"sentence1": "text", "label": "intent"}
    data = write_messages(folder / "data.csv", 60)
    with bedplate.connect(home=home) as ws, serve_folders({"acme/tiny-encoder": folder / "encoder"}) as hub:
        try:
            ws.import_model("acme/elsewhere", hub="https://huggingface.co")
            refused = ""
        except bedplate.BedplateError as exc:
            refused = exc.code
        base = ws.import_model("acme/tiny-encoder", hub=hub)
        settings: dict[str, Any] = {"max_steps": 5, "per_device_train_batch_size": 8, "device": "cpu"}
        task = {"task": "text-classification", "columns": columns}
        tuned = ws.finetune(base, train=data, output="acme/intents", **task, **settings).wait(timeout_seconds=200).model
        report = ws.evaluate(tuned, data=data, **task).wait(timeout_seconds=200).report
        answers = ws.deploy(tuned, endpoint="intents").score("my card is lost")
        batch = ws.batch(tuned, input=data, output=folder / "out.csv", columns={"sentence1": "text"})
        rows = batch.wait(timeout_seconds=200).result["rows"]
        return {"refused": refused, "accuracy": report.metrics["accuracy"], "labels": len(answers), "rows": rows}


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        (flags,) = struct.unpack("16xh22x", fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0)))
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def _counters() -> dict[str, int]:
    """Of this namespace: /proc/net/snmp has a line of names and one of numbers for each protocol."""
    found = {}
    lines = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines()]
    for names, numbers in zip(lines[::2], lines[1::2], strict=True):
        found |= {f"{names[0]}{name}": int(number) for name, number in zip(names[1:], numbers[1:], strict=True)}
    of_six = Path("/proc/self/net/snmp6")
    six = dict(line.split() for line in of_six.read_text().splitlines()) if of_six.exists() else {}
    return {
        "without_route": found["Ip:OutNoRoutes"] + int(six.get("Ip6OutNoRoutes", 0)),
        "closed_ports": found["Udp:NoPorts"],
        "datagrams": found["Udp:OutDatagrams"],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
