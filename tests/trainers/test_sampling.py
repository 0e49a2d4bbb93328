"""Batches: all rows once, like lengths together, the same for the same seed and epoch, equal for all ranks."""

from __future__ import annotations

import numpy as np
import pytest

from bedplate_trainers.sampling import LengthGroupedBatches, deal

LENGTHS = np.random.default_rng(0).integers(3, 120, size=1003)


def batches(seed: int = 1, epoch: int = 0, ranks: int = 1, rank: int = 0) -> list[list[int]]:
    sampler = LengthGroupedBatches(LENGTHS.tolist(), 16, seed, ranks, rank)
    sampler.set_epoch(epoch)
    made = list(sampler)
    assert len(made) == len(sampler)
    return made


def test_every_row_comes_once_in_an_epoch() -> None:
    assert sorted(row for batch in batches() for row in batch) == list(range(1003))


def test_seed_and_epoch_alone_decide_the_order() -> None:
    assert batches(1, 3) == batches(1, 3)
    assert batches(1, 3) != batches(1, 4)
    assert batches(1, 3) != batches(2, 3)


def test_little_is_padded() -> None:
    padded = sum(len(batch) * max(LENGTHS[batch]) for batch in batches())
    assert padded / LENGTHS.sum() < 1.1


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_get_all_rows_once_in_equally_many_batches(ranks: int) -> None:
    dealt = [batches(ranks=ranks, rank=rank) for rank in range(ranks)]
    assert len({len(mine) for mine in dealt}) == 1
    assert sorted(row for mine in dealt for batch in mine for row in batch) == list(range(1003))
    together = [sorted(row for mine in dealt for row in mine[number]) for number in range(len(dealt[0]))]
    alone = [sorted(batch) for batch in LengthGroupedBatches(LENGTHS, 16 * ranks, 1)]
    assert together == alone  # the steps of one process with the same global batch


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_rows_to_judge_are_dealt_in_equally_many_batches_the_longest_first(ranks: int) -> None:
    dealt = [deal(LENGTHS, 64, ranks, rank) for rank in range(ranks)]
    assert len({len(mine) for mine in dealt}) == 1
    assert {row for mine in dealt for batch in mine for row in batch} == set(range(1003))
    assert LENGTHS[dealt[0][0]].min() >= LENGTHS[dealt[0][-1]].max()


@pytest.mark.parametrize(("rows", "ranks"), [(1, 1), (1, 4), (5, 2)])
def test_few_rows_still_make_a_batch_for_every_rank(rows: int, ranks: int) -> None:
    made = [list(LengthGroupedBatches([4] * rows, 16, 0, ranks, rank)) for rank in range(ranks)]
    assert all(len(mine) == 1 and mine[0] for mine in made)
