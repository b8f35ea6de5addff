"""Ensemble training: recipes are trained fold by fold on a pool of workers, as many as the command's time allows."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from optagent.ensembles.members import Members
from optagent.errors import Cancelled
from optagent.loop.process import Run
from optagent.ports import Workers
from optagent.training.problem import Problem
from optagent.training.recipe import OutOfFold, Recipe, predict_out_of_fold
from optagent.training.time_shares import Wave, fits_another_wave


def train_members(
    recipes: Sequence[Recipe],
    problem: Problem,
    seed: int,
    workers: Workers,
    run: Run,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, OutOfFold]:
    """Out-of-fold predictions by the name of a recipe; blocks. Raises Cancelled, Infeasible and Unavailable.

    Under a deadline the recipes are trained in waves of one a worker: what a wave has taken says whether there is time
    for the next one and for the models of all rows. One that comes too late is stopped, and earlier waves are kept.
    """
    predict = partial(predict_out_of_fold, seed=seed)

    def count_done(done: int) -> None:
        run.count_done(len(trained) + done, len(recipes), "members")

    def is_over() -> bool:
        return run.is_cancelled() or run.left_s() <= 0

    trained: dict[str, OutOfFold] = {}
    with workers.share(problem) as pool:
        if not run.deadline.is_set:
            return _by_name(recipes, pool.map(predict, recipes, run.is_cancelled, count_done))
        wave = Wave(0.0, 0, problem.fit_share)
        while len(trained) < len(recipes) and fits_another_wave(wave, pool.size, run.left_s()):
            part, began_at = recipes[len(trained) : len(trained) + pool.size], clock()
            try:
                results: list[OutOfFold] = pool.map(predict, part, is_over, count_done)
            except Cancelled:
                if run.is_cancelled():
                    raise
                break
            trained.update(_by_name(part, results))
            wave = Wave(max(wave.seconds, clock() - began_at), len(trained), problem.fit_share)
        return trained


def with_costs(members: Members, out_of_folds: Mapping[str, OutOfFold]) -> Members:
    """The members with the serving costs of their models, where these are known of all."""
    costs = [out_of_folds[name] for name in members.names]
    latency_ms = tuple(each.latency_ms for each in costs if each.latency_ms is not None)
    size_mb = tuple(each.size_mb for each in costs if each.size_mb is not None)
    if len(latency_ms) < len(members) or len(size_mb) < len(members):
        return members
    return replace(members, latency_ms=latency_ms, size_mb=size_mb)


def _by_name(recipes: Sequence[Recipe], results: Sequence[OutOfFold]) -> dict[str, OutOfFold]:
    return {recipe.name: result for recipe, result in zip(recipes, results, strict=True)}
