"""Reasons of a mixture: the columns that moved its answer, by the contributions to its slots, each with its share."""

from collections.abc import Mapping, Sequence

import numpy as np

from optagent.arrays import Matrix, Matrix64
from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import Task
from optagent.errors import Conflict
from optagent.mixing.slot_shares import SlotShares
from optagent.serving.reasons import Reasons, RowExplainer, name_reasons
from optagent.training.encoding import Schema

UNITS = {Task.BINARY: "log-odds", Task.REGRESSION: "value"}
"""The tasks whose mixtures give reasons, each with the unit in which the slots have to give theirs."""


class MixtureExplainer:
    """Names the features that moved answers of a mixture most. It stores nothing of a call, so threads may share it.

    `cells` are the numbers that a row costs, some 5 nanoseconds each.
    """

    def __init__(self, schema: Schema, weights: MixtureWeights, explainers: Mapping[str, RowExplainer]) -> None:
        """Takes the schema of the answers, and the explainers and schemas of all versions by name.

        Raises Conflict for a mixture of several classes, and for a version that explains on another scale.
        """
        unit = check_explained(weights)
        for name, explainer in explainers.items():
            if explainer.unit != unit:
                raise Conflict(f"version {name} gives reasons as {explainer.unit}, {unit} is needed")
        self._schema, self._weights, self._explainers, self._unit = schema, weights, explainers, unit
        self._shares = SlotShares(weights)
        every_name = (*schema.names, *(name for each in explainers.values() for name in each.names))
        self._names = list(dict.fromkeys(every_name))
        self._places = {name: list(map(self._names.index, each.names)) for name, each in explainers.items()}
        self.cells = sum(explainer.cells for explainer in explainers.values())

    def explain(self, matrices: Mapping[str, Matrix], count: int) -> list[Reasons]:
        """The `count` largest contributions to each answer, by the encoded rows of each version.

        A column that the versions of only some slots have is one that they alone contribute to.
        """
        weights = self._weights
        read = {name: explainer.read_margins(matrices[name]) for name, explainer in self._explainers.items()}
        base = np.array([read[name][0] for name in weights.versions])
        margins = np.column_stack([base_of + values.sum(axis=1) for base_of, values in self._in_order(read)])
        shares = self._shares.shares(base, margins)
        totals: Matrix64 = np.zeros((len(margins), len(self._names)))
        for slot, version in enumerate(weights.versions):
            totals[:, self._places[version]] += shares[:, slot, None] * read[version][1]
        bases = np.full(len(margins), self._shares.answer_margins(base[None])[0])
        answered = np.zeros(len(margins), dtype=np.intp), bases
        return name_reasons(self._schema, self._names, self._unit, answered, totals, count)

    def _in_order(self, read: Mapping[str, tuple[float, Matrix64]]) -> Sequence[tuple[float, Matrix64]]:
        return [read[name] for name in self._weights.versions]


def check_explained(weights: MixtureWeights) -> str:
    """The unit of the reasons of a mixture; raises Conflict for one of several classes."""
    unit = UNITS.get(weights.task)
    if unit is None:
        raise Conflict("it answers several classes, whose margins add on no scale")
    return unit
