from typing import Any

import numpy as np

from optagent.analysis.selection_skill import judge_selection
from optagent.domain.study import Trial, TrialState


def trial(number: int, score: float, gains: Any, state: TrialState = TrialState.COMPLETE) -> Trial:
    return Trial(number, "lightgbm", {}, state, score, block_gains=tuple(map(float, gains)))


def trials(shift: float = 0.0, blocks: int = 16, seed: int = 0) -> list[Trial]:
    gains = np.random.default_rng(seed).normal(shift, 1, (12, blocks))
    return [trial(number, row.mean(), row) for number, row in enumerate(gains)]


def test_the_best_of_trials_without_skill_shows_none_and_one_with_skill_shows_it() -> None:
    luck = judge_selection(trials(), maximize=True)
    assert luck is not None
    assert luck.deflated is not None
    assert luck.deflated < 0.95
    skilled = trial(99, 3.0, np.random.default_rng(1).normal(3, 1, 16))
    skill = judge_selection([*trials(), skilled], maximize=True)
    assert skill is not None
    assert (skill.trials, skill.compared, skill.blocks, skill.overfitting) == (13, 13, 16, 0.0)
    assert skill.deflated is not None
    assert skill.deflated > 0.95


def test_the_best_trial_is_the_complete_one_that_the_search_chose_and_all_with_a_score_count() -> None:
    losses = [trial(number, -one.score, one.block_gains) for number, one in enumerate(trials())]  # type: ignore[operator]
    stopped = trial(50, -9.0, np.full(16, 9.0), TrialState.PRUNED)
    failed = Trial(51, "lightgbm", {}, TrialState.FAILED)
    old = Trial(52, "lightgbm", {}, TrialState.COMPLETE, 0.0)
    skill = judge_selection([*losses, stopped, failed, old], maximize=False)
    assert skill is not None
    assert (skill.trials, skill.compared) == (14, 13)
    best = min(losses, key=lambda one: one.score or 0.0)
    gains = np.array(best.block_gains)
    assert skill.sharpe == gains.mean() / gains.std(ddof=1)


def test_few_trials_or_blocks_say_nothing() -> None:
    assert judge_selection(trials()[:4], maximize=True) is None
    assert judge_selection([], maximize=True) is None
    assert judge_selection([Trial(n, "f", {}, TrialState.COMPLETE, 0.1) for n in range(9)], maximize=True) is None
    few = judge_selection(trials(blocks=5), maximize=True)
    assert few is not None
    assert (few.overfitting, few.deflated) == (None, None)


def test_trials_that_all_score_alike_are_no_skill() -> None:
    alike = judge_selection([trial(number, 0.0, np.zeros(16)) for number in range(6)], maximize=True)
    assert alike is not None
    assert (alike.sharpe, alike.lucky_sharpe, alike.overfitting, alike.deflated) == (0, 0, 0.5, None)
