"""Attribution: what each column of a row adds to a model's margin, in additive parts that sum to the margin."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Matrix64
from optagent.codec import decode
from optagent.serving.attribution_linear import LinearAttributor
from optagent.serving.attribution_oblivious import ObliviousAttributor
from optagent.serving.attribution_trees import TreeAttributor
from optagent.training.plan import FeaturePlan
from optagent.training.stack import standardise
from optagent.training.transform import Transformer

Arrays = dict[str, npt.NDArray[Any]]


class Attributor(Protocol):
    """Computes contributions; it stores nothing of a call, so threads may share it."""

    base: npt.NDArray[np.float64]
    """(outputs,) the margin that is expected before any column of the row is known."""
    cells: int
    """The numbers that a row costs, some 5 nanoseconds each."""

    def contributions(self, x: Matrix) -> Matrix64:
        """(rows, outputs, columns) what each column of encoded rows adds to each margin."""
        ...


def make_attributor(arrays: Arrays) -> Attributor:
    """The attributor of the arrays that `attribution_data` reads; its tables are made here."""
    return _KINDS[str(arrays["kind"])](arrays)


def part_arrays(arrays: Mapping[str, Any], name: str) -> Arrays:
    """The arrays of a part of a model: those whose names begin with its name and a dot."""
    begin = f"{name}."
    return {key.removeprefix(begin): values for key, values in arrays.items() if key.startswith(begin)}


class PlanAttributor:
    """Contributions of a model with a feature plan, by the columns that the plan takes.

    That of a computed column is shared equally among the columns that it is computed from.
    """

    def __init__(self, arrays: Arrays) -> None:
        plan = decode(FeaturePlan, arrays["plan"].tobytes())
        self._transform = Transformer(plan)
        self._inner = make_attributor(part_arrays(arrays, "inner"))
        self.base, self.cells = self._inner.base, self._inner.cells
        place = {name: index for index, name in enumerate(plan.columns)}
        self._shares = np.zeros((len(plan.names), len(plan.columns)))
        for row, sources in zip(self._shares, _find_sources(plan), strict=True):
            for name in sources:
                row[place[name]] += 1 / len(sources)

    def contributions(self, x: Matrix) -> Matrix64:
        by_column: Matrix64 = self._inner.contributions(self._transform(x)) @ self._shares
        return by_column


class SumAttributor:
    """The weighted sum of the members' contributions, and of a stack's own columns."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._members = [make_attributor(part_arrays(arrays, str(at))) for at in range(len(arrays["weights"]))]
        self.cells = sum(member.cells for member in self._members)
        bases = [weight * member.base for weight, member in zip(arrays["weights"], self._members, strict=True)]
        self.base = arrays["intercepts"] + np.sum(bases, axis=0)

    def contributions(self, x: Matrix) -> Matrix64:
        arrays = self._arrays
        weighted = zip(arrays["weights"], self._members, strict=True)
        totals: Matrix64 = sum(weight * member.contributions(x) for weight, member in weighted)
        stacked = (arrays[f"stack_{name}"] for name in ("places", "means", "scales", "weights"))
        for place, mean, scale, weights in zip(*stacked, strict=True):
            totals[:, :, place] += np.multiply.outer(standardise(x[:, place], mean, scale), weights)
        return totals


def _find_sources(plan: FeaturePlan) -> list[tuple[str, ...]]:
    """For each column that a plan gives, those that it takes for it."""
    return [*((name,) for name in plan.kept_columns), *(step.columns for step in plan.steps)]


_KINDS: dict[str, Callable[[Arrays], Attributor]] = {
    "trees": TreeAttributor,
    "oblivious": ObliviousAttributor,
    "linear": LinearAttributor,
    "plan": PlanAttributor,
    "sum": SumAttributor,
}
