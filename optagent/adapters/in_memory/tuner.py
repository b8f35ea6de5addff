"""Sequential tuner: the `Tuner` port in the caller's thread, with one random trial after another."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optagent.arrays import Prediction
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, Parameter, SearchSpace
from optagent.domain.study import Progress, SearchOutcome, Study, Trial, TrialState, progress_of
from optagent.errors import Cancelled, Infeasible
from optagent.training.best_predictions import BestPredictions, keeps_predictions
from optagent.training.cost import objective_values, other_scores
from optagent.training.crossfit import Crossfit
from optagent.training.families.registry import family_named
from optagent.training.metrics import metric_named
from optagent.training.problem import Problem
from optagent.training.validation_blocks import ValidationBlocks


class SequentialTuner:
    """Random search without early stopping across trials: the champion and the defaults first, then uniform draws.

    It needs no cluster, so the loop can be tested, and a history replayed, without one. It ignores the study's sampler.
    Deterministic for a seed.
    """

    def check(self) -> None:
        """Does nothing, as the caller's thread is always there."""

    def start(self, task: Task, families: Sequence[str]) -> None:
        """Does nothing, as the caller's thread has loaded what it needs."""

    def share(self, problem: Problem) -> Problem:
        """The problem itself, as trials read it in place."""
        return problem

    def close(self) -> None:
        """Does nothing, as nothing was started."""

    def search(
        self,
        study: Study,
        problem: Problem,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_trial: Callable[[Trial], None] = lambda trial: None,
        cancelled: Callable[[], bool] = lambda: False,
        is_over: Callable[[], bool] = lambda: False,
    ) -> SearchOutcome:
        started_at = time.monotonic()
        until = started_at + study.timeout_s

        def is_time_over() -> bool:
            return time.monotonic() >= until or is_over()

        draw = random.Random(study.seed)
        trials: list[Trial] = []
        cache: dict[Any, Any] = {}
        blocks = ValidationBlocks(problem, metric_named(study.metric, study.task).score, study.maximize)
        best = BestPredictions(study)
        while len(trials) < study.trials and not is_time_over():
            if cancelled():
                raise Cancelled(f"the search {study.study_id} was cancelled after {len(trials)} trials")
            family, params = _suggest(study, len(trials), draw)
            trial = _run_trial(study, blocks, len(trials), family, params, cache, is_time_over, best)
            timed_out = is_time_over()
            if timed_out and trial.score is None and trial.error is None:
                break
            trials.append(trial)
            on_trial(trial)
            on_progress(progress_of(study, trials, 0, time.monotonic() - started_at))
            if timed_out:
                break
        return SearchOutcome(tuple(trials), timed_out=len(trials) < study.trials, predictions=best.by_trial)


def _suggest(study: Study, number: int, draw: random.Random) -> tuple[str, Mapping[str, Any]]:
    if number < len(study.first_trials):
        family, params = study.first_trials[number]
        return family, {item.name: params.get(item.name, _draw_value(item, draw)) for item in study.spaces[family]}
    family = draw.choice(sorted(study.spaces))
    return family, _draw_params(study.spaces[family], draw)


def _draw_params(space: SearchSpace, draw: random.Random) -> dict[str, Any]:
    return {item.name: _draw_value(item, draw) for item in space}


def _draw_value(item: Parameter, draw: random.Random) -> Any:
    if isinstance(item, Categorical):
        return draw.choice(item.choices)
    share = draw.random()
    value = item.low * (item.high / item.low) ** share if item.log else item.low + (item.high - item.low) * share
    return value if isinstance(item, Float) else round(value)


def _run_trial(
    study: Study,
    blocks: ValidationBlocks,
    number: int,
    family: str,
    params: Mapping[str, Any],
    cache: dict[Any, Any],
    is_time_over: Callable[[], bool],
    best: BestPredictions,
) -> Trial:
    started_at, problem = time.monotonic(), blocks.problem
    state, score, rounds, units, error = TrialState.COMPLETE, None, 0, 0, None
    gains: tuple[float, ...] = ()
    others: dict[str, float] = {}
    predictions: tuple[Prediction, ...] = ()
    try:
        crossfit = Crossfit(
            family_named(family),
            params,
            problem,
            metric_named(study.metric, study.task).score,
            study.maximize,
            study.budget,
            seed=study.seed,
            cache=cache,
            others=other_scores(study.objectives, study.task),
            keeps_predictions=keeps_predictions(study, problem),
        )
        reached = crossfit.advance(study.budget.max_units, deadline=is_time_over)
        score, rounds, units = reached.score, reached.best_rounds, reached.units
        gains = blocks.gains(crossfit.best_predictions)
        rows = problem.data.x[problem.folds[-1].valid]
        names = [objective.name for objective in study.others]
        others = dict(zip(names, objective_values(study.objectives, crossfit, reached, rows)[1:], strict=True))
        if not reached.finished and units < study.budget.max_units:
            state = TrialState.PRUNED
        else:
            predictions = crossfit.predictions
    except Infeasible as reason:
        state, error = TrialState.INFEASIBLE, str(reason)
    except Exception as reason:
        state, error = TrialState.FAILED, f"{type(reason).__name__}: {reason}"
    duration = time.monotonic() - started_at
    trial = Trial(
        number, family, dict(params), state, score, rounds, units, duration, error, others=others, block_gains=gains
    )
    best.add(trial, predictions)
    return trial
