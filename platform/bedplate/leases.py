"""Who holds what of this machine: the leases of jobs and replicas, and what they still wait for.

One thread leases: the workspace's loop. Leases live in the rows of their holders, so they begin and end in the same
moment as what they are for, and a restart finds them as they were. Endpoints go first: what a wished replica needs is
kept for it while it is down, and where jobs hold it that may be stopped, they are asked to make room.
"""

from __future__ import annotations

from typing import Any

from bedplate.compute import Demand, Holder, Inventory, Lease, Shortage, describe, impossible, place, preempt
from bedplate.endpoints import EndpointStore
from bedplate.jobs import JobStore
from bedplate.machine import Machine, MachineForJobs

__all__ = ["Leases", "Room", "never_all"]


class Room:
    """What is free at one moment, less what was given out since."""

    def __init__(self, inventory: Inventory, holders: list[Holder]) -> None:
        self.inventory, self._holders = inventory, holders
        self._blocked: dict[str, str] = {}

    def within(self, inventory: Inventory) -> Room:
        """The same, as far as it lies within a part of the machine."""
        part = Room(inventory, self._holders)
        part._blocked = self._blocked
        return part

    def lease(self, holder: str, demand: Demand) -> Lease | Shortage:
        """Place a demand. Who comes later does not get what this one waits for."""
        answer = place(self.inventory, self._holders, demand.capped(self.inventory), self._blocked)
        if isinstance(answer, Shortage):
            self._blocked.setdefault(answer.resource, holder)
        else:
            self._holders.append(Holder("job", holder, answer, None))
        return answer

    def fits(self, holder: str, demand: Demand) -> bool:
        """Place a demand if there is room for it; if not, nothing is blocked by it."""
        answer = place(self.inventory, self._holders, demand.capped(self.inventory))
        if isinstance(answer, Lease):
            self._holders.append(Holder("job", holder, answer, None))
        return isinstance(answer, Lease)

    def give_back(self, holder: str) -> None:
        """Undo `lease`: what it had is for those who come later."""
        self._holders = [held for held in self._holders if held.id != holder]


def never_all(inventory: Inventory, demand: Demand, times: int) -> Shortage | None:
    """Why a demand cannot be met so many times at once, even by an empty machine."""
    room = Room(inventory, [])
    if (never := impossible(inventory, demand)) is not None:
        return never
    return next((no for n in range(times) if isinstance(no := room.lease(str(n), demand), Shortage)), None)


class Leases:
    """Reads the leases of all holders and finds room for new ones."""

    def __init__(self, machine: Machine, for_jobs: MachineForJobs, jobs: JobStore, endpoints: EndpointStore) -> None:
        self._machine, self._for_jobs, self._jobs, self._endpoints = machine, for_jobs, jobs, endpoints

    def for_jobs(self) -> Room:
        """The room for jobs: what endpoints hold or wait for is taken."""
        inventory, holders = self._machine.inventory(), self.holders()
        everything = Room(inventory, holders)
        replicas = Room(inventory, [holder for holder in holders if holder.kind == "replica"])
        for deployment in self._endpoints.missing():
            name = f"endpoint {deployment.endpoint}"
            # One that would not fit if every job were gone keeps nobody waiting.
            if replicas.fits(name, deployment.demand):
                everything.lease(name, deployment.demand)
        return everything.within(self._for_jobs.inventory())

    def for_replica(self, name: str, demand: Demand) -> Lease | Shortage:
        """A lease for a replica of `name`, on a card that is kept for endpoints rather than on another one.

        Where jobs that may be stopped hold what it needs, they make room for it.
        """
        inventory, holders = self._machine.inventory(), self.holders()
        wanted = demand.capped(inventory)
        kept = place(self._for_jobs.for_endpoints(), holders, wanted)
        if isinstance(kept, Lease) and kept.gpus:
            return kept
        answer = place(inventory, holders, wanted)
        if isinstance(answer, Shortage) and (leaving := preempt(inventory, holders, wanted)) is not None:
            for holder in leaving:
                self._jobs.ask_preempt(holder.id)
            return Shortage(answer.resource, f"{answer.message}; jobs make room for it")
        return answer

    def holders(self) -> list[Holder]:
        jobs = [
            Holder("job", job.id, job.lease, job.leased, job.owner, job.preemptible, job.priority, job.preempt)
            for job in self._jobs.running()
            if job.lease is not None
        ]
        replicas = [
            Holder("replica", f"{row.endpoint}/{row.deployment}/{row.id}", row.lease, row.leased)
            for row in self._endpoints.replicas()
            if row.lease is not None
        ]
        return replicas + jobs

    def describe(self) -> dict[str, Any]:
        """What is there, what is free, who holds what and since when, as REST shows it."""
        return describe(self._machine.inventory(), self.holders())
