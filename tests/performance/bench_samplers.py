"""How good each sampler's suggestions are, at equal numbers of trials; `make bench-search` prints the tables.

Two functions with known minima, and the surrogate of decision-tree tuning `rbv2_rpart` (YAHPO Gym, Pfisterer et al.
2022): the ten first of its tasks, by name. The portfolio's rule was tuned on other tasks.
"""

import argparse
import json
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata

from optagent.adapters.search.samplers import sampler_named

SAMPLERS = ("random", "tpe", "gp", "hyperopt", "portfolio")
TRIALS = 60
JUDGED_TASKS = 10
SAME = 1e-6
FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "hpo" / "rbv2_rpart"

Params = Mapping[str, Any]
Space = dict[str, BaseDistribution]


def branin(params: Params) -> float:
    x, y = params["x"], params["y"]
    bend = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887


BRANIN: Space = {"x": FloatDistribution(-5, 10), "y": FloatDistribution(0, 15)}

_HARTMANN_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_HARTMANN_C = np.array([1.0, 1.2, 3.0, 3.2])


def hartmann6(params: Params) -> float:
    point = np.array([params[f"x{index}"] for index in range(6)])
    return 3.32237 - float(_HARTMANN_C @ np.exp(-(_HARTMANN_A * (point - _HARTMANN_P) ** 2).sum(axis=1)))


HARTMANN6: Space = {f"x{index}": FloatDistribution(0, 1) for index in range(6)}


class Rpart:
    """The surrogate: the AUC of a decision tree on an OpenML task, on all rows and ten repetitions."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self._codes = json.loads((folder / "encoding.json").read_text())
        described = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
        by_name = {item["name"]: item for item in described}
        self.tasks = sorted(by_name["task_id"]["choices"])
        self.space: Space = {name: _distribution(by_name[name]) for name in (*_NUMBERS, _IMPUTE)}

    def loss(self, task: str) -> Callable[[Params], float]:
        def one_less_auc(params: Params) -> float:
            numbers = [*(params[name] for name in _NUMBERS), 1.0, 10.0]  # trainsize, repl
            codes = [self._codes["task_id"][task], self._codes[_IMPUTE][params[_IMPUTE]]]
            fed = {"x_cont": np.array([numbers], np.float32), "x_cat": np.array([codes], np.int32)}
            return 1.0 - float(self._session.run(None, fed)[0][0, _AUC])

        return one_less_auc


_NUMBERS = ("cp", "maxdepth", "minbucket", "minsplit")
_IMPUTE = "num.impute.selected.cpo"
_AUC = 2


def _distribution(item: Mapping[str, Any]) -> BaseDistribution:
    if item["type"] == "categorical":
        return CategoricalDistribution(item["choices"])
    kind = IntDistribution if item["type"] == "uniform_int" else FloatDistribution
    return kind(item["lower"], item["upper"], log=item["log"])


def searched(sampler: str, seed: int, space: Space, loss: Callable[[Params], float]) -> float:
    """The least loss of one study."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(sampler=sampler_named(sampler, seed))
    for _ in range(TRIALS):
        trial = study.ask(space)
        study.tell(trial, loss(trial.params))
    return study.best_value


def functions(seeds: int) -> Iterator[Table]:
    for name, space, loss in (("Branin", BRANIN, branin), ("Hartmann6", HARTMANN6, hartmann6)):
        table = Table("sampler", "median regret", "worst", "to tpe", "ms a trial", title=f"{name}, {seeds} seeds")
        regrets: dict[str, np.ndarray] = {}
        took: dict[str, float] = {}
        for sampler in SAMPLERS:
            started = time.perf_counter()
            regrets[sampler] = np.array([searched(sampler, seed, space, loss) for seed in range(seeds)])
            took[sampler] = (time.perf_counter() - started) / seeds / TRIALS * 1000
        tpe = np.median(regrets["tpe"])
        for sampler, found in regrets.items():
            middle = np.median(found)
            row = f"{middle:.5f}", f"{found.max():.5f}", f"{middle / tpe:.3f}", f"{took[sampler]:.1f}"
            table.add_row(sampler, *row)
        yield table


def surrogate(rpart: Rpart, seeds: int) -> Table:
    tasks = rpart.tasks[:JUDGED_TASKS]
    lost = np.array(
        [
            [[searched(sampler, seed, rpart.space, rpart.loss(task)) for seed in range(seeds)] for task in tasks]
            for sampler in SAMPLERS
        ]
    )
    ranks = rankdata(np.round(lost / SAME), axis=0)
    regret = lost - lost.min(axis=(0, 2))[None, :, None]
    title = f"rbv2_rpart, tasks {' '.join(tasks)}, {seeds} seeds"
    table = Table("sampler", "mean rank", "± over seeds", "mean regret of AUC", "first or tied", title=title)
    for index, sampler in enumerate(SAMPLERS):
        by_seed = ranks[index].mean(axis=0)
        error = by_seed.std(ddof=1) / math.sqrt(seeds) if seeds > 1 else math.nan
        first = (ranks[index] == ranks.min(axis=0)).mean()
        table.add_row(sampler, f"{by_seed.mean():.2f}", f"{error:.2f}", f"{regret[index].mean():.5f}", f"{first:.0%}")
    return table


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rbv2-rpart", type=Path, default=Path(os.environ.get("RBV2_RPART", FOLDER)))
    asked.add_argument("--seeds", type=int, default=10, help="of the functions; the surrogate takes half")
    given = asked.parse_args()
    optuna.logging.set_verbosity(logging.WARNING)
    console = Console(width=120)
    console.print(f"Each study has {TRIALS} trials, one after another; less is better in every column but the last.")
    for table in functions(given.seeds):
        console.print(table)
    if not (given.rbv2_rpart / "model.onnx").is_file():
        console.print(f"rbv2_rpart: skipped, no model.onnx in {given.rbv2_rpart} (--rbv2-rpart FOLDER, or RBV2_RPART)")
        return
    console.print(surrogate(Rpart(given.rbv2_rpart), max(1, given.seeds // 2)))


if __name__ == "__main__":
    sys.exit(main())
