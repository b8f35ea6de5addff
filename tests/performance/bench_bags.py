"""What the mean of ten models of one recipe gains over one model of all rows, on public tables.

    OMP_NUM_THREADS=1 .venv/bin/python -m tests.performance.bench_bags
    OMP_NUM_THREADS=1 .venv/bin/python -m tests.performance.bench_bags --tables shuttle --rows 500,2000,8000

For each table, family and seed, the best of the family's defaults and its first starting points is taken by four folds,
as a search would; the rows of the holdout, a fifth, are read once, at the end. Gains are of log loss or RMSE on the
holdout, in percent of the mean score of one model of all other rows by ten seeds, above 0 where the bag is better.
`dev` is the gain out of fold, which the test of the bag sees; `accepted` counts the draws in which it takes a bag, and
`shipped` is the gain of what it takes.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np

from optagent.analysis.bootstrap import Resampling
from optagent.arrays import Prediction
from optagent.domain.study import Budget
from optagent.ensembles.bag_test import BagTest, choose_bag
from optagent.ensembles.bags import KINDS, bag_mean, bag_recipes, single_means
from optagent.ensembles.out_of_fold import out_of_fold
from optagent.loop.train.prepare import PreparedRows, prepare_table
from optagent.training.average import WeightedMean
from optagent.training.combined import combine
from optagent.training.crossfit import Crossfit
from optagent.training.families.registry import family_named
from optagent.training.families.starting_points import starting_points_of
from optagent.training.metrics import METRICS
from optagent.training.recipe import Recipe, predict_out_of_fold, train_recipe
from tests.performance.automl.learning_tables import LEARNING_TABLES
from tests.performance.automl.tables import read_table

TABLES = "boston,oj,college,mroz,school,fertil2"
FAMILIES = "lightgbm,linear,extra_trees"
POINTS, MODELS, ALPHA = 4, 10, 0.05
BUDGETS = {"extra_trees": Budget(max_units=27, grace_units=27)}


@dataclass(frozen=True, slots=True)
class Draw:
    """One split of a table: the gains of each kind of bag in percent on the holdout and out of fold, and the kind that
    the test takes."""

    rows: int
    gains: dict[str, float]
    out_of_fold: dict[str, float]
    kind: str | None
    seconds: float

    @property
    def shipped(self) -> float:
        return 0.0 if self.kind is None else self.gains[self.kind]


def best_recipe(family_name: str, prepared: PreparedRows, seed: int) -> Recipe:
    """The best of the defaults and the first starting points, over the folds."""
    family, metric, task = family_named(family_name), METRICS[prepared.spec.metric], prepared.spec.task
    budget = BUDGETS.get(family_name, Budget(grace_units=81))
    points = [family.defaults(task), *(params for _, params in starting_points_of([family_name], task)[:POINTS])]
    scored = []
    for params in points:
        crossfit = Crossfit(family, params, prepared.problem, metric.score, metric.maximize, budget, seed)
        measured = crossfit.advance(budget.max_units)
        scored.append((measured.score, Recipe("one model", family_name, params, measured.best_rounds)))
    return min(scored, key=lambda pair: pair[0])[1]


def measure_draw(family: str, prepared: PreparedRows, seed: int) -> Draw:
    """Both bags beside one model, by predictions of rows that none has learned."""
    recipe, metric, task = best_recipe(family, prepared, seed), METRICS[prepared.spec.metric], prepared.spec.task
    problem, holdout = prepared.problem, prepared.holdout
    kinds = {kind: bag_recipes([recipe], MODELS, kind) for kind in KINDS}
    every = [part for parts in kinds.values() for part in parts]
    began = time.process_time()
    members, _ = out_of_fold(
        task, problem.data.y, problem.folds, {each.name: predict(prepared, each, seed) for each in every}
    )
    means = {kind: bag_mean(parts, task, None) for kind, parts in kinds.items()}
    singles = single_means(kinds["seeds"], task, None)
    choice = choose_bag(members, means, singles, BagTest(metric, ALPHA, Resampling(seed=seed)), {})
    seconds = time.process_time() - began
    answers = {each.name: train_recipe(problem, each, seed).predict(holdout.x) for each in every}

    def gain(y: np.ndarray, mean: WeightedMean, predictions: dict[str, Prediction]) -> float:
        one, bag = np.mean([score_of(y, each, predictions) for each in singles]), score_of(y, mean, predictions)
        return float(100 * (one - bag) / one)

    def score_of(y: np.ndarray, mean: WeightedMean, predictions: dict[str, Prediction]) -> float:
        return metric.score(y, combine(mean, predictions))

    by_member = dict(members.by_member())
    return Draw(
        len(problem.data),
        {kind: gain(holdout.y, mean, answers) for kind, mean in means.items()},
        {kind: gain(members.y, mean, by_member) for kind, mean in means.items()},
        choice.kind,
        seconds,
    )


def predict(prepared: PreparedRows, recipe: Recipe, seed: int) -> tuple[Prediction, ...]:
    return predict_out_of_fold(prepared.problem, recipe, seed).predictions


def print_draws(name: str, family: str, draws: list[Draw]) -> None:
    accepted = sum(draw.kind is not None for draw in draws)
    gains = {kind: np.mean([draw.gains[kind] for draw in draws]) for kind in KINDS}
    seen = {kind: np.mean([draw.out_of_fold[kind] for draw in draws]) for kind in KINDS}
    print(
        f"| {name} | {draws[0].rows:,} | {family} | {gains['folds']:+.2f} | {gains['seeds']:+.2f}"
        f" | {seen['folds']:+.2f} | {seen['seeds']:+.2f} | {accepted} of {len(draws)}"
        f" | {np.mean([draw.shipped for draw in draws]):+.2f} | {np.mean([draw.seconds for draw in draws]):.1f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tables", default=TABLES)
    parser.add_argument("--families", default=FAMILIES)
    parser.add_argument("--rows", default="", help="learn from at most so many rows; several: each in turn")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    by_name = {table.name: table for table in LEARNING_TABLES}
    print("| Table | Rows | Family | Folds | Seeds | Folds, dev | Seeds, dev | Accepted | Shipped | CPU s |")
    for rows in [int(text) for text in asked.rows.split(",") if text] or [None]:
        for table in [by_name[name] for name in asked.tables.split(",")]:
            for family in asked.families.split(","):
                draws = []
                for seed in range(asked.seeds):
                    prepared = prepare_table(read_table(table, rows), table.spec(), seed)
                    draws.append(measure_draw(family, prepared, seed))
                print_draws(table.name, family, draws)


if __name__ == "__main__":
    main()
