"""Leases: what fits beside what is held, what is short and who holds it, who makes room."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from bedplate.compute import (
    GIB,
    Demand,
    Gpu,
    GpuProcess,
    Holder,
    Inventory,
    Lease,
    Shortage,
    describe,
    impossible,
    place,
    preempt,
)

MIB = 1 << 20
SEEDS = range(150)


def card(index: int, memory_gib: int = 32, **more: Any) -> Gpu:
    return Gpu(index, f"GPU-{index}", "V100", memory_gib * GIB, (7, 0), **more)


def machine(*gpus: Gpu, cores: int = 8, memory_gib: int = 64) -> Inventory:
    return Inventory(cores, memory_gib * GIB, 1 * GIB, gpus)


def held(
    name: str, *gpus: str, share_gib: int | None = None, cores: int = 0, memory_gib: int = 0, **more: Any
) -> Holder:
    share = None if share_gib is None else share_gib * GIB
    more = {"since": 100.0, **more}
    return Holder("job", name, Lease(cores, memory_gib * GIB, gpus, share), **more)


def lease(answer: Lease | Shortage) -> Lease:
    assert isinstance(answer, Lease), answer
    return answer


def short(answer: Lease | Shortage | None) -> Shortage:
    assert isinstance(answer, Shortage), answer
    return answer


def test_whole_cards_are_given_by_lowest_index_and_cpus_without_any() -> None:
    inventory = machine(card(1), card(0), card(2))
    assert lease(place(inventory, [], Demand(cores=2, gpus=2))).gpus == ("GPU-0", "GPU-1")
    assert lease(place(machine(), [], Demand(cores=2, memory_bytes=GIB))) == Lease(2, GIB)


def test_a_share_goes_to_the_fullest_card_that_has_room() -> None:
    inventory = machine(card(0), card(1), card(2))
    holders = [held("whole", "GPU-0"), held("small", "GPU-2", share_gib=20)]
    share = Demand(gpus=1, gpu_memory_bytes=10 * GIB)
    assert lease(place(inventory, holders, share)) == Lease(0, 0, ("GPU-2",), 10 * GIB)
    assert lease(place(inventory, holders, replace(share, gpus=2))).gpus == ("GPU-2", "GPU-1")
    assert lease(place(inventory, holders, replace(share, gpu_memory_bytes=13 * GIB))).gpus == ("GPU-1",)


def test_a_card_that_others_use_is_not_given_whole_and_gives_shares_of_the_rest() -> None:
    inventory = machine(card(0, others=(GpuProcess(4242, "python", 30 * GIB),)))
    said = short(place(inventory, [], Demand(gpus=1)))
    assert said == Shortage("gpus", "1 GPU: GPU 0 (V100) is used by python (pid 4242, 30.0 GiB)")
    assert isinstance(place(inventory, [], Demand(gpus=1, gpu_memory_bytes=2 * GIB)), Lease)
    assert isinstance(place(inventory, [], Demand(gpus=1, gpu_memory_bytes=3 * GIB)), Shortage)
    desktop = machine(card(0, others=(GpuProcess(1, "Xorg", 100 * MIB),)))
    assert isinstance(place(desktop, [], Demand(gpus=1)), Lease)


@pytest.mark.parametrize(
    ("holders", "demand", "resource", "message"),
    [
        (
            [held("finetune-1", "GPU-0"), held("batch-2", "GPU-1", share_gib=1)],
            Demand(gpus=1),
            "gpus",
            "1 GPU: GPU 0 (V100) is held by finetune-1, GPU 1 (V100) is held by batch-2",
        ),
        (
            [held("finetune-1", "GPU-0")],
            Demand(gpus=2),
            "gpus",
            "2 GPUs: 1 of 2 free; GPU 0 (V100) is held by finetune-1",
        ),
        (
            [held("finetune-1", "GPU-0"), held("batch-2", "GPU-1", share_gib=30)],
            Demand(gpus=1, gpu_memory_bytes=6 * GIB),
            "gpus",
            "6.0 GiB on one GPU: at most 2.0 GiB is free; GPU 1 (V100) is held by batch-2",
        ),
        (
            [held("finetune-1", cores=6), held("import-2", cores=1)],
            Demand(cores=2),
            "cores",
            "2 cores: 1 of 8 are free; finetune-1 holds 6 and import-2 holds 1",
        ),
        (
            [held(f"job-{i}", memory_gib=16) for i in range(4)],
            Demand(memory_bytes=100 * MIB),
            "memory",
            "100 MiB of memory: 0 MiB of 64.0 GiB is free; "
            "job-0 holds 16.0 GiB, job-1 holds 16.0 GiB, job-2 holds 16.0 GiB and 1 more",
        ),
    ],
)
def test_a_shortage_says_how_much_is_missing_and_who_holds_it(
    holders: list[Holder], demand: Demand, resource: str, message: str
) -> None:
    assert place(machine(card(0), card(1)), holders, demand) == Shortage(resource, message)


def test_what_fits_to_the_byte_fits_and_one_byte_more_does_not() -> None:
    inventory, holders = machine(card(0)), [held("chat", "GPU-0", share_gib=30, memory_gib=60)]
    for demand in (Demand(memory_bytes=4 * GIB), Demand(gpus=1, gpu_memory_bytes=2 * GIB)):
        assert isinstance(place(inventory, holders, demand), Lease)
    for demand in (Demand(memory_bytes=4 * GIB + 1), Demand(gpus=1, gpu_memory_bytes=2 * GIB + 1)):
        assert isinstance(place(inventory, holders, demand), Shortage)


def test_nobody_is_overtaken_for_what_he_waits_for() -> None:
    inventory = machine(card(0))
    blocked = {"gpus": "finetune-1"}
    said = short(place(inventory, [], Demand(cores=1, gpus=1), blocked))
    assert said == Shortage("gpus", "1 GPU: in line behind finetune-1")
    assert isinstance(place(inventory, [], Demand(cores=1), blocked), Lease)


def test_what_can_never_run_here_is_told_with_the_problems_of_the_cards() -> None:
    old = replace(card(1), problem="this torch was not built for sm_70")
    assert impossible(machine(), Demand(cores=99, memory_bytes=999 * GIB)) is None
    assert short(impossible(machine(), Demand(gpus=1))).message == "1 GPU: this machine has none"
    said = short(impossible(machine(card(0), old), Demand(gpus=2))).message
    assert said == "2 GPUs: this machine has 1 usable (GPU 1 (V100): this torch was not built for sm_70)"
    share = Demand(gpus=1, gpu_memory_bytes=48 * GIB)
    said = short(impossible(machine(card(0), card(1, 16)), share)).message
    assert said == "48.0 GiB on one GPU: the largest is GPU 0 (V100) with 32.0 GiB"
    assert isinstance(place(machine(card(0)), [], share), Shortage)
    assert impossible(machine(card(0)), replace(share, gpu_memory_bytes=32 * GIB)) is None


def test_a_job_larger_than_the_machine_runs_alone() -> None:
    inventory = machine()
    huge = Demand(cores=64, memory_bytes=500 * GIB).capped(inventory)
    assert lease(place(inventory, [], huge)) == Lease(8, 64 * GIB)
    assert isinstance(place(inventory, [held("small", cores=1)], huge), Shortage)


def test_a_worker_sees_the_cards_of_its_lease_and_no_other() -> None:
    two = Lease(4, GIB, ("GPU-a", "GPU-b"))
    assert two.environment() == {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b", "OMP_NUM_THREADS": "4"}
    assert Lease(0, 0).environment() == {"CUDA_VISIBLE_DEVICES": ""}
    share = Lease(0, 0, ("GPU-a",), 5 * GIB).environment()
    assert share == {"CUDA_VISIBLE_DEVICES": "GPU-a", "BEDPLATE_GPU_MEMORY_BYTES": str(5 * GIB)}


def test_demands_and_leases_survive_json() -> None:
    for demand in (Demand(), Demand(1, 2, 3, 4)):
        assert Demand.from_json(json.loads(json.dumps(demand.to_json()))) == demand
    for given in (Lease(1, 2), Lease(1, 2, ("GPU-a",), 5)):
        assert Lease.from_json(json.loads(json.dumps(given.to_json()))) == given


def test_the_fewest_make_room_lowest_priority_first_then_youngest() -> None:
    inventory = machine(cores=8)
    old = held("old", cores=2, preemptible=True, since=1.0)
    young = held("young", cores=2, preemptible=True, since=9.0)
    low = held("low", cores=2, preemptible=True, since=1.0, priority=-1)
    fixed = held("fixed", cores=2)
    holders = [old, young, low, fixed]
    assert preempt(inventory, holders, Demand(cores=2)) == [low]
    assert preempt(inventory, holders, Demand(cores=4)) == [low, young]
    assert preempt(inventory, holders, Demand(cores=8)) is None
    large = held("large", cores=4, preemptible=True, priority=5)
    assert preempt(inventory, [low, young, large], Demand(cores=4)) == [large]


def test_those_already_leaving_are_counted_and_no_one_else_is_asked() -> None:
    inventory = machine(card(0), card(1))
    leaving = held("leaving", "GPU-0", preemptible=True, leaving=True)
    other = held("other", "GPU-1", preemptible=True)
    assert preempt(inventory, [leaving, other], Demand(gpus=1)) == []
    assert preempt(inventory, [leaving, other], Demand(gpus=2)) == [other]
    assert preempt(inventory, [], Demand(gpus=1)) == []


def test_making_room_among_hundreds_takes_no_time() -> None:
    inventory = machine(cores=300)
    holders = [held(f"job-{i}", cores=1, preemptible=True, since=float(i)) for i in range(300)]
    chosen = preempt(inventory, holders, Demand(cores=20))
    assert chosen is not None
    assert [holder.id for holder in chosen] == [f"job-{i}" for i in range(299, 279, -1)]


def test_what_is_free_and_who_holds_what_since_when_is_shown() -> None:
    broken = replace(card(2), problem="MIG mode is on", remedy="Turn it off.")
    inventory = machine(card(0, others=(GpuProcess(7, "python", 2 * GIB),)), card(1), broken)
    holders = [
        held("finetune-1", "GPU-1", cores=4, memory_gib=16, owner="ada", preemptible=True),
        held("chat", "GPU-0", share_gib=10, cores=1, since=None),
    ]
    shown = json.loads(json.dumps(describe(inventory, holders)))
    assert (shown["cores"], shown["memory_bytes"], shown["memory_free_bytes"]) == (8, 64 * GIB, GIB)
    assert shown["free"] == {"cores": 3, "memory_bytes": 48 * GIB}
    first, second, third = shown["gpus"]
    assert (first["free_bytes"], first["capability"]) == (20 * GIB, "7.0")
    assert first["others"] == [{"pid": 7, "name": "python", "memory_bytes": 2 * GIB}]
    whole = {"kind": "job", "id": "finetune-1", "owner": "ada", "memory_bytes": None, "since": 100.0}
    assert second["held_by"] == [whole]
    assert (third["problem"], third["remedy"], third["free_bytes"]) == ("MIG mode is on", "Turn it off.", 0)
    assert shown["holders"][1] == {
        "kind": "job",
        "id": "chat",
        "owner": "",
        "cores": 1,
        "memory_bytes": 0,
        "gpus": ["GPU-0"],
        "gpu_memory_bytes": 10 * GIB,
        "since": None,
        "preemptible": False,
    }


class World:
    """A random machine on which random demands come and go, through `place` alone."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        gpus = [self._gpu(index) for index in range(self.dice.randint(0, 4))]
        self.dice.shuffle(gpus)
        self.inventory = machine(*gpus, cores=self.dice.randint(1, 16), memory_gib=self.dice.randint(4, 128))
        self.holders: list[Holder] = []

    def _gpu(self, index: int) -> Gpu:
        others = (GpuProcess(index + 1, "python", self.dice.choice([100 * MIB, 5 * GIB])),)
        problem = "off the bus" if self.dice.random() < 0.15 else None
        memory_gib = self.dice.choice([16, 32, 80])
        return card(index, memory_gib, problem=problem, others=others if self.dice.random() < 0.4 else ())

    def demand(self) -> Demand:
        dice = self.dice
        gpus = dice.choice([0, 1, 1, 2])
        share = dice.randint(1, 40 * 1024) * MIB if gpus and dice.random() < 0.6 else None
        return Demand(dice.randint(0, 6), dice.randint(0, 40 * 1024) * MIB, gpus, share).capped(self.inventory)

    def fill(self, rounds: int = 25) -> None:
        for number in range(rounds):
            answer = place(self.inventory, self.holders, self.demand())
            if isinstance(answer, Lease):
                self.hold(answer, number)
            elif self.holders and self.dice.random() < 0.3:
                self.holders.pop(self.dice.randrange(len(self.holders)))

    def hold(self, given: Lease, number: int) -> Holder:
        dice = self.dice
        kind = dice.choice(["job", "replica"])
        holder = Holder(
            kind,  # type: ignore[arg-type]
            f"{kind}-{number}",
            given,
            dice.choice([None, dice.random()]),
            preemptible=dice.random() < 0.6,
            priority=dice.randint(-1, 1),
            leaving=dice.random() < 0.15,
        )
        self.holders.append(holder)
        return holder


def assert_nothing_is_overcommitted(inventory: Inventory, holders: list[Holder]) -> None:
    assert sum(holder.lease.cores for holder in holders) <= inventory.cores
    assert sum(holder.lease.memory_bytes for holder in holders) <= inventory.memory_bytes
    for gpu in inventory.gpus:
        shares = [holder.lease.gpu_memory_bytes for holder in holders if gpu.uuid in holder.lease.gpus]
        if not shares:
            continue
        assert gpu.is_usable
        if None in shares:
            assert len(shares) == 1
            assert gpu.others_bytes < 512 * MIB
        else:
            assert sum(share or 0 for share in shares) + gpu.others_bytes <= gpu.memory_bytes


@pytest.mark.parametrize("seed", SEEDS)
def test_at_random_leases_never_exceed_what_there_is(seed: int) -> None:
    world = World(seed)
    for number in range(30):
        world.fill(2)
        demand = world.demand()
        answer = place(world.inventory, world.holders, demand)
        if isinstance(answer, Shortage):
            assert answer.message
            assert answer.resource in ("cores", "memory", "gpus")
            continue
        assert (answer.cores, answer.memory_bytes, len(answer.gpus)) == (demand.cores, demand.memory_bytes, demand.gpus)
        assert len(set(answer.gpus)) == demand.gpus
        world.hold(answer, 1000 + number)
        assert_nothing_is_overcommitted(world.inventory, world.holders)


@pytest.mark.parametrize("seed", SEEDS)
def test_at_random_the_same_question_has_the_same_answer_and_a_lease_given_back_is_given_again(seed: int) -> None:
    world = World(seed)
    world.fill()
    for _ in range(10):
        demand = world.demand()
        answer = place(world.inventory, world.holders, demand)
        shuffled = world.dice.sample(world.holders, len(world.holders))
        again = place(world.inventory, shuffled, demand)
        if isinstance(answer, Lease):
            assert again == answer
            world.hold(answer, 999)
            world.holders.pop()
            assert place(world.inventory, world.holders, demand) == answer
        else:
            assert isinstance(again, Shortage)
        if impossible(world.inventory, demand):
            assert isinstance(answer, Shortage)
        elif not any(gpu.others for gpu in world.inventory.gpus):
            assert isinstance(place(world.inventory, [], demand), Lease)


@pytest.mark.parametrize("seed", SEEDS)
def test_at_random_what_is_blocked_is_never_taken(seed: int) -> None:
    world = World(seed)
    world.fill()
    for _ in range(10):
        blocked = dict.fromkeys(world.dice.sample(["cores", "memory", "gpus"], world.dice.randint(1, 3)), "job-0")
        answer = place(world.inventory, world.holders, world.demand(), blocked)
        if isinstance(answer, Lease):
            assert not (answer.cores and "cores" in blocked)
            assert not (answer.memory_bytes and "memory" in blocked)
            assert not (answer.gpus and "gpus" in blocked)


@pytest.mark.parametrize("seed", SEEDS)
def test_at_random_preemption_really_makes_room_and_asks_nobody_in_vain(seed: int) -> None:
    world = World(seed)
    world.fill()
    inventory, staying = world.inventory, [holder for holder in world.holders if not holder.leaving]

    def fits(gone: list[Holder]) -> bool:
        rest = [holder for holder in staying if holder not in gone]
        return isinstance(place(inventory, rest, demand), Lease)

    for _ in range(5):
        demand = world.demand()
        chosen = preempt(inventory, world.holders, demand)
        candidates = [holder for holder in staying if holder.preemptible]
        if chosen is None:
            assert not fits(candidates)
            continue
        assert all(holder in candidates for holder in chosen)
        assert fits(chosen)
        # Whoever can stay stays: no choice of fewer makes room, so no part of this one does.
        for size in range(len(chosen)):
            assert not any(fits(list(fewer)) for fewer in combinations(candidates, size))
