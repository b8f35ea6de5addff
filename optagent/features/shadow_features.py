"""Shadow features (Boruta) and permutation importance: the columns a model needs are worth more than shuffled copies of
themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from optagent.arrays import Matrix, Vector
from optagent.errors import InvalidData, InvalidRequest
from optagent.features.refits import Learner
from optagent.training.contributions import Predicts, contributions
from optagent.training.label_encoding import encode_for_fold
from optagent.training.metrics import Metric
from optagent.training.problem import Data, Fold

Hits = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ShadowWins:
    """The number of `rounds` in which each column was worth more than the best shadow of all."""

    names: tuple[str, ...]
    hits: Hits
    rounds: int
    alpha: float = 0.05

    @property
    def rejected_columns(self) -> tuple[str, ...]:
        """Columns better less often than by a fair coin, all columns together at alpha."""
        chance = binom.cdf(self.hits, self.rounds, 0.5)
        level = self.alpha / len(self.names)
        return tuple(name for name, each in zip(self.names, chance.tolist(), strict=True) if each <= level)

    @property
    def mostly_better_columns(self) -> tuple[str, ...]:
        """Columns better in more than half of the rounds, which is all that a few rounds can show."""
        return tuple(name for name, hits in zip(self.names, self.hits.tolist(), strict=True) if 2 * hits > self.rounds)


def count_shadow_wins(
    learner: Learner,
    data: Data,
    folds: Sequence[Fold],
    rounds: int = 20,
    alpha: float = 0.05,
    seed: int = 0,
    metric: Metric | None = None,
    most_rows: int = 500,
) -> ShadowWins:
    """Boruta (Kursa and Rudnicki 2010): each column stands beside a copy with its rows shuffled, anew each round.

    Importance is measured by contributions to predictions of rows that were not trained on, with the folds in turn: the
    gain that trees report for their own training rows favours noise with many values.
    """
    if rounds < 1 or not folds:
        raise InvalidRequest(f"shadows need at least 1 round and 1 fold, got {rounds} and {len(folds)}")
    hits = np.zeros(len(data.names), dtype=np.int64)
    for turn in range(rounds):
        fold = folds[turn % len(folds)]
        doubled = encode_for_fold(_add_shadows(data, np.random.default_rng([seed, turn])), fold.train)
        _, model = learner.train(doubled, fold)
        worth = contributions(model, doubled.x_of(fold.valid), data.y[fold.valid], metric, seed, most_rows)
        hits += worth[: len(hits)] > worth[len(hits) :].max()
    return ShadowWins(data.names, hits, rounds, alpha)


def permutation_importance(
    model: Predicts, x: Matrix, y: Vector, metric: Metric, columns: Sequence[int], repeats: int = 3, seed: int = 0
) -> Vector:
    """(columns,) by how much the metric is worse with a column shuffled (Breiman 2001), on rows not trained on.

    Noise has importances around 0, of either sign. Raises InvalidData where the metric is undefined on the rows.
    """
    if len(x) != len(y):
        raise InvalidData(f"{len(y)} labels for {len(x)} rows")
    sign = 1.0 if metric.maximize else -1.0
    before = metric.score(y, model.predict(x))
    importances = np.zeros(len(columns))
    for place, column in enumerate(columns):
        rng = np.random.default_rng([seed, column])
        shuffled = x.copy()
        for _ in range(repeats):
            shuffled[:, column] = rng.permutation(x[:, column])
            importances[place] += sign * (before - metric.score(y, model.predict(shuffled))) / repeats
    return importances


def _add_shadows(data: Data, rng: np.random.Generator) -> Data:
    """Every column twice; shadows of categories are categories."""
    width = len(data.names)
    x = np.empty((len(data), 2 * width), dtype=np.float32)
    x[:, :width] = data.x
    for column in range(width):
        x[:, width + column] = rng.permutation(data.x[:, column])
    return replace(
        data,
        x=x,
        names=(*data.names, *(f"shadow of {name}" for name in data.names)),
        categorical=(*data.categorical, *(width + index for index in data.categorical)),
        levels=data.levels * 2,
    )
