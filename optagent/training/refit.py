"""The winner of a search, trained once more on all the rows it may learn from."""

from collections.abc import Mapping
from typing import Any

from optagent.arrays import Rows
from optagent.training.families.family import Family, FittedModel
from optagent.training.problem import Data


def refit(
    family: Family, params: Mapping[str, Any], data: Data, rows: Rows, rounds: int, seed: int = 0, threads: int = 1
) -> FittedModel:
    """A model of `rounds` steps on `rows`; nothing of the other rows of `data` is looked at. Raises Infeasible."""
    fit = family.start(params, data, rows, seed=seed, threads=threads)
    fit.advance(rounds)
    return fit.model()
