"""Search clock: ends a search while there is still time, within a command's limit, for the steps that follow it."""

from collections.abc import Sequence
from dataclasses import replace

from optagent.domain.study import SearchOutcome, Study, Trial
from optagent.ensembles.bags import MOST_ROWS
from optagent.loop.process import Run
from optagent.loop.train.prepare import PreparedRows
from optagent.training.recipe import Recipe
from optagent.training.time_shares import (
    LEAST_FINISH_S,
    AfterSearch,
    TimeShares,
    count_affordable,
    fit_seconds,
    share_time,
    weighing_seconds,
)


class SearchClock:
    """Sets time aside by what the trials of a search have taken so far; without a limit it is never over."""

    def __init__(self, study: Study, prepared: PreparedRows, after: AfterSearch, run: Run) -> None:
        self._study = study
        self._problem = prepared.problem
        self._after = after if len(prepared.problem.data) <= MOST_ROWS else replace(after, bag=0)
        self._run = run
        self._trials: list[Trial] = []
        self._shares = TimeShares()
        self._has_score = False

    def record(self, trial: Trial) -> None:
        """Counts a trial that has ended."""
        if self._run.deadline.is_set:
            self._trials.append(trial)
            self._has_score = self._has_score or trial.score is not None
            limit_s = self._run.deadline.limit_s
            self._shares = share_time(self._after, self._study, self._trials, self._problem, limit_s)

    def is_over(self) -> bool:
        """True once what is left of the limit is needed for the steps after the search.

        Until a trial has a score, it may take of the time that is set aside for the end: an answer that comes somewhat
        late is better than none.
        """
        if self._has_score or not self._run.deadline.is_set:
            return self._run.left_s() <= self._shares.total_s
        return self._run.left_s(LEAST_FINISH_S) <= 0.0

    def affordable_recipes(self, recipes: Sequence[Recipe], outcome: SearchOutcome) -> list[Recipe]:
        """The first of these recipes of trials whose models can all be trained, as an ensemble, in the time left."""
        costs = {f"trial {trial.number}": fit_seconds(trial, self._problem) for trial in outcome.trials}
        left_s = self._run.left_s() - weighing_seconds(self._problem, len(recipes))
        return list(recipes[: count_affordable([costs[recipe.name] for recipe in recipes], left_s)])
