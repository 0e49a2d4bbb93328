"""What a sweep tries: the whole grid, combinations drawn at random, or those that the trials so far speak for (TPE).

Grid and random are known before the first trial, so that they can be checked and shown; they need no library. TPE, the
tree-structured Parzen estimator of Bergstra et al. (2011), is Optuna's. Its study is built anew from the jobs of the
trials whenever one is to begin: there is no other state that a restart could lose.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bedplate.search_space import Range, Space, corners_of, size_of
from bedplate.sweep_trials import PRUNED, Trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

__all__ = ["METHODS", "draw_by_tpe", "grid_trials", "random_trials"]

METHODS = ("grid", "random", "tpe")
FIRST_AT_RANDOM = 10  # trials of TPE, as Optuna has it; of fewer than 30 trials the first third
TRIES = 100  # at a combination that was not tried


def grid_trials(space: Space, count: int) -> list[dict[str, Any]]:
    """The first combinations of lists; the last setting changes first."""
    return [_combination(space, number) for number in range(count)]


def random_trials(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Combinations, none twice; fewer than `count` where there are no more."""
    drawn = random.Random(seed)
    if not any(isinstance(each, Range) for each in space.values()):
        size = size_of(space) or 0
        return [_combination(space, number) for number in drawn.sample(range(size), min(count, size))]
    found: dict[str, dict[str, Any]] = {}
    for _ in range(count * TRIES):
        trial = {
            name: each.at(drawn.random()) if isinstance(each, Range) else drawn.choice(each)
            for name, each in space.items()
        }
        found.setdefault(json.dumps(trial), trial)
        if len(found) == count:
            break
    return list(found.values())


def draw_by_tpe(
    space: Space, table: Sequence[Trial], count: int, *, total: int, seed: int, greater_is_better: bool
) -> list[dict[str, Any]]:
    """The settings of the next `count` trials. The same trials, with the same ends, give the same ones."""
    import optuna  # here: it takes a third of a second

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if greater_is_better else "minimize")
    for trial in table:
        study.add_trial(_told(space, trial))
    tried = {json.dumps(trial.settings) for trial in table}
    found = []
    for number in range(len(table), len(table) + count):
        study.sampler = optuna.samplers.TPESampler(
            seed=(seed + number) % 2**32,
            n_startup_trials=min(FIRST_AT_RANDOM, total // 3),
            constant_liar=True,  # those that run count as bad ones, so that two at a time do not try the same
        )
        found.append(_new(space, study, tried))
        tried.add(json.dumps(found[-1]))
    return found


def _new(space: Space, study: Study, tried: set[str]) -> dict[str, Any]:
    """What it asks for next and was not tried. In a small space it may ask for nothing new: then it is the next one."""
    for _ in range(TRIES):
        asked = study.ask(_distributions(space)).params
        settings = {
            name: each.near(asked[name]) if isinstance(each, Range) else each[asked[name]]
            for name, each in space.items()
        }
        if json.dumps(settings) not in tried:
            return settings
    return next((each for each in corners_of(space) if json.dumps(each) not in tried), settings)


def _told(space: Space, trial: Trial) -> FrozenTrial:
    """A trial as Optuna sees it. One that was pruned is worse than all that were not, and the better the further."""
    from optuna.trial import TrialState, create_trial

    parameters = {
        name: trial.settings[name] if isinstance(each, Range) else each.index(trial.settings[name])
        for name, each in space.items()
    }
    about: dict[str, Any] = {"params": parameters, "distributions": _distributions(space)}
    if trial.state == "succeeded" and trial.metric is not None:
        return create_trial(state=TrialState.COMPLETE, value=trial.metric, **about)
    if trial.state == PRUNED and trial.metric is not None:
        seen = {int((trial.error or {}).get("evaluation", 1)): trial.metric}
        return create_trial(state=TrialState.PRUNED, intermediate_values=seen, **about)
    is_open = trial.state in ("queued", "running")
    return create_trial(state=TrialState.RUNNING if is_open else TrialState.FAIL, **about)


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    """Values of a list are told by their places: they may be anything, and 1 is not true."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name, each in space.items():
        if not isinstance(each, Range):
            found[name] = CategoricalDistribution(range(len(each)))
        elif each.whole:
            found[name] = IntDistribution(int(each.low), int(each.high), log=each.scale == "log")
        else:
            found[name] = FloatDistribution(each.low, each.high, log=each.scale == "log")
    return found


def _combination(space: Space, number: int) -> dict[str, Any]:
    """The combination of lists with that number, where the last setting changes first."""
    chosen = {}
    for name in reversed(list(space)):
        values = space[name]
        assert not isinstance(values, Range)
        number, at = divmod(number, len(values))
        chosen[name] = values[at]
    return {name: chosen[name] for name in space}
