"""Verdict on a search's own selection: overfitting and deflated Sharpe ratio of its trials."""

from collections.abc import Sequence

import numpy as np

from optagent.analysis.backtest_overfitting import LEAST_BLOCKS, even_blocks, overfitting_probability
from optagent.analysis.sharpe_ratio import (
    LEAST_PERIODS,
    deflated_probability,
    lucky_ratio,
    sharpe_ratios,
    variance_without_skill,
)
from optagent.domain.selection_skill import SelectionSkill
from optagent.domain.study import Trial, TrialState

_LEAST_BLOCKS_COMPARED = 4
LEAST_TRIALS = 5
"""Of fewer trials, the ranks and the spread of their ratios say nothing."""


def judge_selection(trials: Sequence[Trial], maximize: bool) -> SelectionSkill | None:
    """The verdict on the choice of the best trial; None where fewer than five trials have gains.

    Every trial with a score counts as tried, those stopped early too, with the gains of their last budget. The variance
    of the ratios, from which follows how lucky the best is expected to be, is at most that of trials without skill.
    """
    tried = [trial for trial in trials if trial.state.has_score]
    blocks = max((len(trial.block_gains) for trial in tried), default=0)
    compared = [trial for trial in tried if len(trial.block_gains) == blocks]
    complete = [trial for trial in compared if trial.state is TrialState.COMPLETE and trial.score is not None]
    if blocks < _LEAST_BLOCKS_COMPARED or len(compared) < LEAST_TRIALS or not complete:
        return None
    sign = 1 if maximize else -1
    best = max(complete, key=lambda trial: sign * (trial.score or 0.0))
    gains = np.array([trial.block_gains for trial in compared]).T
    ratios = sharpe_ratios(gains)
    # Trials that truly differ in skill vary by more than luck does, which must not raise the bar for the best of them.
    variance = min(float(ratios.var(ddof=1)), variance_without_skill(blocks))
    own = np.array(best.block_gains)
    deflated = None
    if blocks >= LEAST_PERIODS and np.ptp(own) > 0:
        deflated = deflated_probability(own, len(tried), variance)
    return SelectionSkill(
        trials=len(tried),
        compared=len(compared),
        blocks=blocks,
        overfitting=overfitting_probability(gains, blocks=even_blocks(blocks)) if blocks >= LEAST_BLOCKS else None,
        sharpe=float(ratios[compared.index(best)]),
        lucky_sharpe=lucky_ratio(len(tried), variance),
        deflated=deflated,
    )
