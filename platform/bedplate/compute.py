"""What the machine has and who holds it: leases of cores, memory and GPUs. Pure arithmetic: nothing is read or started.

A GPU is leased whole, or a share of its memory is; never both. Memory figures of a demand are estimates, so they are
held against the machine's total, not against what is free at the moment. Processes of others count on GPUs only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from types import MappingProxyType
from typing import Any, Literal

from bedplate_serving.leased_memory import GPU_MEMORY_BYTES

__all__ = [
    "GIB",
    "Demand",
    "Gpu",
    "GpuProcess",
    "Holder",
    "Inventory",
    "Lease",
    "Shortage",
    "describe",
    "impossible",
    "place",
    "preempt",
]

GIB = 1 << 30
MIB = 1 << 20
# What a desktop or a monitor keeps on a card. With more than this of others on it, a card is not ours to lease whole.
IDLE_BYTES = 512 * MIB
NAMED_HOLDERS = 3  # a message names so many of those who hold what is missing
WAYS = 1000  # so many ways of making room are tried for one with fewer to leave
NOBODY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class GpuProcess:
    """A process on a card that is not ours."""

    pid: int
    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Gpu:
    """One card. `utilization` is in percent; `problem` says why it is not leased, `remedy` what to do about it."""

    index: int
    uuid: str
    name: str
    memory_bytes: int
    capability: tuple[int, int] | None = None
    utilization: int | None = None
    others: tuple[GpuProcess, ...] = ()
    problem: str | None = None
    remedy: str = ""

    @property
    def others_bytes(self) -> int:
        return sum(process.memory_bytes for process in self.others)

    @property
    def is_usable(self) -> bool:
        return self.problem is None

    @property
    def label(self) -> str:
        return f"GPU {self.index} ({self.name})"


@dataclass(frozen=True)
class Inventory:
    """What the machine has. `memory_free_bytes` is the momentary figure, for display."""

    cores: int
    memory_bytes: int
    memory_free_bytes: int
    gpus: tuple[Gpu, ...] = ()

    @property
    def usable_gpus(self) -> tuple[Gpu, ...]:
        return tuple(gpu for gpu in self.gpus if gpu.is_usable)


@dataclass(frozen=True)
class Demand:
    """What something needs to run: `gpus` whole cards, or `gpu_memory_bytes` of each of `gpus` cards."""

    cores: int = 0
    memory_bytes: int = 0
    gpus: int = 0
    gpu_memory_bytes: int | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Demand:
        share = data.get("gpu_memory_bytes")
        return cls(
            cores=int(data.get("cores", 0)),
            memory_bytes=int(data.get("memory_bytes", 0)),
            gpus=int(data.get("gpus", 0)),
            gpu_memory_bytes=None if share is None else int(share),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def capped(self, inventory: Inventory) -> Demand:
        """Cores and memory cut to what the machine has: a job too large runs alone, it is not refused."""
        return replace(
            self,
            cores=min(self.cores, inventory.cores),
            memory_bytes=min(self.memory_bytes, inventory.memory_bytes),
        )


@dataclass(frozen=True)
class Lease:
    """What was given: `gpus` are uuids; `gpu_memory_bytes` is the share of each, None where they are held whole."""

    cores: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()
    gpu_memory_bytes: int | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Lease:
        share = data.get("gpu_memory_bytes")
        return cls(
            cores=int(data["cores"]),
            memory_bytes=int(data["memory_bytes"]),
            gpus=tuple(str(uuid) for uuid in data.get("gpus", ())),
            gpu_memory_bytes=None if share is None else int(share),
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "gpus": list(self.gpus)}

    def environment(self) -> dict[str, str]:
        """What the worker is told: it sees the cards of its lease and no other, and how much of a shared one is its."""
        threads = {"OMP_NUM_THREADS": str(self.cores)} if self.cores > 0 else {}
        share = {} if self.gpu_memory_bytes is None else {GPU_MEMORY_BYTES: str(self.gpu_memory_bytes)}
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus), **threads, **share}


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, since when. `leaving`: it was already asked to make room."""

    kind: Literal["job", "replica"]
    id: str
    lease: Lease
    since: float | None
    owner: str = ""
    preemptible: bool = False
    priority: int = 0
    leaving: bool = False


@dataclass(frozen=True)
class Shortage:
    """What is missing: `resource` is cores, memory or gpus; `message` is one phrase that names who holds it."""

    resource: str
    message: str


def place(
    inventory: Inventory, holders: Iterable[Holder], demand: Demand, blocked: Mapping[str, str] = NOBODY
) -> Lease | Shortage:
    """A lease for the demand beside what the holders have, or what is short. The same question has the same answer.

    `blocked` maps a resource to the id of a job ahead in line that waits for it: nobody is overtaken for what he waits
    for.
    """
    if never := impossible(inventory, demand):
        return never
    if behind := _in_line(demand, blocked):
        return behind
    holders = tuple(holders)
    gpus = _choose_gpus(_cards(inventory, holders), demand)
    if isinstance(gpus, Shortage):
        return gpus
    if short := _memory_short(inventory, holders, demand) or _cores_short(inventory, holders, demand):
        return short
    return Lease(demand.cores, demand.memory_bytes, gpus, demand.gpu_memory_bytes if gpus else None)


def impossible(inventory: Inventory, demand: Demand) -> Shortage | None:
    """Why no waiting helps: too few usable cards, or none as large as the share. Cores and memory: see `capped`."""
    usable = inventory.usable_gpus
    problems = ", ".join(f"{gpu.label}: {gpu.problem}" for gpu in inventory.gpus if not gpu.is_usable)
    because = f" ({problems})" if problems else ""
    if demand.gpus > len(usable):
        has = f"has {len(usable)} usable" if inventory.gpus else "has none"
        return Shortage("gpus", f"{_wanted_gpus(demand)}: this machine {has}{because}")
    share = demand.gpu_memory_bytes or 0
    if demand.gpus > sum(gpu.memory_bytes >= share for gpu in usable):
        largest = max(usable, key=lambda gpu: (gpu.memory_bytes, -gpu.index))
        has = f"the largest is {largest.label} with {_size(largest.memory_bytes)}"
        return Shortage("gpus", f"{_wanted_gpus(demand)}: {has}{because}")
    return None


def preempt(inventory: Inventory, holders: Iterable[Holder], demand: Demand) -> list[Holder] | None:
    """The fewest preemptible holders that must leave to make room, lowest priority first, then youngest.

    Empty when those that are leaving already suffice; None when nothing helps. None of those named could stay; that no
    other choice has fewer is sure while the ways to choose are few (WAYS).
    """
    staying = [holder for holder in holders if not holder.leaving]
    candidates = sorted((holder for holder in staying if holder.preemptible), key=_first_to_leave)

    def suffices(chosen: Sequence[Holder]) -> bool:
        gone = {(holder.kind, holder.id) for holder in chosen}
        rest = [holder for holder in staying if (holder.kind, holder.id) not in gone]
        return isinstance(place(inventory, rest, demand), Lease)

    if suffices(()):
        return []
    if not suffices(candidates):
        return None
    chosen = candidates
    for holder in reversed(candidates):  # whoever should leave last is let stay first
        without = [other for other in chosen if other is not holder]
        if suffices(without):
            chosen = without
    tried = 0
    for size in range(1, len(chosen)):
        tried += math.comb(len(candidates), size)
        if tried > WAYS:
            break
        for fewer in combinations(candidates, size):
            if suffices(fewer):
                return list(fewer)
    return chosen


def describe(inventory: Inventory, holders: Iterable[Holder]) -> dict[str, Any]:
    """The whole picture as REST shows it: what there is, what is free, who holds what, since when."""
    holders = tuple(holders)
    return {
        "cores": inventory.cores,
        "memory_bytes": inventory.memory_bytes,
        "memory_free_bytes": inventory.memory_free_bytes,
        "free": {"cores": _free_cores(inventory, holders), "memory_bytes": _free_memory(inventory, holders)},
        "gpus": [_describe_card(card) for card in _cards(inventory, holders)],
        "holders": [_describe_holder(holder) for holder in holders],
    }


@dataclass(frozen=True)
class _Card:
    gpu: Gpu
    holders: tuple[Holder, ...]

    @property
    def room(self) -> int:
        """Bytes that a share may still take."""
        shares = [holder.lease.gpu_memory_bytes for holder in self.holders]
        if not self.gpu.is_usable or None in shares:
            return 0
        leased = sum(share or 0 for share in shares)
        return max(0, self.gpu.memory_bytes - leased - self.gpu.others_bytes)

    @property
    def is_free(self) -> bool:
        """Whether it may be leased whole."""
        return self.gpu.is_usable and not self.holders and self.gpu.others_bytes < IDLE_BYTES

    @property
    def taken_by(self) -> str:
        if self.holders:
            return f"{self.gpu.label} is held by {_names([holder.id for holder in self.holders])}"
        others = [f"{other.name} (pid {other.pid}, {_size(other.memory_bytes)})" for other in self.gpu.others]
        return f"{self.gpu.label} is used by {_names(others)}"


def _cards(inventory: Inventory, holders: Sequence[Holder]) -> list[_Card]:
    def held(gpu: Gpu) -> tuple[Holder, ...]:
        return tuple(holder for holder in holders if gpu.uuid in holder.lease.gpus)

    return [_Card(gpu, held(gpu)) for gpu in sorted(inventory.gpus, key=lambda gpu: gpu.index)]


def _choose_gpus(cards: Sequence[_Card], demand: Demand) -> tuple[str, ...] | Shortage:
    if demand.gpu_memory_bytes is None:
        return _choose_whole(cards, demand)
    return _choose_shares(cards, demand, demand.gpu_memory_bytes)


def _choose_whole(cards: Sequence[_Card], demand: Demand) -> tuple[str, ...] | Shortage:
    idle = [card for card in cards if card.is_free]
    if len(idle) >= demand.gpus:
        return tuple(card.gpu.uuid for card in idle[: demand.gpus])
    some = f"{len(idle)} of {len(cards)} free; " if idle else ""
    taken = ", ".join(card.taken_by for card in cards if card.gpu.is_usable and not card.is_free)
    return Shortage("gpus", f"{_wanted_gpus(demand)}: {some}{taken}")


def _choose_shares(cards: Sequence[_Card], demand: Demand, share: int) -> tuple[str, ...] | Shortage:
    """Best fit: the fullest card that still has room, so that others stay whole."""
    usable = [card for card in cards if card.gpu.is_usable and not _is_held_whole(card)]
    fitting = sorted((card for card in usable if card.room >= share), key=lambda card: card.room)
    if len(fitting) >= demand.gpus:
        return tuple(card.gpu.uuid for card in fitting[: demand.gpus])
    if fitting:
        has = f"{len(fitting)} of {len(cards)} with so much free"
    elif usable:
        most = max(usable, key=lambda card: (card.room, -card.gpu.index))
        has = f"at most {_size(most.room)} is free; {most.taken_by}"
    else:
        has = ", ".join(card.taken_by for card in cards if card.gpu.is_usable)
    return Shortage("gpus", f"{_wanted_gpus(demand)}: {has}")


def _is_held_whole(card: _Card) -> bool:
    return any(holder.lease.gpu_memory_bytes is None for holder in card.holders)


def _in_line(demand: Demand, blocked: Mapping[str, str]) -> Shortage | None:
    wanted = {
        "gpus": _wanted_gpus(demand) if demand.gpus else "",
        "memory": _wanted_memory(demand) if demand.memory_bytes else "",
        "cores": _wanted_cores(demand) if demand.cores else "",
    }
    for resource, what in wanted.items():
        if what and resource in blocked:
            return Shortage(resource, f"{what}: in line behind {blocked[resource]}")
    return None


def _memory_short(inventory: Inventory, holders: Sequence[Holder], demand: Demand) -> Shortage | None:
    left = _free_memory(inventory, holders)
    if demand.memory_bytes <= left:
        return None
    who = _who_holds([(holder.id, holder.lease.memory_bytes) for holder in holders], _size)
    has = f"{_size(left)} of {_size(inventory.memory_bytes)} is free{who}"
    return Shortage("memory", f"{_wanted_memory(demand)}: {has}")


def _cores_short(inventory: Inventory, holders: Sequence[Holder], demand: Demand) -> Shortage | None:
    left = _free_cores(inventory, holders)
    if demand.cores <= left:
        return None
    who = _who_holds([(holder.id, holder.lease.cores) for holder in holders], str)
    return Shortage("cores", f"{_wanted_cores(demand)}: {left} of {inventory.cores} are free{who}")


def _free_cores(inventory: Inventory, holders: Sequence[Holder]) -> int:
    return max(0, inventory.cores - sum(holder.lease.cores for holder in holders))


def _free_memory(inventory: Inventory, holders: Sequence[Holder]) -> int:
    return max(0, inventory.memory_bytes - sum(holder.lease.memory_bytes for holder in holders))


def _first_to_leave(holder: Holder) -> tuple[int, float, str]:
    return holder.priority, -math.inf if holder.since is None else -holder.since, holder.id


def _wanted_gpus(demand: Demand) -> str:
    if demand.gpu_memory_bytes is None:
        return _count(demand.gpus, "GPU")
    where = "on one GPU" if demand.gpus == 1 else f"on each of {demand.gpus} GPUs"
    return f"{_size(demand.gpu_memory_bytes)} {where}"


def _wanted_memory(demand: Demand) -> str:
    return f"{_size(demand.memory_bytes)} of memory"


def _wanted_cores(demand: Demand) -> str:
    return _count(demand.cores, "core")


def _who_holds(held: Sequence[tuple[str, int]], shown: Any) -> str:
    """The largest holders first."""
    largest = sorted((item for item in held if item[1] > 0), key=lambda item: (-item[1], item[0]))
    return f"; {_names([f'{name} holds {shown(amount)}' for name, amount in largest])}" if largest else ""


def _names(names: Sequence[str]) -> str:
    shown = list(names[:NAMED_HOLDERS])
    if len(names) > NAMED_HOLDERS:
        shown.append(f"{len(names) - NAMED_HOLDERS} more")
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else "nobody"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _size(size_bytes: int) -> str:
    """Cut and not rounded, so that too little never reads as enough."""
    if size_bytes < GIB:
        return f"{size_bytes // MIB} MiB"
    return f"{size_bytes * 10 // GIB / 10:.1f} GiB"


def _describe_card(card: _Card) -> dict[str, Any]:
    gpu = card.gpu
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "memory_bytes": gpu.memory_bytes,
        "free_bytes": card.room,
        "capability": None if gpu.capability is None else "{}.{}".format(*gpu.capability),
        "utilization": gpu.utilization,
        "problem": gpu.problem,
        "remedy": gpu.remedy,
        "held_by": [
            {
                "kind": holder.kind,
                "id": holder.id,
                "owner": holder.owner,
                "memory_bytes": holder.lease.gpu_memory_bytes,
                "since": holder.since,
            }
            for holder in card.holders
        ],
        "others": [asdict(process) for process in gpu.others],
    }


def _describe_holder(holder: Holder) -> dict[str, Any]:
    return {
        "kind": holder.kind,
        "id": holder.id,
        "owner": holder.owner,
        **holder.lease.to_json(),
        "since": holder.since,
        "preemptible": holder.preemptible,
    }
