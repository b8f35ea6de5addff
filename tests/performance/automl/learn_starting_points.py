"""Learns the starting points of searches on public tables, and says how far they are from the best without a table.

    OMP_NUM_THREADS=1 .venv/bin/python -m tests.performance.automl.learn_starting_points

Each candidate of each family is scored on each learning table (at most 2,500 rows, a fifth of which is never read) by
the product's own fits on three folds, and ends where it is behind the median at a rung; the losses are appended to
`losses.csv`, so that a run that was ended goes on. Then twenty candidates of each family that has losses on every table
are chosen by greedy coverage and written to `optagent/training/families/starting_points.json`. `--choose` measures
nothing; `--family` measures some families only.
"""

import argparse
import csv
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import numpy as np

from optagent.domain.model import Task
from optagent.domain.study import Budget
from optagent.errors import Infeasible
from optagent.loop.train.prepare import PreparedRows, prepare_table
from optagent.training.crossfit import Crossfit
from optagent.training.families import starting_points
from optagent.training.families.family import Family
from optagent.training.families.registry import family_named
from optagent.training.metrics import METRICS
from tests.performance.automl.candidates import candidates_of
from tests.performance.automl.coverage import Losses, Order, choose_points, normalise, regret, regret_in
from tests.performance.automl.learning_tables import LEARNING_TABLES
from tests.performance.automl.tables import Table, read_table

LOSSES = Path(__file__).with_name("losses.csv")
CHOSEN = Path(starting_points.__file__).with_name(starting_points.FILE)
SEARCHED = ("lightgbm", "xgboost", "extra_trees", "linear", "catboost")
ROWS, FOLDS, POINTS, FEWEST = 2_500, 3, 20, 5
ASKED = (0, 5, 10, 20, 40, 80)
SPENT = (1, 2, 5, 10, 20, 40)
DRAWS = 200
# Fewer trees, which change the ranks of forests little; of linear models all rows at once.
BUDGETS = {"extra_trees": Budget(max_units=13, grace_units=9), "linear": Budget(grace_units=81)}
KINDS = {"classification": (Task.BINARY, Task.MULTICLASS), "regression": (Task.REGRESSION,)}

Measured = dict[tuple[str, str, str], list[float]]
"""Losses and CPU seconds of all candidates by table, family and `loss` or `seconds`."""


def measure_table(table: Table, families: Iterable[str], measured: Measured) -> None:
    """Scores the candidates of each family that has none on this table yet, and appends them to the file."""
    missing = [name for name in families if (table.name, name, "loss") not in measured]
    if not missing:
        return
    prepared = prepare_table(read_table(table, ROWS), table.spec(folds=FOLDS))
    for name in missing:
        family = family_named(name)
        at_rungs: dict[int, list[float]] = {}
        candidates = candidates_of(family, table.task)
        scores = [measure_candidate(family, dict(params), prepared, at_rungs) for params in candidates]
        losses, seconds = (list(values) for values in zip(*scores, strict=True))
        with LOSSES.open("a", newline="") as file:
            for kind, values in (("loss", losses), ("seconds", seconds)):
                measured[table.name, name, kind] = values
                csv.writer(file).writerow([table.name, name, kind, *(f"{value:.6g}" for value in values)])
        print(
            f"{table.name} {name}: best {min(losses):.5g}, defaults {losses[0]:.5g}, {sum(seconds):.0f} s", flush=True
        )


def measure_candidate(
    family: Family, params: dict[str, object], prepared: PreparedRows, at_rungs: dict[int, list[float]]
) -> tuple[float, float]:
    """The loss of parameters on the folds, infinite where they cannot be trained, and their CPU seconds.

    One that is behind the median of earlier ones at a rung ends there, as it would in a search; `at_rungs` are theirs.
    """
    metric, budget = METRICS[prepared.spec.metric], BUDGETS.get(family.name, Budget(grace_units=9))
    began = time.process_time()
    try:
        crossfit = Crossfit(family, params, prepared.problem, metric.score, metric.maximize, budget)
        for rung in budget.rungs:
            reached = crossfit.advance(rung)
            earlier = at_rungs.setdefault(rung, [])
            poor = len(earlier) >= FEWEST and reached.score > median(earlier)
            earlier.append(reached.score)
            if poor or reached.finished:
                break
        loss = reached.score
    except Infeasible:
        loss = math.inf
    return loss, round(time.process_time() - began, 3)


def read_losses() -> Measured:
    """The losses and seconds that were measured before."""
    if not LOSSES.exists():
        return {}
    with LOSSES.open(newline="") as file:
        return {(row[0], row[1], row[2]): [float(value) for value in row[3:]] for row in csv.reader(file)}


def losses_of(measured: Measured, tables: list[Table], families: list[str], kind: str = "loss") -> dict[str, Losses]:
    """(tables, candidates) of each family.

    NaN where the space of the family for the table's task has other parameters than for the first table's: the
    candidates of these numbers are others there.
    """
    return {
        family: np.array(
            [
                measured[table.name, family, kind]
                if _parameters(family, table.task) == _parameters(family, tables[0].task)
                else [math.nan] * len(measured[table.name, family, kind])
                for table in tables
            ]
        )
        for family in families
    }


def _parameters(family: str, task: Task) -> list[str]:
    return list(family_named(family).space(task).names)


def leave_one_out(losses: dict[str, Losses], seconds: dict[str, Losses]) -> dict[str, list[float]]:
    """The mean regret after so many trials and so many seconds, of points chosen without the table, and of random
    candidates."""
    scaled = normalise(losses)
    tables = len(next(iter(losses.values())))
    rng = np.random.default_rng(0)
    everything = [(family, number) for family in losses for number in range(1, losses[family].shape[1])]
    chosen, drawn = [], []
    for table in range(tables):
        rest = np.arange(tables) != table
        order = choose_points(
            {family: values[rest] for family, values in losses.items()},
            {family: values[rest] for family, values in seconds.items()},
            POINTS,
        )
        chosen.append(_regrets(scaled, seconds, table, order))
        orders = [[everything[at] for at in rng.permutation(len(everything))] for _ in range(DRAWS)]
        drawn.append(np.mean([_regrets(scaled, seconds, table, order) for order in orders], axis=0))
    return {"chosen": list(np.mean(chosen, axis=0)), "random": list(np.mean(drawn, axis=0))}


def _regrets(scaled: dict[str, Losses], seconds: dict[str, Losses], table: int, order: Order) -> list[float]:
    by_trials = [regret(scaled, table, order, asked) for asked in ASKED]
    return [*by_trials, *(regret_in(scaled, seconds, table, order, spent) for spent in SPENT)]


def write_points(orders: dict[str, Order]) -> None:
    """Writes the chosen parameters, one point a line."""
    lines = []
    for kind, order in orders.items():
        candidates = {name: candidates_of(family_named(name), KINDS[kind][0]) for name, _ in order}
        points = [json.dumps([family, candidates[family][number]]) for family, number in order]
        lines.append(f'"{kind}": [\n' + ",\n".join(points) + "\n]")
    CHOSEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choose", action="store_true", help="choose from the losses that are there")
    parser.add_argument("--family", nargs="+", choices=SEARCHED, default=SEARCHED, help="families to measure")
    given = parser.parse_args()
    measured = read_losses()
    if not given.choose:
        for table in LEARNING_TABLES:
            measure_table(table, given.family, measured)
    names = [table.name for table in LEARNING_TABLES]
    families = [family for family in SEARCHED if all((name, family, "loss") in measured for name in names)]
    orders = {}
    headings = [*(f"{asked} asked" for asked in ASKED), *(f"{spent} s" for spent in SPENT)]
    print(f"| tables | points | {' | '.join(headings)} |")
    print("|---|---|" + "---|" * len(headings))
    for kind, tasks in KINDS.items():
        tables = sorted(
            (table for table in LEARNING_TABLES if table.task in tasks), key=lambda table: tasks.index(table.task)
        )
        losses, seconds = losses_of(measured, tables, families), losses_of(measured, tables, families, "seconds")
        for name, regrets in leave_one_out(losses, seconds).items():
            print(f"| {len(tables)} {kind} | {name} | {' | '.join(f'{value:.3f}' for value in regrets)} |")
        orders[kind] = choose_points(losses, seconds, POINTS)
    write_points(orders)


if __name__ == "__main__":
    main()
