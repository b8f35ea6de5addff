"""Parameter search: runs a study on the tuner, and selects the trials that are worth building."""

import asyncio
from typing import Any

from optagent.analysis.pareto import front_of, hypervolume, points_of
from optagent.domain.study import SearchOutcome, Study, Trial, TrialState
from optagent.errors import SearchFailed
from optagent.loop.context import Ports
from optagent.loop.process import Run
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.search_clock import SearchClock
from optagent.training.cost import COSTS
from optagent.training.recipe import OutOfFold, Recipe


async def run_search(study: Study, prepared: PreparedRows, ports: Ports, run: Run, clock: SearchClock) -> SearchOutcome:
    """Runs the study; raises SearchFailed, with the reason most trials gave, when none came to a score."""

    def record(trial: Trial) -> None:
        clock.record(trial)
        ports.tracker.log_trial(study, trial)

    outcome = await asyncio.to_thread(
        ports.tuner.search,
        study,
        prepared.problem,
        on_progress=run.report,
        on_trial=record,
        cancelled=run.is_cancelled,
        is_over=clock.is_over,
    )
    if best_trial(study, outcome) is None:
        raise SearchFailed(_explain_failure(study, outcome))
    return outcome


def best_trial(study: Study, outcome: SearchOutcome, tolerance: float = 0.0) -> Trial | None:
    """The best complete trial; where the time limit left none, the best of those that have a score.

    With a cost among the objectives: the cheapest of those whose score is within `tolerance` (a share) of the best.
    """
    best = outcome.best(study.maximize)
    if best is None:
        sign = 1 if study.maximize else -1
        scored = [(sign * trial.score, trial) for trial in outcome.trials if trial.score is not None]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None
    cost = next((objective for objective in study.others if not objective.maximize and objective.name in COSTS), None)
    if cost is None or best.score is None:
        return best
    least = study.objectives[0].sign * best.score - tolerance * abs(best.score)
    near = [trial for trial in complete_trials(outcome) if study.objectives[0].sign * (trial.score or 0.0) >= least]
    return min(near, key=lambda trial: trial.others[cost.name])


def complete_trials(outcome: SearchOutcome) -> list[Trial]:
    """The trials that were trained to their end."""
    return [trial for trial in outcome.trials if trial.state is TrialState.COMPLETE and trial.score is not None]


def best_recipes(study: Study, outcome: SearchOutcome, count: int) -> list[Recipe]:
    """Recipes of the best complete trials, the best first, each set of parameters once."""
    sign = study.objectives[0].sign
    ranked = sorted(complete_trials(outcome), key=lambda trial: -sign * (trial.score or 0.0))
    distinct: dict[str, Trial] = {}
    for trial in ranked:
        distinct.setdefault(trial.params_key, trial)
    return [
        Recipe(f"trial {trial.number}", trial.family, trial.params, trial.rounds)
        for trial in list(distinct.values())[:count]
    ]


def known_predictions(outcome: SearchOutcome) -> dict[str, OutOfFold]:
    """The out-of-fold predictions that the search has kept, by the name of a trial's recipe."""
    return {f"trial {number}": OutOfFold(tuple(parts)) for number, parts in outcome.predictions.items()}


def pareto_front(study: Study, outcome: SearchOutcome) -> tuple[dict[str, Any], ...]:
    """The complete trials that no other beats in every objective, by the first one; empty for a single objective."""
    return tuple(
        {
            "trial": trial.number,
            study.metric: trial.score,
            **trial.others,
            "params": {"family": trial.family, **trial.params},
        }
        for trial in front_of(study.objectives, outcome.trials)
    )


def hypervolume_over_time(study: Study, outcome: SearchOutcome) -> tuple[float, ...]:
    """The volume that the front covers after each complete trial, from the worst value of each objective."""
    trials = complete_trials(outcome)
    if not study.others or not trials:
        return ()
    points = points_of(study.objectives, trials)
    reference = points.min(axis=0) - 1e-9
    return tuple(hypervolume(points[: count + 1], reference) for count in range(len(points)))


def _explain_failure(study: Study, outcome: SearchOutcome) -> str:
    if not outcome.trials or outcome.count(TrialState.FAILED, TrialState.INFEASIBLE) == 0 or outcome.timed_out:
        return f"no trial came to a score within the time limit of {study.timeout_s:g} s: allow more time or fewer rows"
    reasons = [trial.error or "no reason given" for trial in outcome.trials]
    common = max(set(reasons), key=reasons.count)
    return f"all {len(outcome.trials)} trials failed; {reasons.count(common)} of them with: {common}"
